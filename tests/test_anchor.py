"Anchoring from outside: nothing lost, nothing multiplied, still where nothing moved, and honest about what cannot be placed."
from __future__ import annotations

import json

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings as hypothesis_settings
from hypothesis import strategies as st

import crmlab as cl
from crmlab.core import CrmlabError
from crmlab.measure.anchor import TWINS, anchor_shares, anchored
from crmlab.measure.layouts import during, layout_version, version_bounds, versions
from crmlab.measure.visits import layout_of
from crmlab.tables.engine import collect, scan

ENGINES = {"duckdb": lambda f: f, "polars": lambda f: pl.from_pandas(f).lazy()}
few = hypothesis_settings(max_examples=15, deadline=None)
W, H = 1200., 3000.

odd = [None, np.nan, np.inf, -np.inf]
coordinate = st.one_of(st.sampled_from([*odd, 0., -50., 1e9]), st.floats(0, 2000).map(lambda v: round(v, 2)))
share = st.one_of(st.sampled_from([*odd, -.06, -.05, 0., 1., 1.05, 1.06]), st.floats(0, 1).map(lambda v: round(v, 4)))
event = st.tuples(coordinate, coordinate, st.sampled_from([*odd, 0., -1., 360., 1200.]), st.sampled_from([None, 0., 360., 1280.]), st.sampled_from([None, "", "#a", "#a > b", "#twin", "#none", "#flat"]), share, share)
events = st.lists(event, min_size=1, max_size=20)
box = st.tuples(st.sampled_from([None, "#a", "#twin", "#flat"]), *[st.sampled_from([None, np.nan, np.inf, 0., -5., 10., 300.])]*4)
boxes = st.lists(box, max_size=8)
BOXES = pd.DataFrame(dict(selector=["#a", "#twin", "#twin", "#flat"], x=[100., 0, 600, 0], y=[200., 1000, 1000, 0], w=[400., 500, 500, 0], h=[100., 300, 300, 0], page_w=W, page_h=H))


def frame_of(rows):
    e = pd.DataFrame(rows, columns=["x", "y", "page_w", "viewport_w", "selector", "el_x", "el_y"]).astype({c: float for c in ("x", "y", "page_w", "viewport_w", "el_x", "el_y")} | dict(selector="str"))
    return e.assign(n=range(len(e)))


def boxes_of(rows): return pd.DataFrame(rows, columns=["selector", "x", "y", "w", "h"]).astype(dict(x=float, y=float, w=float, h=float, selector="str")).assign(page_w=W, page_h=H)


def placed(frame, layout=BOXES, engine="duckdb", **how): return collect(anchored(ENGINES[engine](frame), layout, **how)).sort_values("n", ignore_index=True)


def by_definition(e, layout, how):
    "Where one event belongs, in plain Python."
    sound = lambda *v: all(x is not None and np.isfinite(x) for x in v)
    width = next((w for w in (e.page_w, e.viewport_w) if sound(w) and w > 0), None)
    plain = (e.x/width, e.y) if width and sound(e.x, e.y) else None
    own = [b for b in layout.itertuples() if isinstance(e.selector, str) and b.selector == e.selector and sound(b.x, b.y, b.w, b.h) and b.w > 0 and b.h > 0]
    own = list(dict.fromkeys((b.x, b.y, b.w, b.h) for b in own))
    if how != "relative" and own and sound(e.el_x, e.el_y) and all(-.05 <= v <= 1.05 for v in (e.el_x, e.el_y)):
        ex, ey = np.clip([e.el_x, e.el_y], 0, 1)
        spots = [(x/W + ex*w/W, y + ey*h) for x, y, w, h in own]
        if len(spots) == 1: return "element", *spots[0]
        if plain: return "element", *min(spots, key=lambda s: (W*(s[0] - plain[0]))**2 + (s[1] - plain[1])**2)
    return ("relative", *plain) if plain and how != "element" else (None, None, None)


@pytest.mark.parametrize("engine", ENGINES)
@few
@given(rows=events, layout=boxes, how=st.sampled_from(["auto", "element", "relative"]))
def test_every_event_follows_the_definition_once(engine, rows, layout, how):
    e, b = frame_of(rows), boxes_of(layout)
    got = placed(e, b, engine, how=how)
    assert list(got.n) == list(e.n)
    for row, g in zip(e.itertuples(), got.itertuples()):
        anchor, x, y = by_definition(row, b, how)
        assert (None if pd.isna(g.anchor) else g.anchor) == anchor
        if anchor is None: assert pd.isna(g.at_x) and pd.isna(g.at_y)
        else: assert (g.at_x, g.at_y) == pytest.approx((x, y))


@few
@given(rows=events, layout=boxes)
def test_shares_add_up_and_none_is_relative(rows, layout):
    e, b = frame_of(rows), boxes_of(layout)
    lazy = anchored(e, b)
    shares, anchor = anchor_shares(lazy), collect(lazy).anchor
    assert sum(shares.values()) == pytest.approx(1) and set(shares) == {"element", "relative", "unplaced"}
    assert shares["element"] == pytest.approx((anchor == "element").mean()) and shares["unplaced"] == pytest.approx(anchor.isna().mean())
    pd.testing.assert_frame_equal(placed(e, b, how="none"), placed(e, b, how="relative"))


inside = st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20)


@pytest.mark.parametrize("engine", ENGINES)
@few
@given(where=inside)
def test_on_the_reference_layout_everything_stays(engine, where):
    "Also among twins of very different sizes, near each other's borders; and moving twice is moving once."
    layout = pd.DataFrame(dict(selector=["#a", "#t", "#t", "#t", "#b"], x=[0., 100, 900, 910, 0], y=[0., 300, 300, 310, 2000], w=[1200., 795, 250, 20, 600], h=[200., 900, 40, 20, 500], page_w=W, page_h=H))
    at = pd.DataFrame(where, columns=["box", "el_x", "el_y"]).join(layout, on="box")
    e = pd.DataFrame(dict(x=at.x + at.el_x*at.w, y=at.y + at.el_y*at.h, page_w=W, viewport_w=W, selector=at.selector, el_x=at.el_x, el_y=at.el_y, n=range(len(at))))
    once = placed(e, layout, engine)
    assert set(once.anchor) == {"element"}
    assert once.at_x.to_numpy()*W == pytest.approx(e.x.to_numpy()) and once.at_y.to_numpy() == pytest.approx(e.y.to_numpy())
    twice = placed(once.assign(x=once.at_x*W, y=once.at_y), layout, engine)
    pd.testing.assert_frame_equal(twice.drop(columns=["x", "y"]), once.drop(columns=["x", "y"]))


def test_a_narrow_window_lands_on_the_wide_layout():
    narrow = frame_of([(180., 650., 360., 360., "#a", .5, .5), (180., 650., 360., 360., "#a > b", .5, .5), (180., 650., 360., 360., "#a", None, None)])
    got = placed(narrow)
    assert list(got.anchor) == ["element", "relative", "relative"]    # neither an ancestor nor a selector without a place will do
    assert got[["at_x", "at_y"]].values.tolist() == [[.25, 250.], [.5, 650.], [.5, 650.]]


@pytest.mark.parametrize("page_w", [390., 1366., 1440.])
def test_the_right_edge_is_on_the_page(page_w):
    "A share of the left edge and one of the width do not add up to a trifle more than 1."
    left = np.arange(0, page_w)
    layout = pd.DataFrame(dict(selector=[f"#{i:.0f}" for i in left], x=left, y=0., w=page_w - left, h=10., page_w=page_w, page_h=H))
    got = placed(frame_of([(1., 1., W, W, s, 1., 1.) for s in layout.selector]), layout)
    assert (got.anchor == "element").all() and (got.at_x == 1).all() and (got.at_y == 10).all()


def test_element_places_without_coordinates_and_twins_need_them():
    "Matomo writes the share of the element and no pixel."
    e = frame_of([(None, None, 1200., None, "#a", .5, .5), (None, None, 1200., None, "#twin", .5, .5), (800., 1100., 1200., None, "#twin", .5, .5)])
    got = placed(e)
    assert got.anchor.fillna("-").tolist() == ["element", "-", "element"] and got.at_x[2] == pytest.approx(850/W)


def test_boxes_that_hold_nothing():
    e = frame_of([(10., 10., 100., 100., "#flat", .5, .5), (10., 10., 100., 100., None, .5, .5)])
    for layout in (BOXES, BOXES[:0], layout_of(e, None, "/", "desktop"), BOXES.assign(selector=None), BOXES.assign(page_w=0.), BOXES.assign(w=np.nan)):
        assert placed(e, layout).anchor.tolist() == ["relative", "relative"]
        assert placed(e, layout, how="element").anchor.isna().all()


def test_a_selector_of_too_many_elements_names_none():
    many = lambda n: pd.DataFrame(dict(selector="li", x=np.arange(n)*10., y=100., w=8., h=8., page_w=W, page_h=H))
    e = frame_of([(14., 104., W, W, "li", .5, .5)])
    assert placed(e, many(TWINS)).anchor[0] == "element" and placed(e, many(TWINS + 1)).anchor[0] == "relative"
    assert placed(e, pd.concat([many(1)]*40)).anchor[0] == "element"      # one box told forty times is one box


@pytest.mark.parametrize("engine", ENGINES)
def test_tables_with_less(engine):
    "x and y are enough to ask; without any width nothing can be placed. Whole numbers and columns of older results do no harm."
    got = collect(anchored(ENGINES[engine](pd.DataFrame(dict(x=[1, 2], y=[3, 4], anchor="old", at_x=9.))), BOXES))
    assert got.anchor.isna().all() and list(got.columns) == ["x", "y", "at_x", "at_y", "anchor"]
    got = collect(anchored(ENGINES[engine](pd.DataFrame(dict(x=[1, 2], y=[3, 4], viewport_w=[4, 0]))), BOXES)).sort_values("x", ignore_index=True)
    assert got.anchor.fillna("-").tolist() == ["relative", "-"] and got.at_x[0] == .25
    nobody = anchor_shares(anchored(ENGINES[engine](pd.DataFrame(dict(x=[1.], y=[1.]))), BOXES).filter(nw.col("x") > 5))
    assert all(np.isnan(v) for v in nobody.values())


def test_refusals_are_one_line():
    e = frame_of([(1., 1., 1., 1., None, None, None)])
    for call, told in [(lambda: anchored(e, BOXES, how="pixel"), "known: auto, element, relative, none"), (lambda: anchored(e.drop(columns="y"), BOXES), "anchored needs column 'y'"),
                       (lambda: anchored(e, BOXES.drop(columns="page_w")), "anchored needs column 'page_w'"), (lambda: anchored(e, BOXES.assign(device=["desktop"]*2 + ["mobile"]*2)), "(device: desktop, mobile)")]:
        with pytest.raises(CrmlabError, match=".") as error: call()
        assert told in str(error.value) and "\n" not in str(error.value)


@pytest.mark.data("posthog_heatmap")
def test_relative_x_as_posthog_counts_it(data):
    case = json.loads((data/"posthog_heatmap/heatmap_expected.json").read_text(encoding="utf-8"))["clicks_by_viewport"]
    stored = lambda v: 16*round(v/16)
    widths = pd.Series([stored(w) for w in case["events_viewport_width"]]).drop_duplicates(keep="last")
    widths = pd.concat([pd.Series([stored(150)]), widths], ignore_index=True)   # 152 and 161 fall on one place at one moment of one session, and count once
    e = pd.DataFrame(dict(x=float(stored(case["x"])), y=float(case["pointer_y"]), viewport_w=widths.astype(float)))
    for c in case["cases"]:
        within = e[(e.viewport_w >= stored(c["viewport_width_min"])) & (e.viewport_w <= stored(c.get("viewport_width_max", 10**6)))]
        got = collect(anchored(within, BOXES[:0]))
        assert set(got.at_y) <= {case["pointer_y"]}
        found = got.at_x.round(2).value_counts().sort_index()
        assert [dict(pointer_relative_x=x, count=n) for x, n in found.items()] == c["expected"]


# --- versions

def day(d): return pd.Timestamp("2026-10-01T00:00Z") + pd.Timedelta(days=d)


version = st.tuples(st.sampled_from("abc"), st.sampled_from([None, 0, 3, 3, 8]), st.sampled_from([None, 5, 20]), st.sampled_from(["#a", "#b"]))


def layouts_of(rows):
    frame = pd.DataFrame(rows, columns=["version", "since", "until", "selector"])
    moment = lambda c: pd.to_datetime(frame[c].map(lambda d: pd.NaT if pd.isna(d) else day(d)), utc=True)
    return frame.assign(valid_from=moment("since"), valid_to=moment("until"), page="/", device="desktop", x=0., y=0., w=10., h=10., page_w=W, page_h=H).drop(columns=["since", "until"])


@few
@given(rows=st.lists(version, min_size=1, max_size=8), before=st.booleans())
def test_no_moment_has_two_versions(rows, before):
    known = versions(layouts_of(rows), page="/", device="desktop")
    moments = scan(pd.DataFrame(dict(ts=[day(d/2) for d in range(-2, 50)])))
    starts = known.valid_from.fillna(day(-10**4))
    assert starts.is_monotonic_increasing and list(known.shared) == list(starts.duplicated(keep=False))
    seen = [(row.valid_from, moment) for row in known.itertuples() for moment in collect(moments.filter(*during(row, before=before))).ts]
    held = pd.DataFrame(seen, columns=["since", "ts"]).drop_duplicates()
    assert not held.ts.duplicated().any()
    assert all(pd.isna(row.valid_to) or pd.isna(row.valid_from) or row.valid_from <= row.valid_to or not collect(moments.filter(*during(row))).size for row in known.itertuples())


@few
@given(rows=st.lists(version, min_size=1, max_size=8))
def test_the_newest_version_is_that_of_layout_of(rows):
    layouts = layouts_of(rows)
    if layouts.valid_from.isna().any(): layouts = layouts.drop(columns=["valid_from", "valid_to"])
    boxes, row = layout_version(layouts, page="/", device="desktop")
    want = layout_of(None, layouts, "/", "desktop")
    assert row.version == want.version.iloc[0] and sorted(boxes.selector) == sorted(want.selector) and row.elements == len(want)
    for name in set(layouts.version): assert set(layout_version(layouts, page="/", device="desktop", version=name)[0].version) == {name}


def test_versions_of_a_shop_and_of_none(tmp_path):
    layouts_of([("1", 0, None, "#a"), ("1", 0, None, "#b"), ("2", 5, None, "#a")]).to_parquet(tmp_path/"layouts.parquet")
    pd.DataFrame(dict(event_id=["e1", "e2"], ts=[day(1), day(6)], visitor_id="v", event="click", page="/", device="desktop", x=5., y=5., page_w=500., selector="#a", el_x=.5, el_y=.5)).to_parquet(tmp_path/"events.parquet")
    shop = cl.import_data("parquet", tmp_path/"events.parquet", into=tmp_path/"shop", table="events")
    assert versions(shop, page="/", device="desktop").empty
    boxes, row = layout_version(shop, page="/", device="desktop")
    assert boxes.empty and row is None and version_bounds(row) == (None, None) and len(collect(shop.events.lazy().filter(*during(row)))) == 2
    shop = cl.import_data("parquet", tmp_path/"layouts.parquet", into=tmp_path/"shop", table="layouts")
    known = versions(shop, page="/", device="desktop")
    assert known.version.tolist() == ["1", "2"] and known.elements.tolist() == [2, 1] and known.valid_to[0] == day(5) and pd.isna(known.valid_to[1])
    boxes, row = layout_version(shop, page="/", device="desktop")
    got = collect(anchored(shop.events.lazy().filter(*during(row)), boxes))
    assert got.event_id.tolist() == ["e2"] and got.at_x[0] == pytest.approx(5/W) and got.at_y[0] == 5
    with pytest.raises(CrmlabError, match="no version '3'"): layout_version(shop, page="/", device="desktop", version="3")


@pytest.mark.spark
@pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas")
def test_spark_says_the_same(spark):
    rng = np.random.default_rng(1)
    n = 300
    e = pd.DataFrame(dict(x=rng.integers(-5, 1300, n).astype(float), y=rng.integers(0, 3000, n).astype(float), page_w=rng.choice([0., 360., W], n), viewport_w=W, selector=rng.choice(["#a", "#twin", "#flat", "#none"], n),
                          el_x=rng.uniform(-.1, 1.1, n), el_y=rng.uniform(0, 1, n), n=range(n)))
    got = collect(anchored(spark.createDataFrame(e), BOXES)).sort_values("n", ignore_index=True)
    pd.testing.assert_frame_equal(got[["at_x", "at_y", "anchor"]], placed(e)[["at_x", "at_y", "anchor"]], check_dtype=False)
