"The table of behaviours from outside: against sessionize, across engines, products that add up."
from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings as hypothesis_settings
from hypothesis import strategies as st

import crmlab as cl

START = pd.Timestamp("2026-10-01T00:00:00Z")
few = hypothesis_settings(max_examples=4, deadline=None)
KEY = ["segment", "device", "source"]
PRODUCTS = ["yy", "xy", "yx", "xx"]
COLUMNS = ["behaviour", "unit", *KEY, *(f"{k}_2" for k in KEY), "n", "people", "y", "x", *PRODUCTS]

happening = st.tuples(st.sampled_from("uvwx"), st.integers(0, 400), st.sampled_from(["page_view", "page_view", "click", "scroll", "view_item", "add_to_cart", "purchase"]),
                      st.sampled_from(["/", "/item"]), st.sampled_from([None, 30., 700.]))
days = st.lists(happening, min_size=3, max_size=50, unique_by=lambda h: h[:2])


def events_of(rows):
    "Users on desktop or mobile by the half day; their rank changes by the day."
    e = pd.DataFrame(rows, columns=["user_id", "minute", "event", "page", "scroll_y"]).astype(dict(user_id="str", event="str", page="str", scroll_y="float"))
    start = e.minute//100   # visits 400 minutes apart, four of them
    e["ts"] = START + pd.to_timedelta(start*600 + e.minute % 100, unit="m")
    e["device"], e["visitor_id"] = np.where(start % 2 == 0, "desktop", "mobile"), e.user_id + np.where(start % 2 == 0, "d", "m")
    e["rank"], e["source"] = np.where(start < 2, "Bronze", "Royal"), np.where(e.user_id < "w", "google", None)
    return pd.concat([e, e.head(1).assign(event="page_view", ts=START - pd.Timedelta(hours=5))], ignore_index=True).assign(event_id=lambda f: [f"e{i}" for i in range(len(f))], viewport_h=500., page_h=1000.).drop(columns="minute")


@few
@given(rows=days)
def test_products_over_all_cells_are_those_of_everybody(rows):
    e = events_of(rows)
    cells, pooled = cl.behaviours(e, by="rank").to_pandas(), cl.behaviours(e, by=None, strata=()).to_pandas().set_index("behaviour")
    assert list(cells.columns) == COLUMNS
    total = cells.groupby("behaviour")[PRODUCTS].sum()
    assert total.to_numpy() == pytest.approx(pooled.loc[total.index, PRODUCTS].to_numpy())
    own = cells[(cells[KEY].to_numpy() == cells[[f"{k}_2" for k in KEY]].to_numpy()).all(axis=1)]
    assert own.groupby("behaviour")[["y", "x"]].sum().to_numpy() == pytest.approx(pooled.loc[total.index, ["y", "x"]].to_numpy())
    assert (own.n > 0).groupby(own.behaviour).size().nunique() == 1            # the diagonal is always there
    assert (cells[cells.unit == "share"].query("segment == segment_2 and device == device_2 and source == source_2").eval("y <= x + 1e-9")).all()


@few
@given(rows=days)
def test_visit_behaviours_agree_with_sessionize(rows):
    e = events_of(rows)
    visits = cl.sessionize(e).to_pandas()
    got = cl.behaviours(e, by=None, strata=()).to_pandas().set_index("behaviour")
    want = dict(first_view_exit=visits.first_view_exit, first_action=visits.first_action.fillna(visits.dwell), pages=visits.depth, dwell=visits.dwell,
                evening=visits.start_local.dt.hour >= 18, weekend=visits.start_local.dt.day_of_week >= 5)
    if (e.event == "purchase").any(): want["event:purchase"] = visits.converted
    for name, column in want.items():
        assert got.y[name] == pytest.approx(column.astype(float).sum()) and got.x[name] == ((visits.depth > 0).sum() if name == "first_view_exit" else len(visits))   # without a page view there is no first view
    people = visits.assign(y=visits.depth).groupby("cluster").agg(y=("y", "sum"), x=("y", "size"))
    assert got.loc["pages", ["yy", "xy", "xx", "n"]].astype(float).to_list() == pytest.approx([(people.y**2).sum(), (people.y*people.x).sum(), (people.x**2).sum(), len(people)])
    dwell = got.y[got.index.str.startswith("dwell:")].sum()
    assert dwell <= visits.dwell.sum() + 1e-6                                    # pages share out the time of the visit


@few
@given(rows=days)
def test_engines_and_row_order_agree(rows):
    e = events_of(rows)
    table = cl.behaviours(e, by="rank")
    expected = table.to_pandas()
    for other in (pl.from_pandas(e).lazy(), e.sample(frac=1, random_state=1)):
        pd.testing.assert_frame_equal(cl.behaviours(other, by="rank").to_pandas(), expected)
    assert table.meta["segments"] == sorted(expected.segment.unique()) and set(expected.source) <= {"google", "(unknown)"}


def shop_like(users=40):
    rows = []
    for u in range(users):
        for v in range(3):
            at, user = START + pd.Timedelta(days=v, minutes=u), f"m{u:02}"
            rows += [(user, at, "page_view", "/", f"{u}-{v}-a"), (user, at + pd.Timedelta(seconds=30), "view_item", "/item", f"{u}-{v}-b"), (user, at + pd.Timedelta(seconds=30), "page_view", "/item", f"{u}-{v}-b")]
            if (u + v) % 2: rows.append((user, at + pd.Timedelta(seconds=40), "add_to_cart", "/item", f"{u}-{v}-b"))
            if (u + v) % 4 == 1: rows.append((user, at + pd.Timedelta(seconds=90), "purchase", "/item", f"{u}-{v}-b"))
    e = pd.DataFrame(rows, columns=["user_id", "ts", "event", "page", "pageview_id"])
    return e.assign(visitor_id="b" + e.user_id, device="desktop", rank=np.where(e.user_id < "m20", "Bronze", "Royal"), viewport_h=500., page_h=1000.)


def test_ratios_of_a_small_shop_by_hand():
    e = shop_like()
    f = cl.behaviours(e, by=None, strata=()).to_pandas().set_index("behaviour")
    ratio = (f.y/f.x).to_dict()
    assert f.x["cart_after_item"] == 120 and ratio["cart_after_item"] == pytest.approx(.5)
    assert f.x["cart_abandon"] == 60 and ratio["cart_abandon"] == pytest.approx(1 - f.y["event:purchase"]/60)
    assert ratio["landing:/"] == 1 and "landing:/item" not in f.index and ratio["view:/item"] == 1
    assert ratio["depth:/"] == ratio["depth:/item"] == .5 and f.x["depth:/item"] == 120
    assert ratio["dwell:/"] == 30 and ratio["pages"] == 2
    assert f.n.drop("cart_abandon").eq(40).all()
    assert set(f.unit) == {"share", "s", "page", "day", "order"}   # purchases here have no value, so nothing is said about revenue


def test_other_clusters_strata_and_bad_input():
    e = shop_like()
    by_visitor = cl.behaviours(e.assign(visitor_id=e.visitor_id.str[:3]), by="rank", cluster="visitor_id").to_pandas()
    assert by_visitor.n.max() == 2                                                # shared browsers bm0 and bm1 of Bronze, bm2 and bm3 of Royal
    landing = cl.behaviours(e, by="rank", strata=("landing",)).to_pandas()
    assert list(landing.columns[:6]) == ["behaviour", "unit", "segment", "landing", "segment_2", "landing_2"]
    for options, message in [(dict(by="gender"), "needs column 'gender'"), (dict(by="rank", strata=("city",)), "needs column 'city'"), (dict(by="rank", cluster="household"), "needs column 'household'")]:
        with pytest.raises(cl.CrmlabError, match=message): cl.behaviours(e, **options)
    with pytest.raises(cl.CrmlabError, match="no page views"): cl.behaviours(e[e.event == "purchase"], by="rank")


def rich_shop():
    "shop_like with clicks, errors, favourites of two names, checkouts, values; every third visit without a purchase value stays as it is."
    e = shop_like()
    item = e[e.event == "view_item"]
    more = [item.assign(event="click", selector="#buy"), item[::2].assign(event="add_to_wishlist"), item[1::4].assign(event="like"), item[::3].assign(event="form_error"), item[::5].assign(event="js_error"), e[e.event == "add_to_cart"].assign(event="begin_checkout")]
    return pd.concat([e.assign(value=np.where(e.event == "purchase", 1200., np.nan)), *more], ignore_index=True).assign(event_id=lambda f: [f"e{i:04}" for i in range(len(f))])


BOX = pd.DataFrame([dict(page="/item", device="desktop", version="1", selector="#buy", label="buy", x=0., y=y, w=100., h=100., page_w=900., page_h=1000.) for y in (300.,)])


def test_elements_errors_favourites_money_and_days_by_hand():
    e = rich_shop()
    table = cl.behaviours(e, by=None, strata=(), layouts=BOX)
    f = table.to_pandas().set_index("behaviour")
    ratio, n = f.y/f.x, 120
    assert ratio["click:/item #buy"] == 1 and ratio["seen:/item #buy"] == 1 and f.x["seen:/item #buy"] == n      # its middle at 350 px lies within the window of 500
    assert table.meta["pages"]["/item #buy"] == "buy(/item)" and table.meta["notes"] == [cl.core.word("behaviour.note.censored", n="40")]
    below = cl.behaviours(e, by=None, strata=(), layouts=BOX.assign(y=600.)).to_pandas().set_index("behaviour")
    assert below.y["seen:/item #buy"] == 0 and below.x["seen:/item #buy"] == n
    assert f.y["favourite"] == 60 + 30 and f.y["event:like"] == 30
    assert f.y["error"] == len(set(range(0, n, 3)) | set(range(0, n, 5)))
    bought = f.y["event:purchase"]
    assert f.y["purchases"] == bought and f.y["revenue"] == 1200*bought and ratio["order_value"] == 1200 and f.x["order_value"] == bought and set(f.unit[["revenue", "order_value"]]) == {"JPY"}
    assert ratio["checkout_abandon"] == ratio["cart_abandon"]
    assert f.x["revisit"] == 80 and ratio["revisit"] == pytest.approx(1)                                          # three visits a day apart: the last of each person is open
    assert ratio["bounce"] == 0 and ratio["exit:/item"] == 1 and ratio["exit:/"] == 0 and ratio["first_view_exit:/"] == 0 and "first_view_exit:/item" not in f.index
    days, hours = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"], ["night", "morning", "afternoon", "evening"]
    assert f.y[days].sum() == n and f.y[hours].sum() == n and f.y["weekend"] == f.y[["saturday", "sunday"]].sum()


def test_what_is_not_known_is_left_out_and_said():
    e = rich_shop()
    f = cl.behaviours(e, by="rank", strata=())
    assert not f.to_pandas().behaviour.str.startswith("seen:").any() and cl.core.word("behaviour.note.no_layouts") in f.meta["notes"]
    for lang in ("ja", "en"):
        from crmlab.infer.contrast import behaviour_name
        names = [behaviour_name(b, lang, f.meta["pages"]) for b in f.to_pandas().behaviour.unique()]
        assert not [n for n in names if "{" in n] and len(set(names)) == len(names)
    without = cl.behaviours(e.assign(value=np.nan), by="rank", strata=()).to_pandas().behaviour
    assert "revenue" not in set(without) and "order_value" not in set(without) and "purchases" in set(without)
    with pytest.raises(cl.CrmlabError, match="layouts.* needs column 'selector'"): cl.behaviours(e, by="rank", layouts=BOX.drop(columns="selector"))


def test_a_segment_of_one_user_and_equal_values_get_a_note_in_contrast():
    e = shop_like()
    solo = cl.behaviours(e.assign(rank=e["rank"].where(e.user_id != "m00", "Solo")), by="rank")
    found = cl.contrast(solo, b="Solo", a="Royal").frame
    assert found[["est", "lo", "hi"]].isna().all(axis=None) and (found.note != "").all() and not found.flagged.any()
    level = cl.contrast(cl.behaviours(e, by="rank"), b="Bronze", a="Royal").frame.set_index("behaviour").loc["dwell:/"]
    assert np.isnan(level.raw_lo) and level.note                                                                 # everybody reads the top page for 30 seconds
