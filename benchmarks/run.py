"""Run every benchmark (`make bench`), or those named: `python benchmarks/run.py queries --events 10M`.

One JSON file each in results/, one per size for those that take a size, and ratios.json with what matters of all of them.
A benchmark is a module `bench_<name>.py` with `measure() -> dict` or `measure(size) -> dict`: figures taken side by side in
one run. They are measured, never tested: machines differ, and a slow one is no error.
"""
from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import ratios
import world

RESULTS = HERE/"results"


def memory_gb() -> int | None:
    "Main memory; unknown where the system does not say."
    try: return round(os.sysconf("SC_PAGE_SIZE")*os.sysconf("SC_PHYS_PAGES")/2**30)
    except (AttributeError, ValueError): return None


def machine() -> dict:
    "What the figures were taken on."
    from crmlab.core import version_of
    return dict(cores=os.cpu_count(), memory_gb=memory_gb(), system=platform.system(), python=platform.python_version(),
                versions={p: version_of(p) for p in ("crmlab", "duckdb", "narwhals", "pandas", "polars", "numpy")})


def sizes(text: str) -> list[str]: return [t.strip() for t in text.split(",") if t.strip()]


def main() -> None:
    found = sorted(p.stem.removeprefix("bench_") for p in HERE.glob("bench_*.py"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"benchmarks, all when none is named: {', '.join(found)}")
    parser.add_argument("--events", type=sizes, help="sizes for those that take one (1M,10M when not given); the others then run only when named")
    asked = parser.parse_args()
    for name in asked.names:
        if name not in found: sys.exit(f"no benchmark {name!r}; there are {', '.join(found)}")
    sizes_asked = asked.events or ["1M", "10M"]
    for size in sizes_asked: world.count_of(size)
    for name in asked.names or found:
        measure = importlib.import_module(f"bench_{name}").measure
        if "size" not in inspect.signature(measure).parameters:
            if asked.names or not asked.events: keep(name, measure())
        else:
            for size in sizes_asked: keep(f"{name}-{size}", measure(size=size))
    for line in ratios.write(RESULTS): print(line)


def keep(name: str, result: dict) -> None:
    record = dict(benchmark=name, day=datetime.now(UTC).date().isoformat(), machine=machine(), result=result)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS/f"{name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{name}:", json.dumps(result, ensure_ascii=False), flush=True)


if __name__ == "__main__": main()
