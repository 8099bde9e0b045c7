"Whether an effect lasts, from outside: calibrated where it stays, found where it fades, and asked in a way that can be answered."
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import crmlab as cl
from crmlab.infer.novelty import change_row, daily_sums, novelty, ratio_change
from crmlab.tables.commit import commit
from crmlab.tables.engine import connection

START, DAYS = pd.Timestamp("2026-03-01T00:00:00Z"), np.arange(14.)


def worlds(n, people, fades, seed):
    "Answers of n made worlds: zeal differs from person to person, everybody does less as days go by, and the surplus stays or dies away."
    rng, told = np.random.default_rng(seed), []
    daily, surplus = .15*np.exp(-DAYS/10), 1 + .5*np.where(fades, np.exp(-DAYS/2), 1.)
    for _ in range(n):
        zeal = rng.gamma(1, 1, (2, people, 1))
        one, other = (rng.random((people, 14)) < np.minimum(z*daily*s, 1) for z,s in zip(zeal, (1, surplus), strict=True))
        told.append(change_row(ratio_change(daily_sums(other.astype(float), people), daily_sums(one.astype(float), people), DAYS), DAYS, prob=.95))
    return pd.DataFrame(told)


def test_change_is_rarely_claimed_where_nothing_changes_although_people_repeat_themselves():
    told = worlds(300, 600, fades=False, seed=1)
    assert .92 < ((told.lo < 0) & (told.hi > 0)).mean() < .98 and .02 < told.answer.isin(["fades", "grows"]).mean() < .08


def test_fading_is_found_and_growing_is_not_its_name():
    told = worlds(60, 1500, fades=True, seed=2)
    assert (told.answer == "fades").mean() > .8 and not (told.answer == "grows").any()


def test_the_estimate_is_that_of_a_logistic_regression_on_the_day_totals():
    rng = np.random.default_rng(3)
    one, other = (daily_sums((rng.random((400, 5)) < p).astype(float), 400) for p in (.2, .3))
    c, days = ratio_change(other, one, np.arange(5.)), np.arange(5.)
    total = one.sums + other.sums
    def loss(level, slope):
        p = 1/(1 + np.exp(-(level + slope*(days - c.middle))))
        return -(other.sums*np.log(p) + one.sums*np.log(1 - p)).sum()/total.sum()
    around = [loss(c.level + a, c.slope + b) for a in (-.01, 0, .01) for b in (-.01, 0, .01)]
    assert min(around) == around[4]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    "300 members in three arms; who is in B clicks on every day, in A on the first three, in C never."
    at = lambda k, d: START + pd.Timedelta(days=float(d) + .3, minutes=k)
    exposures = [dict(experiment="top", variant="ABC"[k % 3], user_id=f"u{k}", visitor_id=f"v{k}", ts=at(k, 0)) for k in range(300)]
    days = dict(A=range(3), B=range(14), C=range(0))
    events = [dict(event_id=f"e{k}-{d}", visitor_id=f"v{k}", user_id=f"u{k}", ts=at(k, d + .1), event="click", page="/", device="mobile") for k in range(300) for d in days["ABC"[k % 3]] if (k + d) % 4]
    events.append(dict(events[0], event_id="last", user_id=None, visitor_id="w", ts=at(0, 40)))
    folder = tmp_path_factory.mktemp("novelty")
    commit(folder, {name: connection().from_df(pd.DataFrame(rows)) for name, rows in dict(events=events, exposures=exposures).items()}, kind="test")
    return cl.open_shop(folder)


def test_days_are_counted_from_each_persons_own_exposure(shop):
    r = novelty(shop, experiment="top", metric="click", control="A")
    wide = r.frame.pivot(index="day", columns="arm", values="est")
    assert list(wide.index) == list(range(1, 15)) and set(r.frame.n) == {100}
    for arm, last in dict(A=3, B=14, C=0).items():
        expected = [np.mean([bool((k + d) % 4) for k in range(300) if "ABC"[k % 3] == arm]) if d < last else 0. for d in range(14)]
        np.testing.assert_allclose(wide[arm], expected)
    inside = r.frame.dropna(subset=["diff"])
    assert (inside.diff_lo <= inside["diff"]).all() and (inside["diff"] <= inside.diff_hi).all()
    assert r.change.set_index("arm").answer.to_dict()["C"] == "few" and "該当者が少なく" in r.text("ja")


def test_steps_of_a_week_hold_who_did_it_on_any_of_its_days(shop):
    r = novelty(shop, experiment="top", metric="click", control="A", within="21d", by_days=7)
    assert r.frame.day.unique().tolist() == [1, 8, 15]
    b = r.frame[r.frame.arm == "B"].set_index("day").est
    assert b.to_dict() == {1: 1., 8: 1., 15: 0.}


def test_words_never_turn_silence_into_no_change(shop):
    r = novelty(shop, experiment="top", metric="count:click", control="B")
    for lang in ("ja", "en"):
        text = r.text(lang)
        assert text and "有意" not in text and "差がない" not in text
    assert "個々の日" in r.text("ja")
    import matplotlib
    matplotlib.use("agg")
    assert r.plot().get_xlabel()


BAD = dict(exit=(dict(metric="first_view_exit"), "happens once"), short=(dict(within="2d"), "at least 3"), window=(dict(within="x"), "duration 'x'"), none=(dict(within=None), "duration None"), steps=(dict(by_days=0), "by_days=0"), half=(dict(by_days=.5), "by_days=0.5"),
           arm=(dict(control="D"), "known: A, B, C"), no_arm=(dict(control=None), "control=None"), event=(dict(metric="clik"), "did you mean click"), money=(dict(metric="revenue"), "counted from orders"), width=(dict(prob=95), "prob=95"), number=(dict(metric=3), "metric 3"),
           unknown=(dict(experiment="pot"), "known: top"), shop=(dict(shop=pd.DataFrame(dict(a=[1]))), "no shop"))


@pytest.mark.parametrize("change, says", BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_in_one_line(shop, change, says):
    arguments = dict(shop=shop, experiment="top", metric="click", control="A") | change
    with pytest.raises(cl.CrmlabError) as error: novelty(arguments.pop("shop"), **arguments)
    assert says in str(error.value) and "\n" not in str(error.value)
