"Smoothing from outside: nothing lost, nothing certain that is not, bandwidths that people choose, intervals that count people."
from __future__ import annotations

import time
from functools import cache

import numpy as np
import pandas as pd
import pytest

import crmlab as cl
from crmlab.measure import smooth as inner
from crmlab.measure.smooth import SmoothHeatmap, smooth

ADDED = ["smooth", "smooth_lo", "smooth_hi"]
W, H = 1280., 2000.


def shop_like(users=60, seed=1, *, visits=3, flat=False, rank=lambda u: np.where(u % 2 == 0, "Bronze", "Royal")):
    "Visits that click a soft button at (640, 400) and, less often, a banner at (900, 1300); `flat`: everyone sees the whole page."
    rng = np.random.default_rng(seed)
    u = np.repeat(np.arange(users), visits)
    v = pd.DataFrame(dict(u=u, ts=pd.Timestamp("2026-10-01T00:00:00Z") + pd.to_timedelta(np.arange(len(u)), unit="D"), bottom=H if flat else rng.choice([700., 1400., H], len(u))))
    own, parts = rng.beta(.6, 1.4, users), [v.assign(event="page_view", scroll_y=v.bottom - 700)]
    for x, y, factor in [(640, 400, 1.), (900, 1300, .6)]:
        c = v[rng.random(len(v)) < factor*own[u]]
        parts.append(c.assign(event="click", x=rng.normal(x, 70, len(c)).clip(0, W), y=rng.normal(y, 40, len(c)).clip(0, H)))
    e = pd.concat(parts, ignore_index=True)
    e = e[(e.event != "click") | (e.y < e.bottom)]
    return e.assign(user_id="m" + e.u.map("{:05}".format), visitor_id="b" + e.u.astype(str), rank=rank(e.u), page="/", device="desktop", page_w=W, page_h=H, viewport_w=W, viewport_h=700.).drop(columns=["u", "bottom"])


def map_of(events, **options): return cl.heatmap(events, page="/", **{"grid": (32, 40), **options})


@cache
def dozen(of): return map_of(shop_like(12, 2), of=of)


@cache
def plain(): return map_of(shop_like())


def test_raw_columns_stay_and_the_result_is_a_heatmap():
    heat = map_of(shop_like(), by="rank")
    got = smooth(heat)
    assert isinstance(got, SmoothHeatmap) and isinstance(got, type(heat))
    assert list(got.frame) == [*heat.frame, *ADDED]
    pd.testing.assert_frame_equal(got.frame[list(heat.frame)], heat.frame)
    pd.testing.assert_frame_equal(got.users, heat.users)
    assert not set(ADDED) & set(heat.frame) and "bandwidth" not in heat.meta
    assert len(got.meta["bandwidth"]) == 2 and all(b > 0 for b in got.meta["bandwidth"])
    table = got.meta["likelihood"]
    assert list(table) == ["across", "down", "fold", "gain"] and np.isfinite(table).all(axis=None)
    assert table.groupby(["across", "down"]).gain.mean().idxmax() == got.meta["bandwidth"]
    pd.testing.assert_frame_equal(smooth(got).frame, got.frame)   # smoothing again starts from the raw columns


def test_a_constant_rate_stays_constant():
    every = pd.concat([shop_like(20, flat=True).query("event == 'page_view'")])
    x, y = np.meshgrid((np.arange(8) + .5)*W/8, (np.arange(10) + .5)*200)
    clicks = every.drop(columns="scroll_y").merge(pd.DataFrame(dict(cx=x.ravel(), cy=y.ravel())), how="cross")
    clicks = clicks[clicks.groupby("ts").ngroup() % 3 == 0]   # one visit of each person clicks every cell
    heat = map_of(pd.concat([every, clicks.assign(event="click", x=clicks.cx, y=clicks.cy)]), grid=(8, 200))
    assert heat.frame.rate.to_numpy() == pytest.approx(1/3)
    for bandwidth in (10, 150, (300, 40)):
        assert smooth(heat, bandwidth=bandwidth).frame.smooth.to_numpy() == pytest.approx(1/3)


@pytest.mark.parametrize("bandwidth", [15, 60, (200, 20), (20, 300)])
def test_totals_are_conserved_where_exposure_is_flat(bandwidth):
    heat = map_of(shop_like(flat=True))
    got = smooth(heat, bandwidth=bandwidth).frame
    assert (got.smooth*got.exposed).sum() == pytest.approx(heat.frame.visits.sum())
    assert got.smooth.max() < heat.frame.rate.max()


def test_of_all_visits_conserves_totals_at_any_depth():
    heat = map_of(shop_like(), of="visit", by="rank")
    got = smooth(heat, bandwidth=50).frame
    got["all"] = got.segment.map(heat.meta["visits"])
    assert (got.smooth*got["all"]).groupby(got.segment).sum().to_numpy() == pytest.approx(heat.frame.groupby("segment").visits.sum().to_numpy())


def test_almost_no_bandwidth_is_the_raw_map():
    heat = plain()
    got = smooth(heat, bandwidth=.5).frame.dropna(subset="smooth")
    assert got.smooth.to_numpy() == pytest.approx(got.rate.to_numpy())


@pytest.mark.parametrize("of", ["exposed", "visit"])
@pytest.mark.parametrize("widths", [(.3, .3), (1.4, 2.6), (9., 1.), (2., 8.)])
@pytest.mark.parametrize("many", [0, 6, 200])
def test_sums_over_people_equal_the_long_way(of, widths, many, monkeypatch):
    monkeypatch.setattr(inner, "MANY", many)
    monkeypatch.setattr(inner, "PORTION", 3_000)
    people = inner._people(dozen(of))["(all)"]
    y = inner._smoothed(people.clicks.toarray().reshape(-1, *people.shape), widths)
    x = inner._along(people.depth.toarray() @ people.reach, widths[0], 1)[:, :, None]
    for got, expected in zip(inner._sums(people, widths), [y.sum(0), x.sum(0), (y*y).sum(0), (y*x).sum(0), (x*x).sum(0)]):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4*expected.max())   # kernels end at four bandwidths


def test_more_people_give_narrower_intervals_and_more_visits_of_the_same_people_do_not():
    e = shop_like(60)
    again = e.assign(ts=e.ts + pd.Timedelta(hours=6))
    others = e.assign(user_id="x" + e.user_id, visitor_id="x" + e.visitor_id)
    at = lambda events: smooth(map_of(events), bandwidth=60).frame.query("row == 10 and col == 16").iloc[0]
    once, twice, double = at(e), at(pd.concat([e, again])), at(pd.concat([e, others]))
    width = lambda c: c.smooth_hi - c.smooth_lo
    assert once.smooth == pytest.approx(twice.smooth) == pytest.approx(double.smooth)
    assert twice.exposed == 2*once.exposed and width(twice) > .97*width(once)
    assert .6 < width(double)/width(once) < .8
    assert 0 < once.smooth_lo < once.smooth < once.smooth_hi


def test_wider_prob_gives_wider_intervals_and_the_same_map():
    heat = plain()
    narrow, wide = (smooth(heat, bandwidth=50, prob=p) for p in (.5, .99))
    f, g = (r.frame.dropna(subset="smooth") for r in (narrow, wide))
    assert (f.smooth == g.smooth).all() and (g.smooth_lo <= f.smooth_lo).all() and (g.smooth_hi >= f.smooth_hi).all()
    assert (wide.meta["prob"], wide.meta["smooth_prob"]) == (heat.meta["prob"], .99)
    for r in (f, g): assert ((r.smooth_lo <= r.smooth) & (r.smooth <= r.smooth_hi) & (r.smooth_lo >= 0) & (r.smooth_hi <= 1)).all()


def test_segments_are_smoothed_apart():
    e = shop_like()
    both, bronze = smooth(map_of(e, by="rank"), bandwidth=60), smooth(map_of(e[e["rank"] == "Bronze"], by="rank"), bandwidth=60)
    mine = both.frame[both.frame.segment == "Bronze"].merge(bronze.frame, on=["row", "col"], suffixes=("", "_alone"))
    for c in ADDED: np.testing.assert_allclose(mine[c], mine[f"{c}_alone"], atol=1e-12)


def test_three_people_get_no_value_and_the_text_says_so():
    e = shop_like(rank=lambda u: np.where(u < 3, "Gold", "Bronze"))
    heat = map_of(e, by="rank")
    for bandwidth in ("auto", 60):
        got = smooth(heat, bandwidth=bandwidth)
        gold = got.frame.segment == "Gold"
        assert got.frame[gold][ADDED].isna().all(axis=None) and got.frame[~gold & (got.frame.row < 15)][ADDED].notna().all(axis=None)
        assert "Gold: fewer than 10 people" in got.text("en") and "Goldは10人未満" in got.text("ja")
    alone = map_of(e[e["rank"] == "Bronze"], by="rank")
    assert smooth(heat).meta["bandwidth"] == smooth(alone).meta["bandwidth"]   # three people do not take part in the choice


def test_deep_rows_that_few_saw_get_no_value():
    e = shop_like(40, rank=lambda u: "Bronze")
    e.loc[~e.user_id.isin(["m00001", "m00002", "m00003"]), "scroll_y"] = e.scroll_y.clip(upper=500)
    e = e[(e.event != "click") | (e.y < 1200)]
    got = smooth(map_of(e, by="rank"))
    assert got.frame[got.frame.y0 >= 1200][ADDED].isna().all(axis=None) and got.frame[got.frame.y1 <= 1200][ADDED].notna().all(axis=None)
    assert "Bronze from 1,200 px down" in got.text("en")


def test_too_few_clicks_choose_nothing():
    e = shop_like(40)
    few = pd.concat([e[e.event == "page_view"], e[e.event == "click"].drop_duplicates("user_id").head(4)])
    got = smooth(map_of(few))
    assert got.frame[ADDED].isna().all(axis=None) and np.isnan(got.meta["bandwidth"]).all() and got.meta["likelihood"] is None
    assert "4 people acted, at least 10" in got.meta["note"] and "Fewer than 10 people acted" in got.text("en") and got.text("ja")
    given = smooth(map_of(few), bandwidth=60)
    assert given.frame.smooth.notna().any() and given.plot()
    nobody = smooth(map_of(e[e.event == "page_view"]), bandwidth=60)
    assert nobody.plot() and "No place acted on can be estimated for everyone." in nobody.text("en") and "推定できません" in nobody.text("ja")
    none = nobody.frame.dropna(subset="smooth")
    assert (none.smooth == 0).all() and (none.smooth_lo == 0).all() and (none.smooth_hi > 0).all()


def test_each_segment_without_a_value_gets_its_own_reason():
    e = shop_like(40, rank=lambda u: np.where(u < 3, "Gold", "Bronze"))
    got = smooth(map_of(pd.concat([e[e.event == "page_view"], e[e.event == "click"].head(4)]), by="rank"))
    assert got.text("en") == "Fewer than 10 people acted: no bandwidth can be chosen and nothing is estimated. Nothing is estimated for Gold: fewer than 10 people."


def test_unknown_exposure_gives_no_value():
    got = smooth(map_of(shop_like().drop(columns="viewport_h")))
    assert got.frame[ADDED].isna().all(axis=None) and "viewport_h" in got.meta["note"]
    assert "on screen is unknown" in got.text("en") and got.plot()


def test_one_person_with_ten_thousand_clicks_does_not_choose_the_bandwidth():
    e, rng = shop_like(100), np.random.default_rng(5)
    first = pd.concat([e[e.event == "page_view"].head(1)]*10_000)
    spread = first.assign(event="click", x=W*rng.random(10_000), y=700*rng.random(10_000))
    heap = first.assign(event="click", x=20., y=20.)
    calm = smooth(map_of(e)).meta["bandwidth"]
    for mad in (spread, heap):
        got = smooth(map_of(pd.concat([e, mad])))
        assert all(1/1.7 < a/b < 1.7 for a, b in zip(got.meta["bandwidth"], calm)), (got.meta["bandwidth"], calm)   # at most one step
    hot = got.frame.loc[got.frame.smooth.idxmax()]
    assert abs(hot.x0*W - 640) < 100 and abs(hot.y0 - 400) < 80


def test_rows_in_any_order_and_run_twice_give_the_same():
    e = shop_like()
    a, b = smooth(map_of(e, by="rank")), smooth(map_of(e.sample(frac=1, random_state=2), by="rank"))
    np.testing.assert_allclose(a.frame[ADDED], b.frame[ADDED], rtol=1e-9, atol=1e-12)
    pd.testing.assert_frame_equal(a.meta["likelihood"], b.meta["likelihood"])
    pd.testing.assert_frame_equal(a.frame, smooth(map_of(e, by="rank")).frame)


def test_the_chosen_bandwidth_follows_what_was_planted():
    rng, base = np.random.default_rng(8), shop_like(150, flat=True).query("event == 'page_view'")
    def chosen(dx, dy):
        c = base[rng.random(len(base)) < .5]
        return smooth(map_of(pd.concat([base, c.assign(event="click", x=rng.normal(640, dx, len(c)), y=rng.normal(900, dy, len(c)))]))).meta["bandwidth"]
    narrow, wide, flat = chosen(15, 15), chosen(150, 150), chosen(200, 20)
    assert wide[0] > 2*narrow[0] and wide[1] > 2*narrow[1] and flat[0] > 2*flat[1]


@pytest.mark.parametrize("options, says", [
    (dict(bandwidth=0), "above 0"), (dict(bandwidth=-3), "above 0"), (dict(bandwidth=(10, 20, 30)), "(across, down)"), (dict(bandwidth="wide"), "'auto'"), (dict(bandwidth=None), "'auto'"),
    (dict(bandwidth=float("nan")), "above 0"), (dict(bandwidth=5000), "wider than a quarter"), (dict(prob=95), "interval width")])
def test_impossible_options_are_refused(options, says):
    with pytest.raises(cl.CrmlabError) as e: smooth(plain(), **options)
    assert says in str(e.value) and "\n" not in str(e.value)


def test_a_page_of_unknown_width_and_maps_of_bands_are_refused():
    heat = map_of(shop_like(20))
    heat.meta["page_w"] = float("nan")
    with pytest.raises(cl.CrmlabError, match="width of page '/' is unknown"): smooth(heat)
    heat.meta["arguments"]["kind"] = "attention"
    with pytest.raises(cl.CrmlabError, match="not of kind 'attention'"): smooth(heat)


@pytest.mark.parametrize("grid", [(1, 2000), (1, 40), (64, 2000), (3, 500)])
def test_coarse_grids_work(grid):
    got = smooth(map_of(shop_like(), grid=grid))
    assert got.frame.smooth.notna().any() and got.text("en") and got.plot()


def test_plot_draws_every_segment_and_text_names_a_place():
    got = smooth(map_of(shop_like(), by="rank", layouts=pd.DataFrame([dict(page="/", device="desktop", version="1", selector="#b", label="購入ボタン", x=400., y=300., w=480., h=200., page_w=W, page_h=H)])))
    panels = got.plot().child_axes
    assert [p.get_title().split("\n")[0] for p in panels[:2]] == ["Bronze", "Royal"]
    assert "購入ボタン" in got.text("ja") and "購入ボタン" in got.text("en") and "px" in got.text("en")
    assert "<p>" in got._repr_html_()


def test_a_large_map_takes_seconds():
    "64 × 600 cells, 20,000 people."
    rng, users = np.random.default_rng(1), 20_000
    shape = (600, 64)
    make = lambda cells, size: inner.sparse.csr_array((np.ones(users*cells), (np.repeat(np.arange(users), cells), rng.integers(0, size, users*cells))), shape=(users, size))
    people = inner._People(make(12, shape[0]*shape[1]), make(3, shape[0]), np.tri(shape[0]), shape)
    start = time.process_time()
    widths, _, _ = inner._choose([people], np.array([20., 20.]))
    inner._sums(people, widths)
    assert time.process_time() - start < 15
