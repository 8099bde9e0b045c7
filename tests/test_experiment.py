"Experiments from outside: exact probabilities against independent quadrature, and published tests."
from __future__ import annotations

import time

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import integrate, stats

import crmlab as cl
from crmlab.infer.posterior import difference_quantile, expected_loss, lift_quantile, p_best, p_better, p_within, rate_posterior

PAIRS = {"2/150 v 6/150": ((2, 150), (6, 150)), "5/100 v 9/105": ((5, 100), (9, 105)), "8/400 v 15/410": ((8, 400), (15, 410)),
         "120/4000 v 150/4020": ((120, 4000), (150, 4020)), "3000/80000 v 3150/80100": ((3000, 80000), (3150, 80100)),
         "0/100 v 4/100": ((0, 100), (4, 100)), "4/100 v 0/100": ((4, 100), (0, 100)), "0/5 v 0/7": ((0, 5), (0, 7)), "40/40 v 30/40": ((40, 40), (30, 40))}
each_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
some = hypothesis_settings(max_examples=25, deadline=None)
count = st.integers(0, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def slow_integral(f, *arms):
    "Adaptive quadrature over the rate, cut at quantiles of both arms: shares no line with the package."
    cuts = np.unique(np.concatenate([[0, 1], *(d.ppf([1e-14, 1e-10, 1e-6, 1e-3, .05, .3, .5, .7, .95, 1 - 1e-3, 1 - 1e-6, 1 - 1e-10]) for d in arms)]))
    return sum(integrate.quad(f, lo, hi, epsabs=1e-15, epsrel=1e-12, limit=400)[0] for lo, hi in zip(cuts, cuts[1:], strict=False))


@each_pair
def test_probability_and_loss_equal_high_precision_quadrature(pair):
    a, b = (rate_posterior(*c) for c in pair)
    fa, fb = stats.beta(*a), stats.beta(*b)
    assert abs(p_better(b, a) - slow_integral(lambda x: fa.pdf(x)*fb.sf(x), fa, fb)) < 1e-8
    assert abs(expected_loss([a, b])[1] - slow_integral(lambda x: fb.cdf(x)*fa.sf(x), fa, fb)) < 1e-8
    assert abs(p_better(b, a) + p_better(a, b) - 1) < 1e-9


@each_pair
def test_quantiles_are_those_of_a_million_draws_and_lift_never_below_minus_100(pair):
    a, b = (rate_posterior(*c) for c in pair)
    rng = np.random.default_rng(5)
    da, db = rng.beta(*a, 10**6), rng.beta(*b, 10**6)
    for p in (.025, .5, .975):
        d, r = difference_quantile(b, a, p), lift_quantile(b, a, p)
        assert abs((db - da <= d).mean() - p) < .002 and abs((db/da - 1 <= r).mean() - p) < .002
    assert lift_quantile(b, a, 1e-9) >= -1


@each_pair
def test_speed(pair):
    a, b = (rate_posterior(*c) for c in pair)
    def best_of(f, rounds=12):
        took = []
        for _ in range(rounds):
            start = time.perf_counter()
            f()
            took.append(time.perf_counter() - start)
        return min(took)
    assert best_of(lambda: p_better(b, a)) < .005 and best_of(lambda: expected_loss([a, b])) < .005 and best_of(lambda: p_best([a, b])) < .005
    assert best_of(lambda: [f(b, a, p) for f in (difference_quantile, lift_quantile) for p in (.025, .975)]) < .05


@some
@given(count, count, st.floats(.001, .5))
def test_probabilities_fit_together(first, second, rope):
    a, b = rate_posterior(*first), rate_posterior(*second)
    best, loss = p_best([a, b]), expected_loss([a, b])
    assert abs(best.sum() - 1) < 1e-9 and abs(best[1] - p_better(b, a)) < 1e-9
    assert (loss >= 0).all() and abs((loss[0] - loss[1]) - (b.mean - a.mean)) < 1e-9
    assert abs(p_within(b, a, rope) - p_within(a, b, rope)) < 1e-9 and -1e-12 <= p_within(b, a, rope) <= 1 + 1e-12
    assert difference_quantile(b, a, .1) < difference_quantile(b, a, .9)


def test_a_billion_people():
    a, b = rate_posterior(10**8, 10**9), rate_posterior(10**8 + 30_000, 10**9)
    assert .97 < p_better(b, a) < .99 and np.isfinite(lift_quantile(b, a, .5))


# --- ab_test

def people(seed=1, n=3000):
    rng = np.random.default_rng(seed)
    arm = rng.choice(["A", "B", "C"], n)
    return pd.DataFrame(dict(arm=arm, rank=rng.choice(["Bronze", "Royal"], n), bought=(rng.random(n) < np.where(arm == "B", .15, .1)).astype(int)))


def test_rows_and_counts_of_every_kind_agree(tmp_path):
    frame = people()
    frame.to_parquet(tmp_path/"people.parquet")
    counts = frame.groupby(["arm", "rank"], as_index=False).agg(n=("bought", "size"), successes=("bought", "sum"))
    given_ways = [frame, frame.assign(bought=frame.bought.astype(bool)), pl.from_pandas(frame), pl.from_pandas(frame).lazy(), str(tmp_path/"people.parquet"), counts, frame.sample(frac=1, random_state=0)]
    tables = [cl.ab_test(users, arm="arm", metric="bought", control="A", by="rank").frame for users in given_ways]
    for t in tables[1:]: pd.testing.assert_frame_equal(t, tables[0])


def test_frame_columns_rates_and_segments():
    frame = people()
    before = frame.copy()
    r = cl.ab_test(frame, arm="arm", metric="bought", control="A", rope=.01)
    pd.testing.assert_frame_equal(frame, before)
    assert r.frame.columns.tolist() == ["metric", "segment", "arm", "n", "est", "lo", "hi", "diff", "diff_lo", "diff_hi", "lift", "lift_lo", "lift_hi", "p_better", "p_best", "p_equal", "loss", "note"]
    assert r.frame.segment.unique().tolist() == ["(all)"] and r.frame.arm.tolist() == ["A", "B", "C"]
    np.testing.assert_allclose(r.frame.est, frame.groupby("arm").bought.mean())
    assert ((r.frame.lo <= r.frame.est) & (r.frame.est <= r.frame.hi)).all() and abs(r.frame.p_best.sum() - 1) < 1e-9
    assert r.frame.loc[0, ["diff", "p_better", "lift", "p_equal"]].isna().all()
    by = cl.ab_test(frame, arm="arm", metric="bought", control="A", by="rank").frame
    assert by.groupby("arm").n.sum().to_dict() == r.frame.set_index("arm").n.to_dict()


def test_zero_counts_get_a_proper_answer():
    r = cl.ab_test(pd.DataFrame(dict(arm=["A", "B"], n=[100, 100], successes=[0, 4])), arm="arm", metric="bought", control="A")
    b = r.frame.set_index("arm").loc["B"]
    assert abs(b.p_better - .9703) < 1e-4 and np.isfinite(b[["lift", "lift_lo", "lift_hi"]].astype(float)).all() and b.lift_lo > -1 and b.note
    none = cl.ab_test(pd.DataFrame(dict(arm=["A", "B"], n=[50, 60], successes=[0, 0])), arm="arm", metric="bought", control="A").frame
    assert 0 < none.p_better[1] < .5 and none.est.tolist() == [0, 0] and (none.hi > 0).all()


def test_the_prior_moves_little_data_and_not_much_data():
    few = pd.DataFrame(dict(arm=["A", "B"], n=[20, 20], successes=[1, 5]))
    for scale, most in ((1, 1.), (1000, .002)):
        s = cl.ab_test(few.assign(n=few.n*scale, successes=few.successes*scale), arm="arm", metric="m", control="A").sensitivity
        assert s.prior.tolist() == ["given", "jeffreys", "pooled"] and s.p_better.max() - s.p_better.min() < most
    strong = cl.ab_test(few, arm="arm", metric="m", control="A", prior=(100, 900)).frame
    assert (abs(strong.est - .1) < .02).all() and ((strong.lo <= strong.est) & (strong.est <= strong.hi)).all()


@pytest.mark.parametrize("change, arguments, says", [
    (lambda f: f[f.arm == "A"], {}, "'A' is the only arm"),
    (lambda f: f.assign(bought=f.bought.astype(float).where(f.index > 0)), {}, "missing or infinite for 1 people"),
    (lambda f: f.assign(bought=f.bought*.5), dict(kind="rate"), "has the value 0.5, not 0/1"),
    (lambda f: f.head(0), {}, "has no people"),
    (lambda f: f, dict(control="D"), "control='D' is not an arm; known: A, B, C"),
    (lambda f: f, dict(metric="bougth"), "did you mean bought"),
    (lambda f: f, dict(arm="amr"), "needs column 'amr'"),
    (lambda f: f, dict(kind="meen"), "kind='meen' is not a kind of metric"),
    (lambda f: f, dict(denominator="visits"), "needs column 'visits'"),
    (lambda f: f, dict(cluster="user"), "needs column 'user'"),
    (lambda f: f, dict(prior=(0, 1)), "prior="),
    (lambda f: f, dict(rope=5), "rope=5"),
    (lambda f: f, dict(prob=95), "prob=95"),
    (lambda f: f, dict(expected_ratio=dict(A=1, B=1)), "expected_ratio="),
    (lambda f: f.assign(id=range(len(f))), dict(arm="id"), "give the column of the arm"),
    (lambda f: pd.DataFrame(dict(arm=["A", "B"], n=[5, 5], successes=[1, 9])), {}, "9 successes of n=5"),
    (lambda f: pd.DataFrame(dict(arm=["A", "B"], n=[5, -5], successes=[1, -1])), {}, "negative count"),
    (lambda f: pd.DataFrame(dict(arm=["A", "B"], n=[5, None], successes=[1, 1])), {}, "is missing")])
def test_bad_input_is_refused_in_one_line(change, arguments, says):
    with pytest.raises(cl.CrmlabError) as error: cl.ab_test(change(people(n=300)), **dict(arm="arm", metric="bought", control="A") | arguments)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_segment_without_control_says_so():
    frame = people()
    f = cl.ab_test(frame[(frame.arm != "A") | (frame["rank"] == "Royal")], arm="arm", metric="bought", control="A", by="rank").frame
    gone = f[f.segment == "Bronze"]
    assert gone[["diff", "p_better"]].isna().all(axis=None) and gone.note.str.len().min() > 0 and gone.n.tolist()[0] == 0
    assert f[f.segment == "Royal"].p_better.notna().sum() == 2


def test_the_split_is_checked_against_the_design():
    counts = pd.DataFrame(dict(arm=["A", "B"], n=[9_000, 1_010], successes=[90, 12]))
    run = lambda **more: cl.ab_test(counts, arm="arm", metric="m", control="A", **more)
    assert run().meta["sample_ratio"]["p"] < 1e-9 and run().decision.decision.tolist() == ["invalid"] and "注意" in run().text("ja") and run().text("en").startswith("Decision: this result is not valid")
    planned = run(expected_ratio=dict(A=.9, B=.1))
    assert planned.meta["sample_ratio"]["p"] > .5 and "注意" not in planned.text("ja") and (planned.frame.note == "").all()


def test_words_keep_to_the_rules():
    clear = cl.ab_test(pd.DataFrame(dict(arm=["A", "B"], n=[5000, 5000], successes=[500, 650])), arm="arm", metric="purchase", control="A").text("ja")
    assert "上回ると言えます" in clear and "95%信用区間" in clear and "5,000人" in clear and "有意" not in clear
    same = cl.ab_test(pd.DataFrame(dict(arm=["A", "B"], n=[5000, 5000], successes=[500, 503])), arm="arm", metric="purchase", control="A")
    assert "差があるとは言えません" in same.text("ja") and "差がない" not in same.text("ja")
    equal = cl.ab_test(pd.DataFrame(dict(arm=["A", "B"], n=[500_000, 500_000], successes=[50_000, 50_030])), arm="arm", metric="purchase", control="A", rope=.005).text("ja")
    assert "実質的に同等です" in equal


def test_it_draws_itself():
    import matplotlib
    matplotlib.use("agg")
    ax = cl.ab_test(people(), arm="arm", metric="bought", control="A", by="rank").plot()
    assert len(ax.get_yticklabels()) == 4


@pytest.mark.data("hillstrom")
def test_hillstrom_meets_the_published_figures(data):
    frame = pd.read_csv(next((data/"hillstrom").glob("*.csv")))
    f = cl.ab_test(frame, arm="segment", metric="visit", control="No E-Mail").frame.set_index("arm")
    np.testing.assert_allclose(100*f.est[["Mens E-Mail", "Womens E-Mail", "No E-Mail"]], [18.2757, 15.1400, 10.6167], atol=5e-5)
    for arm, lift, half in (("Mens E-Mail", 7.66, .66), ("Womens E-Mail", 4.52, .63)):
        np.testing.assert_allclose(100*f.loc[arm, ["diff", "diff_lo", "diff_hi"]].astype(float), [lift, lift - half, lift + half], atol=.011)
    womens = cl.ab_test(frame, arm="segment", metric="visit", control="No E-Mail", by="womens").frame.query("arm == 'Womens E-Mail'").set_index("segment")
    np.testing.assert_allclose(100*womens["diff"][["1", "0"]], [7.31, 1.11], atol=.01)


@pytest.mark.data("cookie_cats")
def test_cookie_cats_difference_and_its_broken_split(data):
    frame = pd.read_csv(data/"cookie_cats"/"cookie_cats.csv")
    r = cl.ab_test(frame, arm="version", metric="retention_7", control="gate_30")
    np.testing.assert_allclose(100*r.frame.loc[1, ["diff", "diff_lo", "diff_hi"]].astype(float), [-.82, -1.33, -.31], atol=.005)
    assert round(r.meta["sample_ratio"]["p"], 4) == .0086 and "p = 0.0086" in r.text("ja")


def test_a_column_of_amounts_is_no_segment():
    people = pd.DataFrame(dict(arm=["A", "B"]*600, visit=[0, 1, 1]*400, spent=np.arange(1200.)))
    with pytest.raises(cl.CrmlabError, match="column 'spent' has 1,200 values, at most 500"): cl.ab_test(people, arm="arm", metric="visit", control="A", by="spent")
