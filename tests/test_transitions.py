"Transitions from outside: every step counted once, against a count in plain Python, differences against the sums they come from."
from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings as hypothesis_settings
from hypothesis import strategies as st

import crmlab as cl
from crmlab.measure.transitions import ENTRY, EXIT, OTHER, share_differences, transitions

START = pd.Timestamp("2026-10-01T00:00:00Z")
ENGINES = {"duckdb": lambda f: f, "polars": lambda f: pl.from_pandas(f).lazy()}
few = hypothesis_settings(max_examples=5, deadline=None)
view = st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 400), st.sampled_from(["/", "/list", "/item", "/cart"]))
journeys = st.lists(view, min_size=1, max_size=80, unique_by=lambda v: v[:2])


def events_of(rows):
    e = pd.DataFrame(rows, columns=["visitor_id", "minute", "page"]).astype(dict(visitor_id="str", page="str"))
    return e.assign(ts=START + pd.to_timedelta(e.minute, unit="m"), event="page_view", device="mobile", user_id="m" + e.visitor_id, rank=np.where(e.visitor_id < "d", "Bronze", "Royal"))


def counted(rows):
    "Moves per segment, source and target, by a walk through all views; and visits that go back and forth."
    moves, back, visits = Counter(), Counter(), []
    for who in sorted({r[0] for r in rows}):
        last = None
        for _, at, page in sorted(r for r in rows if r[0] == who):
            if last is None or at - last > 30: visits.append((who, []))
            visits[-1][1].append(page)
            last = at
    for who, pages in visits:
        segment = "Bronze" if who < "d" else "Royal"
        for pair in zip([ENTRY, *pages], [*pages, EXIT]): moves[(segment, *pair)] += 1
        for pair in {(a, b) for a, b, c in zip(pages, pages[1:], pages[2:]) if a == c != b}: back[(segment, *pair)] += 1
    return moves, back, visits


@pytest.mark.parametrize("engine", ENGINES)
@few
@given(rows=journeys)
def test_every_step_is_counted_once(engine, rows):
    way, (moves, back, visits) = transitions(ENGINES[engine](events_of(rows)), by="rank"), counted(rows)
    f = way.frame[way.frame.n > 0]
    assert dict(f.set_index(["segment", "source", "target"]).n) == dict(moves)
    loops = way.loops[(way.loops.source != "(any)") & (way.loops.n > 0)]
    assert dict(loops.set_index(["segment", "source", "target"]).n) == dict(back)
    assert way.meta["rows"] == dict(visits=len(visits), moves=sum(len(p) for _, p in visits))
    for (_, step), g in way.steps.groupby(["segment", "step"]): assert g.est.sum() == pytest.approx(1)


def many(n=80):
    rng = np.random.default_rng(1)
    return events_of([(f"{'ae'[i % 2]}{i:03}", 60*v + k, str(rng.choice(["/", "/list", "/item", "/cart"], p=[.4, .3, .2, .1] if i % 2 else [.1, .3, .5, .1]))) for i in range(n) for v in range(1 + i % 3) for k in range(1 + rng.poisson(2))])


def test_differences_are_b_less_a_and_intervals_agree_with_p():
    way = transitions(many(), by="rank")
    d = way.difference(a="Bronze", b="Royal")
    shares = way.frame.set_index(["segment", "source", "target"]).est
    for r in d.frame.dropna(subset="est").itertuples(): assert r.est == pytest.approx(shares["Royal", r.source, r.target] - shares["Bronze", r.source, r.target])
    known = d.frame.dropna(subset="p")
    assert (((known.lo > 0) | (known.hi < 0)) == (known.p < .05)).all() and (known.q >= known.p).all()
    other = way.difference(a="Royal", b="Bronze").frame.set_index(["source", "target"])
    assert other.est.loc[known.set_index(["source", "target"]).index].to_numpy() == pytest.approx(-known.est.to_numpy())


def test_somebody_in_both_segments_makes_the_difference_surer():
    import narwhals.stable.v2 as nw
    rng = np.random.default_rng(2)
    x, liking = rng.integers(1, 8, (2, 200)), rng.beta(.4, .4, 200)
    y = rng.binomial(x, liking)
    rows = lambda same: pd.concat([pd.DataFrame(dict(segment=s, cluster=[f"{'' if same else s}{i}" for i in range(200)], page=0, y=y[k], x=x[k])) for k, s in enumerate("ab")])
    width = {}
    for same in (True, False):
        frame = nw.from_native(pl.from_pandas(rows(same)).lazy())
        d = share_differences(frame.filter(nw.col("y") > 0).drop("x"), frame.drop("y", "page"), "page", a="a", b="b", prob=.95).iloc[0]
        width[same] = d.hi - d.lo
    assert width[True] < .6*width[False]


def test_names_of_states_and_bad_input():
    e = many()
    assert set(transitions(e, by="rank", top=1).frame.source) == {ENTRY, OTHER, e.page.mode()[0]}
    assert set(transitions(e.assign(event="view_item"), steps="event").frame.target) == {"view_item", EXIT}
    assert set(transitions(e.assign(category="shoes"), steps="category").frame.source) == {ENTRY, "shoes"}
    for options, message in [(dict(steps="pages"), "did you mean page"), (dict(by="gender"), "needs column 'gender'"), (dict(steps="category"), "category")]:
        with pytest.raises(cl.CrmlabError, match=message): transitions(e, **options)
    with pytest.raises(cl.CrmlabError, match="did you mean Royal"): transitions(e, by="rank").difference(a="Bronze", b="Royale")


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_sentences_and_plots(lang, monkeypatch):
    import warnings

    import matplotlib.pyplot as plt
    monkeypatch.setenv("CRMLAB_LANGUAGE", lang)
    way = transitions(many(), by="rank")
    for result in (way, way.difference(a="Bronze", b="Royal")):
        assert "Bronze" in result.text(lang) and "{" not in result.text(lang)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", PendingDeprecationWarning)   # seaborn still asks matplotlib the old way
            result.plot().figure.canvas.draw()
        plt.close("all")
