"""The gate: everything that must hold before a commit. `make test` runs it; `make test ONLY="ruff pytest"` runs some steps.

Every failing step is reported, each problem in one line with the remedy. The exit code is 0 only when all steps pass.
"""
from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import checks

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
NOTEBOOK_SECONDS, ALL_NOTEBOOKS_SECONDS, GATE_SECONDS = 30, 300, 900
SHOWN = 25   # problems of one step that are printed
PREPARE = "run `make prepare`, look at the change, commit it"


class Problems(Exception):
    "A step that fails: its problems, one line each, and the remedy."
    def __init__(self, problems, remedy="", shown=SHOWN): self.problems, self.remedy, self.shown = list(problems), remedy, shown


def run(*args, cwd: Path = ROOT, env: dict | None = None, remedy: str = "", timeout: int = 1500, lines: int = SHOWN) -> str:
    "Output of a command; its last lines are the problem when it fails."
    try: done = subprocess.run([str(a) for a in args], cwd=cwd, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, errors="replace", timeout=timeout, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as e: raise Problems([f"{Path(str(args[0])).name} did not end within {e.timeout:.0f} s"], remedy) from None
    if done.returncode: raise Problems([line for line in done.stdout.splitlines() if line.strip()][-lines:] or [f"{args[0]} ended with {done.returncode}"], remedy, max(lines, SHOWN))
    return done.stdout


def copy_tree(to: Path, root: Path = ROOT) -> Path:
    "The tree as it would be committed now, elsewhere: checks may change it there."
    for path in checks.tracked(root):
        (to/path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, to/path.relative_to(root))
    return to


def difference(a: Path, b: Path, name: str) -> str:
    "First differing line of two files, in one line."
    x, y = ([line.rstrip() for line in p.read_text(encoding="utf-8", errors="replace").splitlines()] for p in (a, b))
    changed = [line for line in difflib.unified_diff(x, y, lineterm="", n=0) if line[:1] in "+-" and line[:3] not in ("---", "+++")]
    return f"{name} differs: {changed[0][:140]}" if changed else f"{name} differs in line ends or encoding"


# --- steps: each returns warnings (or nothing), or raises Problems

def clean(root: Path = ROOT) -> None:
    "notebooks are clean"
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        copy_tree(tmp, root)
        run(BIN/"nbdev-clean", cwd=tmp)
        if any((tmp/"reports/templates").glob("*.ipynb")): run(BIN/"nbdev-clean", "--fname", "reports/templates", cwd=tmp)
        dirty = [difference(root/p.relative_to(tmp), p, p.relative_to(tmp).as_posix()) for top in ("nbs", "reports/templates")
                 for p in sorted((tmp/top).rglob("*.ipynb")) if p.read_bytes() != (root/p.relative_to(tmp)).read_bytes()]
    if dirty: raise Problems(dirty, "run `.venv/bin/nbdev-clean` (and `--fname reports/templates`), commit")


def export(root: Path = ROOT) -> None:
    "package made from nothing equals the committed one"
    with tempfile.TemporaryDirectory() as tmp:
        tmp = copy_tree(Path(tmp), root)
        for path in [p for p in (tmp/"crmlab").rglob("*") if p.is_file() and "assets" not in p.relative_to(tmp/"crmlab").parts[:1]]: path.unlink()
        run(BIN/"nbdev-export", cwd=tmp, env={"PYTHONPATH": str(tmp)}, remedy="mend the notebook it names")
        ours = {p.relative_to(root): p for p in checks.tracked(root) if p.is_relative_to(root/"crmlab")}
        made = {p.relative_to(tmp): p for p in (tmp/"crmlab").rglob("*") if p.is_file() and "__pycache__" not in p.parts}
        problems = [f"{p}: no notebook makes it; delete it, or put its notebook back" for p in sorted(ours.keys() - made.keys())]
        problems += [f"{p}: not exported yet" for p in sorted(made.keys() - ours.keys())]
        problems += [difference(ours[p], made[p], str(p)) for p in sorted(ours.keys() & made.keys()) if ours[p].read_bytes() != made[p].read_bytes()]
    if problems: raise Problems(problems, f"crmlab/ is made from nbs/ and never edited by hand: change the notebook, {PREPARE}")


def ruff(root: Path = ROOT) -> None:
    "no undefined name, no likely bug (ruff on the package)"
    run(BIN/"ruff", "check", "--quiet", "--output-format", "concise", "--no-cache", "crmlab", "scripts", "docs", cwd=root, remedy="mend the cell of the notebook (the line of crmlab/ says which), export again")


def layers(root: Path = ROOT) -> None:
    "imports go one way, a public name has one home"
    problems = checks.import_direction(root) + checks.public_names(root)
    if problems: raise Problems(problems)


def budgets(root: Path = ROOT) -> list[str]:
    "notebooks keep their shape, tutorials are the same in both languages"
    problems, warnings = checks.budgets(root)
    problems += checks.tutorials(root)
    if problems: raise Problems(problems, "see nbs/contributing.ipynb, the shape of a notebook")
    return warnings


def documented(root: Path = ROOT) -> None:
    "promised names are documented"
    problems = checks.docments(root)
    if problems: raise Problems(problems)


def stored(root: Path = ROOT) -> None:
    "stored outputs: in notebooks, not in templates, no machine paths"
    problems = checks.outputs(root) + checks.templates(root) + checks.leaks(root)
    if problems: raise Problems(problems)


def readme(root: Path = ROOT) -> None:
    "README equals the index notebook"
    if not (root/"nbs/index.ipynb").exists(): raise Problems(["nbs/index.ipynb is missing"])
    run(sys.executable, "scripts/readme.py", "--check", cwd=root)


def failed_cells(lines: list[str], root: Path) -> list[str]:
    "One line per failing notebook from what nbdev-test printed: which cell, which error, which line of code."
    found, current = [], None
    for line in lines:
        head = re.match(r"\w+ in (\S+\.ipynb):$", line)
        if head or line.startswith("nbdev Tests Failed"): current = None
        if head:
            current = dict(nb=head[1].removeprefix(f"{root}/"), cell="?", code="", error="")
            found.append(current)
        elif current and (cell := re.match(r"While Executing Cell #(\d+)", line)): current["cell"] = cell[1]
        elif current and re.match(r"\w[\w.]*(: |$)", line) and not line.startswith("Traceback"): current["error"] = line
        elif current and line.startswith("    ") and "^^^" not in line and "~~~" not in line and not current["error"]: current["code"] = line.strip()
    return [f"{f['nb']} cell {f['cell']}: {f['error']} (at: {f['code'][:100]})" for f in found]


def lacking_data(root: Path) -> dict[str, str]:
    "Tutorial → public data set it needs and this machine cannot get. Nothing where data are required: there the tutorial itself fails."
    if "data" in os.environ.get("CRMLAB_REQUIRE", "").split(","): return {}
    from crmlab.sources.datasets import available
    needed = {p.name: re.search(r'datasets\.load\(\\"(\w+)\\"\)', p.read_text(encoding="utf-8")) for p in sorted((root/"nbs/tutorials").glob("*.ipynb"))}
    return {name: m[1] for name, m in needed.items() if m and not available(m[1])}


def notebooks(root: Path = ROOT) -> list[str]:
    "every notebook runs (nbdev-test)"
    start, lacking = time.monotonic(), lacking_data(root)
    left_out = ["--skip-file-re", "|".join(["^[_.]", *map(re.escape, lacking)])] if lacking else []
    try: out = run(BIN/"nbdev-test", "--timing", *left_out, cwd=root, env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}, lines=10**6)
    except Problems as e: raise Problems(failed_cells(e.problems, root) or e.problems[-SHOWN:], "open the notebook in JupyterLab and mend the cell") from None
    slow = [f"{n} takes {s} s, more than {NOTEBOOK_SECONDS}" for n, s in re.findall(r"^(\S+\.ipynb): (\d+) secs", out, flags=re.M) if int(s) > NOTEBOOK_SECONDS]
    total = time.monotonic() - start
    skipped = [f"{name} is skipped: data set {data} is neither in the cache nor downloadable" for name, data in lacking.items()]
    return skipped + slow + ([f"all notebooks take {total:.0f} s, more than {ALL_NOTEBOOKS_SECONDS}"] if total > ALL_NOTEBOOKS_SECONDS else [])


def docs(root: Path = ROOT) -> None:
    "docs build without a warning"
    shutil.rmtree(root/"docs/_build/html", ignore_errors=True)   # a stale site must not stand in for one that fails to build
    run(sys.executable, "scripts/docsrc.py", "docs/_src", cwd=root, remedy="mend the notebook")
    run(BIN/"sphinx-build", "-q", "-W", "--keep-going", "-E", "-b", "html", "-c", "docs", "docs/_src", "docs/_build/html", cwd=root, remedy="mend the notebook that makes the page")


COUNTS = dict(passed=0, failed=0, skipped=0)


def pytest(root: Path = ROOT) -> list[str]:
    "tests of the exported package (pytest)"
    with tempfile.TemporaryDirectory() as tmp:
        report = Path(tmp)/"junit.xml"
        try: out = run(BIN/"pytest", "-q", "-n", "auto", "--maxprocesses=4", "--dist", "loadfile", "--tb=short", "--durations=5", f"--junitxml={report}", cwd=root, env={"MPLBACKEND": "Agg", "DOCS_SITE": str(root/"docs/_build/html"), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}, timeout=4000, lines=300)
        finally:
            if report.exists():
                suites = ET.parse(report).getroot().iter("testsuite")
                for s in suites:
                    bad, skipped = int(s.get("failures")) + int(s.get("errors")), int(s.get("skipped"))
                    COUNTS["failed"] += bad
                    COUNTS["skipped"] += skipped
                    COUNTS["passed"] += int(s.get("tests")) - bad - skipped
    return [line for line in out.splitlines() if line.startswith("SKIPPED") or re.match(r"\d+\.\d+s (call|setup)", line) and float(line.split("s")[0]) > 10]


def closure(names: list[str]) -> set[str]:
    "Installed distributions that these requirements need, themselves included."
    from importlib import metadata

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name
    todo, seen = [(Requirement(n), ()) for n in names], set()
    while todo:
        req, extras = todo.pop()
        if req.marker and not any(req.marker.evaluate({"extra": e}) for e in ("", *extras)): continue
        key = (canonicalize_name(req.name), tuple(sorted(req.extras)))
        if key in seen: continue
        seen.add(key)
        todo += [(Requirement(r), tuple(req.extras)) for r in metadata.requires(req.name) or []]
    return {name for name, _ in seen}


def runtime_lock(root: Path = ROOT) -> str:
    "The part of requirements.lock that a user of the wheel needs, hashes included."
    import tomllib
    wanted = closure(tomllib.loads((root/"pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"])
    entries = re.findall(r"^([\w.-]+)(?:\[.*?\])?==.*(?:\n    .*)*", (root/"requirements.lock").read_text(encoding="utf-8"), flags=re.M)
    blocks = re.finditer(r"^(?P<name>[\w.-]+)(?:\[.*?\])?==.*(?:\n    .*)*", (root/"requirements.lock").read_text(encoding="utf-8"), flags=re.M)
    missing = wanted - {e.lower().replace("_", "-").replace(".", "-") for e in entries}
    if missing: raise Problems([f"requirements.lock lacks {', '.join(sorted(missing))}"], "run `make lock`, commit")
    return "\n".join(b[0] for b in blocks if b["name"].lower().replace("_", "-").replace(".", "-") in wanted) + "\n"


def wheel(root: Path = ROOT) -> None:
    "wheel builds, installs into an empty environment, and works there"
    import zipfile
    uv = run("bash", "scripts/setup.sh", "--uv", cwd=root).strip().splitlines()[-1]
    uv = str(root/uv) if uv.startswith(".tools") else uv
    with tempfile.TemporaryDirectory(prefix="crmlab-wheel-") as tmp:
        tmp = Path(tmp)
        source, empty, env = copy_tree(tmp/"source", root), tmp/"empty", tmp/"env"
        empty.mkdir()
        run(uv, "build", "--quiet", "--offline", "--wheel", "--no-build-isolation", "--python", sys.executable, "-o", tmp/"dist", source, remedy="see pyproject.toml and setup.py")
        built = next((tmp/"dist").glob("*.whl"))
        inside = set(zipfile.ZipFile(built).namelist())
        wanted = {p.relative_to(source).as_posix() for p in (source/"crmlab").rglob("*") if p.is_file()} | {f"crmlab/templates/{p.name}" for p in (source/"reports/templates").glob("*.ipynb")}
        if wanted - inside: raise Problems([f"{n} is not in the wheel" for n in sorted(wanted - inside)], "see setup.py and [tool.setuptools.package-data] in pyproject.toml")
        (tmp/"runtime.lock").write_text(runtime_lock(root), encoding="utf-8")
        run(uv, "venv", "--quiet", "--python", sys.executable, env)
        sync = [uv, "pip", "sync", "--quiet", "--python", env, "--require-hashes", tmp/"runtime.lock"]
        try: run(*sync, "--offline", env={"UV_COMPILE_BYTECODE": "0"})   # everything is in uv's cache, unless somebody emptied it
        except Problems: run(*sync, env={"UV_COMPILE_BYTECODE": "0"}, remedy="the environment of the wheel needs the package index once")
        run(uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", env, built)
        clean_env = {"PATH": f"{env/'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": "", "VIRTUAL_ENV": str(env), "PYTHONDONTWRITEBYTECODE": ""}
        run(env/"bin/python", "-I", root/"tests/wheel_check.py", cwd=empty, env=clean_env, remedy="what works in the tree only: see the file named above, or a dependency that stands in a dev group")


STEPS = {f.__name__: f for f in (clean, export, ruff, layers, budgets, documented, stored, readme, notebooks, docs, pytest, wheel)}


def report(name: str, seconds: float, problems: Problems | None, warnings: list[str]) -> None:
    "One line for a step, then its problems and warnings."
    print(f"{'FAIL' if problems else 'ok  '}  {name:<11} {seconds:6.1f} s  {STEPS[name].__doc__}", flush=True)
    if problems:
        shown = problems.shown
        for p in problems.problems[:shown]: print(f"        {p}")
        if len(problems.problems) > shown: print(f"        … and {len(problems.problems) - shown} more")
        if problems.remedy: print(f"        remedy: {problems.remedy}")
    for w in warnings: print(f"        note: {w}")
    sys.stdout.flush()


def one(name: str) -> bool:
    "Run a step and report it."
    start, problems, warnings = time.monotonic(), None, []
    try: warnings = STEPS[name]() or []
    except Problems as e: problems = e
    except Exception as e: problems = Problems([f"{type(e).__name__}: {e}"], "the gate itself stumbled over the tree; see scripts/gate.py")
    report(name, time.monotonic() - start, problems, warnings)
    return problems is None


def main(only: list[str]) -> int:
    unknown = set(only) - STEPS.keys()
    if unknown: sys.exit(f"no step {', '.join(sorted(unknown))}; steps are {', '.join(STEPS)}")
    chosen, start = [n for n in STEPS if not only or n in only], time.monotonic()
    good = {n: one(n) for n in chosen}
    total, tests = time.monotonic() - start, "pytest" in chosen
    if total > GATE_SECONDS: print(f"note: the gate took {total:.0f} s, more than {GATE_SECONDS}")
    failed = [n for n in chosen if not good[n]]
    if tests: print(f"pytest: {COUNTS['passed']} passed, {COUNTS['failed']} failed, {COUNTS['skipped']} skipped")
    print(f"gate: {len(chosen) - len(failed)} of {len(chosen)} steps hold after {total:.0f} s" + (f"; these do not: {', '.join(failed)}" if failed else ""))
    steps = len(chosen) - tests   # the step pytest stands for its tests
    bad = COUNTS["failed"] + len([n for n in failed if n != "pytest"]) + ("pytest" in failed and not COUNTS["failed"])
    print(f"{COUNTS['passed'] + steps - len([n for n in failed if n != 'pytest'])} passed, {bad} failed, {COUNTS['skipped']} skipped", flush=True)
    return bool(failed)


if __name__ == "__main__": sys.exit(main(sys.argv[1:]))
