"Pages from outside: against sessionize and first_view, across engines, sums that add up, and what bad data give."
from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings as hypothesis_settings
from hypothesis import strategies as st

import crmlab as cl
from crmlab.measure.pages import PAGE_METRICS, Pages, pages

START = pd.Timestamp("2026-10-01T00:00:00Z")
few = hypothesis_settings(max_examples=3, deadline=None)
SHARES = [m for m in PAGE_METRICS if m != "dwell"]

happening = st.tuples(st.sampled_from("uvwx"), st.integers(0, 400), st.sampled_from(["page_view", "page_view", "click", "scroll", "purchase"]), st.sampled_from(["/", "/item"]), st.sampled_from([None, 30., 700.]))
days = st.lists(happening, min_size=3, max_size=40, unique_by=lambda h: h[:2])


def events_of(rows):
    "Visits 600 minutes apart on desktop or mobile; the first event is a page view."
    e = pd.DataFrame(rows, columns=["user_id", "minute", "event", "page", "scroll_y"]).astype(dict(user_id="str", event="str", page="str", scroll_y="float"))
    start = e.minute//100
    e["ts"] = START + pd.to_timedelta(start*600 + e.minute % 100, unit="m")
    e["device"], e["visitor_id"], e["rank"] = np.where(start % 2 == 0, "desktop", "mobile"), e.user_id + np.where(start % 2 == 0, "d", "m"), np.where(e.user_id < "w", "Bronze", "Royal")
    first = e.head(1).assign(event="page_view", ts=START - pd.Timedelta(hours=5))
    return pd.concat([e, first], ignore_index=True).assign(event_id=lambda f: [f"e{i}" for i in range(len(f))], source="google", viewport_h=500., page_h=1000.).drop(columns="minute")


@few
@given(rows=days)
def test_landings_and_exits_are_those_of_the_visits(rows):
    e = events_of(rows)
    visits, pages_seen = cl.sessionize(e).to_pandas(), sorted(set(e[e.event == "page_view"]["page"]))
    frame = pages(e, by="rank", page=pages_seen, strata=()).frame.set_index(["segment", "page"])
    assert frame["views"].sum() == (e.event == "page_view").sum()
    landed = visits[visits.landing.isin(pages_seen)].groupby(["rank", "landing"])
    for (segment, page), g in landed:
        if (segment, page) not in frame.index: continue
        row = frame.loc[(segment, page)]
        assert row.landings == len(g) and row.first_view_exit == pytest.approx(g.first_view_exit.mean()) and row.bounce == pytest.approx((g.depth == 1).mean())
        assert row.ga4_bounce == pytest.approx(((g.dwell < 10) & (g.depth < 2) & ~g.converted).mean())
    assert frame.eval("exit*views").sum() == pytest.approx((visits.depth > 0).sum())          # every visit with page views has one exit
    shares = frame[SHARES].stack().dropna()
    assert shares.between(0, 1).all() and (frame.dwell.dropna() >= 0).all()


@few
@given(rows=days)
def test_engines_and_row_order_agree(rows):
    e = events_of(rows)
    expected = pages(e, by="rank")
    for other in (pl.from_pandas(e).lazy(), e.sample(frac=1, random_state=1)):
        got = pages(other, by="rank")
        pd.testing.assert_frame_equal(got.frame, expected.frame)
        pd.testing.assert_frame_equal(got.exits, expected.exits)


def shop_like(users=60):
    "Each user lands on the top page three times and reads the item half way in two of three visits."
    rows = []
    for u in range(users):
        for v in range(3):
            at, user = START + pd.Timedelta(days=v, minutes=u), f"m{u:02}"
            rows += [(user, at, "page_view", "/", f"{u}-{v}-a"), (user, at + pd.Timedelta(seconds=4), "page_leave", "/", f"{u}-{v}-a")]
            if v: rows += [(user, at + pd.Timedelta(seconds=5), "page_view", "/item", f"{u}-{v}-b"), (user, at + pd.Timedelta(seconds=5), "scroll", "/item", f"{u}-{v}-b"), (user, at + pd.Timedelta(seconds=20 + u), "page_leave", "/item", f"{u}-{v}-b")]
    e = pd.DataFrame(rows, columns=["user_id", "ts", "event", "page", "pageview_id"])
    return e.assign(visitor_id="b" + e.user_id, device="desktop", source=np.where(e.user_id < "m30", "google", "line"), rank=np.where(e.user_id < "m20", "Bronze", "Royal"), scroll_y=np.where(e.event == "scroll", 60., np.nan), viewport_h=500., page_h=1000.)


def test_a_small_shop_by_hand():
    result = pages(shop_like(), by=None, strata=())
    assert isinstance(result, Pages)
    f = result.frame.set_index("page")
    assert f.loc["/", ["views", "landings", "first_view_exit", "bounce", "ga4_bounce", "exit"]].astype(float).tolist() == pytest.approx([180, 180, 1/3, 1/3, 1/3, 1/3])
    assert f.loc["/item", ["views", "landings", "exit", "half", "depth"]].astype(float).tolist() == pytest.approx([120, 0, 1, 1, .56]) and np.isnan(f.loc["/item", "bounce"])
    assert f.loc["/", "dwell"] == pytest.approx((4 + 5 + 5)/3) and f.loc["/item", "dwell"] == pytest.approx(15 + 59/2)
    exits = result.exits.set_index(["page", "band"]).est
    assert exits["/", 5] == 1 and exits["/item", 5] == 1 and exits.groupby("page").sum().tolist() == pytest.approx([1, 1])
    engaged = pages(shop_like(), by=None, strata=(), conversions=()).frame
    assert engaged.ga4_bounce.iloc[0] == pytest.approx(1/3)


def test_strata_sum_up_and_devices_are_kept_apart():
    e = shop_like()
    total, apart = pages(e, by="rank", strata=()).frame, pages(e, by="rank", strata=("device", "source")).frame
    assert list(apart.columns[:7]) == ["segment", "page", "device", "source", "users", "views", "landings"]
    for c in ("users", "views", "landings"): assert apart.groupby(["segment", "page"])[c].sum().tolist() == total.set_index(["segment", "page"]).sort_index()[c].tolist()
    assert set(pages(e, by="rank", page="/item").frame["page"]) == {"/item"}


def test_segments_of_one_person_and_equal_values_are_said_and_never_guessed():
    e = shop_like()
    solo = pages(e.assign(rank=e["rank"].where(e.user_id != "m00", "Solo")), by="rank", strata=())
    own = solo.frame[solo.frame.segment == "Solo"].set_index("page")
    assert own.loc["/", "exit"] == pytest.approx(1/3) and own[[f"{m}_lo" for m in PAGE_METRICS]].isna().all(axis=None)
    assert solo.meta["few"] == {"Solo": 1}
    for lang, told in (("ja", "Solo(1人)は"), ("en", "No interval is given for Solo")): assert told in solo.text(lang)
    same = pages(e[e["page"] == "/"], by=None, strata=()).frame.iloc[0]
    assert same.bounce == 1 and same.bounce_hi == 1 and same.bounce_lo > .9 and same.dwell == 4 and np.isnan(same.dwell_lo)      # nothing varies: the spread of a mean is unknown


@pytest.mark.parametrize("arguments, says", [
    (dict(page="/itm"), "no events of page '/itm'; did you mean /item"), (dict(page="/item", device="mobile"), "it was seen on desktop"),
    (dict(by="gender"), "needs column 'gender'"), (dict(strata=("city",)), "needs column 'city'")])
def test_errors_name_culprit_and_remedy(arguments, says):
    with pytest.raises(cl.CrmlabError, match=says): pages(shop_like(), **arguments)


def test_texts_and_plots_in_both_languages():
    import matplotlib.pyplot as plt
    result = pages(shop_like(), by="rank")
    assert "FV離脱率" in result.text("ja") and "GA4" in result.text("ja") and "Bounces as GA4 defines them" in result.text("en")
    for metric in PAGE_METRICS: result.plot(metric=metric)
    result.plot_exits("/item")
    with pytest.raises(cl.CrmlabError, match="no exit of known depth on page '/nowhere'"): result.plot_exits("/nowhere")
    plt.close("all")


def test_a_page_view_keeps_its_page_when_something_else_happens_at_that_moment():
    at = lambda s: START + pd.Timedelta(seconds=s)
    visit = [(0, "page_view", "/"), (5, "page_view", "/list"), (5, "add_to_cart", "/item"), (9, "page_view", "/z")]
    e = pd.DataFrame([dict(visitor_id=f"b{i}", user_id=f"u{i}", ts=at(s), event=k, page=p, device="desktop", pageview_id=f"{i}{s}") for i in range(12) for s, k, p in visit])
    found = pages(e, strata=(), page=["/", "/list", "/z"]).frame.set_index("page")
    assert found.views.to_dict() == {"/": 12, "/list": 12, "/z": 12}
    assert "view:/item" not in set(cl.behaviours(e, by=None, strata=()).to_pandas().behaviour)
