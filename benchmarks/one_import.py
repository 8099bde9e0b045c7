"""One import, or one made shop, in a process of its own: `python one_import.py KIND SOURCE INTO` prints one line of JSON.

SOURCE is a file, or the number of members when KIND is simulate. The clock starts when crmlab's modules are loaded (`load_s`
says how long that took) and stops when the shop folder holds its new state.
"""
from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import crmlab as cl
from one_query import cpu, peak_mb


def main(kind: str, source: str, into: str) -> dict:
    import exports
    options = exports.MAP if kind == "csv" else dict(table="events") if kind == "parquet" else {}
    start = time.perf_counter()
    if kind == "simulate": from crmlab.sources.simulate import simulate
    else: import_data = cl.import_data
    load, before, start = time.perf_counter() - start, cpu(), time.perf_counter()
    shop = simulate("bronze_royal", users=int(source), seed=1, into=into) if kind == "simulate" else import_data(kind, source, into=into, **options)
    figures = dict(cpu_s=round(cpu() - before, 3), wall_s=round(time.perf_counter() - start, 3), load_s=round(load, 3), peak_mb=round(peak_mb()))
    rows = {t: sum(f["rows"] for f in files) for t, files in json.loads((Path(into)/"manifest.json").read_text(encoding="utf-8"))["tables"].items()}
    return figures | dict(rows=rows, refused=sum(c.get("rejected", 0) for c in shop.counts.values()))


if __name__ == "__main__": print(json.dumps(main(*sys.argv[1:])), flush=True)
