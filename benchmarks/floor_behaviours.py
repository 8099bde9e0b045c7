"""The floor under `behaviours`: hand-written DuckDB statements that give the same sums, for one shop and one question.

They know this engine, the shop's device and source as strata, the rank as segment, and which pages, events and elements
stand in the list (crmlab finds that out). Events are read once: summed up by half-hour, page view, event and element, from
which visits are found as in `floor.visits`; only visitors with two members or with sessions that change within a half-hour
are read again and walked. Sums stay wide, one row per cell and per pair of cells i < j that share people.
"""
from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from floor import GAP, KNOWN, TAGGED, files_of, ranks

TECHNICAL = ("page_view", "page_ping", "page_leave", "identify", "Experiment Viewed", "click", "scroll", "mouse_move", "input", "resize", "mouse_down", "mouse_up", "dbl_click",
             "context_menu", "focus", "blur", "touch_start", "touch_move", "touch_end", "touch_cancel", "touch_departed")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
HOURS = dict(night=(0, 6), morning=(6, 12), afternoon=(12, 18), evening=(18, 24))
CELL = "segment, device, source"
SUMMED = """min(us) AS us, max(us) AS last, min(us) FILTER (event = 'page_view') AS opened, min(us) FILTER (event = 'click' OR (scroll_y > 50 AND event <> 'page_view')) AS act,
      min(us) FILTER (scroll_y > 50 AND event <> 'page_view') AS scrolled, max(coalesce(scroll_y, 0) + viewport_h) AS bottom, max(page_h) AS page_h, count(*) AS n, sum(value) AS value"""
VIEW = "view, page, device, source, happened, clicked"


def quoted(text: str) -> str: return "'" + text.replace("'", "''") + "'"


def read(shop: Path) -> str:
    "The events with what is needed of them."
    return f"""SELECT visitor_id, user_id, session_id, event_id, epoch_us(ts) AS us, pageview_id AS view, page, device, source, event, scroll_y, viewport_h, page_h, value,
      CASE WHEN event NOT IN ({', '.join(map(quoted, TECHNICAL))}) THEN event END AS happened, CASE WHEN event = 'click' THEN selector END AS clicked
    FROM read_parquet({files_of(shop, 'events')})"""


def rows(shop: Path) -> list:
    "Statements that make the table `rows`: events by page view, with their visit."
    return [f"""CREATE TEMP TABLE stretched AS SELECT visitor_id, us//{GAP} AS stretch, {VIEW}, min(user_id) AS low, max(user_id) AS high, min(session_id) AS session, max(session_id) AS other,
      count(session_id) AS told, {SUMMED} FROM ({read(shop)}) GROUP BY visitor_id, stretch, {VIEW}""",
            f"""CREATE TEMP TABLE numbered AS
  WITH stretches AS (
    SELECT visitor_id, stretch, min(us) AS first, max(last) AS last, min(low) AS low, max(high) AS high, min(session) AS session,
      min(session) <> max(other) OR sum(told) BETWEEN 1 AND sum(n) - 1 AS mixed FROM stretched GROUP BY ALL),
  judged AS (
    SELECT *, coalesce(min(low) OVER v = max(high) OVER v, true) AND NOT coalesce(bool_or(mixed) OVER v, false) AS simple,
      first - lag(last) OVER w <= {GAP} AND coalesce(session = lag(session) OVER w, true) AS continues
    FROM stretches WINDOW v AS (PARTITION BY visitor_id), w AS (PARTITION BY visitor_id ORDER BY stretch))
  SELECT visitor_id, stretch, simple, CAST(sum(CASE WHEN continues THEN 0 ELSE 1 END) OVER (PARTITION BY visitor_id ORDER BY stretch) AS INT) AS visit_no FROM judged""",
            f"""CREATE TEMP TABLE rows AS
  WITH events AS ({read(shop)} SEMI JOIN (SELECT visitor_id FROM numbered WHERE NOT simple) USING (visitor_id)),
  ordered AS (
    SELECT *, row_number() OVER w AS rn, lag(us) OVER w AS us_before, lag(session_id) OVER w AS session_before
    FROM events WINDOW w AS (PARTITION BY visitor_id ORDER BY us, event_id)),
  begun AS (SELECT *, us_before IS NULL OR us - us_before > {GAP} OR coalesce(session_id <> session_before, false) AS begins FROM ordered),
{KNOWN}
  walked AS (
    SELECT *, CAST(sum(CASE WHEN begins OR (user_id <> user_before AND user_rn >= begin_rn) THEN 1 ELSE 0 END) OVER (PARTITION BY visitor_id ORDER BY rn) AS INT) AS visit_no FROM known)
  SELECT visitor_id, visit_no, high, {VIEW}, us, last, opened, act, scrolled, bottom, page_h, n, value FROM stretched JOIN numbered USING (visitor_id, stretch) WHERE simple
  UNION ALL BY NAME SELECT visitor_id, visit_no, max(user_id) AS high, {VIEW}, {SUMMED} FROM walked GROUP BY visitor_id, visit_no, {VIEW}"""]


def visits(shop: Path, names: dict, timezone: str) -> str:
    "One row per visit with what every behaviour counts; `names` has pages, events and elements (page, selector, middle by device)."
    number = {page: i for i, page in enumerate(names["pages"])}
    views = ", ".join(f"count(*) FILTER (page = {quoted(p)}) AS views{i}, sum(depth) FILTER (page = {quoted(p)}) AS depth{i}, count(depth) FILTER (page = {quoted(p)}) AS depths{i}, "
                      f"sum(dwell) FILTER (page = {quoted(p)}) AS dwell{i}, count(*) FILTER (page = {quoted(p)} AND left_here) AS left{i}" for p, i in number.items())
    seen = "".join(f", bool_or(page = {quoted(e['page'])} AND bottom >= CASE device {' '.join(f'WHEN {quoted(d)} THEN {m}' for d, m in e['mids'].items())} END) AS seen{j}"
                   for j, e in enumerate(names["elements"]) if e["mids"])
    marks = ", ".join([f"sum(n) FILTER (happened = {quoted(name)}) AS e{i}" for i, name in enumerate(names["events"])]
                      + [f"bool_or(page = {quoted(e['page'])} AND clicked = {quoted(e['selector'])}) AS clicked{j}" for j, e in enumerate(names["elements"])])
    return f"""CREATE TEMP TABLE counted AS
  WITH visits AS (
    SELECT visitor_id, visit_no, max(high) AS user_id, min(us) AS begin, max(last) AS until, arg_min(page, us) AS landing, min(page) = max(page) AS one_page, min(act) AS act,
      min(scrolled) IS NOT NULL AS scrolled, arg_min(device, us) AS device, arg_min(source, us) AS source FROM rows GROUP BY ALL),{ranks(shop)},{TAGGED},
  opened AS (
    SELECT visitor_id, visit_no, view, arg_min(page, us) AS page, arg_min(device, us) AS device, min(us) AS us, max(bottom) AS bottom, max(page_h) AS page_h
    FROM rows GROUP BY ALL HAVING min(opened) IS NOT NULL),
  ends AS (SELECT visitor_id, visit_no, max(last) AS until FROM rows GROUP BY ALL),
  views AS (
    SELECT visitor_id, visit_no, page, device, bottom, CASE WHEN page_h > 0 THEN least(bottom/page_h, 1) END AS depth, (coalesce(lead(us) OVER w, until) - us)/1e6 AS dwell, lead(us) OVER w IS NULL AS left_here
    FROM opened JOIN ends USING (visitor_id, visit_no) WINDOW w AS (PARTITION BY visitor_id, visit_no ORDER BY us, view)),
  viewed AS (SELECT visitor_id, visit_no, count(*) AS pages, {views}{seen} FROM views GROUP BY ALL),
  marked AS (SELECT visitor_id, visit_no, sum(value) FILTER (happened = 'purchase') AS value, {marks} FROM rows WHERE happened IS NOT NULL OR clicked IS NOT NULL GROUP BY ALL)
  SELECT * EXCLUDE (user_id, act, one_page), (until - begin)/1e6 AS stay, (coalesce(act, until) - begin)/1e6 AS first_action, act IS NULL AND one_page AS first_view_exit,
    timezone('{timezone}', make_timestamptz(begin)) AS begun_at, (lead(begin) OVER (PARTITION BY cluster ORDER BY begin, visitor_id, visit_no) - begin)/86400e6 AS days
  FROM (SELECT * REPLACE (coalesce(device, '(unknown)') AS device, coalesce(source, '(unknown)') AS source) FROM tagged)
    LEFT JOIN viewed USING (visitor_id, visit_no) LEFT JOIN marked USING (visitor_id, visit_no)"""


def listed(names: dict, currency: str) -> tuple:
    "Every behaviour as (y, name of x) and every x, in SQL over `counted`."
    flag = lambda condition: f"CAST(coalesce({condition}, false) AS INT)"
    did = {name: flag(f"e{i} > 0") for i, name in enumerate(names["events"])}
    bought, hour, day = did["purchase"], "hour(begun_at)", "isodow(begun_at)"
    x = dict(visits="1", returns=flag("days IS NOT NULL"), items=did["view_item"], carts=did["add_to_cart"], checkouts=did["begin_checkout"], purchases=f"coalesce(e{names['events'].index('purchase')}, 0)")
    y = dict(first_view_exit=(flag("first_view_exit"), "visits"), first_action=("first_action", "visits"), scrolled=(flag("scrolled"), "visits"), bounce=(flag("pages = 1"), "visits"),
             ga4_bounce=(flag(f"stay < 10 AND coalesce(pages, 0) < 2 AND {bought} = 0"), "visits"), pages=("pages", "visits"), dwell=("stay", "visits"), revisit=("days", "returns"), weekend=(flag(f"{day} >= 6"), "visits"))
    y |= {name: (flag(f"{hour} >= {a} AND {hour} < {b}"), "visits") for name, (a, b) in HOURS.items()} | {name: (flag(f"{day} = {k}"), "visits") for k, name in enumerate(DAYS, 1)}
    for i, p in enumerate(names["pages"]):
        x |= {f"landings{i}": flag(f"landing = {quoted(p)}"), f"views{i}": f"views{i}", f"depths{i}": f"depths{i}", f"on{i}": flag(f"views{i} > 0")}
        y |= {f"landing:{p}": (x[f"landings{i}"], "visits"), f"first_view_exit:{p}": (f"{x[f'landings{i}']}*{flag('first_view_exit')}", f"landings{i}"), f"view:{p}": (x[f"on{i}"], "visits"),
              f"depth:{p}": (f"depth{i}", f"depths{i}"), f"dwell:{p}": (f"dwell{i}", f"views{i}"), f"exit:{p}": (f"left{i}", f"views{i}")}
    for j, e in enumerate(names["elements"]):
        on = f"on{names['pages'].index(e['page'])}"
        y[f"click:{e['page']} {e['selector']}"] = (f"{x[on]}*{flag(f'clicked{j}')}", on)
        if e["mids"]: y[f"seen:{e['page']} {e['selector']}"] = (flag(f"seen{j}"), on)
    y |= {f"event:{name}": (does, "visits") for name, does in did.items()}
    y |= dict(cart_after_item=(f"{x['items']}*{x['carts']}", "items"), cart_abandon=(f"{x['carts']}*(1 - {bought})", "carts"), checkout_abandon=(f"{x['checkouts']}*(1 - {bought})", "checkouts"),
              purchases=(x["purchases"], "visits"), revenue=("value", "visits"), order_value=("value", "purchases"))
    return y, x


def sums(y: dict, x: dict) -> dict:
    "Statements for people, and for the three answers: cells, pairs of cells, people in two segments."
    number = {name: k for k, name in enumerate(y)}
    people = ", ".join([f"coalesce(sum(CAST({e} AS DOUBLE)), 0) AS y{number[name]}" for name, (e, _) in y.items()] + [f"coalesce(sum(CAST({e} AS DOUBLE)), 0) AS x_{name}" for name, e in x.items()])
    own = ", ".join([f"sum(y{k}) AS y{k}, sum(y{k}*y{k}) AS yy{k}, sum(x_{y[name][1]}*y{k}) AS xy{k}" for name, k in number.items()]
                    + [f"sum(x_{n}) AS x_{n}, sum(x_{n}*x_{n}) AS xx_{n}, count_if(x_{n} > 0) AS n_{n}" for n in x])
    both = ", ".join([f"sum(a.y{k}*b.y{k}) AS yy{k}, sum(a.x_{y[name][1]}*b.y{k}) AS xy{k}, sum(a.y{k}*b.x_{y[name][1]}) AS yx{k}" for name, k in number.items()]
                     + [f"sum(a.x_{n}*b.x_{n}) AS xx_{n}, count_if(a.x_{n} > 0 AND b.x_{n} > 0) AS n_{n}" for n in x])
    has, shared = ", ".join(f"sum(x_{n}) > 0 AS has_{n}" for n in x), ", ".join(f"count_if(a.has_{n} AND b.has_{n}) AS people_{n}" for n in x)
    place = "a.segment, a.device, a.source, b.segment AS segment_2, b.device AS device_2, b.source AS source_2"
    return dict(
        people=f"CREATE TEMP TABLE people AS SELECT {CELL}, cluster, {people} FROM counted GROUP BY {CELL}, cluster",
        several="CREATE TEMP TABLE several AS SELECT *, dense_rank() OVER (ORDER BY segment, device, source) AS cell FROM people SEMI JOIN (SELECT cluster FROM people GROUP BY cluster HAVING count(*) > 1) USING (cluster)",
        members=f"CREATE TEMP TABLE members AS SELECT segment, cluster, {has} FROM people GROUP BY ALL",
        cells=f"SELECT {CELL}, {own} FROM people GROUP BY {CELL}",
        pairs=f"SELECT {place}, {both} FROM several a JOIN several b USING (cluster) WHERE a.cell < b.cell GROUP BY ALL",
        shared=f"SELECT a.segment, b.segment AS segment_2, {shared} FROM members a JOIN members b USING (cluster) GROUP BY ALL")


def answer(con, shop: Path, names: dict) -> dict:
    "The wide answers as pandas frames, with the place of each behaviour (number, x)."
    timezone = names.get("timezone", "Asia/Tokyo")
    y, x = listed(names, "JPY")
    made = sums(y, x)
    for statement in (*rows(shop), visits(shop, names, timezone), made["people"], made["several"], made["members"]): con.execute(statement)
    found = {k: con.execute(made[k]).df() for k in ("cells", "pairs", "shared")}
    return found | dict(places={name: (k, per) for k, (name, (_, per)) in enumerate(y.items())})


def as_long(found: dict) -> pd.DataFrame:
    "The answers in the form of `behaviours`: for the comparison, outside the clock."
    key, ends = CELL.split(", "), [c + "_2" for c in CELL.split(", ")]
    cells, pairs = found["cells"], found["pairs"]
    own = cells.assign(**{b: cells[a] for a, b in zip(key, ends)})
    turned = pairs.rename(columns={a: b for k in zip(key, ends) for a, b in (k, k[::-1])})
    parts = []
    for name, (k, per) in found["places"].items():
        for part, xy, yx in ((own, f"xy{k}", f"xy{k}"), (pairs, f"xy{k}", f"yx{k}"), (turned, f"yx{k}", f"xy{k}")):
            parts.append(part[key + ends].assign(behaviour=name, per=per, n=part[f"n_{per}"], yy=part[f"yy{k}"], xy=part[xy], yx=part[yx], xx=part[f"xx_{per}"]))
    long = pd.concat(parts, ignore_index=True)
    levels = pd.concat([cells[key].assign(behaviour=name, y=cells[f"y{k}"], x=cells[f"x_{per}"]) for name, (k, per) in found["places"].items()])
    members = pd.concat([found["shared"][["segment", "segment_2"]].assign(per=per, people=found["shared"][f"people_{per}"]) for _, per in set(found["places"].values())]).drop_duplicates(["segment", "segment_2", "per"])
    return long.merge(levels, on=["behaviour", *key]).merge(members, on=["segment", "segment_2", "per"])


def names_of(file: Path) -> dict: return json.loads(Path(file).read_text(encoding="utf-8"))
