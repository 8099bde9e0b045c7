"""Run every benchmark (`make bench`), or those named: `python benchmarks/run.py visits`. One JSON file each in results/.

A benchmark is a module `bench_<name>.py` with `measure() -> dict`: ratios taken side by side in one run, and the raw
figures behind them. They are measured, never tested: machines differ, and a slow one is no error.
"""
from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


def machine() -> dict:
    "What the figures were taken on."
    from crmlab.core import version_of
    return dict(cores=os.cpu_count(), system=platform.system(), python=platform.python_version(),
                versions={p: version_of(p) for p in ("crmlab", "duckdb", "narwhals", "pandas", "numpy")})


def main(names) -> None:
    found = sorted(p.stem.removeprefix("bench_") for p in HERE.glob("bench_*.py"))
    for name in names:
        if name not in found: sys.exit(f"no benchmark {name!r}; there are {', '.join(found)}")
    (HERE/"results").mkdir(exist_ok=True)
    for name in names or found:
        result = importlib.import_module(f"bench_{name}").measure()
        record = dict(benchmark=name, day=datetime.now(UTC).date().isoformat(), machine=machine(), result=result)
        (HERE/"results"/f"{name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{name}:", json.dumps(result, ensure_ascii=False))


if __name__ == "__main__": main(sys.argv[1:])
