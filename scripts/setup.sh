#!/usr/bin/env bash
# Makes .venv from the hash-locked requirements. Needs python3 (any 3.8+ that can make a venv) or uv; called by the Makefile.
set -eu
cd "$(dirname "$0")/.."
UV_VERSION=0.13.9
export UV_COMPILE_BYTECODE=1 UV_NO_PROGRESS=1
stop() { echo "setup: $*" >&2; exit 1; }

# a command counts as there only when it runs: version managers leave shims that answer "command not found"
runs() { "$@" >/dev/null 2>&1; }
find_uv() {
  for u in .tools/bin/uv uv; do runs "$u" --version && { echo "$u"; return; }; done
  for p in python3 python3.13 python3.14 python3.12 /usr/bin/python3; do
    runs "$p" -c 'import venv, ensurepip' || continue
    "$p" -m venv .tools >&2 && .tools/bin/python -m pip -qq install "uv==$UV_VERSION" >&2 && { echo .tools/bin/uv; return; }
  done
}
UV=$(find_uv)
[ -n "$UV" ] || stop "no uv, and no python3 that can make a venv to install it; remedy: install Python's venv module (Debian: apt-get install python3-venv) or uv"
case "${1:-}" in
  --uv) echo "$UV"; exit ;;
  --lock)   # the one writer of requirements.lock (nbdev-export touches pyproject.toml, so no rule depends on that file)
    exec "$UV" pip compile -q --universal --no-header --generate-hashes --group dev --group docs pyproject.toml -o requirements.lock ;;
esac

if ! runs .venv/bin/python -c 'import sys; assert sys.version_info >= (3, 12)'; then
  rm -rf .venv
  # the version of .python-version, else any found that is new enough, else one that uv downloads where the network allows
  "$UV" venv -q --no-python-downloads 2>/dev/null || "$UV" venv -q --no-python-downloads --python '>=3.12' 2>/dev/null || "$UV" venv -q --python 3.13 2>/dev/null ||
    stop "no Python 3.12 or newer found, and none could be downloaded; remedy: install Python 3.13 and run make again"
fi
"$UV" pip sync -q --require-hashes requirements.lock
# a plain path entry instead of an import hook, so that editors and JupyterLab complete names from the sources
"$UV" pip install -q --no-deps --no-build-isolation -C editable_mode=compat -e .
touch .venv/.stamp
