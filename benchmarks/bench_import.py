"What `import crmlab` costs above the libraries it rests on, in fresh processes, side by side."
from __future__ import annotations

import statistics
import subprocess
import sys
import time

ENGINE = "import pandas, duckdb, narwhals"
CODES = {"engine": ENGINE, "engine_crmlab": f"{ENGINE}; import crmlab", "engine_shop": f"{ENGINE}; import crmlab; crmlab.open_shop",
         "crmlab_alone": "import crmlab"}


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def measure(rounds: int = 9) -> dict:
    times = {name: [] for name in CODES}
    for _ in range(rounds):
        for name, code in CODES.items(): times[name].append(seconds(code))
    wall = {name: round(statistics.median(t), 3) for name, t in times.items()}
    return dict(wall_s=wall, above_engine_s=round(wall["engine_crmlab"] - wall["engine"], 3), first_shop_above_engine_s=round(wall["engine_shop"] - wall["engine"], 3))
