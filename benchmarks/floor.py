"""The floor: the five queries as one hand-written DuckDB statement each, returning what crmlab returns.

They are written as a careful engineer would write them for this one engine and nothing else: only the columns needed are
read, hardly any event is sorted (visits are found among half-hours, see `visits`), and what a query needs of a visit is
aggregated on the way. `tests/test_benchmarks.py` holds them to crmlab's results,
`bench_queries.py` does so again at the size it measures.

The rules are crmlab's: a visit ends after 30 minutes of silence, where the tracker's session changes, and where a second
member appears; it belongs to the member seen anywhere within it; its rank is the one that held when it began; people are
members, else visitors. Limits of intervals are left to the reader of the sums: they need no engine. Two things are left
out, because the made shop has neither: people known by several keys, and one visitor's events on two pages at the same
microsecond (crmlab then takes the first page by alphabet).
"""
from __future__ import annotations

import json
from pathlib import Path

import duckdb

GAP = 30*60*10**6   # µs of silence that end a visit

# of each event of a visitor with two members: where its stretch began, and who was known before it, and when
KNOWN = """  known AS (
    SELECT *, max(CASE WHEN begins THEN rn END) OVER w AS begin_rn,
      last_value(user_id IGNORE NULLS) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS user_before,
      max(CASE WHEN user_id IS NOT NULL THEN rn END) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS user_rn
    FROM begun WINDOW w AS (PARTITION BY visitor_id ORDER BY rn)),"""


def files_of(shop: Path, table: str) -> str:
    "The live files of a table as an SQL list."
    files = json.loads((Path(shop)/"manifest.json").read_text(encoding="utf-8"))["tables"][table]
    return "[" + ", ".join("'" + str(Path(shop)/f["file"]).replace("'", "''") + "'" for f in files) + "]"


def visits(shop: Path, payload: str, found: str, united: str, *, having: str = "true", helpers: str = "", sort: bool = False) -> str:
    """CTEs up to `visits`: visitor_id, visit_no, user_id, begin, until and the columns of `united`.

    `payload` makes columns of each event (those named in `helpers` only serve the others), `found` sums them up over the
    events of one stretch of half an hour, `united` sums that up over a visit. Within a stretch no silence can end a visit,
    so one hash aggregation takes the place of sorting events, and visits are numbered among stretches. Only visitors with a
    second member or with sessions that change within a stretch are walked event by event. With `sort` all are: the SQL one
    writes first, kept for comparison.
    """
    if sort: judged, some, simple = "", "", ""
    else:
        some = "SEMI JOIN (SELECT visitor_id FROM judged WHERE NOT simple) USING (visitor_id)"
        simple = "SELECT *, sum(CASE WHEN continues THEN 0 ELSE 1 END) OVER (PARTITION BY visitor_id ORDER BY stretch) AS visit_no FROM judged WHERE simple UNION ALL BY NAME"
        judged = f"""
  stretches AS (
    SELECT visitor_id, us//{GAP} AS stretch, min(us) AS first, max(us) AS last, min(user_id) AS low, max(user_id) AS high,
      min(session_id) AS session, min(session_id) <> max(session_id) OR count(session_id) BETWEEN 1 AND count(*) - 1 AS mixed, {found}
    FROM events GROUP BY visitor_id, stretch),
  judged AS MATERIALIZED (
    SELECT *, coalesce(min(low) OVER v = max(high) OVER v, true) AND NOT coalesce(bool_or(mixed) OVER v, false) AS simple,
      first - lag(last) OVER w <= {GAP} AND coalesce(session = lag(session) OVER w, true) AS continues
    FROM stretches WINDOW v AS (PARTITION BY visitor_id), w AS (PARTITION BY visitor_id ORDER BY stretch)),"""
    narrow = f"* EXCLUDE ({helpers})" if helpers else "*"
    return f"""
  events AS NOT MATERIALIZED (
    SELECT {narrow} FROM (SELECT visitor_id, event_id, user_id, session_id, epoch_us(ts) AS us, {payload}
      FROM read_parquet({files_of(shop, 'events')}))),{judged}
  ordered AS (
    SELECT * EXCLUDE (event_id), row_number() OVER w AS rn, lag(us) OVER w AS us_before, lag(session_id) OVER w AS session_before
    FROM events {some}
    WINDOW w AS (PARTITION BY visitor_id ORDER BY us, event_id)),
  begun AS (
    SELECT * EXCLUDE (us_before, session_id, session_before),
      us_before IS NULL OR us - us_before > {GAP} OR coalesce(session_id <> session_before, false) AS begins FROM ordered),
{KNOWN}
  walked AS (
    SELECT *, sum(CASE WHEN begins OR (user_id <> user_before AND user_rn >= begin_rn) THEN 1 ELSE 0 END) OVER (PARTITION BY visitor_id ORDER BY rn) AS visit_no
    FROM known),
  parts AS (
    {simple}
    SELECT visitor_id, visit_no, min(us) AS first, max(us) AS last, max(user_id) AS high, {found} FROM walked GROUP BY visitor_id, visit_no),
  visits AS (
    SELECT visitor_id, visit_no, max(high) AS user_id, min(first) AS begin, max(last) AS until, {united}
    FROM parts GROUP BY visitor_id, visit_no HAVING {having})"""


def page_seen(page: str, device: str) -> str:
    "Whether an event lies on that page and device."
    quoted = lambda text: "'" + text.replace("'", "''") + "'"
    return f"page = {quoted(page)} AND device = {quoted(device)}"


def ranks(shop: Path) -> str:
    "CTE `ranks`: from when to when each value of the rank held."
    return f"""
  ranks AS (
    SELECT user_id, rank, us, lead(us) OVER (PARTITION BY user_id ORDER BY us) AS until FROM (
      SELECT user_id, epoch_us(valid_from) AS us, max(value) AS rank FROM read_parquet({files_of(shop, 'attributes')})
      WHERE attribute = 'rank' GROUP BY ALL))"""


# visits with `cluster` and `segment`, the rank when they began
TAGGED = """
  tagged AS (
    SELECT v.*, coalesce(v.user_id, visitor_id) AS cluster, coalesce(rank, '(unknown)') AS segment
    FROM visits v LEFT JOIN ranks r ON v.user_id = r.user_id AND v.begin >= r.us AND (r.until IS NULL OR v.begin < r.until))"""


def sessionize(shop: Path, *, timezone: str = "Asia/Tokyo", sort: bool = False) -> str:
    "One row per visit."
    payload = """event = 'page_view' AS is_view, event = 'purchase' AS is_purchase, page, device, source, value,
      event = 'click' OR (scroll_y > 50 AND event <> 'page_view') AS acts"""
    found = """min(device) AS device, arg_min(source, us) AS source, arg_min(page, us) FILTER (is_view) AS landing, arg_max(page, us) AS exit, count(*) FILTER (is_view) AS depth,
      min(us) FILTER (acts) AS act, min(page) AS low_page, max(page) AS high_page, bool_or(is_purchase) AS converted, sum(value) FILTER (is_purchase) AS revenue"""
    united = """min(device) AS device, arg_min(source, first) AS source, arg_min(landing, first) AS landing, arg_max(exit, last) AS exit, CAST(sum(depth) AS BIGINT) AS depth,
      min(act) AS act, min(low_page) = max(high_page) AS one_page, bool_or(converted) AS converted, sum(revenue) AS revenue"""
    return f"""WITH {visits(shop, payload, found, united, sort=sort)}
SELECT visitor_id, visit_no, user_id, coalesce(user_id, visitor_id) AS cluster, make_timestamptz(begin) AS start,
  timezone('{timezone}', make_timestamptz(begin)) AS start_local, CAST(start_local AS DATE) AS day, device, source, landing, exit,
  depth, (until - begin)/1e6 AS dwell, (act - begin)/1e6 AS first_action, landing IS NOT NULL AND act IS NULL AND one_page AS first_view_exit, converted,
  coalesce(revenue, 0) AS revenue
FROM visits"""


def heatmap(shop: Path, *, page: str = "/", device: str = "desktop", columns: int = 64, height: int = 20, tallest: int = 100_000, sort: bool = False) -> str:
    "All cells of one page and device per rank: clicks, visits and people that clicked, exposure, and the sums over people."
    payload = f"""{page_seen(page, device)} AS here,
      CASE WHEN here AND viewport_h > 0 THEN viewport_h END AS view, CASE WHEN here THEN page_h END AS tall,
      least(CASE WHEN page_h > 0 THEN page_h ELSE {tallest} END, {tallest}) AS bottom,
      CASE WHEN page_w > 0 THEN page_w WHEN viewport_w > 0 THEN viewport_w END AS width,
      here AND event = 'click' AND x BETWEEN 0 AND width AND y BETWEEN 0 AND bottom AS inside,
      CASE WHEN inside THEN least(CAST(floor(x*{columns}/width) AS INT), {columns - 1}) END AS col,
      CASE WHEN inside THEN least(CAST(floor(y/{height}) AS INT), CAST(ceil(bottom/{height}) AS INT) - 1) END AS row,
      CASE WHEN view IS NULL THEN coalesce(row, 0)
        ELSE greatest(CAST(ceil(least(coalesce(scroll_y, 0) + view, bottom)/{height}) AS INT) - 1, row, 0) END AS seen"""
    found = f"bool_or(here) AS here, max(seen) FILTER (here) AS seen, max(view) AS view, max(tall) AS tall, list(col + {columns}*row) FILTER (inside) AS cells"
    united = "max(seen) AS seen, max(view) AS view, max(tall) AS tall, flatten(list(cells) FILTER (cells IS NOT NULL)) AS cells"
    return f"""WITH {visits(shop, payload, found, united, having="bool_or(here)", helpers="bottom, width", sort=sort)}, {ranks(shop)}, {TAGGED},
  facts AS (
    SELECT median(view) AS fold, 1 + CAST(greatest(max(seen), ceil(least(median(tall), {tallest})/{height}) - 1, ceil(median(view)/{height}) - 1) AS INT) AS size
    FROM visits),
  shown AS (
    SELECT segment, cluster, cells, CASE WHEN view IS NULL THEN greatest(seen, CAST(ceil(fold/{height}) AS INT) - 1) ELSE seen END AS seen
    FROM tagged, facts),
  clicked AS (
    SELECT segment, cluster, cell, sum(n) AS n, count(*) AS visits FROM (
      SELECT segment, cluster, visit, cell, count(*) AS n FROM (
        SELECT segment, cluster, row_number() OVER () AS visit, cells FROM shown WHERE cells IS NOT NULL), unnest(cells) AS c(cell)
      GROUP BY ALL)
    GROUP BY ALL),
  people AS (
    SELECT segment, cluster, cell, any_value(n) AS n, any_value(c.visits) AS visits, count(*) AS exposed
    FROM clicked c JOIN shown USING (segment, cluster) WHERE seen >= cell//{columns} GROUP BY ALL),
  cells AS (
    SELECT segment, cell, sum(n) AS n, sum(visits) AS visits, count(*) AS users, sum(visits*visits) AS yy, sum(visits*exposed) AS xy
    FROM people GROUP BY ALL),
  ended AS (
    SELECT segment, seen AS row, count(*) AS x, sum(2*k - 1) AS xx, count(*) FILTER (k = 1) AS people FROM (
      SELECT segment, seen, row_number() OVER (PARTITION BY segment, cluster ORDER BY seen DESC) AS k FROM shown) GROUP BY ALL),
  depths AS (
    SELECT segment, row, sum(coalesce(x, 0)) OVER w AS exposed, sum(coalesce(xx, 0)) OVER w AS xx, sum(coalesce(people, 0)) OVER w AS people
    FROM (SELECT DISTINCT segment FROM shown) CROSS JOIN (SELECT unnest(range(size)) AS row FROM facts) LEFT JOIN ended USING (segment, row)
    WINDOW w AS (PARTITION BY segment ORDER BY row DESC))
SELECT segment, col, row, col/{columns} AS x0, (col + 1)/{columns} AS x1, row*{height} AS y0, (row + 1)*{height} AS y1,
  CAST(coalesce(n, 0) AS BIGINT) AS n, CAST(coalesce(visits, 0) AS BIGINT) AS visits, coalesce(users, 0) AS users, CAST(exposed AS BIGINT) AS exposed,
  CASE WHEN exposed > 0 THEN coalesce(visits, 0)/exposed END AS rate, CASE WHEN exposed > 0 THEN coalesce(n, 0)/exposed END AS per_visit,
  CAST(coalesce(yy, 0) AS DOUBLE) AS yy, CAST(coalesce(xy, 0) AS DOUBLE) AS xy, CAST(d.xx AS DOUBLE) AS xx, CAST(people AS BIGINT) AS people
FROM (SELECT *, CAST(col + {columns}*row AS INT) AS cell FROM depths, range({columns}) AS c(col)) d LEFT JOIN cells USING (segment, cell)"""


def scroll(shop: Path, *, page: str = "/", device: str = "desktop", sort: bool = False) -> str:
    "Share of visits that saw each percent of a page, per rank, with the sums over people."
    payload = f"""{page_seen(page, device)} AS here, CASE WHEN here THEN coalesce(scroll_y, 0) + viewport_h END AS bottom, CASE WHEN here THEN page_h END AS tall"""
    found, united = "max(bottom) AS bottom, max(tall) AS tall", "least(floor(100*max(bottom)/max(tall)), 100) AS depth"
    return f"""WITH {visits(shop, payload, found, united, having="max(tall) > 0 AND max(bottom) IS NOT NULL", sort=sort)}, {ranks(shop)}, {TAGGED},
  ended AS (
    SELECT segment, depth, count(*) AS y, sum(2*k - 1) AS yy, sum(m) AS xy, count(*) FILTER (k = 1) AS users FROM (
      SELECT segment, depth, row_number() OVER (w ORDER BY depth DESC) AS k, count(*) OVER w AS m
      FROM tagged WINDOW w AS (PARTITION BY segment, cluster)) GROUP BY ALL)
SELECT segment, depth/100 AS depth, y/x AS est, CAST(x AS BIGINT) AS n, y, yy, xy, xx, people FROM (
  SELECT segment, depth, sum(coalesce(y, 0)) OVER w AS y, sum(coalesce(yy, 0)) OVER w AS yy, sum(coalesce(xy, 0)) OVER w AS xy,
    sum(y) OVER s AS x, sum(yy) OVER s AS xx, sum(users) OVER s AS people
  FROM (SELECT DISTINCT segment FROM ended) CROSS JOIN range(101) AS d(depth) LEFT JOIN ended USING (segment, depth)
  WINDOW w AS (PARTITION BY segment ORDER BY depth DESC), s AS (PARTITION BY segment))
ORDER BY ALL"""


STEPS = ("view_item", "add_to_cart", "begin_checkout", "purchase")


def funnel(shop: Path, *, steps: tuple = STEPS, within: int = 24*3600*10**6, sort: bool = False) -> str:
    "People who took the steps in order within the time (µs), per rank; the others stay out."
    number = " ".join(f"WHEN '{s}' THEN {k}" for k, s in enumerate(steps, 1))
    chain = "".join(f""",
  step{k} AS (
    SELECT *, CASE WHEN step = {k} AND us - latest{k - 1} <= {within} THEN latest{k - 1} END AS entry{k} FROM (
      SELECT *, max(entry{k - 1}) OVER (PARTITION BY segment, cluster ORDER BY us, step) AS latest{k - 1} FROM step{k - 1}))""" for k in range(2, len(steps) + 1))
    names = ", ".join(f"'{s}'" for s in steps)
    counts = ", ".join(f"CAST(count_if(r{k}) AS BIGINT)" for k in range(1, len(steps) + 1))
    came = ", ".join(f"count(entry{k}) > 0 AS r{k}" for k in range(1, len(steps) + 1))
    payload, found = f"CASE event {number} END AS step", "list({'us': us, 'step': step}) FILTER (step IS NOT NULL) AS steps"
    united = "flatten(list(steps) FILTER (steps IS NOT NULL)) AS steps"
    return f"""WITH {visits(shop, payload, found, united, having="count(steps) > 0", sort=sort)}, {ranks(shop)}, {TAGGED},
  step1 AS (
    SELECT segment, cluster, s.us, s.step, CASE WHEN s.step = 1 THEN s.us END AS entry1
    FROM (SELECT segment, cluster, unnest(steps) AS s FROM tagged)){chain},
  people AS (SELECT segment, {came} FROM step{len(steps)} GROUP BY segment, cluster HAVING r1)
SELECT segment, step, n, n/first AS est, CASE WHEN before > 0 THEN n/before END AS step_est FROM (
  SELECT segment, k, step, n, first_value(n) OVER w AS first, lag(n) OVER w AS before FROM (
    SELECT segment, unnest(range(1, {len(steps) + 1})) AS k, unnest([{names}]) AS step, unnest([{counts}]) AS n FROM people GROUP BY segment)
  WINDOW w AS (PARTITION BY segment ORDER BY k))
ORDER BY segment, k"""


def as_of(shop: Path) -> str:
    "The rank of the member at each event."
    return f"""WITH {ranks(shop)}
SELECT e.user_id, e.us AS ts_us, rank FROM (SELECT user_id, epoch_us(ts) AS us FROM read_parquet({files_of(shop, 'events')})) e
LEFT JOIN ranks r ON e.user_id = r.user_id AND e.us >= r.us AND (r.until IS NULL OR e.us < r.until)"""


def plain_sessions(shop: Path) -> str:
    "Sessions by silence alone, without members: what a tool answers that knows only path, event and time."
    return f"""SELECT count(*) AS sessions, sum(n) AS events, sum(n*n) AS squares FROM (
  SELECT count(*) AS n FROM (
    SELECT visitor_id, sum(begins) OVER (PARTITION BY visitor_id ORDER BY us ROWS UNBOUNDED PRECEDING) AS no FROM (
      SELECT visitor_id, us, CASE WHEN us - lag(us) OVER (PARTITION BY visitor_id ORDER BY us) <= {GAP} THEN 0 ELSE 1 END AS begins
      FROM (SELECT visitor_id, epoch_us(ts) AS us FROM read_parquet({files_of(shop, 'events')}))))
  GROUP BY visitor_id, no)"""


def plain_funnel(shop: Path, *, steps: tuple = STEPS) -> str:
    "Visitors who took the steps in order at any time: no members, no ranks, no time limit."
    number = " ".join(f"WHEN '{s}' THEN {k}" for k, s in enumerate(steps, 1))
    source = "SELECT visitor_id, us, step, min(us) FILTER (step = 1) OVER (PARTITION BY visitor_id) AS t1 FROM events"
    for k in range(2, len(steps) + 1): source = f"SELECT *, min(us) FILTER (step = {k} AND us > t{k - 1}) OVER (PARTITION BY visitor_id) AS t{k} FROM ({source})"
    came = ", ".join(f"max(t{k}) IS NOT NULL AS r{k}" for k in range(1, len(steps) + 1))
    return f"""WITH events AS (
  SELECT visitor_id, epoch_us(ts) AS us, CASE event {number} END AS step FROM read_parquet({files_of(shop, 'events')}) WHERE step IS NOT NULL)
SELECT {", ".join(f'count_if(r{k}) AS "{s}"' for k, s in enumerate(steps, 1))} FROM (SELECT {came} FROM ({source}) GROUP BY visitor_id)"""


QUERIES = dict(sessionize=sessionize, heatmap=heatmap, scroll=scroll, funnel=funnel, as_of=as_of)
PLAIN = dict(sessionize=plain_sessions, funnel=plain_funnel)   # smaller questions


def connect(memory_limit: str = "4GB", spill: str | None = None):
    "A connection as crmlab makes its own."
    con = duckdb.connect(config=dict(memory_limit=memory_limit) | (dict(temp_directory=spill) if spill else {}))
    con.execute("SET TimeZone='UTC'; SET enable_progress_bar=false")
    return con
