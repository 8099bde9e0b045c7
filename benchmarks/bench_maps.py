"Click maps of every page, device and rank: CPU of crmlab against hand-written SQL looped over the same pages, maps compared cell by cell."
from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import agree
import pandas as pd
import world

HERE = Path(__file__).resolve().parent
ROUNDS = 3


def measure(size: str) -> dict:
    shop, runs = world.shop_of(size), dict(floor=[], crmlab=[])
    with tempfile.TemporaryDirectory(dir=world.cache_folder()) as folder:
        for _ in range(ROUNDS):
            for tool in runs: runs[tool].append(world.run(HERE/"one_maps.py", tool, shop, folder, memory_limit="4GB"))
        for i in range(runs["floor"][0]["maps"]):
            floor, ours = (agree.answer("heatmap", pd.read_parquet(Path(folder)/f"{tool}-{i}.parquet")) for tool in runs)
            agree.assert_same("heatmap", floor, ours, who="crmlab")
    middle = {tool: {k: round(statistics.median(r[k] for r in made), 3) for k in ("cpu_s", "wall_s")} | dict(peak_mb=max(r["peak_mb"] for r in made), maps=made[0]["maps"]) for tool, made in runs.items()}
    return dict(size=size, runs=ROUNDS, same_as_floor=True, **middle)
