"""Sessions, a funnel and transitions from Parquet files of events: crmlab beside Retentioneering, answers compared.

Each tool answers all three questions in one process, as an analyst does:
the sessions as one row each, visitors who took four steps in order, and how often which event followed which within a
session, clicks and other pointer events aside. Both read visitors, moments and names of events only: no members. Tools take turns; no figure is given for an answer that differs.
"""
from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import world
from bench_queries import MEMORY_LIMIT, retentioneering_python

HERE = Path(__file__).resolve().parent
ROUNDS, SECONDS = 3, 1800
ANSWERS = ("sessions", "funnel", "transitions")

def run(tool: str, shop: Path, folder: Path) -> dict:
    "All three answers by one tool in a fresh process: figures of each, answers left in the folder."
    python = retentioneering_python() if tool == "retentioneering" else Path(sys.executable)
    env = os.environ | dict(CRMLAB_MEMORY_LIMIT=MEMORY_LIMIT, RETENTIONEERING_NO_TRACK="1")
    done = subprocess.run([str(python), str(HERE/"one_journey.py"), tool, str(shop), str(folder)], env=env, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode: raise SystemExit(f"{tool}: {(done.stderr.strip().splitlines() or ['no message'])[-1][:300]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def hold(folder: Path) -> None:
    "Stop unless both tools say the same."
    for name in ANSWERS:
        ours, theirs = (pd.read_parquet(folder/f"{tool}-{name}").reset_index(drop=True) for tool in ("crmlab", "retentioneering"))
        try: pd.testing.assert_frame_equal(ours, theirs, check_dtype=False)
        except AssertionError as e: raise SystemExit(f"{name}: answers differ: {e}") from e


def measure(size: str) -> dict:
    shop, runs = world.shop_of(size), dict(retentioneering=[], crmlab=[])
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with tempfile.TemporaryDirectory(dir=world.cache_folder()) as temporary:
        folder = Path(temporary)
        for _ in range(ROUNDS):
            for tool, found in runs.items(): found.append(run(tool, shop, folder))
        hold(folder)
    middle = lambda found, key, name: round(statistics.median(r[name][key] for r in found), 3)
    figures = {tool: dict(cpu_s=round(statistics.median(sum(r[n]["cpu_s"] for n in ANSWERS) for r in found), 3), wall_s=round(statistics.median(sum(r[n]["wall_s"] for n in ANSWERS) for r in found), 3),
                          peak_mb=max(r[n]["peak_mb"] for r in found for n in ANSWERS), questions={n: middle(found, "cpu_s", n) for n in ANSWERS}) for tool, found in runs.items()}
    return dict(size=size, events=sum(f["rows"] for f in json.loads((shop/"manifest.json").read_text(encoding="utf-8"))["tables"]["events"]), memory_limit=MEMORY_LIMIT, load_at_start=load and round(load, 2), rounds=ROUNDS, **figures)
