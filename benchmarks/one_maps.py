"""Click maps of every page and device of a shop, per rank, by one tool in one process: `python one_maps.py TOOL SHOP FOLDER`.

Prints one line of JSON: CPU seconds, wall seconds and peak memory from open folder to the last map, and how many maps. With
FOLDER the maps are left there for comparison. The page is mapped without its layout, as the floor does.
"""
from __future__ import annotations

import json
import sys
from pathlib import Path

import duckdb
import floor
from one_query import cpu, peak_mb


def pages_of(shop: Path) -> list[tuple]:
    "Pages and devices on which somebody clicked."
    found = duckdb.sql(f"SELECT page, device FROM read_parquet({floor.files_of(shop, 'events')}) WHERE event = 'click' GROUP BY ALL ORDER BY ALL")
    return found.fetchall()


def by_crmlab(shop: Path):
    "A function that maps one page on one device."
    import crmlab as cl
    opened = cl.open_shop(shop).tag("rank")
    return lambda page, device: cl.heatmap(opened, page=page, by="rank", device=device, anchor="none").frame


def by_floor(shop: Path):
    "The same by SQL."
    import tool_floor
    return lambda page, device: tool_floor.connection().sql(floor.heatmap(shop, page=page, device=device)).df()


def main(tool: str, shop: str, folder: str | None = None) -> dict:
    import time
    if tool == "crmlab":   # imports are over before the clock starts
        import pyarrow  # noqa: F401
        import scipy.special  # noqa: F401

        import crmlab.measure.heatmap  # noqa: F401
    pages, made = pages_of(Path(shop)), {}
    before, start = cpu(), time.perf_counter()
    draw = dict(crmlab=by_crmlab, floor=by_floor)[tool](Path(shop))
    for page, device in pages: made[page, device] = draw(page, device)
    figures = dict(cpu_s=round(cpu() - before, 3), wall_s=round(time.perf_counter() - start, 3), peak_mb=round(peak_mb()), maps=len(made))
    if folder:
        for i, (page, device) in enumerate(pages): made[page, device].to_parquet(Path(folder)/f"{tool}-{i}.parquet")
    return figures


if __name__ == "__main__": print(json.dumps(main(*sys.argv[1:])), flush=True)
