# Two commands are enough on a machine with python3, make and git:  make demo  |  make test
SHELL := bash
B := .venv/bin
.DEFAULT_GOAL := help
.PHONY: demo test check prepare docs lab bench lock clean help
# figures and tables must not depend on the caller's machine
export PYTHONHASHSEED := 0

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 10

# The one set-up step. Not a rule on pyproject.toml, since nbdev-export touches that file: the lock is what counts.
.venv/.stamp: requirements.lock scripts/setup.sh
	@echo "Setting up .venv (hash-locked; 1 to 3 minutes the first time)"
	@bash scripts/setup.sh

demo: .venv/.stamp  ## import the recorded demo shop and write client reports (ja, en)
	@$(B)/python scripts/demo.py

test: check  ## the gate: everything that must hold before a commit

check: .venv/.stamp
	@$(B)/python scripts/gate.py $(ONLY)

prepare: .venv/.stamp  ## after changing a notebook: export, run and save outputs, clean, README
	$(B)/nbdev-export
	OMP_NUM_THREADS=1 $(B)/nbdev-test --save $(NB)
	$(B)/nbdev-clean
	$(B)/nbdev-clean --fname reports/templates
	$(B)/python scripts/shrink.py
	$(B)/python scripts/readme.py

docs: .venv/.stamp  ## the docs site, in docs/_build/html
	$(B)/python scripts/docsrc.py docs/_src
	$(B)/sphinx-build -q -W --keep-going -b html -c docs docs/_src docs/_build/html
	@echo "docs: docs/_build/html/index.html"

lab: .venv/.stamp  ## JupyterLab on this machine only
	$(B)/jupyter lab --ip=127.0.0.1

bench: .venv/.stamp  ## benchmarks against peers and the floor at 1M and 10M events; EVENTS=100M for that size
	$(B)/python benchmarks/run.py $(if $(EVENTS),--events $(EVENTS))

lock:  ## solve the dependencies again: the one writer of requirements.lock
	bash scripts/setup.sh --lock

clean:  ## remove everything that can be made again (not reports, not the data cache)
	rm -rf .venv .tools _proc docs/_src docs/_build build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
