"What a reader meets: segments that say what they are a number of, names that do not cover each other, claims that say what they leave open."
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import crmlab as cl
from crmlab.infer.contrast import open_in_size
from crmlab.infer.experiment import metric_name
from crmlab.measure.time_to import followed_until


@pytest.fixture(scope="module")
def events():
    "Sixty people of whom half bought womens' goods before: page view, click, page view of the list."
    rng, rows = np.random.default_rng(3), []
    for k in range(180):
        who, at = k % 60, pd.Timestamp("2026-10-01T00:00Z") + pd.Timedelta(hours=k)
        base = dict(visitor_id=f"v{who}", user_id=f"u{who}", womens=who % 2, device="desktop", source="google", page_w=1000., page_h=1500., viewport_w=1000., viewport_h=700., scroll_y=0.)
        told = [("page_view", "/", {}), ("click", "/", dict(x=1000*rng.random(), y=700*rng.random()))] + [("page_view", "/list", {})]*(rng.random() < .3 + .5*(who % 2))
        rows += [base | dict(event_id=f"{k}-{i}", ts=at + pd.Timedelta(seconds=9*i), event=event, page=page) | more for i, (event, page, more) in enumerate(told)]
    return pd.DataFrame(rows)


def test_a_bare_number_stands_behind_the_name_of_its_column(events):
    heat = cl.heatmap(events, page="/", by="womens")
    gap = cl.contrast(cl.behaviours(events, by="womens"), a="0", b="1")
    moves = cl.transitions(events, by="womens").difference(a="0", b="1")
    results = [heat, cl.heatmap_diff(heat, a="0", b="1"), gap, moves, cl.first_view(events, page="/", by="womens")]
    for lang, named in dict(ja="womens=1", en="womens = 1").items():
        assert all(named in r.text(lang) for r in results), [type(r).__name__ for r in results if named not in r.text(lang)]
        assert named in [s["label"] for s in cl.explore(events, by="womens", lang=lang).choices["segments"]]
    assert list(heat.frame.segment.unique()) == ["0", "1"]   # frames keep the values


def test_numbers_with_gaps_stay_whole_numbers(events):
    gaps = events.assign(womens=events.womens.where(events.user_id != "u7").astype(float))   # pandas makes 1.0 of 1
    assert cl.heatmap(gaps, page="/", by="womens").meta["segments"] == ["0", "1", "(unknown)"]
    assert set(cl.heatmap(events.assign(womens=events.womens + .5), page="/", by="womens").frame.segment) == {"0.5", "1.5"}


def test_an_attribute_takes_the_name_it_is_given(small_shop):
    renamed, plain = (cl.open_shop(small_shop).tag("rank", **more) for more in (dict(name="grade"), {}))
    grade, rank = (cl.sessionize(s).to_pandas().sort_values(["visitor_id", "visit_no"])[c].tolist() for s, c in ((renamed, "grade"), (plain, "rank")))
    assert grade == rank and "rank" not in renamed.events.columns
    with pytest.raises(cl.CrmlabError, match="did you mean rank"): plain.tag("rnak", name="grade")


def test_a_sure_sign_with_an_interval_that_reaches_0_says_that_the_size_is_open():
    rows = pd.DataFrame(dict(flagged=[True, True, False, True], lfsr=[.04, .04, .01, .2], lo=[0., .1, -1, -1], hi=[.3, .3, 1, 1]))
    assert open_in_size(rows).tolist() == [True, False, False, False]


def test_open_sizes_are_told_in_note_and_text(events):
    from dataclasses import replace
    gap = cl.contrast(cl.behaviours(events, by="womens"), a="0", b="1")
    first = gap.frame.index[gap.frame.flagged][0]
    opened = gap.frame.assign(lo=gap.frame.lo.where(gap.frame.index != first, 0.), hi=gap.frame.hi.where(gap.frame.index != first, abs(gap.frame.hi)))
    told = replace(gap, frame=opened)
    for lang, words in dict(ja="区間に0を含みます", en="the size is not").items(): assert words in told.text(lang) and words not in gap.text(lang)


def test_the_funnel_tells_gaps_between_known_segments(events):
    late = events.assign(womens=events.womens.astype(str).where(~events.user_id.isin([f"u{k}" for k in range(1, 60, 4)])))
    late = late[~(late.womens.isna() & (late.page == "/list"))]
    steps = cl.funnel(late, steps=["page:/", "page:/list"], by="womens")
    assert (steps.differences.flagged & (steps.differences.b == "(unknown)")).any()
    told = steps.text("en").split("can be claimed")[0:-1]
    assert told and not any("(unknown)" in t.rsplit("In going on", 1)[1] for t in told)


def test_names_on_a_crowded_page_never_cover_each_other(events):
    import matplotlib.pyplot as plt
    boxes = pd.DataFrame([dict(selector=f"#b{k}-{i}", label=f"商品カード{k}{i}", x=40 + 235*k + 3*i, y=60 + 3*i, w=220 - 6*i, h=300 - 90*i) for k in range(4) for i in range(3)])
    boxes = boxes.assign(page="/", device="desktop", page_w=1000., page_h=1500.)
    ax = cl.heatmap(events, page="/", by="womens", layouts=boxes).plot(numbers=True)
    ax.figure.canvas.draw()
    for panel in ax.child_axes[:2]:
        seen = [t.get_window_extent() for t in panel.texts if t.get_visible() and t.get_text().isdigit()]
        assert len(seen) >= 4 and not any(a.overlaps(b) for i, a in enumerate(seen) for b in seen[:i])
    plt.close("all")


def test_errors_name_the_function_that_was_called(events):
    with pytest.raises(cl.CrmlabError, match="^onboarding: "): followed_until(events, "2030-01-01", {"events"}, who="onboarding")


@pytest.mark.parametrize("metric", ["count:click", "page:/mypage", "event:search"])
def test_metrics_are_named_in_words(metric):
    for lang in ("ja", "en"): assert not metric_name(metric, lang).startswith(("count:", "page:", "event:"))
