"The five queries in pandas, each column read once, no row loop: `QUERIES` maps a name to a function of the shop folder."
from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.dataset  # noqa: F401  over before the clock starts
import pyarrow.parquet  # noqa: F401

GAP, UNKNOWN, STEPS = 30*60*10**6, "(unknown)", ("view_item", "add_to_cart", "begin_checkout", "purchase")
KEYS = ["event_id", "ts", "visitor_id", "user_id", "session_id"]


def read_events(shop, *columns) -> pd.DataFrame:
    "Events in order of visitor and time, with `us` and `visit`, a number that grows from visit to visit."
    e = pd.read_parquet(shop/"events", columns=[*KEYS, *columns])
    e["us"] = e.pop("ts").dt.as_unit("us").astype("int64")
    e = e.sort_values(["visitor_id", "us", "event_id"], ignore_index=True).drop(columns="event_id")
    first = e.visitor_id != e.visitor_id.shift()
    changed = (e.session_id != e.session_id.shift()) & e.session_id.notna() & e.session_id.shift().notna()
    begins = first | (e.us.diff() > GAP) | changed
    part = begins.cumsum()
    before = e.user_id.groupby(part).ffill().groupby(part).shift()
    e["visit"] = (begins | (e.user_id.notna() & before.notna() & (e.user_id != before))).cumsum()
    return e.drop(columns="session_id")


def read_ranks(shop) -> pd.DataFrame:
    "user_id, us, rank: one row per change, in order of time."
    a = pd.read_parquet(shop/"attributes", filters=[("attribute", "=", "rank")], columns=["user_id", "value", "valid_from"])
    a["us"] = a.pop("valid_from").dt.as_unit("us").astype("int64")
    return a.groupby(["user_id", "us"], as_index=False).value.max().rename(columns=dict(value="rank")).sort_values("us")


def ranked(rows, shop, at) -> pd.DataFrame:
    "Rows with the rank that held at `at`; those without a member first."
    known = rows.user_id.notna()
    joined = pd.merge_asof(rows[known].sort_values(at), read_ranks(shop), left_on=at, right_on="us", by="user_id", suffixes=("", "_rank"))
    return pd.concat([rows[~known], joined], ignore_index=True)


def segmented(visits, shop) -> pd.DataFrame:
    "Visits with cluster and segment."
    visits = ranked(visits, shop, "begin")
    return visits.assign(cluster=visits.user_id.fillna(visits.visitor_id), segment=visits["rank"].fillna(UNKNOWN))


def sessionize(shop):
    e = read_events(shop, "event", "page", "device", "source", "scroll_y", "value")
    acts = (e.event == "click") | ((e.scroll_y > 50) & (e.event != "page_view"))
    e = e.assign(view=e.event == "page_view", viewed=e.page.where(e.event == "page_view"), bought=e.event == "purchase", act=e.us.where(acts), spent=e.value.where(e.event == "purchase"))
    g = e.groupby("visit", sort=False)
    v = g.agg(visitor_id=("visitor_id", "first"), user_id=("user_id", "first"), begin=("us", "first"), until=("us", "last"), device=("device", "min"), source=("source", "first"),
              landing=("viewed", "first"), exit=("page", "last"), depth=("view", "sum"), act=("act", "min"), low=("page", "min"), high=("page", "max"), converted=("bought", "any"), revenue=("spent", "sum")).reset_index()
    start = pd.to_datetime(v.begin, unit="us", utc=True)
    local = start.dt.tz_convert("Asia/Tokyo").dt.tz_localize(None)
    return pd.DataFrame(dict(visitor_id=v.visitor_id, visit_no=v.groupby("visitor_id", sort=False).cumcount() + 1, user_id=v.user_id, cluster=v.user_id.fillna(v.visitor_id), start=start, start_local=local,
        day=local.dt.normalize(), device=v.device, source=v.source, landing=v.landing, exit=v.exit, depth=v.depth, dwell=(v.until - v.begin)/1e6, first_action=(v.act - v.begin)/1e6,
        first_view_exit=v.landing.notna() & v.act.isna() & (v.low == v.high), converted=v.converted, revenue=v.revenue))


def _begun(e) -> pd.DataFrame:
    "One row per visit: visitor, member, begin."
    return e.groupby("visit", sort=False).agg(visitor_id=("visitor_id", "first"), user_id=("user_id", "first"), begin=("us", "first"))


def _on_page(e, page, device) -> pd.DataFrame: return e[(e.page == page) & (e.device == device)]


def _until(values, size): return np.bincount(values.clip(upper=size - 1), minlength=size)[::-1].cumsum()[::-1]


def heatmap(shop, page="/", device="desktop", columns=64, height=20, tallest=100_000):
    e = read_events(shop, "event", "page", "device", "x", "y", "page_w", "page_h", "viewport_w", "viewport_h", "scroll_y")
    begun, e = _begun(e), _on_page(e, page, device)
    bottom = e.page_h.where(e.page_h > 0).fillna(tallest).clip(upper=tallest)
    width, view = e.page_w.where(e.page_w > 0).fillna(e.viewport_w.where(e.viewport_w > 0)), e.viewport_h.where(e.viewport_h > 0)
    inside = (e.event == "click") & e.x.between(0, width) & e.y.between(0, bottom)
    last = np.ceil(bottom/height) - 1
    row = np.minimum(e.y//height, last).where(inside)
    col = (e.x*columns//width).clip(upper=columns - 1).where(inside)
    seen = np.maximum(np.ceil(np.minimum(e.scroll_y.fillna(0) + view, bottom)/height) - 1, row.fillna(0)).where(view.notna(), row.fillna(0))
    e = e.assign(view=view, seen=seen, cell=col + columns*row)
    visits = segmented(e.groupby("visit", sort=False).agg(seen=("seen", "max"), view=("view", "max"), tall=("page_h", "max")).join(begun).reset_index(), shop)
    fold = visits["view"].median()
    size = 1 + int(np.nanmax([visits.seen.max(), np.ceil(min(visits.tall.median(), tallest)/height) - 1, np.ceil(fold/height) - 1]))
    visits["seen"] = visits.seen.where(visits["view"].notna(), visits.seen.clip(lower=np.ceil(fold/height) - 1)).astype(int)
    clicks = e.loc[e.cell.notna(), ["visit", "cell"]].value_counts().reset_index(name="n").merge(visits[["visit", "segment", "cluster"]], on="visit")
    people = clicks.groupby(["segment", "cluster", "cell"], sort=False).agg(n=("n", "sum"), visits=("n", "size")).reset_index()
    pairs = people[["segment", "cluster", "cell"]].merge(visits[["segment", "cluster", "seen"]], on=["segment", "cluster"])
    saw = pairs[pairs.seen >= pairs.cell//columns].groupby(["segment", "cluster", "cell"], sort=False).size().rename("exposed")
    people = people.merge(saw, on=["segment", "cluster", "cell"])
    people = people.assign(yy=people.visits**2, xy=people.visits*people.exposed, users=1)
    sums = people.groupby(["segment", "cell"])[["n", "visits", "users", "yy", "xy"]].sum()
    visits["k"] = visits.sort_values("seen", ascending=False).groupby(["segment", "cluster"]).cumcount() + 1
    depth = []
    for segment, v in visits.groupby("segment"):   # a handful of segments
        weighted = np.bincount(v.seen.clip(upper=size - 1), 2*v.k - 1, minlength=size)[::-1].cumsum()[::-1]
        depth.append(pd.DataFrame(dict(segment=segment, row=range(size), exposed=_until(v.seen, size), xx=weighted, people=_until(v.seen[v.k == 1], size))))
    cells = pd.concat(depth).merge(pd.DataFrame(dict(col=range(columns))), how="cross")
    cells = cells.assign(cell=cells.col + columns*cells.row).join(sums, on=["segment", "cell"])
    cells[sums.columns] = cells[sums.columns].fillna(0)
    exposed = cells.exposed.where(cells.exposed > 0)
    return cells.assign(x0=cells.col/columns, x1=(cells.col + 1)/columns, y0=cells.row*height, y1=(cells.row + 1)*height, rate=cells.visits/exposed, per_visit=cells.n/exposed).drop(columns="cell")


def scroll(shop, page="/", device="desktop"):
    e = read_events(shop, "page", "device", "page_h", "viewport_h", "scroll_y")
    begun, e = _begun(e), _on_page(e, page, device)
    e = e.assign(bottom=e.scroll_y.fillna(0) + e.viewport_h)
    visits = e.groupby("visit", sort=False).agg(bottom=("bottom", "max"), tall=("page_h", "max")).join(begun).reset_index()
    visits["depth"] = np.floor(100*visits.bottom/visits.tall.where(visits.tall > 0)).clip(upper=100)
    visits = segmented(visits[visits.depth.notna()], shop)
    group = visits.groupby(["segment", "cluster"], sort=False)
    visits = visits.assign(depth=visits.depth.astype(int), m=group.depth.transform("size"))
    visits["k"] = visits.sort_values("depth", ascending=False).groupby(["segment", "cluster"], sort=False).cumcount() + 1
    found = []
    for segment, v in visits.groupby("segment"):
        down = lambda weights, v=v: np.bincount(v.depth, weights, minlength=101)[::-1].cumsum()[::-1]
        y, yy, xy = down(np.ones(len(v))), down(2*v.k - 1), down(v.m)
        found.append(pd.DataFrame(dict(segment=segment, depth=np.arange(101)/100, est=y/len(v), n=len(v), y=y, yy=yy, xy=xy, xx=yy[0], people=(v.k == 1).sum())))
    return pd.concat(found, ignore_index=True)


def funnel(shop, steps=STEPS, within=24*3600*10**6):
    e = read_events(shop, "event")
    e = e.assign(step=e.event.map({s: k for k, s in enumerate(steps, 1)}))
    visits = segmented(_begun(e).reset_index(), shop)
    e = e.loc[e.step.notna(), ["visit", "us", "step"]].merge(visits[["visit", "segment", "cluster"]], on="visit").sort_values(["segment", "cluster", "us", "step"], ignore_index=True)
    who = e.groupby(["segment", "cluster"], sort=False).ngroup()
    entry = e.us.where(e.step == 1)
    came = [entry.notna().groupby(who).any()]
    for k in range(2, len(steps) + 1):
        latest = entry.groupby(who).cummax().groupby(who).ffill()
        entry = latest.where((e.step == k) & (e.us - latest <= within))
        came.append(entry.notna().groupby(who).any())
    people = pd.concat(came, axis=1, keys=steps)
    people = people[people[steps[0]]].groupby(e.segment.groupby(who).first()).sum()
    n = people.rename_axis(index="segment", columns="step").stack().rename("n").reset_index()
    before = n.groupby("segment").n.shift()
    return n.assign(est=n.n/n.groupby("segment").n.transform("first"), step_est=n.n/before.where(before > 0))


def as_of(shop):
    e = pd.read_parquet(shop/"events", columns=["user_id", "ts"])
    e["ts_us"] = e.pop("ts").dt.as_unit("us").astype("int64")
    return ranked(e, shop, "ts_us")[["user_id", "ts_us", "rank"]]


QUERIES = dict(sessionize=sessionize, heatmap=heatmap, scroll=scroll, funnel=funnel, as_of=as_of)
