"The funnel from outside: against a search through all attempts, within its time, per segment."
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
few = hypothesis_settings(max_examples=6, deadline=None)
COLUMNS = ["segment", "step", "n", "est", "lo", "hi", "step_est", "step_lo", "step_hi"]
STEPS = ["page:/list", "view_item", "add_to_cart", "purchase"]

happening = st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 300), st.sampled_from(["page_view", "view_item", "add_to_cart", "purchase", "click"]))
days = st.lists(happening, min_size=1, max_size=60, unique_by=lambda h: h[:2])


def events_of(rows):
    e = pd.DataFrame(rows, columns=["visitor_id", "minute", "event"]).astype(dict(visitor_id="str", event="str"))
    return e.assign(ts=START + pd.to_timedelta(e.minute, unit="m"), page="/list", device="mobile", user_id="m" + e.visitor_id, rank=np.where(e.visitor_id < "d", "Bronze", "Royal"))


def reached(rows, within):
    "Number of people per step, over the best of all attempts."
    best = {}
    for who, at, event in rows:
        if event != "page_view": continue
        step = 1
        for other, then, name in sorted(rows, key=lambda r: r[1]):
            if other == who and at < then <= at + within and step < 4 and name == STEPS[step]: step += 1
        best[who] = max(best.get(who, 0), step)
    return best


@pytest.mark.parametrize("engine", ENGINES)
@few
@given(rows=days, within=st.sampled_from([10, 60, 300]))
def test_a_person_counts_by_the_best_attempt(engine, rows, within):
    # a first member takes every step, so that no step is unknown
    rows = [("z", k, "page_view" if k == 0 else STEPS[k]) for k in range(4)] + rows
    got = cl.funnel(ENGINES[engine](events_of(rows)), steps=STEPS, within=f"{within}m", by="rank").frame
    best = reached(rows, within)
    for segment, f in got.groupby("segment"):
        mine = [k for who, k in best.items() if ("Bronze" if who < "d" else "Royal") == segment]
        assert list(f.n) == [sum(k >= step for k in mine) for step in range(1, 5)]


def many(n=60):
    rng = np.random.default_rng(1)
    rows = []
    for i in range(n):
        for k in range(1 + rng.binomial(3, .7)): rows.append((f"p{i:03}", 5*k, "page_view" if k == 0 else STEPS[k]))
    return events_of(rows).assign(rank=lambda e: np.where(e.visitor_id.str[-1] < "5", "Bronze", "Royal"))


def test_shares_multiply_and_segments_sum_to_the_total():
    e = many()
    way, total = cl.funnel(e, steps=STEPS, by="rank"), cl.funnel(e, steps=STEPS)
    assert list(way.frame.columns) == COLUMNS
    assert list(way.frame.groupby("step", sort=False).n.sum()) == list(total.frame.n)
    for _, f in way.frame.groupby("segment"):
        assert f.est.iloc[0] == 1 and (f.n.diff().dropna() <= 0).all()
        assert f.step_est.iloc[1:].cumprod().to_numpy() == pytest.approx(f.est.iloc[1:].to_numpy())
        assert ((f.lo <= f.est) & (f.est <= f.hi)).all()
    worst = way.bottleneck.set_index("segment")
    assert (worst.step_est == way.frame.groupby("segment").step_est.min()).all()
    assert way.meta["rows"]["people"] == 60 and total.meta["users"] == {"(all)": 60}


def test_a_funnel_may_span_visits_but_not_its_time():
    rows = [(f"p{i:02}", at, event) for i in range(20) for at, event in [(0, "page_view"), (600, "view_item")]]   # ten hours later, another visit
    e = events_of(rows)
    assert list(cl.funnel(e, steps=STEPS[:2], within="24h").frame.n) == [20, 20]
    assert list(cl.funnel(e, steps=STEPS[:2], within="10h").frame.n) == [20, 20]     # the end of the time counts
    assert list(cl.funnel(e, steps=STEPS[:2], within="9h").frame.n) == [20, 0]


def test_bad_steps_are_refused_by_name():
    e = many(12)
    for options, message in [(dict(steps=["page:/list", "add_to_card"]), "'add_to_card' never occurs; did you mean add_to_cart"),
                             (dict(steps=["page:/lits", "purchase"]), "did you mean page:/list"), (dict(steps=["purchase"]), "two or more steps"),
                             (dict(steps="purchase"), "two or more steps"), (dict(steps=["purchase", "purchase"]), "is given twice"),
                             (dict(steps=["page_view", "page:/list"]), "overlap"), (dict(steps=STEPS, within="1 day"), "such as 30m, 24h or 90d"), (dict(steps=STEPS, by="gender"), "needs column 'gender'")]:
        with pytest.raises(cl.CrmlabError, match=message): cl.funnel(e, **options)


@pytest.mark.parametrize("lang, words", [("ja", ["「カート追加」", "24時間以内", "60人"]), ("en", ["within 24 h", "60 people"])])
def test_the_sentence_and_the_plot(lang, words, monkeypatch):
    import warnings

    import matplotlib.pyplot as plt
    monkeypatch.setenv("CRMLAB_LANGUAGE", lang)
    way = cl.funnel(many(), steps=STEPS)
    assert all(w in way.text(lang) for w in words) and "{" not in way.text(lang)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        way.plot().figure.canvas.draw()
    plt.close("all")


def fits(rows, order, within):
    "Steps of one person in strict or any order, by definition."
    rows = sorted((at, event) for _, at, event in rows if event != "click")
    if order == "any": return max([0, *(k for k in range(1, 5) for start, _ in rows if set(NAMES[:k]) <= {e for at, e in rows if start <= at <= start + within})])
    best = 0
    for i in range(len(rows)):
        k = 0
        while k < 4 and i + k < len(rows) and rows[i + k][1] == NAMES[k] and rows[i + k][0] - rows[i][0] <= within: k += 1
        best = max(best, k)
    return best


NAMES = ["page_view", "view_item", "add_to_cart", "purchase"]


@pytest.mark.parametrize("order", ["strict", "any"])
@few
@given(rows=st.lists(happening, min_size=1, max_size=60, unique_by=lambda h: h[:2]), within=st.sampled_from([10, 60, 300]))
def test_strict_and_any_order_by_their_definition(order, rows, within):
    rows = [("z", k, event) for k, event in enumerate(NAMES)] + rows
    got = cl.funnel(events_of(rows), steps=STEPS, within=f"{within}m", order=order).frame
    best = [fits([r for r in rows if r[0] == who], order, within) for who in {r[0] for r in rows}]
    assert list(got.n) == [sum(k >= step for k in best) for step in range(1, 5)]


def test_lost_revenue_orders_steps_as_the_shares_do_and_differences_are_b_minus_a():
    e = many(120)
    e["value"] = np.where(e.event == "purchase", 5000., np.nan)
    way = cl.funnel(e, steps=STEPS, by="rank")
    last = way.frame[way.frame.step == "purchase"].set_index("segment").n
    for segment, f in way.losses.groupby("segment"):
        assert f.lost_revenue.to_numpy() == pytest.approx(last[segment]*5000*(1/f.step_est - 1).to_numpy())
        assert ((f.lost_lo <= f.lost_revenue) & (f.lost_revenue <= f.lost_hi)).all()
        assert f.loc[f.lost_revenue.idxmax(), "step"] == way.bottleneck.set_index("segment").step[segment]
    d, shares = way.differences, way.frame.set_index(["segment", "step"]).step_est
    assert list(d.step) == STEPS[1:] and set(d.a) == {"Bronze"} and set(d.b) == {"Royal"}
    assert d.step_est.to_numpy() == pytest.approx([shares["Royal", s] - shares["Bronze", s] for s in STEPS[1:]])
    assert not cl.funnel(many(), steps=STEPS).losses.lost_revenue.notna().any()    # no values, no money
    assert "円" in way.text("ja") and "円" not in cl.funnel(many(), steps=STEPS).text("ja")
