"Visible time of page bands from outside: nothing lost, nothing invented, unknown windows counted, engines agree."
from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings as hypothesis_settings
from hypothesis import strategies as st

from crmlab.core import CrmlabError
from crmlab.intervals import ratio_interval
from crmlab.measure.attention import LOOKED, attention, band_reach, band_sums
from crmlab.measure.heatmap import heatmap
from crmlab.tables.engine import collect

START = pd.Timestamp("2026-10-01T00:00:00Z")
ENGINES = {"duckdb": lambda f: f, "polars": lambda f: pl.from_pandas(f).lazy()}
HEIGHT, WINDOW, PAGE = 50, 400., 4000.
COLUMNS = ["segment", "band", "seconds", "visits", "shown", "users", "people", "yy", "xy", "xx", "tt", "tx"]
few = hypothesis_settings(max_examples=4, deadline=None)

# an event: visitor, visit of that visitor, seconds since the one before, where the window is, in bands; bands of a whole window are on the page
event = st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 100), st.integers(0, int((PAGE - WINDOW)/HEIGHT)))
events = st.lists(event, min_size=1, max_size=40)


def events_of(rows) -> pd.DataFrame:
    e = pd.DataFrame(rows, columns=["u", "v", "wait", "band"]).sort_values(["u", "v"], kind="stable")
    seconds = e.groupby(["u", "v"]).wait.cumsum()
    e = e.assign(ts=START + pd.to_timedelta(e.v, unit="D") + pd.to_timedelta(seconds, unit="s"), user_id="m" + e.u.astype(str), visitor_id="b" + e.u.astype(str), rank=np.where(e.u % 2, "Royal", "Bronze"))
    return e.assign(event="scroll", page="/", device="desktop", scroll_y=HEIGHT*e.band.astype(float), viewport_h=WINDOW, page_h=PAGE).drop(columns=["wait", "band"])


def one(rows, **columns) -> pd.DataFrame:
    "One visit: second, event, page, scroll_y."
    e = pd.DataFrame(rows, columns=["second", "event", "page", "scroll_y"]).astype(dict(scroll_y=float))
    return e.assign(**dict(ts=START + pd.to_timedelta(e.second, unit="s"), visitor_id="b", device="desktop", viewport_h=WINDOW, page_h=PAGE) | columns)


def bands(events, height=HEIGHT, size=None, by=None, **options):
    changes, facts = attention(events, page="/", by=by, height=height, **options)
    return band_sums(changes, size=size), facts


@pytest.mark.parametrize("engine", ENGINES)
@few
@given(rows=events, idle=st.sampled_from([5, 30, 60]), centre=st.booleans())
def test_time_is_neither_lost_nor_invented(engine, rows, idle, centre):
    e = events_of(rows)
    frame, facts = bands(ENGINES[engine](e), idle=f"{idle}s", centre=centre)
    waits = e.sort_values("ts").groupby(["u", "v"]).ts.diff().dt.total_seconds().clip(upper=idle)
    assert frame.seconds.sum()*HEIGHT/WINDOW == pytest.approx(waits.sum(), abs=1e-6)
    assert list(frame.columns) == COLUMNS and (frame.visits <= frame.shown).all() and (frame.users <= frame.people).all()
    assert facts["events"] == len(e) and facts["visits"] == e.groupby(["u", "v"]).ngroups and facts["unknown"] == facts["beyond"] == 0


@few
@given(rows=events, centre=st.booleans())
def test_segments_sum_to_the_total_and_engines_agree(rows, centre):
    e = events_of(rows)
    by, total = (bands(e, by=b, size=80, centre=centre)[0] for b in ("rank", None))
    counts = ["visits", "shown", "users", "people", "yy", "xy", "xx"]
    assert (by.groupby("band")[counts].sum().to_numpy() == total[counts].to_numpy()).all()
    np.testing.assert_allclose(by.groupby("band")[["seconds", "tt", "tx"]].sum(), total[["seconds", "tt", "tx"]], atol=1e-6)
    pd.testing.assert_frame_equal(bands(ENGINES["polars"](e), by="rank", size=80, centre=centre)[0], by, atol=1e-7)
    pd.testing.assert_frame_equal(bands(e.sample(frac=1, random_state=1), by="rank", size=80, centre=centre)[0], by, atol=1e-7)


@few
@given(rows=events)
def test_sums_over_people_are_those_of_their_visits(rows):
    e = events_of(rows).sort_values("ts", kind="stable")
    # events of one moment: the window that was lowest keeps the time
    e = e.sort_values(["u", "v", "ts", "scroll_y"], kind="stable")
    e["us"] = (-e.groupby(["u", "v"]).ts.diff(-1).dt.total_seconds()).fillna(0).clip(upper=30)
    t = np.zeros((5, 3, 80)); shown = np.zeros((5, 3, 80), bool)
    for r in e.itertuples():
        band = slice(int(r.scroll_y/HEIGHT), int((r.scroll_y + WINDOW)/HEIGHT))
        t[r.u, r.v, band] += r.us
        shown[r.u, r.v, band] = True
    x, y, t = shown.sum(1), (t >= LOOKED).sum(1), t.sum(1)
    want = dict(seconds=t, visits=y, shown=x, users=y > 0, people=x > 0, yy=y*y, xy=x*y, xx=x*x, tt=t*t, tx=t*x)
    frame, _ = bands(events_of(rows), size=80)
    for name, values in want.items(): np.testing.assert_allclose(frame[name], values.sum(0), atol=1e-7, err_msg=name)


def test_idle_cuts_what_nobody_looked_at():
    e = one([(0, "page_view", "/", 0), (600, "scroll", "/", 0), (610, "page_leave", "/", 0)])
    assert [bands(e, idle=i)[0].seconds.max() for i in ("5s", "30s", "5m", "1h")] == [10, 40, 310, 610]
    with pytest.raises(CrmlabError, match="duration"): bands(e, idle="30 seconds")


def test_another_page_ends_the_view_and_the_end_of_a_visit_counts_nothing():
    e = one([(0, "page_view", "/", 0), (7, "page_view", "/item", 0), (27, "page_view", "/", 0)])
    assert bands(e)[0].seconds.tolist() == [7]*8
    left = one([(0, "page_view", "/", 0), (4, "page_leave", "/", 0), (9, "page_view", "/item", 0)])
    assert bands(left)[0].seconds.tolist() == [4]*8          # nothing is on screen after leaving
    server = one([(0, "page_view", "/", 0), (4, "purchase", None, None), (9, "page_view", "/item", 0)])
    assert bands(server)[0].seconds.tolist() == [9]*8        # an event without a page does not end a view


def test_a_single_event_is_a_visit_that_had_the_screen_for_no_known_time():
    frame, facts = bands(one([(0, "page_view", "/", 0)]))
    assert frame.shown.tolist() == [1]*8 and frame.seconds.sum() == frame.visits.sum() == 0 and facts["visits"] == 1


def test_places_are_carried_within_a_page_view_only():
    e = one([(0, "page_view", "/", 0), (1, "scroll", "/", 2000), (2, "click", "/", None), (3, "page_view", "/", None), (4, "page_leave", "/", None)])
    e["viewport_h"] = [WINDOW, None, None, WINDOW, None]
    frame, facts = bands(e)
    assert frame.seconds[40:48].tolist() == [2]*8 and frame.seconds[:8].tolist() == [2]*8 and facts["unknown"] == 0
    ids = e.assign(pageview_id=["1", "1", "1", "2", "2"])
    pd.testing.assert_frame_equal(bands(ids)[0], frame)


@pytest.mark.parametrize("height", [0., -5., None, np.nan])
def test_unknown_windows_are_counted_and_lie_in_no_band(height):
    e = one([(0, "page_view", "/", 0), (3, "scroll", "/", 100), (8, "page_leave", "/", 100)])
    frame, facts = bands(e.assign(viewport_h=height))
    assert frame.empty and list(frame.columns) == COLUMNS
    assert (facts["unknown"], facts["lost_seconds"], facts["windows"], facts["visits"]) == (3, 8, 0, 1)
    changes, _ = attention(e.assign(viewport_h=height), page="/", height=HEIGHT)
    assert (band_sums(changes, size=5)[["seconds", "shown", "people"]] == 0).all(axis=None) and band_reach(changes, size=5).x.tolist() == [0]*5   # its visit is there, in no band
    later = e.assign(viewport_h=[height, WINDOW, height])   # nothing is carried backwards
    frame, facts = bands(later)
    assert (facts["unknown"], facts["lost_seconds"], frame.seconds.max()) == (1, 3, 5)


@pytest.mark.parametrize("engine", ENGINES)
def test_huge_scrolls_are_counted_and_make_no_bands(engine):
    e = one([(0, "page_view", "/", 0), (2, "scroll", "/", 1e300), (5, "scroll", "/", -1e300), (9, "scroll", "/", np.inf), (10, "page_leave", "/", 0)])
    for page_h in (PAGE, None, 0.):
        frame, facts = bands(ENGINES[engine](e.assign(page_h=page_h).astype(dict(page_h=float))))
        assert (facts["beyond"], facts["lost_seconds"], len(frame), frame.seconds.max()) == (3, 8, 8, 2)


def test_the_window_is_cut_at_the_ends_of_the_page():
    e = one([(0, "page_view", "/", -150), (10, "scroll", "/", 3900), (15, "page_leave", "/", 3900)])
    frame, _ = bands(e)
    assert frame.seconds[frame.seconds > 0].to_dict() == dict.fromkeys(range(5), 10) | {78: 5, 79: 5}


@pytest.mark.parametrize("height", [0, -20, None, "20"])
def test_a_band_of_no_height_is_refused(height):
    with pytest.raises(CrmlabError, match="height="): attention(one([(0, "page_view", "/", 0)]), page="/", height=height)


def test_unknown_pages_devices_and_columns_are_named():
    e = one([(0, "page_view", "/", 0)])
    with pytest.raises(CrmlabError, match="heatmap.*'/x'"): attention(e, page="/x", who="heatmap")
    with pytest.raises(CrmlabError, match="desktop"): attention(e, page="/", device="mobile")
    with pytest.raises(CrmlabError, match="viewport_h"): attention(e.drop(columns="viewport_h"), page="/")


def test_weights_move_time_to_the_centre_and_keep_the_counts():
    e = one([(0, "page_view", "/", 400), (12, "page_leave", "/", 400)])
    (plain, _), (centre, _) = bands(e), bands(e, centre=True)
    shape = np.array([1, 2, 3, 4, 4, 3, 2, 1])
    np.testing.assert_allclose(centre.seconds[8:], 12*shape*8/shape.sum())
    np.testing.assert_allclose(centre.tt, centre.seconds**2, atol=1e-9)
    pd.testing.assert_frame_equal(centre[["visits", "shown", "xx", "yy"]], plain[["visits", "shown", "xx", "yy"]])


def test_reach_counts_every_band_above_the_deepest():
    e = one([(0, "page_view", "/", 0), (1, "scroll", "/", 3000), (2, "page_leave", "/", 3000)])
    changes, facts = attention(e, page="/", height=HEIGHT)
    reach, frame = band_reach(changes, size=80), band_sums(changes, size=80)
    assert facts["deepest"] == 67 and reach.y.tolist() == [1]*68 + [0]*12
    assert frame.shown.tolist() == [1]*8 + [0]*52 + [1]*8 + [0]*12     # what flew past was not on screen


def test_intervals_take_the_sums():
    rng = np.random.default_rng(3)
    e = events_of([(int(u), int(v), int(w), int(b)) for u, v, w, b in zip(rng.integers(0, 5, 300), rng.integers(0, 3, 300), rng.integers(0, 9, 300), rng.integers(0, 72, 300))])
    f, _ = bands(e, by="rank")
    est, lo, hi, _ = ratio_interval(f.visits, f.shown, f.yy, f.xy, f.xx, f.people, share=True)
    mean, low, high, _ = ratio_interval(f.seconds, f.shown, f.tt, f.tx, f.xx, f.people)
    sure = f.people >= 2
    assert sure.any() and ((lo <= est) & (est <= hi))[sure].all() and ((low <= mean) & (mean <= high))[sure & (high > low)].all()


def test_changes_are_sparse_and_name_their_visit():
    e = one([(0, "page_view", "/", 0), (1, "click", "/", 0), (2, "click", "/", 0), (3, "page_leave", "/", 0)], user_id="m1")
    changes = collect(attention(e, page="/", height=HEIGHT)[0]).sort_values("band")
    assert changes[["segment", "cluster", "visitor_id", "visit_no", "band", "us", "windows"]].values.tolist() == [["(all)", "m1", "b", 1, 0, 3*10**6, 4], ["(all)", "m1", "b", 1, 8, -3*10**6, -4]]


# --- simulated shops as stored, whose windows are known at every moment

SEEDS = 11, 12
START_OF_STEPS, WAY, BACK = 60, .6, .9   # px of the first flick; shares of the stay when the way down ends, and when a link out of sight is gone back to


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    "Shops of one block, written to disk and read back, by seed."
    from crmlab.sources.simulate import simulate
    return {seed: simulate("bronze_royal", users=1000, seed=seed, into=tmp_path_factory.mktemp("made")/"shop") for seed in SEEDS}


def drawn(seed) -> pd.DataFrame:
    "The windows of all views of the block, drawn again from its seed: when each began to rest where, by the words of the simulator's description."
    from crmlab.sources.browsing import draw_views, link_clicks, window_path
    from crmlab.sources.population import draw_people, stream
    from crmlab.sources.scenarios import WINDOWS, read_scenario
    scenario = read_scenario("bronze_royal")
    people = draw_people(scenario, seed=seed, block=0)
    views = draw_views(scenario, people, stream(seed, 0, "walk"))
    path = window_path(scenario, people, views, *link_clicks(scenario, people, views, stream(seed, 0, "events")))
    window = people.visits.window[views.visit]
    of = pd.DataFrame(dict(page=np.array(scenario.paths)[views.page], device=np.array([w[0] for w in WINDOWS])[window], fold=np.array([w[2] for w in WINDOWS])[window], visit=views.visit,
                           scroll=views.scroll, wait=views.wait, stay=views.stay, dwell=views.dwell, end=path.end, view=np.arange(len(window))))
    moved = of[of.scroll > 0]
    n = np.maximum(2, np.ceil(3*(moved.scroll - START_OF_STEPS)/moved.fold)).astype(int)
    way = moved.loc[moved.index.repeat(n + 1)]
    k, n = way.groupby("view").cumcount(), n.repeat(n + 1)
    way = way.assign(since=way.wait + WAY*way.stay*k/n, top=np.round(START_OF_STEPS + (way.scroll - START_OF_STEPS)*k/n))
    rests = pd.concat([of.assign(since=0., top=0.), way, moved.assign(since=moved.wait + BACK*moved.stay, top=moved.end)]).sort_values(["view", "since"], kind="stable")
    return rests.assign(seconds=rests.groupby("view").since.shift(-1).fillna(rests.dwell) - rests.since)


def by_band(rests, height=20) -> np.ndarray:
    "Seconds of each band, from where the windows rested and for how long."
    out = np.zeros(int((rests.top + rests.fold).max()//height) + 2)
    np.add.at(out, (rests.top//height).astype(int), rests.seconds)
    np.add.at(out, np.ceil((rests.top + rests.fold)/height).astype(int), -rests.seconds)
    return out.cumsum()[:-1]


MAPS = [("/", "desktop"), ("/", "mobile"), ("/list", "mobile"), ("/item", "mobile"), ("/mypage", "desktop"), ("/cart", "mobile")]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_band_of_a_stored_shop_is_within_2_percent_of_the_true_visible_time(stored, seed):
    rests, height = drawn(seed), 20
    for page, device in MAPS:
        true = by_band(rests[(rests.page == page) & (rests.device == device)], height)
        matters, got = true > .01*true.max(), heatmap(stored[seed], page=page, device=device, kind="attention", grid=(1, height)).frame.n.to_numpy()[:len(true)]
        assert matters.sum() > 30 and np.abs(got/true - 1)[matters].max() < .02, (page, device)
        assert np.abs(got - true).sum() < .001*true.sum(), (page, device)


@pytest.mark.parametrize("idle", ["30s", "1h"])
def test_nobody_in_a_simulated_shop_keeps_still_for_half_a_minute(stored, idle):
    seconds = band_sums(attention(stored[SEEDS[0]].events, page="/item", device="mobile", idle=idle)[0]).seconds
    true = by_band(drawn(SEEDS[0]).query("page == '/item' and device == 'mobile'"))
    assert len(seconds) == len(true) and np.abs(seconds/true - 1)[true > .01*true.max()].max() < .02


def test_a_recording_that_skips_rests_is_where_bands_go_wrong(stored):
    "The bound above is not one that any recording meets."
    rests = drawn(SEEDS[0]).query("page == '/list' and device == 'mobile'")
    true, e = by_band(rests), stored[SEEDS[0]].events.to_pandas().sort_values(["session_id", "ts"], kind="stable")
    worst = []
    for every in (1, 3, 9):
        thinned = e[e.event.isin(["page_view", "page_leave"]) | (np.arange(len(e)) % every == 0)]
        got = band_sums(attention(thinned, page="/list", device="mobile", idle="1h")[0], size=len(true)).seconds
        worst.append((np.abs(got - true)/np.maximum(true, 1e-9))[true > .01*true.max()].max())
    assert worst[0] < .02 < worst[1] < worst[2]


def test_the_truth_of_attention_is_what_a_large_shop_shows(tmp_path):
    "Per page, device, rank and band: seconds on screen per visit that had it on screen."
    from crmlab.sources.simulate import simulate
    shop = simulate("bronze_royal", users=5000, seed=21, into=tmp_path/"shop")
    truth = shop.truth.to_pandas().query("kind == 'attention'")
    assert not truth.duplicated(["key", "segment"]).any() and (truth.value > 0).all() and (truth.se > 0).all()
    place, found = truth.key.str.split("|", expand=True), []
    for page, device in sorted(set(zip(place[0], place[1]))):
        h = heatmap(shop.tag("rank"), page=page, by="rank", device=device, kind="attention").frame
        h = h.assign(key=page + "|" + device + "|" + h.row.astype(str), map=page + device)
        found.append(h.merge(truth, on=["key", "segment"]).query("exposed >= 50"))
    found = pd.concat(found)
    error = (found.per_hi - found.per_lo)/2/1.96
    z = (found.per_visit - found.value)/error
    assert found["map"].nunique() >= 4 and len(found) > 1500 and (found.groupby("map").segment.nunique() == 4).all()
    assert abs(z.mean()) < .5 and (z**2).mean()**.5 < 1.5 and (z.abs() < 1.96).mean() > .8   # bands of one map share their visits
    assert (found.se/error).max() < .05    # at this size; at 20,000 members still below a tenth
