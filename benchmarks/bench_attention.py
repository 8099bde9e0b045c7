"""Attention over scroll events: CPU of crmlab against one hand-written DuckDB statement with the same columns, answers compared.

The file holds visits of fifty events, forty of them on the page asked for; every visitor comes twice, every second one is a
member. The SQL knows this one engine, this file and this question: it reads what it needs and sorts each visitor's events
once to find visits and durations together. Each run is a process of its own; tools take turns.
"""
from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path

import pandas as pd
import world

ROUNDS, MEMORY_LIMIT = 3, "4GB"
HEIGHT, IDLE, GAP, TALLEST = 20, 30*10**6, 30*60*10**6, 100_000   # px; µs; µs; px
PER_VISIT, ON_PAGE = 50, 40
COLUMNS = dict(seconds="t", visits="y", shown="x", users="users", people="people", yy="yy", xy="xy", xx="xx", tt="tt", tx="tx")

MAKE = f"""COPY (
  SELECT make_timestamptz(CAST(1790000000000000 + visit%2*86400000000*3 + hash(visitor)%86400000000 + k*2000000 + hash(i)%1900000 AS BIGINT)) AS ts,
    lpad(format('{{{{:x}}}}', hash(visitor)), 16, '0') AS visitor_id, CASE WHEN visitor%2 = 0 THEN 'm' || visitor END AS user_id, CASE WHEN visitor%4 = 0 THEN 'Royal' ELSE 'Bronze' END AS rank,
    CASE WHEN k = 0 THEN 'page_view' ELSE 'scroll' END AS event, CASE WHEN k < {ON_PAGE} THEN '/' ELSE '/item' END AS page, 'desktop' AS device,
    CAST(650 + hash(visit)%350 AS DOUBLE) AS viewport_h, 3600.0::DOUBLE AS page_h, CAST(k*(20 + hash(visit)%40) + hash(i*7)%120 AS DOUBLE) AS scroll_y
  FROM (SELECT i, i//{PER_VISIT} AS visit, i//{2*PER_VISIT} AS visitor, i%{PER_VISIT} AS k FROM range({{events}}) r(i))
  ORDER BY hash(i//100000), ts) TO '{{file}}' (FORMAT parquet)"""

FLOOR = f"""WITH
  events AS (
    SELECT visitor_id, user_id, rank, epoch_us(ts) AS us, coalesce(page = '/' AND device = 'desktop', false) AS here, event = 'page_leave' AS leaves,
      greatest(coalesce(scroll_y, 0), 0) AS top,
      CASE WHEN viewport_h > 0 THEN least(coalesce(scroll_y, 0) + viewport_h, CASE WHEN page_h > 0 THEN page_h ELSE {TALLEST} END, {TALLEST}) END AS bottom
    FROM read_parquet('{{file}}') WHERE page IS NOT NULL),
  ordered AS (
    SELECT *, lead(us) OVER w - us AS stay, coalesce(us - lag(us) OVER w > {GAP}, true) AS begins
    FROM events WINDOW w AS (PARTITION BY visitor_id ORDER BY us)),
  numbered AS (SELECT *, count_if(begins) OVER (PARTITION BY visitor_id ORDER BY us) AS visit_no FROM ordered),
  visits AS (
    SELECT visitor_id, visit_no, coalesce(max(user_id), any_value(visitor_id)) AS cluster, coalesce(max(rank), '(unknown)') AS segment
    FROM numbered GROUP BY visitor_id, visit_no HAVING bool_or(here)),
  windows AS (
    SELECT visitor_id, visit_no, CAST(floor(top/{HEIGHT}) AS INT) AS first, CAST(ceil(bottom/{HEIGHT}) AS INT) AS after,
      CASE WHEN leaves OR stay IS NULL OR stay > {GAP} THEN 0 ELSE least(stay, {IDLE}) END AS us
    FROM numbered WHERE here AND bottom IS NOT NULL),
  changes AS (
    SELECT visitor_id, visit_no, band, sum(us) AS us, sum(n) AS n FROM (
      SELECT visitor_id, visit_no, unnest([first, after]) AS band, unnest([us, -us]) AS us, unnest([1, -1]) AS n FROM windows) GROUP BY ALL),
  levels AS (SELECT *, sum(us) OVER w AS t, sum(n) OVER w AS shown FROM changes WINDOW w AS (PARTITION BY visitor_id, visit_no ORDER BY band)),
  people AS (
    SELECT segment, cluster, band, sum(us)/1e6 AS dt, sum(CAST(t >= 1000000 AS INT) - CAST(t - us >= 1000000 AS INT)) AS dy,
      sum(CAST(shown > 0 AS INT) - CAST(shown - n > 0 AS INT)) AS dx
    FROM levels JOIN visits USING (visitor_id, visit_no) GROUP BY ALL),
  summed AS (
    SELECT *, sum(dt) OVER w AS lt, sum(dy) OVER w AS ly, sum(dx) OVER w AS lx FROM people WINDOW w AS (PARTITION BY segment, cluster ORDER BY band)),
  bands AS (
    SELECT segment, band, sum(dt) AS t, sum(dy) AS y, sum(dx) AS x, sum(ly*ly - (ly - dy)*(ly - dy)) AS yy, sum(lx*ly - (lx - dx)*(ly - dy)) AS xy,
      sum(lx*lx - (lx - dx)*(lx - dx)) AS xx, sum(lt*lt - (lt - dt)*(lt - dt)) AS tt, sum(lt*lx - (lt - dt)*(lx - dx)) AS tx,
      sum(CAST(ly > 0 AS INT) - CAST(ly - dy > 0 AS INT)) AS users, sum(CAST(lx > 0 AS INT) - CAST(lx - dx > 0 AS INT)) AS people
    FROM summed GROUP BY ALL),
  grid AS (SELECT segment, unnest(range((SELECT max(band) FROM bands))) AS band FROM (SELECT DISTINCT segment FROM bands))
SELECT segment, band, {", ".join(f"CAST(sum(coalesce({c}, 0)) OVER w AS DOUBLE) AS {name}" for name, c in COLUMNS.items())}
FROM grid LEFT JOIN bands USING (segment, band) WINDOW w AS (PARTITION BY segment ORDER BY band)"""


def by_sql(file: Path) -> pd.DataFrame:
    import duckdb
    con = duckdb.connect(config=dict(memory_limit=MEMORY_LIMIT))
    con.execute("SET TimeZone='UTC'")
    return con.execute(FLOOR.format(file=file)).df()


def by_crmlab(file: Path) -> pd.DataFrame:
    from crmlab.measure.attention import attention, band_sums
    changes, _ = attention(file, page="/", by="rank", height=HEIGHT)
    return band_sums(changes)


TOOLS = dict(floor=by_sql, crmlab=by_crmlab)


def assert_same(folder: Path) -> None:
    "Raise AssertionError with the column in which the two answers differ."
    floor, ours = (pd.read_parquet(folder/f"{t}.parquet").sort_values(["segment", "band"]).reset_index(drop=True) for t in TOOLS)
    for c in ("segment", "band", *COLUMNS): pd.testing.assert_series_equal(floor[c], ours[c], check_dtype=False, rtol=1e-9, atol=1e-4)


def measure(size: str) -> dict:
    file, runs = world.file_of("scrolls", str(world.count_of(size)), MAKE.replace("{events}", str(world.count_of(size))), MEMORY_LIMIT), {t: [] for t in TOOLS}
    with tempfile.TemporaryDirectory(dir=world.cache_folder()) as folder:
        for _ in range(ROUNDS):
            for tool in runs: runs[tool].append(world.run(__file__, tool, file, folder, memory_limit=MEMORY_LIMIT))
        assert_same(Path(folder))
    middle = {t: {k: round(statistics.median(r[k] for r in made), 3) for k in ("cpu_s", "wall_s")} | dict(peak_mb=max(r["peak_mb"] for r in made), rows=made[0]["rows"]) for t, made in runs.items()}
    return dict(size=size, events=world.count_of(size), runs=ROUNDS, memory_limit=MEMORY_LIMIT, same_as_floor=True, cpu_ratio=round(middle["crmlab"]["cpu_s"]/middle["floor"]["cpu_s"], 3), **middle)


def main(tool: str, file: str, folder: str) -> None:
    import duckdb  # noqa: F401  (imports are over before the clock starts)
    import crmlab.measure.attention  # noqa: F401
    from one_query import timed
    result, figures = timed(TOOLS[tool], Path(file), small=True)
    result.to_parquet(Path(folder)/f"{tool}.parquet")
    print(json.dumps(figures), flush=True)


if __name__ == "__main__": main(*sys.argv[1:])
