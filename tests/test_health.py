"Health of a shop from outside: what is planted is found, clean data give no finding, both languages, both engines, real folders."
from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings as hypothesis_settings
from hypothesis import strategies as st

import crmlab as cl
from crmlab.core import word
from crmlab.tables.commit import commit
from crmlab.tables.folder import new_shop
from crmlab.tables.engine import Table, connection, scan
from crmlab.tables.health import Health, health

ENGINES = {"duckdb": lambda f: f, "polars": lambda f: pl.from_pandas(f).lazy()}
few = hypothesis_settings(max_examples=6, deadline=None, derandomize=True)
DAYS, A_DAY = 60, 25


class Frames:
    "The little that health asks of a shop."
    fingerprint, counts = "frames", {}

    def __init__(self, engine="duckdb", imports=None, frames=None, **more):
        self.engine, self.frames = ENGINES[engine], frames
        self.manifest = dict(imports=imports if imports is not None else [dict(at="2024-06-01T00:00:00+00:00", kind="csv", counts=[])])
        self.settings = SimpleNamespace(**dict(timezone="Asia/Tokyo", currency="JPY", pages={"/": "Top", "/list": "List"}, totals={}, money={}) | more)

    @property
    def tables(self): return list(self.frames)
    def table(self, name): return Table(scan(self.engine(self.frames[name]), timezone=self.settings.timezone), name)


@pytest.fixture(scope="module")
def clean() -> dict:
    "Sixty days of visits and orders in the first months of 2024, without a fault; days are those of Tokyo."
    rng, n = np.random.default_rng(4), DAYS*A_DAY
    start = pd.Timestamp("2024-01-01", tz="Asia/Tokyo").tz_convert("UTC") + pd.to_timedelta(np.repeat(range(DAYS), A_DAY), unit="D") + pd.to_timedelta(rng.integers(0, 85_000, n), unit="s")
    visits = pd.DataFrame(dict(visitor_id=[f"v{i}" for i in range(n)], ts=start, user_id=[f"m{i % 40}" if i % 2 else None for i in range(n)]))
    e = visits.loc[visits.index.repeat(5)].reset_index(drop=True)
    k = e.groupby("visitor_id").cumcount()
    scroll = rng.uniform(0, 2900, len(e)).round()
    click = k.isin([2, 4])
    events = e.assign(event_id=[f"e{i}" for i in range(len(e))], ts=e.ts + pd.to_timedelta(k*9, unit="s"), session_id="s" + e.visitor_id, event=np.array(["page_view", "scroll", "click", "page_view", "click"])[k],
                      page=np.where(k < 3, "/", "/list"), device="mobile", viewport_w=390., viewport_h=800., page_w=390., page_h=3700., scroll_y=scroll,
                      x=np.where(click, rng.uniform(0, 390, len(e)).round(), np.nan), y=np.where(click, scroll + rng.uniform(0, 800, len(e)).round(), np.nan),
                      el_x=np.where(click, .5, np.nan), el_y=np.where(click, .5, np.nan)).astype(dict(user_id="str"))
    bought = visits[visits.user_id.notna()].iloc[::4]
    m, amount = len(bought), rng.integers(10, 90, len(bought))*110.
    orders = pd.DataFrame(dict(order_id=[f"{1000 + i}" for i in range(m)], ts=bought.ts.to_numpy(), user_id=bought.user_id.to_numpy(), status="valid", revenue=amount, gross=amount, discount=0.,
                               points_used=rng.integers(0, 3, m)*100., tax=(amount/11).round(), shipping=rng.choice([0., 550.], m), fee=330., refund=0., currency="JPY")).astype(dict(user_id="str"))
    orders["ts"] = pd.to_datetime(orders.ts, utc=True)
    return dict(events=events, orders=orders)


def found(frames, **more) -> dict:
    "Findings by check."
    return {f.check: f for f in health(Frames(frames=frames, **more)).checks.itertuples()}


def month(orders, zone="Asia/Tokyo"): return orders.ts.dt.tz_convert(zone).dt.strftime("%Y-%m")


def totals(orders, revenue, zone="Asia/Tokyo", rows=None):
    "What a cart that counts `revenue` would report."
    g = pd.DataFrame(dict(month=month(orders, zone), revenue=revenue))[slice(None) if rows is None else rows].groupby("month").revenue.agg(["size", "sum"])
    return {m: dict(orders=int(r["size"]), revenue=float(r["sum"])) for m, r in g.iterrows()}


@pytest.mark.parametrize("engine", ENGINES)
def test_clean_data_give_no_finding(clean, engine):
    h = health(Frames(engine, frames=clean, totals=totals(clean["orders"], clean["orders"].revenue)))
    assert isinstance(h, Health) and list(h.checks.columns) == ["check", "severity", "count", "share", "says", "remedy"] and h.checks.empty
    assert list(h.frame.columns) == ["table", "rows", "first", "last"] and list(h.frame["rows"]) == [len(clean["events"]), len(clean["orders"])]
    assert (h.meta["visits"], h.meta["identified"]) == (DAYS*A_DAY, DAYS*A_DAY//2)
    assert h.meta["identified_lo"] < .5 < h.meta["identified_hi"]
    assert len(h.days) == DAYS and h.days.events.sum() == len(clean["events"]) and (h.days.events > 0).all()
    assert np.allclose(h.months.revenue, h.months.cart_revenue) and (h.months.orders == h.months.cart_orders).all()


def test_both_languages_without_findings(clean):
    h = health(Frames(frames=clean))
    assert h.text("ja").endswith("問題は見つかりませんでした。") and h.text("en").endswith("None of the checks found anything wrong.")


@few
@given(lost=st.sets(st.integers(1, DAYS - 2), min_size=1, max_size=12))
def test_days_without_events_are_exactly_those_that_were_lost(clean, lost):
    day = (clean["events"].ts.dt.tz_convert("Asia/Tokyo").dt.tz_localize(None) - pd.Timestamp("2024-01-01")).dt.days
    h = health(Frames(frames=dict(events=clean["events"][~day.isin(lost)])))
    f = {c.check: c for c in h.checks.itertuples()}["gaps"]
    assert (f.count, f.severity) == (len(lost), "error" if len(lost)/DAYS >= .1 else "warn") and f.share == pytest.approx(len(lost)/DAYS)
    assert list(h.days.day[h.days.events == 0]) == [pd.Timestamp("2024-01-01") + pd.Timedelta(days=d) for d in sorted(lost)]


def test_a_day_is_the_shops_day(clean):
    e = clean["events"]
    one = e[e.ts.dt.tz_convert("Asia/Tokyo").dt.strftime("%m-%d") != "01-20"]
    assert found(dict(events=one))["gaps"].count == 1
    assert "gaps" not in found(dict(events=one), timezone="UTC")   # in London hours of both neighbours fall into that day


def test_old_and_future_events_are_named_and_do_not_stretch_the_period(clean):
    e = clean["events"]
    strays = [e.head(2).assign(ts=pd.Timestamp("1970-01-01T00:00:01Z"), event_id=["a", "b"], session_id=None), e.head(4).assign(ts=pd.Timestamp("2017-05-05T00:00Z"), event_id=list("cdef"), session_id=None),
              e.tail(3).assign(ts=pd.Timestamp("2031-01-01T00:00Z"), event_id=list("xyz"), session_id=None)]
    h = health(Frames(frames=dict(events=pd.concat([e, *strays]))))
    f = {c.check: c for c in h.checks.itertuples()}
    assert set(f) == {"early", "future"} and (f["early"].count, f["future"].count) == (6, 3)
    assert "1970-01-01" in f["early"].says and "2031-01-01" in f["future"].says and len(h.days) == DAYS


def test_a_made_shop_has_its_own_calendar(clean):
    later = clean["events"].assign(ts=clean["events"].ts + pd.Timedelta(days=3650))
    assert set(found(dict(events=later))) == {"future"}
    assert found(dict(events=later), imports=[dict(at="2024-06-01T00:00:00+00:00", kind="simulate", counts=[])]) == {}


FAULTS = {
    "outside": lambda e: e.assign(x=e.x.where(e.index % 50 != 2, 5000)),
    "viewport": lambda e: e.assign(viewport_h=e.viewport_h.where(e.index % 40 != 0, 0)),
    "scroll": lambda e: e.assign(scroll_y=e.scroll_y.where(e.index % 30 != 1, 9000), y=np.nan, x=np.nan),
    "element": lambda e: e.assign(el_x=e.el_x*100),
    "duplicates": lambda e: pd.concat([e, e[e.index % 60 == 7].assign(event_id=lambda d: "2" + d.event_id)]),
    "jumps": lambda e: e.assign(ts=e.ts.where(e.index % 500 != 4, e.ts + pd.Timedelta(hours=30))),
    "pages": lambda e: e.assign(page=e.page.where(e.index % 10 != 0, "/lp/summer")),
    "percent": lambda e: e.assign(y=100*e.y/e.page_h),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fault", FAULTS)
def test_one_planted_fault_is_the_one_that_is_found(clean, fault, engine):
    bad = FAULTS[fault](clean["events"])
    h = health(Frames(engine, frames=dict(events=bad)))
    assert list(h.checks.check) == [fault]
    planted = dict(outside=(bad.x == 5000).sum(), viewport=(bad.viewport_h == 0).sum(), scroll=(bad.scroll_y == 9000).sum(), element=bad.el_x.notna().sum(), duplicates=len(bad) - len(clean["events"]),
                   jumps=(clean["events"].index % 500 == 4).sum(), pages=(bad.page == "/lp/summer").sum(), percent=(bad.y > 0).sum())[fault]
    assert h.checks["count"][0] == planted


def test_copies_among_very_many_events_are_estimated_from_a_sample_of_seconds(clean, monkeypatch):
    from crmlab.tables import health as module
    e = clean["events"]
    twice = pd.concat([e, e[e.index % 4 == 1].assign(event_id=lambda d: "2" + d.event_id)])
    monkeypatch.setattr(module, "_COMPARED", 2000)
    f = found(dict(events=twice))["duplicates"]
    assert f.count % 7 == 0 and f.count == pytest.approx(len(twice) - len(e), rel=.25)   # about 270 of 1,875 copies lie in the sample
    assert "duplicates" not in found(dict(events=e))


def test_percent_from_one_day_on_is_found(clean):
    e = clean["events"]
    from_day = e.ts >= pd.Timestamp("2024-02-20", tz="Asia/Tokyo")
    f = found(dict(events=e.assign(scroll_y=e.scroll_y.where(~from_day, 100*e.scroll_y/e.page_h), y=e.y.where(~from_day, 100*e.y/e.page_h))))
    assert set(f) == {"percent"} and "y" in f["percent"].says and "scroll_y" in f["percent"].says


def test_ids_in_paths_become_a_rule(clean):
    e = clean["events"]
    number = e.assign(page=np.where(e.page == "/list", "/item/A-" + (e.index % 300).astype(str), "/"))
    assert 'ids = ["/item/{id}"]' in found(dict(events=number))["page_rules"].remedy
    slug = e.assign(page=np.where(e.page == "/list", pd.Series([f"/journal/{a}{b}{c}" for a in "abcdefgh" for b in "klmnop" for c in "xyz"]*99)[:len(e)].to_numpy(), "/"))
    assert 'ids = ["/journal/{id}"]' in found(dict(events=slug))["page_rules"].remedy
    assert "page_rules" not in found(dict(events=e.assign(page=np.where(e.page == "/list", "/guide/" + (e.index % 7).astype(str), "/"))))


def test_unnamed_pages_are_listed_only_where_pages_are_named_at_all(clean):
    e = clean["events"]
    h = health(Frames(frames=dict(events=e), pages={"/": "Top"}))
    assert list(h.pages.page) == ["/list"] and h.pages.events[0] == (e.page == "/list").sum() and list(h.checks.check) == ["pages"]
    assert health(Frames(frames=dict(events=e), pages={})).checks.empty


def test_nobody_who_ordered_was_seen(clean):
    strangers = clean["orders"].assign(user_id="cart-" + clean["orders"].user_id)
    f = found(dict(events=clean["events"], orders=strangers))
    assert set(f) == {"strangers"} and f["strangers"].severity == "error"


@pytest.mark.parametrize("share, severity", [(6, "note"), (20, "warn"), (500, "warn")])
def test_few_identified_visits(clean, share, severity):
    e = clean["events"]
    rare = e.assign(user_id=e.user_id.where((e.visitor_id.str[1:].astype(int) % share) == 1, None))
    f = found(dict(events=rare))
    assert set(f) == {"identified"} and f["identified"].severity == severity


def test_orders_that_are_there_twice(clean):
    o = clean["orders"]
    assert found(dict(orders=pd.concat([o, o.head(5).assign(order_id="#00" + o.order_id, ts=o.ts + pd.Timedelta("40s"))])))["orders_twice"].count == 5
    assert found(dict(orders=pd.concat([o, o.head(6).assign(order_id="web-" + o.order_id)])))["orders_twice"].count == 6
    boxes = o.head(6).assign(order_id=[f"b{i}" for i in range(6)], subscription_id="c1", delivery_no=range(6), user_id="m1", ts=o.ts[0], revenue=3000.)   # deliveries booked at once
    assert found(dict(orders=pd.concat([o, boxes]))) == {}


def test_other_currencies_stay_out_of_the_months(clean):
    o = clean["orders"]
    h = health(Frames(frames=dict(orders=pd.concat([o, o.head(3).assign(order_id=list("abc"), currency="USD")]))))
    assert list(h.checks.check) == ["currency"] and h.checks["count"][0] == 3 and h.months.revenue.sum() == pytest.approx(o.revenue.sum())
    assert "one shop folder per currency" in h.checks_in("en").remedy[0] and "GBP" not in h.checks_in("en").remedy[0]
    abroad = health(Frames(frames=dict(orders=o.assign(currency=np.where(o.index < 2, "JPY", np.where(o.index < 5, "USD", "GBP"))))))   # the shop's own setting is the odd one
    assert abroad.checks_in("en").remedy[0].startswith('If the shop sells in GBP, write currency = "GBP"') and 'currency を "GBP"' in abroad.checks_in("ja").remedy[0]


@pytest.mark.parametrize("every, severity", [(7, "warn"), (50, "note")])
def test_orders_that_name_no_customer_are_told(clean, every, severity):
    o = clean["orders"].copy()
    o.loc[o.index % every == 0, "user_id"] = None
    o.loc[1, ["user_id", "status", "revenue"]] = [None, "cancelled", 0.]   # nobody asks who cancelled
    f = found(dict(orders=o))["nobody"]
    assert (f.severity, f.count) == (severity, (o.index % every == 0).sum()) and f.share == pytest.approx(f.count/(len(o) - 1))


CARTS = {
    "shipping": (("shipping",), lambda o: o.revenue + o.shipping, "Asia/Tokyo"),
    "shipping and fees": (("fee", "shipping"), lambda o: o.revenue + o.shipping + o.fee, "Asia/Tokyo"),
    "without tax": (("tax",), lambda o: o.revenue - o.tax, "Asia/Tokyo"),
    "points as a discount": (("points",), lambda o: o.revenue - o.points_used, "Asia/Tokyo"),
    "months of London": (("utc",), lambda o: o.revenue, "UTC"),
    "nothing known": ((), lambda o: o.revenue*1.0371, "Asia/Tokyo"),
}


@pytest.mark.parametrize("case", CARTS)
def test_the_difference_from_the_cart_is_explained(clean, case):
    reason, revenue, zone = CARTS[case]
    o = clean["orders"]
    h = health(Frames(frames=dict(orders=o), totals=totals(o, revenue(o), zone)))
    why = {f["check"]: f["values"]["why"] for f in h.found}
    assert set(why["totals_revenue"]) == set(reason)
    for lang in ("ja", "en"):
        assert all(word(f"health.term.{r}", lang) in h.text(lang) for r in reason)
        assert reason or word("health.remedy.totals", lang) in h.text(lang)
    assert h.months.orders.sum() == len(o)


def test_cancelled_orders_that_the_cart_counts(clean):
    o = clean["orders"].copy()
    gone = o.index % 9 == 0
    counted = totals(o, o.revenue)
    o.loc[gone, ["status", "revenue"]] = ["cancelled", 0.]
    h = health(Frames(frames=dict(orders=o), totals=counted))
    assert {f["check"]: f["values"]["why"] for f in h.found} == dict(totals_orders=("cancelled",), totals_revenue=("cancelled",))
    assert h.months.cancelled.sum() == gone.sum() and h.months.orders.sum() == (~gone).sum()


def test_a_month_that_was_imported_in_part_does_not_hide_the_reason(clean):
    o = pd.concat([clean["orders"].assign(ts=clean["orders"].ts + pd.Timedelta(days=60*k), order_id=f"{k}-" + clean["orders"].order_id) for k in range(3)], ignore_index=True)
    cart = totals(o, o.revenue + o.shipping)
    part = o[(month(o) != "2024-03") | (o.index % 3 > 0)]
    h = health(Frames(frames=dict(orders=part), imports=[], totals=cart))
    f = {f["check"]: f for f in h.found}
    assert f["totals_revenue"]["values"]["why"] == ("shipping",) and f["totals_revenue"]["values"]["still"] == "2024-03"
    assert (f["totals_orders"]["remedy"], f["totals_orders"]["values"]["months"]) == ("totals", "2024-03")
    said = h.checks_in("ja").set_index("check").remedy["totals_revenue"]
    assert "2024-03" in said and "送料" in said


def test_a_month_that_only_the_cart_knows(clean):
    o = clean["orders"]
    t = totals(o, o.revenue) | {"2023-12": dict(orders=31, revenue=250_000)}
    h = health(Frames(frames=dict(orders=o), totals=t))
    first = h.months.iloc[0]
    assert (first.month, first.orders, first.cart_orders) == ("2023-12", 0, 31)
    assert {"totals_orders", "totals_revenue"} == set(h.checks.check) and (h.checks.severity == "error").all()


def test_february_in_tokyo():
    order = pd.DataFrame(dict(order_id=["a"], ts=pd.to_datetime(["2026-01-31T15:30Z"]), user_id="m", status="valid", revenue=100., currency="JPY"))
    for engine in ENGINES: assert list(health(Frames(engine, frames=dict(orders=order), imports=[])).months.month) == ["2026-02"]


def test_import_counts_are_checked(clean):
    counts = [dict(table="events", read=100, kept=90, duplicate=4, rejected=6), dict(table="orders", read=10, kept=9, duplicate=0, rejected=0)]
    h = health(Frames(frames=clean, imports=[dict(at="2024-06-01T00:00:00+00:00", kind="ga4", counts=counts)]))
    f = {c.check: c for c in h.checks.itertuples()}
    assert set(f) == {"counts", "rejected"} and f["rejected"].count == 6 and f["counts"].severity == "error" and word("report.table.orders") in f["counts"].says
    assert list(h.imports.columns) == ["at", "kind", "table", "read", "kept", "duplicate", "rejected"]


BROKEN = dict(table="orders", read=100, kept=90, duplicate=3, rejected=7)
LATER = {
    "mended": (dict(read=100, kept=7, duplicate=93, rejected=0), 0),
    "mended in part": (dict(read=100, kept=4, duplicate=93, rejected=3), 3),
    "mended, and others corrected": (dict(read=100, kept=27, duplicate=73, corrected=20, rejected=0), 0),
    "mended in a longer export": (dict(read=500, kept=407, duplicate=93, rejected=0), 0),
    "the next month": (dict(read=100, kept=100, duplicate=0, rejected=0), 7),
    "an overlapping month": (dict(read=100, kept=60, duplicate=40, rejected=0), 7),
}


@pytest.mark.parametrize("case", LATER)
def test_rejected_rows_that_a_mended_file_brought_are_news_no_more(clean, case):
    later, left = LATER[case]
    imports = lambda *counts, kinds=("csv", "csv"): [dict(at=f"2024-06-0{i}T00:00:00+00:00", kind=k, counts=[c]) for i, (k, c) in enumerate(zip(kinds, counts), 1)]
    told = lambda imports: sum(f["count"] for f in health(Frames(frames=dict(orders=clean["orders"]), imports=imports)).found if f["check"] == "rejected")
    second = dict(table="orders") | later
    assert told(imports(BROKEN)) == 7 and told(imports(BROKEN, second)) == left
    assert told(imports(BROKEN, second, kinds=("csv", "makeshop"))) == 7 + later["rejected"]   # another source mends nothing
    assert told(imports(second, BROKEN)) == 7 + later["rejected"]   # nor does what came before


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_every_finding_speaks_both_languages(clean, lang):
    e = clean["events"]
    bad = pd.concat([f(e) for f in FAULTS.values()] + [e.head(3).assign(ts=pd.Timestamp("1970-01-01T00:00:01Z")), e.head(3).assign(ts=pd.Timestamp("2030-01-01T00:00Z"))])
    o = clean["orders"]
    h = health(Frames(frames=dict(events=bad, orders=o.assign(currency=np.where(o.index < 3, "USD", "JPY"))), totals={"2024-01": dict(orders=1, revenue=1)}))
    said = h.checks_in(lang)
    assert len(said) >= 10 and not said.says.str.contains(r"[{}]").any() and not said.remedy.str.contains("{(?!id})", regex=True).any()
    japanese = said.says.str.contains("[ぁ-ん]").all()
    assert japanese == (lang == "ja") and said.says.str.endswith("。" if lang == "ja" else ".").all()
    assert list(said.severity) == sorted(said.severity, key=["error", "warn", "note"].index)
    assert h.text(lang).count("\n") == 2*len(said)


def test_words_exist_for_every_check_in_both_languages():
    import inspect

    from crmlab.tables import health as module
    checks = set(re.findall(r'_finding\(f?"(\w+)', inspect.getsource(module))) - {"totals_"} | {"totals_orders", "totals_revenue", "outside", "viewport", "scroll", "element"}
    for check in checks:
        for lang in ("ja", "en"): assert word(f"health.says.{check}", lang)
    assert checks >= {"gaps", "future", "early", "percent", "duplicates", "strangers"}


def test_the_smallest_shops(clean):
    one = clean["events"].head(1)
    for engine in ENGINES:
        h = health(Frames(engine, frames=dict(events=one)))
        assert (h.meta["visits"], len(h.days)) == (1, 1) and "gaps" not in set(h.checks.check)
    bare = one[["event_id", "ts", "visitor_id", "event", "page"]]   # a source that knows no coordinates, no members
    h = health(Frames(frames=dict(events=bare)))
    assert h.meta["identified"] == 0 and set(h.checks.check) == {"identified"}


def test_an_empty_shop_and_single_tables(clean):
    assert health(Frames(frames={})).text("en").startswith("There are no visits.")
    assert health(Frames(frames={})).months.empty
    only = pd.DataFrame(dict(user_id=["a"], attribute="rank", value="Royal", valid_from=pd.to_datetime(["2024-01-01T00:00Z"])))
    h = health(Frames(frames=dict(attributes=only)))
    assert list(h.frame.table) == ["attributes"] and h.checks.empty


@pytest.mark.parametrize("part", [["events"], ["orders"], ["events", "orders"], []])
def test_the_picture(clean, part):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    e = clean["events"]
    frames = {k: v for k, v in dict(events=e[e.ts.dt.tz_convert("Asia/Tokyo").dt.day != 11], orders=clean["orders"]).items() if k in part}
    h = health(Frames(frames=frames, totals=totals(clean["orders"], clean["orders"].revenue) if "orders" in part else {}))
    ax = h.plot()
    panels = ax.child_axes
    assert len(panels) == ("events" in part) + 2*("orders" in part)
    labels = {t.get_text() for t in ax.get_legend().get_texts()} if ax.get_legend() else set()
    assert (word("health.plot.missing") in labels) == ("events" in part) and (word("health.plot.cart") in labels) == ("orders" in part)
    if "orders" in part: assert sum(b.get_height() for b in panels[0].patches if b.get_width() > 20) == len(clean["orders"])
    plt.close(ax.figure)


@pytest.fixture(scope="module")
def folder(clean, tmp_path_factory):
    "The same data as a shop folder, the orders imported twice over."
    path = tmp_path_factory.mktemp("health")/"shop"
    new_shop(path, name="花と水")
    with open(path/"shop.toml", "a", encoding="utf-8") as f: f.write('[pages]\n"/" = "トップ"\n"/list" = "一覧"\n[totals]\n"2024-01" = {orders = 1, revenue = 2}\n')
    relations = {k: connection().from_df(v) for k, v in clean.items()}
    commit(path, relations, kind="t")
    commit(path, dict(orders=connection().from_df(clean["orders"].assign(order_id="#" + clean["orders"].order_id).head(10))), kind="t")
    return path


def test_a_real_folder_gives_what_the_frames_give(clean, folder):
    h = health(cl.open_shop(folder))
    assert set(h.checks.check) == {"orders_twice", "totals_orders", "totals_revenue"}
    assert (h.meta["visits"], h.meta["identified"]) == (DAYS*A_DAY, DAYS*A_DAY//2)
    assert list(h.imports.kept) == [len(clean["events"]), len(clean["orders"]), 10] and len(h.days) == DAYS


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_doctor_prints_it_and_draws_on_request(folder, tmp_path, lang, capsys):
    from crmlab.deliver.cli import main
    assert main(["doctor", str(folder), "--lang", lang, "--out", str(tmp_path/"out")]) == 0
    out = capsys.readouterr().out
    for text in ("花と水", word("cli.heading.months", lang), word("health.severity.error", lang), "2024-01"): assert text in out
    assert ("対応:" in out) == (lang == "ja")
    assert (tmp_path/"out/shop_health.png").read_bytes()[:4] == b"\x89PNG" and len(list((tmp_path/"out").iterdir())) == 1
    before = sorted(p.name for p in folder.rglob("*"))
    assert main(["doctor", str(folder)]) == 0 and sorted(p.name for p in folder.rglob("*")) == before


def test_doctor_refuses_a_place_it_may_not_write(folder, capsys):
    from crmlab.deliver.cli import main
    assert main(["doctor", str(folder), "--out", str(folder/"shop.toml")]) == 1
    assert "cannot write there" in capsys.readouterr().err
    assert json.loads((folder/"manifest.json").read_text(encoding="utf-8"))["version"] == 1
