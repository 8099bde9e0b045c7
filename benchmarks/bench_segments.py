"""RFM cells and purchase phases of a million customers with three million orders: CPU, wall and peak memory.

The file is made by DuckDB alone: order times over two years, one order in fifty cancelled. Each run is a process of its own and
counts the rows per segment, so that every membership is worked out. One day of RFM is what a report of today asks for; months
are every cell at the first of each month; phases are every change at its moment.
"""
from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import world

ROUNDS, MEMORY_LIMIT = 2, "4GB"
CUSTOMERS, ORDERS = 1_000_000, 3_000_000

MAKE = f"""COPY (
  SELECT format('o{{{{:08d}}}}', i) AS order_id, format('u{{{{:07d}}}}', CAST(hash(i) % {CUSTOMERS} AS BIGINT)) AS user_id,
    make_timestamptz(CAST(1704067200000000 + hash(i*7) % (730*86400)*1000000 AS BIGINT)) AS ts,
    CASE WHEN hash(i*3) % 50 = 0 THEN 'cancelled' ELSE 'valid' END AS status, CAST(1000 + hash(i*5) % 20000 AS DOUBLE) AS revenue, 'JPY' AS currency
  FROM range({ORDERS}) r(i)) TO '{{file}}' (FORMAT parquet)"""


def segments(what: str, file: Path):
    "Rows per segment, and the last change of each."
    import narwhals.stable.v2 as nw
    from crmlab.measure.segments import purchase_phases, rfm
    from crmlab.tables.engine import collect
    table = dict(rfm_day=lambda: rfm(file, as_of="2025-12-01"), rfm_months=lambda: rfm(file), phases=lambda: purchase_phases(file), phases_own=lambda: purchase_phases(file, dormant="own"))[what]()
    return collect(table.lazy().group_by("segment").agg(rows=nw.len(), last=nw.col("valid_from").max(), people=nw.col("user_id").max()))


WHAT = ("rfm_day", "rfm_months", "phases", "phases_own")


def measure() -> dict:
    file, runs = world.file_of("orders", f"{CUSTOMERS}-{ORDERS}", MAKE, MEMORY_LIMIT), {w: [] for w in WHAT}
    for _ in range(ROUNDS):
        for what in WHAT: runs[what].append(world.run(__file__, what, file, memory_limit=MEMORY_LIMIT))
    middle = {w: {k: round(statistics.median(r[k] for r in made), 3) for k in ("cpu_s", "wall_s")} | dict(peak_mb=max(r["peak_mb"] for r in made), changes=made[0]["changes"]) for w, made in runs.items()}
    return dict(customers=CUSTOMERS, orders=ORDERS, runs=ROUNDS, memory_limit=MEMORY_LIMIT, **middle)


def main(what: str, file: str) -> None:
    import duckdb  # noqa: F401  (imports are over before the clock starts)
    import pyarrow  # noqa: F401
    import crmlab.measure.segments  # noqa: F401
    from one_query import timed
    result, figures = timed(lambda f: segments(what, f), Path(file), small=True)
    print(json.dumps(figures | dict(changes=int(result.rows.sum()))), flush=True)


if __name__ == "__main__": main(*sys.argv[1:])
