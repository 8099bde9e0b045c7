"""`sessionize` against hand-written DuckDB SQL that returns the same rows, one million events, CPU seconds in one run.

The SQL is the floor: what the engine needs when nobody composes expressions. Both read the same Parquet file and both
results are compared before a figure is given.
"""
from __future__ import annotations

import resource
import statistics
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import crmlab as cl
from crmlab.tables.engine import connection

FLOOR = """
WITH ordered AS (
  SELECT *, epoch_us(ts) AS us, lag(epoch_us(ts)) OVER w AS before, lag(session_id) OVER w AS session_before
  FROM read_parquet('{file}') WINDOW w AS (PARTITION BY visitor_id ORDER BY ts, event_id)),
numbered AS (
  SELECT *, sum(CASE WHEN before IS NULL OR us - before > 1800000000 OR session_id <> session_before THEN 1 ELSE 0 END)
    OVER (PARTITION BY visitor_id ORDER BY us, event_id) AS no FROM ordered),
known AS (
  SELECT *, last_value(user_id IGNORE NULLS) OVER (PARTITION BY visitor_id, no ORDER BY us, event_id) AS seen FROM numbered),
split AS (
  SELECT *, lag(seen) OVER (PARTITION BY visitor_id, no ORDER BY us, event_id) AS seen_before FROM known),
visited AS (
  SELECT *, sum(CASE WHEN before IS NULL OR us - before > 1800000000 OR session_id <> session_before OR user_id <> seen_before THEN 1 ELSE 0 END)
    OVER (PARTITION BY visitor_id ORDER BY us, event_id) AS visit_no FROM split)
SELECT visitor_id, visit_no, max(user_id) AS user_id, coalesce(max(user_id), visitor_id) AS cluster, min(ts) AS start,
  timezone('Asia/Tokyo', min(ts)) AS start_local, CAST(timezone('Asia/Tokyo', min(ts)) AS DATE) AS day, min(device) AS device,
  arg_min(source, us) AS source, arg_min(page, us) AS landing, arg_max(page, us) AS exit,
  CAST(count(*) FILTER (event = 'page_view') AS BIGINT) AS depth, (max(us) - min(us))/1e6 AS dwell,
  (min(us) FILTER (event = 'click' OR (scroll_y > 50 AND event <> 'page_view')) - min(us))/1e6 AS first_action,
  count(*) FILTER (event = 'click' OR (scroll_y > 50 AND event <> 'page_view')) = 0 AND arg_min(page, us) = arg_max(page, us) AS first_view_exit,
  bool_or(event = 'purchase') AS converted
FROM visited GROUP BY visitor_id, visit_no
"""


def events(n: int, seed: int = 1) -> pd.DataFrame:
    "Events of n/20 visitors; some log in within a visit, some windows are scrolled."
    rng = np.random.default_rng(seed)
    visitor = rng.integers(0, n//20, n)
    member = rng.random(n) < .1
    return pd.DataFrame(dict(
        event_id=[f"e{i}" for i in range(n)], ts=pd.Timestamp("2026-09-01T00:00:00Z") + pd.to_timedelta(rng.choice(6*10**9, n, replace=False), unit="ms"),
        visitor_id=pd.Series(visitor).astype(str), user_id=pd.Series(np.where(member, visitor//2, -1)).astype(str).where(member), session_id=pd.Series([None]*n, dtype="str"),
        event=rng.choice(["page_view", "click", "scroll", "mouse_move", "purchase"], n, p=[.2, .2, .3, .29, .01]), page=rng.choice(["/", "/list", "/item", "/cart"], n),
        device="mobile", source=rng.choice(["google", "line"], n), scroll_y=rng.integers(0, 3000, n).astype(float)))


def cpu(work):
    "CPU seconds of this process for `work`, and its result."
    use = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    start = use()
    result = work()
    return use() - start, result


def measure(n: int = 1_000_000, rounds: int = 5) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder)/"events.parquet"
        connection().from_df(events(n)).to_parquet(str(file))
        floor = lambda: connection().sql(FLOOR.format(file=file)).df()
        ours = lambda: cl.sessionize(file).to_pandas()
        same(floor(), ours())
        times = [(cpu(floor)[0], cpu(ours)[0]) for _ in range(rounds)]
    a, b = (round(statistics.median(t), 3) for t in zip(*times, strict=True))
    return dict(events=n, floor_cpu_s=a, crmlab_cpu_s=b, ratio=round(b/a, 3))


def same(floor: pd.DataFrame, ours: pd.DataFrame) -> None:
    "Both give the same visits."
    key = ["visitor_id", "visit_no"]
    floor, ours = (f.sort_values(key).reset_index(drop=True)[list(floor.columns)] for f in (floor.astype({"visit_no": "int64"}), ours))
    for column in floor:
        x, y = (f[column].astype(str) if column in ("start", "start_local", "day", "user_id") else f[column] for f in (floor, ours))
        pd.testing.assert_series_equal(x, y, check_dtype=False, check_exact=False)


if __name__ == "__main__": print(measure())
