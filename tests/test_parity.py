"""One analysis, three engines: what DuckDB says of 100,000 events, polars and Spark say too, row for row.

The events hold what engines read differently: browsers with two members, sessions that change early or are missing now and
then, events of the same microsecond, coordinates that are no numbers, days that end at another hour in UTC than in Tokyo.
"""
from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

import crmlab as cl
from crmlab.measure.pages import pages as page_level
from crmlab.tables.engine import Table, as_of, collect, scan
from crmlab.tables.identity import with_visits
from crmlab.tables.shop import table_of

START = pd.Timestamp("2026-01-05T00:00:00Z")
PAGES, STEPS = ["/", "/list", "/item/1", "/cart"], ["page:/list", "view_item", "add_to_cart", "purchase"]
pytestmark = [pytest.mark.spark, pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas")]


def browsing(n: int, seed: int = 1) -> pd.DataFrame:
    "Events of about n/60 browsers over four weeks."
    rng = np.random.default_rng(seed)
    visits = n//20
    browser = rng.integers(0, visits//3, visits)
    of = np.sort(rng.integers(0, visits, n))
    us = rng.integers(0, 28*86400, visits)[of]*10**6 + rng.integers(0, 2400*10**6, n)//10**6*10**6    # whole seconds: many tie
    member = np.where(rng.random(n) < .07, browser[of]//2 + (rng.random(n) < .02), -1)
    session = np.where((browser[of] % 4 == 0) & ((browser[of] % 8 > 0) | (rng.random(n) < .9)), of + (us > np.quantile(us, .7)), -1)
    kind = rng.choice(["page_view", "click", "scroll", "mouse_move", "view_item", "add_to_cart", "purchase"], n, p=[.2, .2, .3, .2, .06, .03, .01])
    phone, place = browser[of] % 3 == 0, np.isin(kind, ["click", "mouse_move"])
    text = lambda values, form: pd.Series(values).map(form.format).where(values >= 0)
    wide, tall = np.where(phone, 390., 1280.), np.where(rng.random(n) < .95, 2400., np.nan)
    return pd.DataFrame(dict(
        event_id=pd.Series(rng.permutation(n)).map("e{:06}".format), ts=START + pd.to_timedelta(us, unit="us"), visitor_id=text(browser[of], "v{:05}"), user_id=text(member, "u{:05}"),
        session_id=text(session, "s{:06}"), event=kind, page=rng.choice(PAGES, n, p=[.4, .3, .2, .1]), source=np.array(["google", "line", None, "mail"])[of % 4], device=np.where(phone, "mobile", "desktop"),
        viewport_w=wide, viewport_h=np.where(rng.random(n) < .9, 800., np.nan), page_w=np.where(rng.random(n) < .98, wide, 0.), page_h=tall,
        x=np.where(place, wide*rng.uniform(-.02, 1.02, n), np.nan), y=np.where(place, rng.integers(0, 2420, n), np.nan), scroll_y=np.where(kind == "scroll", rng.integers(0, 1600, n), np.nan),
        value=np.where(kind == "purchase", rng.integers(10, 300, n)*100., np.nan)))


def ranks_of(events: pd.DataFrame, seed: int = 2) -> pd.DataFrame:
    "One to three ranks over time of nearly every member."
    rng = np.random.default_rng(seed)
    users = np.sort(events.user_id.dropna().unique())
    of = np.repeat(users, rng.integers(0, 4, len(users)))
    ranks = pd.DataFrame(dict(user_id=of, attribute="rank", value=rng.choice(["Bronze", "Gold", "Royal"], len(of)), valid_from=START + pd.to_timedelta(rng.integers(-10, 28, len(of)), unit="D")))
    return ranks.drop_duplicates(["user_id", "valid_from"])


def climber() -> tuple:
    "A member who visits as Bronze, becomes Royal, and visits again."
    day = lambda d: START + pd.Timedelta(days=d)
    visit = pd.DataFrame(dict(event_id=["c1", "c2"], ts=[day(5), day(15)], visitor_id="climber", user_id="m1", event="page_view", page="/", device="desktop"))
    return visit, pd.DataFrame(dict(user_id="m1", attribute="rank", value=["Bronze", "Royal"], valid_from=[day(0), day(10)]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "The shop folder that every engine reads."
    home, events = tmp_path_factory.mktemp("parity"), browsing(100_000)
    visit, climb = climber()
    tables = dict(events=pd.concat([events, visit], ignore_index=True), attributes=pd.concat([ranks_of(events), climb], ignore_index=True),
                  orders=pd.DataFrame(dict(order_id=["o1", "o2"], user_id="m1", ts=pd.to_datetime(["2026-01-31T15:30Z", "2026-01-31T14:30Z"]), status="valid", revenue=[5400., 3000.], currency="JPY")))
    for name, frame in tables.items():
        pl.from_pandas(frame).write_parquet(home/f"{name}.parquet")
        cl.import_data("parquet", home/f"{name}.parquet", into=home/"shop", table=name)
    return home/"shop"


def on_polars(folder, name):
    "A table of the shop on polars."
    files = [folder/f["file"] for f in cl.open_shop(folder).manifest["tables"][name]]
    return scan(pl.scan_parquet(files), timezone="Asia/Tokyo")


@pytest.fixture(scope="module")
def engines(folder, spark):
    "The tagged events on each engine."
    import narwhals.stable.v2 as nw
    ranks = on_polars(folder, "attributes").select("user_id", "valid_from_us", nw.col("value").alias("rank"))
    tagged = as_of(with_visits(on_polars(folder, "events")), ranks, at="visit_start_us", value="rank").with_columns(nw.col("rank").fill_null("(unknown)"))
    return dict(duckdb=cl.open_shop(folder).tag("rank"), polars=Table(tagged, "events", dict(tags=["rank"])), spark=cl.open_shop(folder, engine="spark").tag("rank"))


def tagged_events(events):
    "Every event with its visit, its member and the member's rank: `as_of` and `with_visits` row for row."
    return collect(table_of(events, "events").select("event_id", "visitor_id", "visit_no", "user_id", "cluster", "visit_start_us", "rank", "ts_us", "ts_local"))


MEASURES = dict(
    tag=tagged_events,
    sessionize=lambda events: cl.sessionize(events).to_pandas(),
    first_view=lambda events: cl.first_view(events, page="/", by="rank").frame,
    scroll_reach=lambda events: cl.scroll_reach(events, page="/", by="rank").frame,
    heatmap=lambda events: cl.heatmap(events, page="/", by="rank").frame,
    funnel=lambda events: cl.funnel(events, steps=STEPS, by="rank").frame,
    pages=lambda events: page_level(events, by="rank").frame,
    exit_map=lambda events: page_level(events, by="rank").exits,
    behaviours=lambda events: cl.behaviours(events, by="rank").to_pandas())


def typed(events):
    "The same events with clicks as inputs of a field."
    import narwhals.stable.v2 as nw
    return table_of(events, "events").with_columns(event=nw.when(nw.col("event") == "click").then(nw.lit("input")).otherwise(nw.col("event")), selector=nw.col("page"))


def moves(part):
    "A part of the transitions."
    from crmlab.measure.transitions import transitions
    return lambda events: part(transitions(events, by="rank", deep=4))


def journeys(module, name, /, *args, change=lambda events: events, **options):
    "The frame of a measure of journeys."
    from importlib import import_module
    return lambda events: getattr(import_module(f"crmlab.measure.{module}"), name)(change(events), *args, by="rank", **options).frame


MEASURES |= dict(
    strict=lambda events: cl.funnel(events, steps=STEPS, by="rank", order="strict").frame, any_order=lambda events: cl.funnel(events, steps=STEPS, by="rank", order="any").losses,
    transitions=moves(lambda t: t.frame), step_matrix=moves(lambda t: t.steps), loops=moves(lambda t: t.loops), exits=moves(lambda t: t.exit_pages), moves_apart=moves(lambda t: t.difference(a="Bronze", b="Royal").frame),
    paths=journeys("paths", "paths", length=3), time_to=journeys("time_to", "time_to", "view_item", "purchase"), onboarding=journeys("time_to", "onboarding", start="view_item", end="visit", horizon="7d"),
    forms=journeys("forms", "forms", change=typed, page=None, done="purchase"), phases=journeys("journey_map", "phase_behaviours"), journey_map=journeys("journey_map", "journey_map", stages=["Bronze", "Royal"]))
NAMES = ["page", "band", "target", "state", "path", "days", "field", "stage", "kind", "entry", "event_id", "visitor_id", "visit_no", "behaviour", "segment", "metric", "depth", "row", "col", "step", "device", "source", "segment_2", "device_2", "source_2"]


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    "The same rows in one order."
    return frame.sort_values([c for c in NAMES if c in frame], ignore_index=True)


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_says_the_same_on_every_engine(measure, engines):
    results = {engine: in_order(MEASURES[measure](events)) for engine, events in engines.items()}
    assert len(results["duckdb"]) > 10
    for engine in ("polars", "spark"): pd.testing.assert_frame_equal(results[engine], results["duckdb"], check_dtype=False, rtol=1e-9, obj=f"{measure} on {engine}")


def test_an_order_late_in_january_by_utc_is_a_february_order_in_tokyo_on_every_engine(folder, spark):
    import narwhals.stable.v2 as nw
    tables = dict(duckdb=cl.open_shop(folder).orders.lazy(), polars=on_polars(folder, "orders"), spark=cl.open_shop(folder, engine="spark").orders.lazy())
    for engine, orders in tables.items():
        months = collect(orders.select("order_id", month=nw.col("ts_local").dt.month())).set_index("order_id").month
        assert months.to_dict() == dict(o1=2, o2=1), engine


def visits_of_the_climber(table):
    "Visits of one member, without a look at the others."
    import narwhals.stable.v2 as nw
    own = Table(table.lazy().filter(nw.col("visitor_id") == "climber"), "events", table.meta)
    return cl.sessionize(own).to_pandas().sort_values("visit_no")


def test_a_visit_counts_in_the_rank_of_its_day_on_every_engine(engines):
    for engine, events in engines.items():
        visits = visits_of_the_climber(events if engine == "polars" else events.events)
        assert list(visits["rank"]) == ["Bronze", "Royal"], engine


def test_a_segment_worked_out_in_pandas_meets_events_on_spark(folder, spark):
    segment = pd.DataFrame(dict(user_id=["m1"], segment=["climber"]))
    for engine in ("duckdb", "spark"):
        shop = cl.open_shop(folder, engine=engine).tag(segment)
        assert list(visits_of_the_climber(shop.events).segment) == ["climber", "climber"], engine


def shop_with_a_test(home):
    "The same events with a test on the first page, and orders of members."
    events, rng = browsing(20_000, seed=5), np.random.default_rng(6)
    first = events.sort_values("ts").drop_duplicates("visitor_id")
    first = first[first.ts < START + pd.Timedelta(days=16)]
    exposures = pd.DataFrame(dict(experiment="top", variant=rng.choice(["A", "B"], len(first)), user_id=first.user_id.to_numpy(), visitor_id=first.visitor_id.to_numpy(), ts=first.ts.to_numpy() + pd.Timedelta(days=3), propensity=.5))
    members = np.sort(events.user_id.dropna().unique())
    orders = pd.DataFrame(dict(order_id=[f"o{k}" for k in range(900)], user_id=rng.choice(members, 900), ts=START + pd.to_timedelta(rng.integers(0, 28*86400, 900), unit="s"), status=rng.choice(["valid", "valid", "return", "cancelled"], 900), revenue=rng.integers(1, 90, 900)*100., currency="JPY"))
    orders["revenue"] = orders.revenue.where(orders.status != "return", -orders.revenue)
    for name, frame in dict(events=events, exposures=exposures, orders=orders, attributes=ranks_of(events)).items():
        pl.from_pandas(frame).write_parquet(home/f"{name}.parquet")
        cl.import_data("parquet", home/f"{name}.parquet", into=home/"shop", table=name)
    return home/"shop"


def test_the_people_of_a_test_are_the_same_on_polars(tmp_path):
    folder = shop_with_a_test(tmp_path)
    known = dict(duckdb=cl.open_shop(folder).tag("rank"), polars=cl.open_shop(folder).tag("rank"))
    tables = {name: Table(on_polars(folder, name), name, dict(settings=known["polars"].settings)) for name in ("events", "exposures", "orders")}
    known["polars"]._made.update(tables, _events=tables["events"].lazy())   # the shop's tables, read by the other engine
    made = {engine: cl.experiment_users(shop, experiment="top", within="7d", metrics=["purchase", "revenue", "bought", "visits", "count:click", "first_view_exit"],
                                        covariates=["revenue:20d", "visits:20d", "page:/list:20d"], trigger="page:/cart") for engine, shop in known.items()}
    frames = {engine: users.to_pandas().sort_values("unit", ignore_index=True) for engine, users in made.items()}
    assert len(frames["duckdb"]) > 100 and (frames["duckdb"][["purchase", "revenue", "revenue:20d", "triggered"]].abs().sum() > 0).all() and frames["duckdb"]["rank"].nunique() > 2
    pd.testing.assert_frame_equal(frames["polars"], frames["duckdb"], check_dtype=False, rtol=1e-9)
    for fact in ("rows", "notes", "sample_ratio_triggered"): assert made["polars"].meta[fact] == made["duckdb"].meta[fact]
