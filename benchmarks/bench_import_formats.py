"Lines a second and peak memory of an import, per format: from the export's file to the committed shop folder, in a process of its own."
from __future__ import annotations

import json
import os
import shutil
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


def one(kind: str, source, rounds: int = 1) -> dict:
    "The fastest of some runs of one import or one made shop: a busy machine only ever adds time. Memory is the largest."
    runs = []
    for _ in range(rounds):
        into = Path(tempfile.mkdtemp(dir=world.cache_folder()))/"shop"
        done = subprocess.run([sys.executable, str(HERE/"one_import.py"), kind, str(source), str(into)], capture_output=True, text=True, env=os.environ | dict(CRMLAB_MEMORY_LIMIT="1GB"))
        shutil.rmtree(into.parent, ignore_errors=True)
        if done.returncode: return dict(reason=(done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1][:300])
        runs.append(json.loads(done.stdout.strip().splitlines()[-1]))
    best = min(runs, key=lambda r: r["wall_s"])
    return best | dict(peak_mb=max(r["peak_mb"] for r in runs), runs=rounds)


def measure(rows: int = 1_000_000, rounds: int = 4) -> dict:
    found = {}
    for kind in exports.FORMATS:
        file = export_of(kind, rows)
        found[kind] = one(kind, file, rounds)
        found[kind] |= dict(ending=exports.ENDINGS[kind], file_mb=round(file.stat().st_size/1e6))
        if "wall_s" in found[kind]: found[kind]["rows_per_s"] = round(rows/found[kind]["wall_s"])
        print(f"  {kind}:", found[kind], flush=True)
    return dict(rows=rows, memory_limit="1GB", formats=found)
