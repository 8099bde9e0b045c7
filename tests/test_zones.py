"Zones from outside: the definition as a plain loop, nothing lost, intervals over people, bad input, words and pictures."
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings as hypothesis_settings
from hypothesis import strategies as st

from crmlab.core import CrmlabError
from crmlab.measure.zones import zones

START = pd.Timestamp("2026-10-01T00:00:00Z")
ENGINES = {"duckdb": lambda f: f, "polars": lambda f: pl.from_pandas(f).lazy()}
few = hypothesis_settings(max_examples=4, deadline=None)
COLUMNS = ["segment", "selector", "label", "x", "y", "w", "h", "exposed", "visits", "n", "clicked", "impression", "impression_lo", "impression_hi", "rate", "lo", "hi",
           "stay", "stay_lo", "stay_hi", "exit_after", "exit_after_lo", "exit_after_hi", "converted", "converted_lo", "converted_hi"]
# a block with a button inside, two cards of one row, something deep
BOXES = pd.DataFrame(dict(selector=["#block", "#block > a", "#card1", "#card2", "#deep"], x=[0., 100, 0, 500, 0], y=[0., 150, 700, 700, 1500], w=[1000., 200, 400, 400, 1000], h=[400., 50, 200, 200, 301],
                          page="/", device="desktop", version="1", valid_from=START, page_w=1000., page_h=2000.))
MIDS = dict(zip(BOXES.selector, BOXES.y + BOXES.h/2))
TYPES = dict(seconds="float", scroll_y="float", viewport_h="float", x="float", y="float", selector="str")

# an event: seconds since the one before, name, page, scroll, window, place, selector
event = st.tuples(st.sampled_from([0, .04, .06, .15, 1.5, 29, 31, 400]), st.sampled_from(["page_view", "scroll", "click", "click", "page_leave", "purchase"]), st.sampled_from(["/", "/", "/", "/item"]),
                  st.sampled_from([None, 0., 200., 650., 1501., 9e9, -30.]), st.sampled_from([None, 600., 600., 300.]),
                  st.sampled_from([(None, None), (150., 160.), (50., 50.), (600., 750.), (450., 750.), (600., None)]), st.sampled_from([None, None, "#deep", "#card1", "#gone"]))
histories = st.lists(st.tuples(st.integers(0, 3), st.lists(event, min_size=1, max_size=9)), min_size=1, max_size=5)


def events_of(histories):
    "One visit per history: persons come on different days."
    rows = [dict(user_id=f"m{who}", visit=i, seconds=at, event=name, page=page, scroll_y=top, viewport_h=tall, x=x, y=y, selector=selector)
            for i, (who, history) in enumerate(histories)
            for at, (_, name, page, top, tall, (x, y), selector) in zip(np.cumsum([e[0] for e in history]), history)]
    e = pd.DataFrame(rows).astype(TYPES)
    e = e.assign(visitor_id="b" + e.user_id, ts=START + pd.to_timedelta(e.visit, unit="D") + pd.to_timedelta((e.seconds*1e6).round(), unit="us"), device="desktop", page_w=1000., viewport_w=1000.)
    return e.assign(rank=np.where(e.user_id.isin(["m0", "m2"]), "Bronze", "Royal")).drop(columns="seconds")


def found_at(e):
    "The element of a click, by the rules."
    if e.selector in MIDS: return e.selector
    inside = BOXES[(BOXES.x <= e.x) & (e.x <= BOXES.x + BOXES.w) & (BOXES.y <= e.y) & (e.y <= BOXES.y + BOXES.h)]
    return inside.selector[(inside.w*inside.h).idxmin()] if len(inside) else None


def by_loop(events):
    "One row per visit and element with what the frame adds up; events of a visit are in order."
    rows = []
    for _, v in events.groupby("visit"):
        v, top, tall = list(v.itertuples()), 0., None
        here = [e for e in v if e.page == "/"]
        known = [e.viewport_h for e in here if not np.isnan(e.viewport_h)]
        if not here: continue
        seconds, final = dict.fromkeys(MIDS, 0.), set()
        read = [e for e in v if e.page == "/" or e.event == "page_view"]
        for now, after in zip(read, [*read[1:], None]):
            if now.page != "/" or now.event == "page_view": top = 0.
            if now.page != "/": continue
            if not np.isnan(now.scroll_y): top = now.scroll_y
            if not np.isnan(now.viewport_h): tall = now.viewport_h
            window = tall or (max(known) if known else None)
            shown = {s for s, mid in MIDS.items() if window and top <= mid <= top + window}
            if after is None: final = shown
            elif now.event != "page_leave":
                for s in shown: seconds[s] += min((after.ts - now.ts).total_seconds(), 30)
        clicks = [(found_at(e), e.ts) for e in here if e.event == "click"]
        bought = max([e.ts for e in v if e.event == "purchase"], default=None)
        for s in MIDS:
            mine, exposed = [t for name, t in clicks if name == s], round(seconds[s], 6) >= .15
            rows.append(dict(segment=v[0].rank, selector=s, visits=int(bool(known)), exposed=int(exposed), seconds=seconds[s]*exposed, left=int(exposed and s in final and v[-1].ts == here[-1].ts),
                             n=len(mine), clicked=int(bool(mine)), hit=int(bool(mine) and exposed), bought=int(bool(mine) and bought is not None and bought > min(mine))))
    return pd.DataFrame(rows, columns=["segment", "selector", "visits", "exposed", "seconds", "left", "n", "clicked", "hit", "bought"]).groupby(["segment", "selector"]).sum()


@pytest.mark.parametrize("engine", ENGINES)
@few
@given(histories=histories)
def test_every_figure_is_that_of_a_plain_loop(engine, histories):
    e = events_of(histories)
    e = e[~e.duplicated(["visit", "ts"])]    # what is on screen between two events of one instant has no answer
    want = by_loop(e)
    if want.empty or e[(e.page == "/")].scroll_y.isna().all(): return
    result = zones(ENGINES[engine](e.drop(columns="visit")), BOXES, page="/", by="rank")
    assert list(result.frame.columns) == COLUMNS
    f = result.frame.set_index(["segment", "selector"])
    want = want.loc[f.index]
    counts = ["visits", "exposed", "n", "clicked"]
    assert (f[counts] == want[counts]).all(axis=None), pd.concat([f[counts], want], axis=1)
    share = lambda a, b: (want[a]/want[b].where(want[b] > 0)).fillna(-1).to_numpy(float)
    for name, pair in dict(impression=("exposed", "visits"), rate=("hit", "exposed"), stay=("seconds", "exposed"), exit_after=("left", "exposed"), converted=("bought", "clicked")).items():
        assert f[name].fillna(-1).to_numpy() == pytest.approx(share(*pair)), name
    rows = result.meta["rows"]
    assert rows["by_selector"] + rows["by_position"] == f.n.sum() and f.n.sum() + rows["outside"] + rows["unplaced"] == rows["clicks"] == ((e.event == "click") & (e.page == "/")).sum()


def test_an_exit_is_the_end_of_the_visit_not_of_the_page():
    "Two visits end on the deep element; of the second an event follows elsewhere, though no page view."
    deep = [(0, "page_view", "/", 0., 600., (None, None), None), (2, "scroll", "/", 1400., None, (None, None), None), (3, "click", "/", None, None, (None, None), "#deep")]
    e = events_of([(0, deep), (1, [*deep, (4, "purchase", "/item", None, 600., (None, None), None)])])
    f = zones(e.drop(columns="visit"), BOXES, page="/").frame.set_index("selector").loc["#deep"]
    assert (f.exposed, f.clicked, f.exit_after, f.converted, f.stay) == (2, 2, .5, .5, 3)
    before = events_of([(0, [(0, "purchase", "/item", None, 600., (None, None), None), *deep])])
    assert zones(before.drop(columns="visit"), BOXES, page="/").frame.set_index("selector").converted["#deep"] == 0


def test_edges_of_the_definition():
    "149 ms are no exposure and 150 ms are one; after page_leave nothing is on screen; the smallest box around a point has the click."
    look = lambda seconds: [(0, "page_view", "/", 0., 600., (None, None), None), (seconds, "scroll", "/", 1400., None, (None, None), None)]
    clicks = [(1, "click", "/", 0., None, place, None) for place in [(150., 160.), (50., 50.), (450., 750.)]]
    leave = [(0, "page_view", "/", 0., 600., (None, None), None), (2, "page_leave", "/", None, None, (None, None), None), (20, "page_view", "/item", None, None, (None, None), None)]
    result = lambda *histories: zones(events_of(list(enumerate(histories))).drop(columns="visit"), BOXES, page="/")
    assert result(look(.149), look(.15)).frame.exposed.tolist() == [1, 1, 0, 0, 0]
    assert result(leave).frame.stay.iloc[0] == 2
    mixed = result([*look(1), *clicks])
    assert mixed.frame.n.tolist() == [1, 1, 0, 0, 0] and mixed.meta["rows"]["outside"] == 1


def crowd(people=80, seed=1, deep=dict(Bronze=.3, Royal=.7)):
    "Two visits per member; Royal members scroll down more often; everybody clicks the first card at times and buys at times."
    rng, histories = np.random.default_rng(seed), []
    for i in range(2*people):
        rank = "Bronze" if i % people % 2 == 0 else "Royal"
        h = [(0, "page_view", "/", 0., 600., (None, None), None), (3, "scroll", "/", 650. if rng.random() < .8 else 10., 600., (None, None), None)]
        if rng.random() < .4: h.append((2, "click", "/", None, None, (200., 800.), None))
        if rng.random() < deep[rank]: h.append((4, "scroll", "/", 1400., None, (None, None), None))
        h.append((2, "page_leave", "/", None, None, (None, None), None))
        if rng.random() < .3: h += [(1, "page_view", "/item", 0., 600., (None, None), None), (9, "purchase", "/item", 0., 600., (None, None), None)]
        histories.append((i % people, h))
    e = events_of(histories)
    return e.assign(rank=np.where(e.user_id.str[1:].astype(int) % 2 == 0, "Bronze", "Royal")).drop(columns="visit")


def test_engines_agree_whatever_the_order_of_rows():
    e = crowd()
    pooled, by = zones(e, BOXES, page="/"), zones(e, BOXES, page="/", by="rank")
    for other in (zones(e.sample(frac=1, random_state=1), BOXES, page="/", by="rank"), zones(pl.from_pandas(e).lazy(), BOXES, page="/", by="rank")):
        pd.testing.assert_frame_equal(other.frame, by.frame)
        pd.testing.assert_frame_equal(other.unseen, by.unseen)
    counts = ["exposed", "visits", "n", "clicked"]
    assert (by.frame.groupby("selector")[counts].sum().loc[pooled.frame.selector].to_numpy() == pooled.frame[counts].to_numpy()).all()


def test_intervals_count_people_not_visits():
    e = crowd()
    again = e.assign(ts=e.ts + pd.Timedelta(hours=12), visitor_id=e.visitor_id + "x")   # the same people do the same again
    once, twice = (zones(f, BOXES, page="/").frame.set_index("selector") for f in (e, pd.concat([e, again])))
    assert (twice.exposed == 2*once.exposed).all()
    for name, lo, hi in [("impression", "impression_lo", "impression_hi"), ("rate", "lo", "hi"), ("stay", "stay_lo", "stay_hi"), ("exit_after", "exit_after_lo", "exit_after_hi"), ("converted", "converted_lo", "converted_hi")]:
        assert twice[name].fillna(-1).to_numpy() == pytest.approx(once[name].fillna(-1).to_numpy())
        assert ((twice[hi] - twice[lo]) > .95*(once[hi] - once[lo]))[once[lo].notna()].all(), name
        assert ((once[lo] <= once[name]) & (once[name] <= once[hi]))[once[lo].notna()].all()


def test_the_unnoticed_element_is_named_and_equal_segments_are_not():
    apart = zones(crowd(), BOXES, page="/", by="rank")
    assert apart.unseen[["selector", "segment", "other_segment"]].to_numpy().tolist() == [["#deep", "Bronze", "Royal"]]
    assert "#deep" in apart.text("en") and "does not notice" in apart.text("en") and "見落としている" in apart.text("ja")
    alike = zones(crowd(deep=dict(Bronze=.5, Royal=.5)), BOXES, page="/", by="rank")
    assert alike.unseen.empty and "surely more often" in alike.text("en") and "確かな差は見られません" in alike.text("ja")
    assert "notice" not in zones(crowd(), BOXES, page="/").text("en")   # one segment: nothing to compare


def test_a_result_of_some_segments_speaks_of_those_only():
    e = crowd()
    third = e.assign(rank="Gold", user_id="g" + e.user_id, visitor_id="g" + e.visitor_id)
    whole = zones(pd.concat([e, third]), BOXES, page="/", by="rank")
    part = replace(whole, frame=whole.frame[whole.frame.segment.isin(["Gold", "Royal"])], meta=whole.meta | dict(segments=["Gold", "Royal"]))
    assert "Bronze" in whole.text("en") and "Bronze" not in part.text("en") and set(part.unseen.segment) <= {"Gold"}


def test_one_wild_person_and_three_people_never_look_certain():
    e = crowd()
    click = e[e.event == "click"].head(1)
    mad = zones(pd.concat([e, *[click.assign(ts=click.ts + pd.Timedelta(milliseconds=i)) for i in range(1, 3000)]]), BOXES, page="/").frame.set_index("selector").loc["#card1"]
    assert mad.n > 3000 and mad.rate < .6 and mad.clicked < 160
    three = zones(e[e.user_id.isin(["m0", "m2", "m4"])], BOXES, page="/", by="rank")
    assert three.frame.impression.notna().all() and three.frame.filter(regex="lo$|hi$").isna().all(axis=None) and three.meta["few"] == {"Bronze": 3}
    assert "Bronze (3 people)" in three.text("en") and "Bronze(3人)" in three.text("ja") and three.unseen.empty


@pytest.mark.parametrize("broken, unknown", [(dict(viewport_h=0.), True), (dict(viewport_h=None), True), (dict(viewport_h=-5.), True), (dict(scroll_y=None), True), (dict(page_h=0.), False),
                                             (dict(page_w=None, viewport_w=None), False), (dict(x=float("inf")), False), (dict(scroll_y=1e15), False), (dict(selector="#gone"), False)])
def test_bad_columns_are_counted_and_never_a_rate(broken, unknown):
    e = crowd().assign(**broken).astype({k: "float" for k in broken if k != "selector"})
    result = zones(e, BOXES, page="/", by="rank")
    rows = result.meta["rows"]
    assert result.frame.n.sum() + rows["outside"] + rows["unplaced"] == rows["clicks"] == (e.event == "click").sum()
    assert result.meta["known"] != unknown and result.text("ja") and result.text("en")
    if unknown:
        assert result.frame[["impression", "rate", "stay", "exit_after"]].isna().all(axis=None) and "unknown" in result.text("en") and result.meta["note"] and result.frame.n.sum() > 0
    result.plot().figure.canvas.draw()


def test_visits_that_do_not_tell_their_window_are_left_out_of_rates():
    e = crowd()
    half = e.assign(viewport_h=e.viewport_h.where(e["rank"] == "Royal"))
    result = zones(half, BOXES, page="/", by="rank")
    f = result.frame.set_index("segment")
    assert result.meta["rows"]["no_window"] == 80 and (f.visits["Bronze"] == 0).all() and (f.visits["Royal"] == 80).all()
    assert f.loc["Bronze", ["impression", "rate", "stay"]].isna().all(axis=None) and f.n["Bronze"].sum() > 0
    whole = zones(e, BOXES, page="/", by="rank").frame.set_index("segment").loc["Royal"]
    pd.testing.assert_frame_equal(f.loc["Royal"], whole)


def test_page_versions_devices_and_twins_are_not_mixed():
    e = crowd()
    newer = pd.concat([BOXES, BOXES.assign(version="2", valid_from=START + pd.Timedelta(days=80), y=BOXES.y + 5)])
    late = zones(e, newer, page="/")
    assert late.meta["rows"]["visits"] == 80 and late.frame.visits.iloc[0] == 80 and late.frame.y.min() == 5
    assert late.meta["rows"]["older"] == ((e.page == "/") & (e.ts < START + pd.Timedelta(days=80))).sum()
    with pytest.raises(CrmlabError, match="lie outside the time of its newest layout"): zones(e[e.ts < START + pd.Timedelta(days=50)], newer, page="/")
    mobile = pd.concat([e, e.assign(device="mobile", visitor_id=e.visitor_id + "p")])
    pd.testing.assert_frame_equal(zones(mobile, BOXES, page="/").frame, zones(e, BOXES, page="/").frame)
    twins = BOXES.assign(selector=BOXES.selector.replace({"#card1": ".card", "#card2": ".card"}))
    named = zones(e.assign(selector=e.selector.where(e.event != "click", ".card")), twins, page="/")
    assert named.meta["rows"]["by_selector"] == 0 and named.frame.n.tolist() == zones(e, BOXES, page="/").frame.n.tolist()   # a selector of two boxes tells nothing: the place does


def test_what_is_missing_is_named_with_its_remedy():
    e = crowd(12)
    for table, options, message in [(BOXES.head(0), dict(page="/"), "no layout of page '/' on desktop; pass layouts="), (BOXES, dict(page="/x"), "no layout of page '/x'"), (BOXES, dict(page="/", device="mobile"), "on mobile"),
                                    (None, dict(page="/"), "no layout"), (BOXES.assign(h=0.), dict(page="/"), "none of the 5 boxes"), (BOXES.assign(page_w=float("nan")), dict(page="/"), "has a size"),
                                    (BOXES.drop(columns="h"), dict(page="/"), "layouts needs column 'h'"), (BOXES, dict(page="/", by="rnak"), "rnak"), (BOXES.assign(page="/item2"), dict(page="/item2"), "no events of page '/item2'")]:
        with pytest.raises(CrmlabError, match=message): zones(e, table, **options)
    assert zones(e, pd.concat([BOXES, BOXES.head(1).assign(w=0.)]), page="/").meta["rows"]["boxless"] == 1


@pytest.mark.parametrize("lang, names", [("ja", ["「/」", "パソコン", "#card1"]), ("en", ["“/”", "desktop", "#card1"])])
def test_plots_draw_and_sentences_name_the_element(lang, names, monkeypatch):
    import warnings

    import matplotlib.pyplot as plt
    monkeypatch.setenv("CRMLAB_LANGUAGE", lang)
    result = zones(crowd(), BOXES, page="/", by="rank")
    with warnings.catch_warnings():
        warnings.simplefilter("error")          # a glyph that is missing is a warning
        result.plot().figure.canvas.draw()
        given = plt.subplots()[1]
        assert result.plot(ax=given) is given
        given.figure.canvas.draw()
    plt.close("all")
    text = result.text(lang)
    assert all(n in text for n in names) and "Royal" in text and "{" not in text and result._repr_html_()


def null_world(rng, people, rates, visits):
    "Exposures per person and line in segments of equal rates; people have habits, and come differently often by segment."
    from scipy.stats import norm
    made = []
    for segment, (n, mean) in enumerate(zip(people, visits)):
        x, habit = rng.poisson(mean, n) + 1, rng.normal(size=n)
        for line, rate in enumerate(rates):
            seen = rng.binomial(x, norm.cdf(norm.ppf(rate)*np.sqrt(1.8) + np.sqrt(.8)*habit))
            made.append(pd.DataFrame(dict(segment=f"s{segment}", cluster=[f"{segment}-{i}" for i in range(n)], line=line, exposed=seen.astype(float), visits=x.astype(float))))
    return pd.concat(made, ignore_index=True)


@pytest.mark.parametrize("people, rates, visits", [((12, 12), (.1, .3, .5, .9), (2, 2)), ((20, 16), (.05, .2, .5, .8), (1, 5)), ((600, 25), (.01, .05, .2, .5), (1, 3))], ids=["few", "unequal visits", "rare in a small segment"])
def test_equal_segments_are_rarely_told_apart(people, rates, visits):
    "Of 60 worlds without a difference some element is flagged in at most 8 (5 %, the 99 % limit)."
    from crmlab.measure.zones import _tests
    from crmlab.tables.engine import scan
    alarms = 0
    for world in range(60):
        own = null_world(np.random.default_rng(world), people, rates, visits)
        sums = own.assign(yy=own.exposed**2, xy=own.exposed*own.visits, xx=own.visits**2, users=1).groupby(["segment", "line"]).agg(y=("exposed", "sum"), x=("visits", "sum"), yy=("yy", "sum"), xy=("xy", "sum"), xx=("xx", "sum"), users=("users", "sum"))
        tests = _tests(sums.add_prefix("exposed.").reset_index(), scan(own[own.exposed > 0]), scan(own[own.line == 0]), .95, world)
        alarms += (tests.p_held <= .05).any()
    assert alarms <= 8


def test_nobody_of_one_segment_against_most_of_another_is_a_difference():
    "0 of 40 visits of 20 people against 24 of 32 of 16: no interval worth the name on one side, and no doubt."
    e = crowd(72, seed=3, deep=dict(Bronze=0, Royal=.75))
    found = zones(e, BOXES, page="/", by="rank", seed=1)
    assert found.unseen[["selector", "segment", "other_segment"]].to_numpy().tolist() == [["#deep", "Bronze", "Royal"]] and "surely more often" not in found.text("en")
