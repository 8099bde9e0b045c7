"""Behaviours of five segments and their contrast: CPU of crmlab against the hand-written DuckDB sums it rests on.

The made shop's four ranks and the unidentified visitors are the segments. crmlab opens the shop, finds its visits, sums up
every behaviour and contrasts each segment with the rest; the floor (floor_behaviours) finds the visits and makes the same
sums, and is told which pages, events and elements to count. Each run is a process of its own; tools take turns. All rows of
the pair table are compared before a figure is given.
"""
from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import world

MEMORY_LIMIT, BY, STRATA = "4GB", "rank", ("device", "source")
KEY = ["behaviour", "segment", "device", "source", "segment_2", "device_2", "source_2"]
SUMS = ["n", "people", "y", "x", "yy", "xy", "yx", "xx"]


def rounds(events: int) -> int: return 3 if events <= 3*10**6 else 2


def tagged(shop: Path):
    import crmlab as cl
    return cl.open_shop(shop).tag(BY)


def names(shop: Path, folder: Path) -> dict:
    "What the floor is told: pages, events and elements, as crmlab finds them."
    from crmlab.measure.pageviews import view_rows, viewed_pages
    from crmlab.measure.visit_counts import known_names
    opened = tagged(shop)
    rows = view_rows(opened, who="benchmark", by=BY, strata=STRATA)
    found = known_names(rows, viewed_pages(rows), opened)
    told = dict(pages=found.pages, events=found.events, elements=found.elements[["page", "selector", "mids"]].to_dict("records"), timezone=opened.settings.timezone)
    (folder/"names.json").write_text(json.dumps(told), encoding="utf-8")
    return {}


def crmlab(shop: Path, folder: Path) -> dict:
    "Behaviours and contrast; the parts apart."
    import scipy.special  # noqa: F401  (imports are over before the clock starts)
    import crmlab as cl
    import crmlab.infer.contrast
    import crmlab.measure.behaviours  # noqa: F401
    from one_query import cpu
    begin = cpu()
    opened = tagged(shop)
    opened.find_visits()
    visits = cpu()
    table = cl.behaviours(opened, by=BY, strata=STRATA)
    summed = cpu()
    found = cl.contrast(table)
    end = cpu()
    table.to_pandas().to_parquet(folder/"crmlab.parquet")
    return dict(cpu_s=end - begin, visits_s=visits - begin, behaviours_s=summed - visits, contrast_s=end - summed, rows=len(found.frame))


def floor(shop: Path, folder: Path) -> dict:
    "The same sums by hand."
    import pyarrow  # noqa: F401
    import floor as plain
    import floor_behaviours
    from one_query import cpu
    told = floor_behaviours.names_of(folder/"names.json")
    con = plain.connect(MEMORY_LIMIT, str(folder/"spill"))
    begin = cpu()
    found = floor_behaviours.answer(con, shop, told)
    end = cpu()
    floor_behaviours.as_long(found).to_parquet(folder/"floor.parquet")
    return dict(cpu_s=end - begin, rows=len(found["cells"]) + len(found["pairs"]))


TOOLS = dict(floor=floor, crmlab=crmlab)


def assert_same(folder: Path) -> int:
    "Raise AssertionError with the column in which the two answers differ; gives the number of rows compared."
    ours, theirs = pd.read_parquet(folder/"crmlab.parquet"), pd.read_parquet(folder/"floor.parquet")
    both = ours.merge(theirs, on=KEY, suffixes=("", "_floor"), how="left")
    assert len(both) == len(ours) and both.yy_floor.notna().all(), "crmlab has rows that the floor lacks"
    left_out = theirs.merge(ours[KEY], on=KEY, how="left", indicator=True).query("_merge == 'left_only'")
    never = left_out.behaviour.str.startswith(("landing:", "first_view_exit:")) & ~left_out.behaviour.isin(ours.behaviour)   # pages nobody landed on
    assert (left_out.n[~never] == 0).all(), "the floor has pairs of cells with shared people that crmlab lacks"
    for c in SUMS: np.testing.assert_allclose(both[c].astype(float), both[f"{c}_floor"].astype(float), rtol=1e-9, atol=1e-6, err_msg=f"behaviours: crmlab differs from the floor in {c}")
    return len(both)


def measure(size: str) -> dict:
    shop, runs = world.shop_of(size), {t: [] for t in TOOLS}
    events = sum(f["rows"] for f in json.loads((shop/"manifest.json").read_text(encoding="utf-8"))["tables"]["events"])
    with tempfile.TemporaryDirectory(dir=world.cache_folder()) as temporary:
        folder = Path(temporary)
        world.run(__file__, "names", shop, folder, memory_limit=MEMORY_LIMIT)
        for _ in range(rounds(events)):
            for tool in runs: runs[tool].append(world.run(__file__, tool, shop, folder, memory_limit=MEMORY_LIMIT))
        compared = assert_same(folder)
    middle = {t: {k: round(statistics.median(r[k] for r in made), 3) for k in made[0]} for t, made in runs.items()}
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return dict(size=size, events=events, runs=rounds(events), memory_limit=MEMORY_LIMIT, load_at_end=load, rows_compared=compared, same_as_floor=True,
                cpu_ratio=round(middle["crmlab"]["cpu_s"]/middle["floor"]["cpu_s"], 3), **middle)


def main(tool: str, shop: str, folder: str) -> None:
    made = dict(TOOLS, names=names)[tool](Path(shop), Path(folder))
    from one_query import peak_mb
    print(json.dumps({k: round(v, 3) for k, v in made.items()} | (dict(peak_mb=round(peak_mb())) if made else {})), flush=True)


if __name__ == "__main__": main(*sys.argv[1:])
