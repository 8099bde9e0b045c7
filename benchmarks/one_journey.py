"""Sessions, funnel and transitions by one tool in a process of its own: `python one_journey.py TOOL SHOP FOLDER`.

Prints one line of JSON: CPU seconds, wall seconds and peak memory of each answer, up to the frame. What makes the answers
comparable, such as the order of rows, is done after the clock has stopped.
"""
from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

from one_query import cpu, peak_mb


def main(tool: str, shop: str, folder: str) -> dict:
    "Figures by question."
    journeys, found = importlib.import_module(f"tool_{tool}").JOURNEYS, {}
    for name, (answer, plain) in journeys.items():
        before, start = cpu(), time.perf_counter()
        frame = answer(Path(shop))
        found[name] = dict(cpu_s=round(cpu() - before, 3), wall_s=round(time.perf_counter() - start, 3), peak_mb=round(peak_mb()), rows=len(frame))
        plain(frame).to_parquet(Path(folder)/f"{tool}-{name}")
    return found


if __name__ == "__main__": print(json.dumps(main(*sys.argv[1:])), flush=True)
