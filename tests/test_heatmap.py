"Click heatmaps from outside: nothing lost, nothing invented, exposure and rates by hand, and plots that draw."
from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings as hypothesis_settings
from hypothesis import strategies as st

import crmlab as cl

START = pd.Timestamp("2026-10-01T00:00:00Z")
ENGINES = {"duckdb": lambda f: f, "polars": lambda f: pl.from_pandas(f).lazy()}
few = hypothesis_settings(max_examples=5, deadline=None)
COLUMNS = ["segment", "col", "row", "x0", "x1", "y0", "y1", "n", "visits", "users", "exposed", "rate", "lo", "hi", "per_visit"]
W, H = 1000., 1300.   # a page whose height is no multiple of the row

# a click: user, visit of that user, x, y; some lie outside the page or have no place
click = st.tuples(st.integers(0, 5), st.integers(0, 2), st.one_of(st.floats(0, W), st.sampled_from([-3., W + 1, None])), st.one_of(st.floats(0, H), st.sampled_from([-1., H + 5, None])))
clicks = st.lists(click, min_size=1, max_size=40)
scrolls = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.floats(0, 800)), max_size=15)


def events_of(clicks, scrolls=()):
    "A page view for every visit that occurs, its clicks and its scrolls."
    rows = [(u, v, "page_view", None, None, None) for u, v in sorted({(c[0], c[1]) for c in [*clicks, *scrolls]})]
    rows += [(u, v, "click", x, y, None) for u, v, x, y in clicks] + [(u, v, "scroll", None, None, s) for u, v, s in scrolls]
    e = pd.DataFrame(rows, columns=["u", "v", "event", "x", "y", "scroll_y"]).astype(dict(x="float", y="float", scroll_y="float"))
    e = e.assign(user_id="m" + e.u.astype(str), visitor_id="b" + e.u.astype(str), ts=START + pd.to_timedelta(e.v, unit="D") + pd.to_timedelta(e.groupby(["u", "v"]).cumcount(), unit="s"))
    return e.assign(rank=np.where(e.u % 2 == 0, "Bronze", "Royal"), page="/", device="desktop", page_w=W, page_h=H, viewport_w=W, viewport_h=500.).drop(columns=["u", "v"])


def on_page(e): return e[(e.event == "click") & e.x.between(0, W) & e.y.between(0, H)]


@pytest.mark.parametrize("engine", ENGINES)
@few
@given(clicks=clicks, scrolls=scrolls, grid=st.sampled_from([(64, 20), (7, 130), (1, 1300), (10, 77)]))
def test_cells_sum_to_the_clicks_and_segments_to_the_total(engine, clicks, scrolls, grid):
    e = events_of(clicks, scrolls)
    by, total = (cl.heatmap(ENGINES[engine](e), page="/", by=b, grid=grid) for b in ("rank", None))
    counts = ["n", "visits", "users", "exposed"]
    assert list(by.frame.columns) == COLUMNS and by.frame.n.sum() == len(on_page(e))
    pooled = by.frame.groupby(["row", "col"])[counts].sum()
    assert (pooled == total.frame.set_index(["row", "col"])[counts].sort_index()).all(axis=None)
    rows = total.meta["rows"]
    assert rows["placed"] + rows["outside"] + rows["unplaced"] == rows["clicks"] == (e.event == "click").sum()
    assert rows["unplaced"] == (e[e.event == "click"][["x", "y"]].isna().any(axis=1)).sum()


@few
@given(clicks=clicks)
def test_counts_are_those_of_histogram2d(clicks):
    e = events_of(clicks)
    frame, inside = cl.heatmap(e, page="/", grid=(8, 100)).frame, on_page(e)
    expected = np.histogram2d(inside.x/W, inside.y, bins=(np.arange(9)/8, np.arange(0, 1301, 100)))[0]
    assert (frame.pivot(index="col", columns="row", values="n").to_numpy() == expected).all()


@few
@given(clicks=clicks, scrolls=scrolls, of=st.sampled_from(["exposed", "visit"]))
def test_exposure_rates_and_users_follow_their_definition(clicks, scrolls, of):
    e = events_of(clicks, scrolls)
    heat = cl.heatmap(e, page="/", by="rank", grid=(4, 100), of=of)
    e["visit"] = e.user_id + e.ts.dt.strftime("%d")
    bottom = np.minimum(e.scroll_y.fillna(0) + 500, H)
    deepest = (np.ceil(bottom/100) - 1).groupby(e.visit).max()
    inside = on_page(e).assign(col=lambda c: np.minimum(c.x*4//W, 3), row=lambda c: np.minimum(c.y//100, 12))
    deepest = np.maximum(deepest, inside.groupby("visit").row.max().reindex(deepest.index).fillna(0))
    rank = e.groupby("visit")["rank"].first()
    for segment, cells in heat.frame.groupby("segment"):
        mine = deepest[rank == segment]
        assert list(cells[cells.col == 0].exposed) == [(mine >= r).sum() for r in range(13)]
        clicked = inside[inside["rank"] == segment].groupby(["row", "col"])
        want = pd.DataFrame(dict(visits=clicked.visit.nunique(), users=clicked.user_id.nunique())).reindex(pd.MultiIndex.from_arrays([cells.row, cells.col]), fill_value=0)
        assert (want.to_numpy() == cells[["visits", "users"]].to_numpy()).all()
        known = (of == "visit") | bool(scrolls) | (cells.y0 < 500)   # where nobody scrolled, nobody said that they could not
        base = (cells.exposed if of == "exposed" else pd.Series(len(mine), cells.index)).where(known, 0)
        assert (cells.rate.fillna(-1) == (cells.visits/base.where(base > 0)).fillna(-1)).all()
        assert ((cells.rate.isna()) | (cells.rate <= 1)).all()
    users = heat.users
    sums = users.groupby(["segment", "row", "col"])[["n", "visits"]].sum()
    assert (sums == heat.frame.set_index(["segment", "row", "col"])[["n", "visits"]].loc[sums.index]).all(axis=None)
    assert heat.depths.visits.sum() == e.visit.nunique()


def shop_like(users=60, seed=1):
    "Members with two visits each; everybody clicks the button at the top, Royal members twice as often the banner at 900 px."
    rng, rows, seen = np.random.default_rng(seed), [], []
    for u in range(users):
        for v in range(2):
            seen.append((u, v, 600.))
            if rng.random() < .4: rows.append((u, v, 500., 50.))
            if rng.random() < (.3 if u % 2 == 0 else .6): rows.append((u, v, 700., 910.))
    return events_of(rows, seen)


def test_intervals_count_people_not_clicks():
    e = shop_like()
    cell = lambda heat: heat.frame[(heat.frame.col == 32) & (heat.frame.row == 2)].iloc[0]
    once = cell(cl.heatmap(e, page="/"))
    again = e.assign(ts=e.ts + pd.Timedelta(hours=6), visitor_id=e.visitor_id + "x")   # the same people do the same again
    twice = cell(cl.heatmap(pd.concat([e, again]), page="/"))
    assert twice.exposed == 2*once.exposed and twice.rate == pytest.approx(once.rate)
    assert twice.hi - twice.lo > .97*(once.hi - once.lo)
    assert (once.lo < once.rate < once.hi) and once.per_visit == pytest.approx(once.n/once.exposed)


def test_one_person_and_three_people_never_look_certain():
    e = shop_like()
    mad = pd.concat([e, *[on_page(e).head(1)]*5_000])
    top = cl.heatmap(mad, page="/").frame.sort_values("n").iloc[-1]
    assert top.n > 5_000 and top.rate < .6
    three = cl.heatmap(e[e.user_id.isin(["m0", "m2", "m4"])], page="/")
    assert three.frame.lo.isna().all() and three.frame.n.sum() > 0 and three.meta["few"] == {"(all)": 3}


@pytest.mark.parametrize("broken, why", [(dict(page_h=0.), "no page height"), (dict(page_w=None), "no page width"), (dict(viewport_h=None), "no window"), (dict(viewport_h=-1.), "impossible window"),
                                         (dict(scroll_y=1e12), "absurd scroll"), (dict(x=float("nan")), "no coordinates"), (dict(y=float("inf")), "infinite coordinates")])
def test_bad_columns_are_counted_not_mapped(broken, why):
    e = shop_like().assign(**broken).astype({k: "float" for k in broken})
    heat = cl.heatmap(e, page="/", by="rank")
    rows = heat.meta["rows"]
    assert heat.frame.n.sum() == rows["placed"] and rows["placed"] + rows["outside"] + rows["unplaced"] == (e.event == "click").sum(), why
    assert heat.frame.row.max() < 5_001 and heat.text("en")
    heat.plot()


def test_unknown_pages_devices_and_options_are_refused_by_name():
    e = shop_like(12)
    for options, message in [(dict(page="/x"), "no events of page '/x'"), (dict(page="/", device="mobile"), "it was seen on desktop"), (dict(page="/", kind="look"), "kind='look' is not available"),
                             (dict(page="/", prob=95), "prob=95 is not an interval width"), (dict(page="/", grid=(20_000, 1)), "give fewer columns or taller rows"), (dict(page="/", anchor="pixel"), "anchor='pixel' is not available"), (dict(page="/", of="click"), "of='click'"), (dict(page="/", grid=64), "two whole numbers"), (dict(page="/", grid=(0, 20)), "two whole numbers")]:
        with pytest.raises(cl.CrmlabError, match=message): cl.heatmap(e, **options)


@pytest.mark.parametrize("kind", ["click", "scroll", "attention"])
def test_where_nobody_told_how_far_they_scrolled_only_the_first_screen_is_known(kind):
    e = shop_like().assign(scroll_y=np.nan)
    heat = cl.heatmap(e, page="/", kind=kind, grid=(10, 100))
    value, fold = "per_visit" if kind == "attention" else "rate", heat.meta["fold"]
    assert heat.frame[heat.frame.y0 >= fold][[value, "lo", "hi"]].isna().all(axis=None) and "no event has scroll_y" in heat.meta["note"]
    assert heat.frame[heat.frame.y0 < fold][value].notna().all() == (kind != "attention")
    if kind == "click": assert cl.heatmap(e, page="/", of="visit").frame.rate.notna().all()
    still = cl.heatmap(e.assign(scroll_y=0.), page="/", kind=kind, grid=(10, 100))   # told, and nobody scrolled: that is known
    assert "note" not in still.meta and still.frame[still.frame.y0 < fold][value].notna().all()


@pytest.mark.parametrize("kind", ["click", "move", "scroll", "attention"])
def test_no_map_mixes_versions_of_a_page(kind):
    e, moved_on = shop_like(), pd.Timestamp("2026-11-01T00:00Z")
    e = e.assign(event=e.event.where((e.event != "click") | (kind != "move"), "mouse_move"))
    later = e.assign(ts=e.ts + pd.Timedelta(days=60), visitor_id=e.visitor_id + "later")
    box = dict(page="/", device="desktop", selector="#b", x=0., y=0., w=W, h=100., page_w=W, page_h=H)
    layouts = pd.DataFrame([box | dict(version="1", valid_from=START), box | dict(version="2", valid_from=moved_on)])
    newest = cl.heatmap(pd.concat([e, later]), page="/", kind=kind, layouts=layouts)
    pd.testing.assert_frame_equal(newest.frame, cl.heatmap(later, page="/", kind=kind, layouts=layouts).frame)
    assert newest.meta["rows"]["other_versions"] == len(e) and f"{len(e):,} events on other versions" in newest.text("en")


def test_what_is_not_on_the_map_is_said():
    e = shop_like()
    heat = cl.heatmap(e.assign(x=e.x + 5 * W), page="/")
    clicks = (e.event == "click").sum()
    assert heat.frame.n.sum() == 0 and heat.text("en").endswith(f"{clicks:,} actions lay outside the page or have no known place; they are not on the map.")


@pytest.mark.data("iweb_clicks")
def test_clicks_of_28_people_on_a_web_map(data):
    raw = pd.read_csv(data/"iweb_clicks/raw_data.csv")
    downs = raw.mouse_clicks.astype(str).str.extractall(r"Down:(?P<ms>\d+):(?P<x>-?\d+):(?P<y>-?\d+)").astype("int64").droplevel(1).join(raw[["typ", "subject"]])
    e = downs.assign(ts=pd.to_datetime(downs.ms, unit="ms", utc=True), event="click", page="/map", device="desktop", visitor_id=downs.subject.astype(str) + downs.typ, user_id=downs.subject.astype(str),
                     x=downs.x.astype(float), y=downs.y.astype(float), page_w=1366., page_h=900., viewport_w=1366., viewport_h=900., scroll_y=0.)
    heat = cl.heatmap(e, page="/map", by="typ", grid=(32, 40))
    assert heat.frame.n.sum() == 5029 and heat.meta["users"] == dict(map=28, sat=28)
    counts = np.histogram2d(e.x/1366, e.y, bins=(np.arange(33)/32, np.arange(0, 921, 40)))[0]
    assert (heat.frame.groupby(["col", "row"]).n.sum().unstack().to_numpy() == counts).all()
    top = heat.frame[heat.frame.segment == "map"].sort_values("lo", na_position="first").iloc[-1]
    assert heat.frame.users.max() <= 28 and 0 < top.lo < top.rate <= top.hi <= 1   # one person's hundred clicks on one spot are one person
    smooth, diff = cl.smooth(heat), cl.heatmap_diff(heat, a="map", b="sat")
    flagged = diff.frame[diff.frame.flagged]
    assert smooth.frame.smooth.notna().all() and (flagged.y0 >= 680).all() and len(flagged) <= 8   # the same people on the same tasks: the map is used alike, one of the buttons below it is not


def test_devices_are_never_mixed():
    e = shop_like()
    mixed = pd.concat([e, e.assign(device="mobile", visitor_id=e.visitor_id + "m")])
    pd.testing.assert_frame_equal(cl.heatmap(mixed, page="/").frame, cl.heatmap(e, page="/").frame)


@pytest.mark.parametrize("lang, names", [("ja", ["「/」", "クリック", "バナー"]), ("en", ["“/”", "clicks", "バナー"])])
def test_plots_draw_over_the_layout_and_sentences_name_the_element(lang, names, monkeypatch):
    import warnings

    import matplotlib.pyplot as plt
    monkeypatch.setenv("CRMLAB_LANGUAGE", lang)
    layouts = pd.DataFrame(dict(page="/", device="desktop", version="1", valid_from=START, selector="#b", label="バナー", x=600., y=880., w=300., h=80., page_w=W, page_h=H), index=[0])
    heat = cl.heatmap(shop_like(), page="/", by="rank", layouts=layouts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")          # a glyph that is missing is a warning
        ax = heat.plot()
        ax.figure.canvas.draw()
        given = plt.subplots()[1]
        assert heat.plot(ax=given) is given
        given.figure.canvas.draw()
    plt.close("all")
    text = heat.text(lang)
    assert all(n in text for n in names) and "Royal" in text and "{" not in text
