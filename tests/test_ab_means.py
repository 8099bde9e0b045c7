"Means, revenue, ratios and quantiles of a test, from outside: other ways of computing them, published tests, coverage."
from __future__ import annotations

import json
import time

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats
from threadpoolctl import threadpool_limits

import crmlab as cl
from crmlab.infer.means import bootstrap_draws, draws_of, quantile_draws, sample_quantile, tail_of
from crmlab.infer.samples import sample_of

ASKED = dict(arm="arm", control="A")


def people(seed=1, n=4000, lift=1.3):
    rng = np.random.default_rng(seed)
    arm = rng.choice(["A", "B", "C"], n)
    before = rng.gamma(2, 20, n)
    return pd.DataFrame(dict(arm=arm, rank=rng.choice(["Bronze", "Royal"], n), who=np.arange(n), visits=1 + rng.poisson(2, n), before=before, bought=(rng.random(n) < .3).astype(int),
                             score=np.round(before + rng.normal(0, 10, n) + 5*(arm == "B"), 2), spend=np.where(rng.random(n) < np.where(arm == "B", .1*lift, .1), 100*np.ceil(rng.lognormal(3, 1, n)), 0.)))


WAYS = {"revenue": dict(metric="spend"), "mean with a covariate": dict(metric="score", covariate="before"), "ratio": dict(metric="spend", denominator="visits"), "median": dict(metric="score", kind="median"),
        "segments": dict(metric="spend", by="rank"), "people with several rows": dict(metric=["spend", "bought"], cluster="who"), "adjusted rate": dict(metric="bought", covariate=["before", "visits"])}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_rows_of_every_engine_agree(way, tmp_path):
    frame = people()
    before = frame.copy()
    if "cluster" in way: frame = before = pd.concat([frame, frame.assign(spend=0., bought=0)])
    frame.to_parquet(tmp_path/"people.parquet")
    given_ways = [frame, pl.from_pandas(frame), pl.from_pandas(frame).lazy(), str(tmp_path/"people.parquet"), frame.sample(frac=1, random_state=0)]
    first, *others = [cl.ab_test(users, **ASKED, **way) for users in given_ways]
    for other in others:
        pd.testing.assert_frame_equal(other.frame, first.frame, rtol=1e-6)
        assert other.text("en") == first.text("en")
    pd.testing.assert_frame_equal(frame, before)
    assert first.sensitivity.arm.isin(["B", "C"]).all() and len(first.sensitivity) > 0


def test_estimates_are_those_a_person_would_compute():
    frame = people()
    value = lambda **how: cl.ab_test(frame, **ASKED, **how).frame.set_index("arm").est
    groups = frame.groupby("arm")
    np.testing.assert_allclose(value(metric="spend"), groups.spend.mean())
    np.testing.assert_allclose(value(metric="spend", denominator="visits"), groups.spend.sum()/groups.visits.sum())
    np.testing.assert_allclose(value(metric="score", kind="p90"), groups.score.quantile(.9))
    np.testing.assert_allclose(value(metric="score", kind="quantile", quantile=.37), groups.score.quantile(.37))
    doubled = cl.ab_test(pd.concat([frame, frame]), cluster="who", metric="spend", **ASKED).frame
    np.testing.assert_allclose(doubled.set_index("arm").est, 2*groups.spend.mean())
    assert doubled.n.sum() == len(frame)


def test_weights_are_those_of_a_dirichlet_over_people():
    rng = np.random.default_rng(3)
    values = np.where(rng.random(400) < .2, rng.integers(1, 9, 400), 0)
    slow = rng.dirichlet(np.ones(400), 8000) @ values
    quick = bootstrap_draws(sample_of(values), rng=rng, size=8000, plain=True)
    assert stats.ks_2samp(slow, quick).pvalue > .001
    weights = rng.dirichlet(np.ones(400), 4000)
    order = np.argsort(values, kind="stable")
    at = (np.cumsum(weights[:, order], axis=1) < .9).sum(1)
    assert abs(np.bincount(values[order][at], minlength=9)/4000 - np.bincount(quantile_draws(sample_of(values), .9, rng=rng).astype(int), minlength=9)/4000).max() < .03
    assert sample_quantile(sample_of(values), .9) == np.quantile(values, .9)


def test_a_person_is_one_unit_however_many_rows():
    frame = people(n=2000)
    once, many = (cl.ab_test(f, metric="bought", kind="rate", cluster="who", **ASKED).frame for f in (frame, pd.concat([frame]*9)))
    np.testing.assert_allclose(once.est, many.est)
    assert (many.hi - many.lo > .9*(once.hi - once.lo)).all()   # nine copies of a row are no nine people


def test_ratio_standard_error_is_that_of_the_delta_method():
    frame = people(n=9000)
    row = cl.ab_test(frame[frame.arm != "C"], metric="score", denominator="visits", **ASKED).frame.iloc[1]
    def error(g):
        ratio = g.score.sum()/g.visits.sum()
        return np.std(g.score - ratio*g.visits, ddof=1)/np.sqrt(len(g))/g.visits.mean()
    expected = np.hypot(*(error(g) for _, g in frame[frame.arm != "C"].groupby("arm")))
    assert abs((row.diff_hi - row.diff_lo)/(2*1.96)/expected - 1) < .05


def test_adjustment_is_a_regression_per_arm():
    frame = people(n=3000)
    r = cl.ab_test(frame, metric="score", covariate="before", **ASKED)
    centre = frame.before.mean()
    for arm, g in frame.groupby("arm"):
        slope, constant = np.polyfit(g.before - centre, g.score, 1)
        assert abs(r.frame.set_index("arm").est[arm] - constant) < 1e-6
    plain = cl.ab_test(frame, metric="score", **ASKED).frame
    width = lambda f: (f.diff_hi - f.diff_lo)[1]
    assert .4 < 1 - (width(r.frame)/width(plain))**2 < r.adjustment.reduction.max() + .1
    assert r.frame.note[1] and np.isclose(r.adjustment.set_index("arm").raw["B"], frame[frame.arm == "B"].score.mean())


def test_sums_tell_what_rows_tell():
    frame = people(n=6000)
    rows = cl.ab_test(frame, metric="score", **ASKED).frame
    groups = frame.groupby("arm", as_index=False).score
    for sums in (groups.agg(n="size", mean="mean", sd="std"), frame.assign(sq=frame.score**2).groupby("arm", as_index=False).agg(n=("score", "size"), total=("score", "sum"), squares=("sq", "sum"))):
        told = cl.ab_test(sums, metric="score", **ASKED).frame
        np.testing.assert_allclose(told.est, rows.est)
        np.testing.assert_allclose(told[["diff_lo", "diff_hi"]][1:], rows[["diff_lo", "diff_hi"]][1:], atol=.15)


def test_the_same_seed_gives_the_same_numbers_whatever_stands_beside():
    frame = people()
    alone = cl.ab_test(frame, metric="spend", seed=4, **ASKED).frame
    pd.testing.assert_frame_equal(cl.ab_test(frame, metric="spend", seed=4, **ASKED).frame, alone)
    beside = cl.ab_test(frame, metric=["spend", "score", "bought"], seed=4, **ASKED).frame
    pd.testing.assert_frame_equal(beside[beside.metric == "spend"], alone)
    other = cl.ab_test(frame, metric="spend", seed=5, **ASKED).frame
    assert not np.array_equal(other.diff_lo[1:], alone.diff_lo[1:]) and np.allclose(other.p_better[1:], alone.p_better[1:], atol=.03)


def test_nothing_follows_from_too_little():
    frame = people(n=900)
    for changed, kind in ((frame.assign(spend=0.), "revenue"), (frame.groupby("arm").head(8), "mean"), (frame.assign(spend=np.where(frame.groupby("arm").cumcount() < 5, 100., 0.)), "revenue")):
        r = cl.ab_test(changed, metric="spend", kind=kind, **ASKED)
        assert r.frame[["diff_lo", "p_better", "p_best", "lift_lo"]].isna().all(axis=None) and (r.frame.note.str.len() > 0).all()
        assert r.decision.decision.tolist() == ["running"] and r.text("ja") and r.text("en")


def test_long_tails_are_noted_and_measured():
    rng = np.random.default_rng(2)
    def test(sigma, buyers):
        n = int(2*buyers/.03)
        frame = pd.DataFrame(dict(arm=rng.choice(["A", "B"], n), spend=np.where(rng.random(n) < .03, rng.lognormal(8, sigma, n), 0)))
        return cl.ab_test(frame, metric="spend", **ASKED)
    calm, few, long = test(1, 900), test(1, 150), test(2.2, 900)
    assert (calm.frame.note == "").all() and (few.frame.note.str.len() > 0).all() and (long.frame.note.str.len() > 0).all()
    assert calm.tails.top_share.max() < .15 < .25 < long.tails.top_share.max() and calm.tails.zeros.between(.96, .98).all()
    assert "long tail" in long.text("en") and "long tail" not in calm.text("en")


AMOUNTS = dict(lognormal=lambda rng, k: rng.lognormal(8 - 1.5**2/2, 1.5, k), gamma=lambda rng, k: rng.gamma(.5, 2*np.exp(8), k), two_prices=lambda rng, k: np.where(rng.random(k) < .05, 30_000., 3_000.))


@pytest.mark.parametrize("name", AMOUNTS)
def test_revenue_intervals_keep_their_promise(name):
    worlds, visitors, held = 80, 30_000, 0
    mean = 4350 if name == "two_prices" else np.exp(8)
    for seed in range(worlds):
        rng = np.random.default_rng([seed, 21])
        draws = []
        for rate in (.03, .033):
            buyers = rng.binomial(visitors, rate)
            draws.append(draws_of(sample_of(np.append(AMOUNTS[name](rng, buyers), 0.), count=np.append(np.ones(buyers), visitors - buyers)), rng=rng, size=600))
        lo, hi = np.quantile(draws[1] - draws[0], [.025, .975])
        held += lo <= mean*.003 <= hi
    assert held >= stats.binom.ppf(.005, worlds, .94)   # 99 % band of the 93 to 97 % that benchmarks/bench_ab_test.py measures


def test_sixty_four_thousand_people_take_a_fraction_of_a_second():
    rng = np.random.default_rng(1)
    arms = [sample_of(np.where(rng.random(32_000) < .0312, rng.lognormal(8, 1.5, 32_000), 0)) for _ in range(2)]
    took = []
    with threadpool_limits(1):   # threads that wait for a busy machine would count as work
        for _ in range(4):
            start = time.process_time()
            for s in arms: draws_of(s, rng=rng)
            took.append(time.process_time() - start)
    assert min(took) < .2


@pytest.mark.data("hillstrom")
def test_hillstrom_spend_and_conversion_are_the_published_ones(data):
    frame = pd.read_csv(next((data/"hillstrom").glob("*.csv")))
    r = cl.ab_test(frame, arm="segment", metric=["visit", "conversion", "spend"], control="No E-Mail")
    est = r.frame.set_index(["metric", "arm"]).est
    arms = ["Mens E-Mail", "Womens E-Mail", "No E-Mail"]
    np.testing.assert_allclose([est["spend", a] for a in arms], [1.4226, 1.0772, .6528], atol=5e-5)
    np.testing.assert_allclose([100*est["visit", a] for a in arms], [18.2757, 15.1400, 10.6167], atol=5e-5)
    np.testing.assert_allclose([100*est["conversion", a] for a in arms], [1.2531, .8837, .5726], atol=5e-5)
    assert r.meta["kind"] == dict(visit="rate", conversion="rate", spend="revenue") and (r.decision.arm == "Mens E-Mail").all() and (r.decision.decision == "choose").all()
    adjusted = cl.ab_test(frame, arm="segment", metric="spend", control="No E-Mail", covariate="history")
    assert adjusted.adjustment.reduction.max() < .01   # what they spent before says next to nothing about the fortnight after the mail


@pytest.mark.data("growthbook_stats")
def test_published_cases_differ_where_the_model_does(data):
    """The published answers put a normal on the lift, with its variance by the delta method and no prior. Without that
    approximation, and with Student's t for ten values an arm, the chance is a little lower; the estimate is the same."""
    cases = {c["name"]: c for c in json.loads((data/"growthbook_stats"/"gbstats_expected.json").read_text(encoding="utf-8"))["bayesian"]}
    case = cases["gaussian_flat"]
    sums = pd.DataFrame([dict(arm=k, n=case[k]["n"], total=case[k]["sum"], squares=case[k]["sum_squares"]) for k in "ab"])
    row = cl.ab_test(sums, arm="arm", metric="m", control="a").frame.iloc[1]
    assert abs(row.lift - case["expected"]) < 1e-9
    mean, se = ([case[k]["sum"]/10 for k in "ab"], [np.sqrt((case[k]["sum_squares"] - case[k]["sum"]**2/10)/9/10) for k in "ab"])
    delta = np.sqrt(se[1]**2/mean[0]**2 + mean[1]**2*se[0]**2/mean[0]**4)
    assert abs(stats.norm.cdf(.05/delta) - case["chanceToWin"]) < 1e-4   # so they computed it
    grid = np.linspace(8, 13, 4001)
    exact = np.sum(stats.t.pdf(grid, 9, mean[0], se[0])*stats.t.sf(grid, 9, mean[1], se[1]))*(grid[1] - grid[0])
    assert abs(row.p_better - exact) < .01 and exact < case["chanceToWin"]
    counts = pd.DataFrame(dict(arm=["a", "b"], n=[100, 100], successes=[49, 51]))
    rate = cl.ab_test(counts, arm="arm", metric="m", control="a").frame.iloc[1]
    assert abs(rate.p_better - cases["binomial"]["chanceToWin"]) < .002 and abs(rate.lift - cases["binomial"]["expected"]) < 1e-5


def test_the_lognormal_model_is_there_where_it_fits_and_refuses_where_it_does_not():
    rng = np.random.default_rng(6)
    frame = pd.DataFrame(dict(arm=rng.choice(["A", "B"], 20_000), spend=np.where(rng.random(20_000) < .05, rng.lognormal(8, 1, 20_000), 0)))
    model, weights = (cl.ab_test(frame, metric="spend", kind=k, **ASKED).frame.iloc[1] for k in ("hurdle", "revenue"))
    assert abs(model.p_better - weights.p_better) < .15 and model.diff_lo < weights["diff"] < model.diff_hi
    two = frame.assign(spend=np.where(frame.spend > 0, np.where(rng.random(20_000) < .05, 30_000., 3_000.), 0.))
    with pytest.raises(cl.CrmlabError, match="not lognormal"): cl.ab_test(two, metric="spend", kind="hurdle", **ASKED)


@pytest.mark.parametrize("sigma", [1., 2.])
def test_a_lognormal_row_speaks_with_one_voice(sigma):
    worlds = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame(dict(arm=["A"]*2000 + ["B"]*2000, spend=np.where(rng.random(4000) < .05, rng.lognormal(8, sigma, 4000), 0)))
        try: test = cl.ab_test(frame, metric="spend", kind="hurdle", seed=1, **ASKED)
        except cl.CrmlabError as e:   # about one world in fifty is no lognormal by chance
            assert "not lognormal" in str(e)
            continue
        a, b = test.frame.iloc[0], test.frame.iloc[1]
        assert all(row.lo < row.est < row.hi for row in (a, b)) and b.diff_lo < b["diff"] < b.diff_hi and b.lift_lo < b.lift < b.lift_hi
        assert b.p_better == .5 or (b["diff"] > 0) == (b.p_better > .5) == (b.lift > 0)
        seen = frame[frame.arm == "B"].spend.mean()
        assert f"{seen:,.0f}" in b.note and ("model" in b.note or "モデル" in b.note)
        worlds += 1
    assert worlds >= 22


def test_past_tests_pull_towards_what_was_ever_seen():
    frame = people(n=3000, lift=2.)
    flat = cl.ab_test(frame, metric="spend", **ASKED)
    size = abs(flat.frame.est[0])
    past = pd.DataFrame(dict(effect=size*np.array([.02, -.01, .03, 0, .01]), se=size*np.array([.02]*5)))
    pulled = cl.ab_test(frame, metric="spend", prior=past, **ASKED)
    assert 0 < pulled.frame["diff"][1] < .5*flat.frame["diff"][1] and (pulled.frame.diff_hi - pulled.frame.diff_lo)[1] < (flat.frame.diff_hi - flat.frame.diff_lo)[1]
    rates = pd.DataFrame(dict(n=[5000]*4, successes=[480, 510, 530, 470]))
    few = pd.DataFrame(dict(arm=["A", "B"], n=[40, 40], successes=[1, 12]))
    assert cl.ab_test(few, metric="m", prior=rates, **ASKED).frame.est[1] < .2
    effects = cl.ab_test(few, metric="m", prior=pd.DataFrame(dict(effect=[.01, -.01, .0], se=[.01, .01, .01])), **ASKED)
    assert abs(effects.frame["diff"][1]) < .05 and effects.sensitivity.prior.nunique() == 3


def test_tails_of_a_known_distribution():
    rng = np.random.default_rng(0)
    for sigma in (.5, 1., 2.):
        t = tail_of(sample_of(rng.lognormal(5, sigma, 200_000)))
        assert abs(t.sigma - sigma) < .02 and abs(t.top_share - stats.norm.cdf(sigma - stats.norm.ppf(.99))) < .03
