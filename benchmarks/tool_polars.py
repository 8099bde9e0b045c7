"The five queries in polars' lazy frames: `QUERIES` maps a name to a function of the shop folder."
from __future__ import annotations

import polars as pl
from polars import col as c

GAP, UNKNOWN, STEPS = 30*60*10**6, "(unknown)", ("view_item", "add_to_cart", "begin_checkout", "purchase")


def read_events(shop, *columns) -> pl.LazyFrame:
    "Events in order of visitor and time, with `us` and `visit`, a number that grows from visit to visit."
    e = pl.scan_parquet(f"{shop}/events/*.parquet").select("event_id", "visitor_id", "user_id", "session_id", c("ts").dt.epoch("us").alias("us"), *columns)
    e = e.sort("visitor_id", "us", "event_id").drop("event_id")
    begins = c("visitor_id").ne_missing(c("visitor_id").shift()) | (c("us").diff() > GAP) | (c("session_id") != c("session_id").shift()).fill_null(False)
    e = e.with_columns(begins=begins).with_columns(part=c("begins").cum_sum()).with_columns(known=c("user_id").forward_fill().over("part"))
    before = pl.when(~c("begins")).then(c("known").shift())
    return e.with_columns(visit=(c("begins") | (c("user_id") != before).fill_null(False)).cum_sum()).drop("session_id", "begins", "part", "known")


def read_ranks(shop) -> pl.LazyFrame:
    "user_id, us, rank: one row per change, in order of time."
    a = pl.scan_parquet(f"{shop}/attributes/*.parquet").filter(c("attribute") == "rank")
    return a.group_by("user_id", c("valid_from").dt.epoch("us").alias("us")).agg(rank=c("value").max()).sort("us")


def ranked(rows: pl.LazyFrame, shop, at: str) -> pl.LazyFrame:
    "Rows with the rank that held at `at`."
    return rows.sort(at).join_asof(read_ranks(shop), left_on=at, right_on="us", by="user_id", check_sortedness=False)


def segmented(visits: pl.LazyFrame, shop) -> pl.LazyFrame:
    "Visits with cluster and segment."
    return ranked(visits, shop, "begin").with_columns(cluster=pl.coalesce("user_id", "visitor_id"), segment=c("rank").fill_null(UNKNOWN))


def sessionize(shop):
    e = read_events(shop, "event", "page", "device", "source", "scroll_y", "value")
    acts, bought = (c("event") == "click") | ((c("scroll_y") > 50) & (c("event") != "page_view")), c("event") == "purchase"
    v = e.group_by("visit").agg(visitor_id=c("visitor_id").first(), user_id=c("user_id").max(), begin=c("us").min(), until=c("us").max(), device=c("device").min(), source=c("source").drop_nulls().first(),
        landing=c("page").filter(c("event") == "page_view").first(), exit=c("page").last(), depth=(c("event") == "page_view").sum(), act=c("us").filter(acts).min(), low=c("page").min(), high=c("page").max(),
        converted=bought.any(), revenue=c("value").filter(bought).sum())
    start = c("begin").cast(pl.Datetime("us", "UTC"))
    v = v.with_columns(visit_no=c("visit") - c("visit").min().over("visitor_id") + 1, cluster=pl.coalesce("user_id", "visitor_id"), start=start,
                       start_local=start.dt.convert_time_zone("Asia/Tokyo").dt.replace_time_zone(None))
    return v.select("visitor_id", "visit_no", "user_id", "cluster", "start", "start_local", c("start_local").dt.date().alias("day"), "device", "source", "landing", "exit", "depth",
        ((c("until") - c("begin"))/1e6).alias("dwell"), ((c("act") - c("begin"))/1e6).alias("first_action"), (c("landing").is_not_null() & c("act").is_null() & (c("low") == c("high"))).alias("first_view_exit"), "converted", "revenue").collect()


def _here(page, device): return (c("page") == page) & (c("device") == device)


_BEGUN = dict(visitor_id=c("visitor_id").first(), user_id=c("user_id").max(), begin=c("us").min())


def _down(frame, group, depth, size, *columns):
    "Sums from the deepest upwards for every depth of every group."
    full = frame.select(group).unique().join(pl.LazyFrame({depth: range(size)}, schema={depth: pl.Int64}), how="cross")
    full = full.join(frame, on=[group, depth], how="left").with_columns(c(*columns).fill_null(0)).sort(group, depth)
    return full.with_columns(c(*columns).cum_sum(reverse=True).over(group))


def heatmap(shop, page="/", device="desktop", columns=64, height=20, tallest=100_000):
    e = read_events(shop, "event", "page", "device", "x", "y", "page_w", "page_h", "viewport_w", "viewport_h", "scroll_y")
    positive = lambda name: pl.when(c(name) > 0).then(c(name))
    here = _here(page, device)
    e = e.with_columns(here=here, bottom=pl.min_horizontal(positive("page_h").fill_null(tallest), pl.lit(float(tallest))), width=pl.coalesce(positive("page_w"), positive("viewport_w")),
                       view=pl.when(here).then(positive("viewport_h")))
    inside = (here & (c("event") == "click") & c("x").is_between(0, c("width")) & c("y").is_between(0, c("bottom"))).fill_null(False)
    e = e.with_columns(row=pl.when(inside).then(pl.min_horizontal((c("y")/height).floor(), (c("bottom")/height).ceil() - 1).cast(pl.Int64)),
                       col=pl.when(inside).then(pl.min_horizontal((c("x")*columns/c("width")).floor(), pl.lit(columns - 1.)).cast(pl.Int64)))
    deep = (pl.min_horizontal(c("scroll_y").fill_null(0) + c("view"), c("bottom"))/height).ceil().cast(pl.Int64) - 1
    e = e.with_columns(seen=pl.when(here & c("view").is_null()).then(c("row").fill_null(0)).when(here).then(pl.max_horizontal(deep, c("row"), 0)), cell=c("col") + columns*c("row"))
    visits = segmented(e.group_by("visit").agg(**_BEGUN, here=c("here").any(), seen=c("seen").max(), view=c("view").max(), tall=c("page_h").filter(c("here")).max(), cells=c("cell").drop_nulls()).filter(c("here")), shop).collect()
    fold = visits["view"].median()
    rows = lambda px: -int(-px//height) - 1
    size = 1 + max(visits["seen"].max(), rows(min(visits["tall"].median(), tallest)), rows(fold))
    shown = visits.lazy().with_columns(seen=pl.when(c("view").is_null()).then(pl.max_horizontal("seen", rows(fold))).otherwise(c("seen")))
    who = ["segment", "cluster"]
    people = shown.select(*who, "visit", cell="cells").explode("cell").drop_nulls("cell").group_by(*who, "cell").agg(n=pl.len(), visits=c("visit").n_unique())
    people = people.join(shown.select(*who, "seen"), on=who).filter(c("seen") >= c("cell")//columns).group_by(*who, "cell").agg(n=c("n").first(), visits=c("visits").first().cast(pl.Float64), exposed=pl.len())
    sums = people.group_by("segment", "cell").agg(n=c("n").sum(), visits=c("visits").sum(), users=pl.len(), yy=(c("visits")**2).sum(), xy=(c("visits")*c("exposed")).sum())
    k = c("seen").rank("ordinal", descending=True).over(*who).cast(pl.Int64)
    ended = shown.with_columns(k=k).group_by("segment", row="seen").agg(exposed=pl.len().cast(pl.Int64), xx=(2*c("k") - 1).sum(), people=(c("k") == 1).sum().cast(pl.Int64))
    cells = _down(ended, "segment", "row", size, "exposed", "xx", "people").join(pl.LazyFrame(dict(col=range(columns))), how="cross").with_columns(cell=c("col") + columns*c("row"))
    cells = cells.join(sums, on=["segment", "cell"], how="left").with_columns(c("n", "visits", "users", "yy", "xy").fill_null(0)).drop("cell")
    return cells.with_columns(x0=c("col")/columns, x1=(c("col") + 1)/columns, y0=c("row")*height, y1=(c("row") + 1)*height,
        rate=pl.when(c("exposed") > 0).then(c("visits")/c("exposed")), per_visit=pl.when(c("exposed") > 0).then(c("n")/c("exposed"))).collect()


def scroll(shop, page="/", device="desktop"):
    e = read_events(shop, "page", "device", "page_h", "viewport_h", "scroll_y")
    here = _here(page, device)
    visits = e.group_by("visit").agg(**_BEGUN, bottom=(c("scroll_y").fill_null(0) + c("viewport_h")).filter(here).max(), tall=c("page_h").filter(here).max()).filter((c("tall") > 0) & c("bottom").is_not_null())
    visits = segmented(visits.with_columns(depth=pl.min_horizontal((100*c("bottom")/c("tall")).floor().cast(pl.Int64), 100)), shop)
    who = ["segment", "cluster"]
    visits = visits.with_columns(k=c("depth").rank("ordinal", descending=True).over(*who).cast(pl.Int64), m=pl.len().over(*who))
    ended = visits.group_by("segment", "depth").agg(y=pl.len().cast(pl.Int64), yy=(2*c("k") - 1).sum(), xy=c("m").sum(), people=(c("k") == 1).sum())
    down = _down(ended, "segment", "depth", 101, "y", "yy", "xy", "people")
    return down.with_columns(n=c("y").max().over("segment"), xx=c("yy").max().over("segment"), people=c("people").max().over("segment")).with_columns(est=c("y")/c("n"), depth=c("depth")/100).collect()


def funnel(shop, steps=STEPS, within=24*3600*10**6):
    step = c("event").replace_strict({s: k for k, s in enumerate(steps, 1)}, default=None, return_dtype=pl.Int8)
    e = read_events(shop, step.alias("step"))
    visits = segmented(e.group_by("visit").agg(**_BEGUN, rows=pl.struct("us", "step").filter(c("step").is_not_null())).filter(c("rows").list.len() > 0), shop)
    rows = visits.select("segment", "cluster", "rows").explode("rows").unnest("rows").sort("segment", "cluster", "us", "step")
    rows = rows.with_columns(entry1=pl.when(c("step") == 1).then("us"))
    for k in range(2, len(steps) + 1):
        rows = rows.with_columns(latest=c(f"entry{k - 1}").cum_max().forward_fill().over("segment", "cluster"))
        rows = rows.with_columns(pl.when((c("step") == k) & (c("us") - c("latest") <= within)).then("latest").alias(f"entry{k}"))
    came = rows.group_by("segment", "cluster").agg([c(f"entry{k}").is_not_null().any().alias(s) for k, s in enumerate(steps, 1)]).filter(c(steps[0]))
    n = came.group_by("segment").agg(c(*steps).sum().cast(pl.Int64)).unpivot(index="segment", variable_name="step", value_name="n")
    before = c("n").shift().over("segment")
    return n.with_columns(est=c("n")/c("n").first().over("segment"), step_est=pl.when(before > 0).then(c("n")/before)).collect()


def as_of(shop):
    rows = pl.scan_parquet(f"{shop}/events/*.parquet").select("user_id", c("ts").dt.epoch("us").alias("ts_us"))
    return ranked(rows, shop, "ts_us").select("user_id", "ts_us", "rank").collect()


QUERIES = dict(sessionize=sessionize, heatmap=heatmap, scroll=scroll, funnel=funnel, as_of=as_of)
