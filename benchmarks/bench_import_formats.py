"Lines a second and peak memory of an import, per format: from the export's file to the committed shop folder, in a process of its own."
from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import exports
import world

HERE = Path(__file__).resolve().parent


def export_of(kind: str, rows: int) -> Path:
    "The cached export of that many lines; made on first use."
    shop = world.shop_of(rows*5//4)   # a shop has about as many events as asked for: be sure of enough
    file = world.cache_folder()/"exports"/f"{shop.name}-{rows}"/f"{kind}.{exports.ENDINGS[kind]}"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, str(HERE/"exports.py"), kind, str(shop), str(rows), str(file)], check=True)
    return file


def run(kind: str, source) -> dict:
    "One import, or one made shop, in a process of its own."
    into = Path(tempfile.mkdtemp(dir=world.cache_folder()))/"shop"
    done = subprocess.run([sys.executable, str(HERE/"one_import.py"), kind, str(source), str(into)], capture_output=True, text=True, env=os.environ | dict(CRMLAB_MEMORY_LIMIT="1GB"))
    shutil.rmtree(into.parent, ignore_errors=True)
    if done.returncode: return dict(reason=(done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1][:300])
    return json.loads(done.stdout.strip().splitlines()[-1])


def summary(runs: list) -> dict:
    "The fastest of some runs, since a busy machine only ever adds time, and their median; memory is the largest."
    if failed := [r for r in runs if "reason" in r]: return failed[0]
    best = min(runs, key=lambda r: r["wall_s"])
    return best | dict(peak_mb=max(r["peak_mb"] for r in runs), runs=len(runs), median_wall_s=round(statistics.median(r["wall_s"] for r in runs), 3))


def measure(rows: int = 1_000_000, rounds: int = 8) -> dict:
    "Formats take turns, so that a busy quarter of an hour does not fall on one of them."
    files = {kind: export_of(kind, rows) for kind in exports.FORMATS}
    runs: dict = {kind: [] for kind in files}
    for _ in range(rounds):
        for kind, file in files.items(): runs[kind].append(run(kind, file))
    found = {kind: summary(runs[kind]) | dict(ending=exports.ENDINGS[kind], file_mb=round(file.stat().st_size/1e6)) for kind, file in files.items()}
    for kind, figures in found.items():
        if "wall_s" in figures: figures["rows_per_s"] = round(rows/figures["wall_s"])
        print(f"  {kind}:", figures, flush=True)
    return dict(rows=rows, memory_limit="1GB", formats=found)
