"Uplift from outside: counts and rows, coverage in worlds with known truth, the published Hillstrom test, refusals, and PyMC."
from __future__ import annotations

import json
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.special import expit
from scipy.stats import binom

import crmlab as cl
from crmlab.infer.gain import cross_fit, decide, gain, gain_table, perfect_knowledge
from crmlab.infer.pooling import ArmCells, Prior, fit_cells, pareto_k
from crmlab.infer.uplift import uplift
from crmlab.sources.population import check_policy
from crmlab.sources.scenarios import read_scenario


def counts(rows): return pd.DataFrame(rows, columns=["arm", "rank", "n", "successes"])


USUAL = [("A", "x", 1000, 50), ("A", "y", 1000, 60), ("B", "x", 1000, 90), ("B", "y", 1000, 40)]
asked = dict(arm="arm", metric="bought", by="rank", control="A", seed=1)


def world_of_prior(seed, people, segments=8, arms=3):
    rng, prior = np.random.default_rng(seed), Prior()
    common, spread = prior.effect*rng.normal(size=arms - 1), (abs(rng.normal(0, prior.tau_b)), rng.rayleigh(prior.tau_d))
    control = rng.normal(*prior.level) + spread[0]*rng.normal(size=(segments, 1))
    rates = expit(np.concatenate([control, control + common + spread[1]*rng.normal(size=(segments, arms - 1))], axis=1))
    n = rng.integers(*people, rates.shape)
    return rates, ArmCells(n, rng.binomial(n, rates))


def planted(seed, effects, base=.05, people=2000):
    rng, effects = np.random.default_rng(seed), np.asarray(effects)
    rates = np.stack([np.full(len(effects), base), base + effects*np.sqrt(2*base*(1 - base)/people)], axis=1)
    n = np.full(rates.shape, people)
    return rates, ArmCells(n, rng.binomial(n, rates))


# --- the fit

@pytest.mark.parametrize("people", [(350, 8000), (17, 400)])
def test_intervals_cover_truth_from_the_prior(people):
    covered = []
    for seed in range(120):
        rates, cells = world_of_prior(seed, people)
        lo, hi = np.quantile(fit_cells(cells, seed=seed, draws=4000, points=89).effects, [.05, .95], axis=0)
        truth = rates[:, 1:] - rates[:, :1]
        covered.append(((lo <= truth) & (truth <= hi)).mean())
    assert abs(np.mean(covered) - .9) < 3*np.std(covered)/np.sqrt(len(covered))


def test_two_segments_without_pooling_to_speak_of_are_beta_posteriors():
    "With much data the model must agree with exact Beta posteriors of each segment alone."
    cells = ArmCells(np.full((2, 2), 200_000), np.array([[10_000, 12_000], [10_000, 9_000]]))
    effects = fit_cells(cells, seed=1).effects[..., 0]
    exact = cells.y/cells.n
    sd = np.sqrt((exact*(1 - exact)/cells.n).sum(1))
    assert (np.abs(effects.mean(0) - (exact[:, 1] - exact[:, 0]))/sd < .15).all() and np.allclose(effects.std(0), sd, rtol=.05)


def test_means_equal_a_direct_integration_over_both_spreads():
    mean, se, prior = np.array([[1., 1.3], [.7, .8], [1.2, 1.9]]), np.full((3, 2), .15), Prior(level=(1., 2.5))
    cells = ArmCells(np.full((3, 2), 50), mean, se, prior=prior)
    scale, treated, segment = prior.deviations(2)**2, np.tile([0, 1], 3), np.repeat(np.arange(3), 2)
    weight, found = [], []
    for tau_b in np.linspace(.01, 4, 120):
        for tau_d in np.linspace(.01, 4, 120):
            cov = scale[0] + scale[1]*np.outer(treated, treated) + tau_b**2*(segment[:, None] == segment) + tau_d**2*np.diag(treated)
            whole = cov + np.diag(se.ravel()**2)
            off = mean.ravel() - 1
            weight.append(-.5*(off @ np.linalg.solve(whole, off) + np.linalg.slogdet(whole)[1] + tau_b**2 + tau_d**2/prior.tau_d**2) + np.log(tau_d))
            found.append(1 + cov @ np.linalg.solve(whole, off))
    weight = np.exp(np.array(weight) - max(weight))
    exact = (weight[:, None]*found).sum(0)/weight.sum()
    fit = fit_cells(cells, seed=1)
    assert fit.ess > .8 and np.abs(fit.values.mean(0).ravel() - exact).max() < .004


def test_same_seed_same_numbers_and_other_seeds_nearly_the_same():
    _, cells = world_of_prior(3, (350, 8000))
    one, again, other = (fit_cells(cells, seed=s) for s in (1, 1, 2))
    assert np.array_equal(one.values, again.values)
    assert np.abs((one.effects > 0).mean(0) - (other.effects > 0).mean(0)).max() < .02


def test_thousands_of_segments():
    _, cells = planted(0, np.zeros(2000), people=300)
    fit = fit_cells(cells, seed=1, points=89)
    assert fit.values.shape[1:] == (2000, 2) and np.isfinite(fit.values).all() and fit.spreads[:, 1].mean() < .3


def test_pareto_k_tells_a_heavy_tail_from_a_light_one():
    rng = np.random.default_rng(0)
    assert pareto_k(rng.normal(0, .1, 20_000)) < .3 and pareto_k(np.log(rng.pareto(1.1, 20_000) + 1)) > .7 and pareto_k(np.array([0., np.nan])) == np.inf


# --- the gain

def test_null_worlds_promise_nothing_though_raw_winners_do():
    above, promised, crossed = 0, 0, 0
    for seed in range(100):
        rates, cells = planted(seed, np.zeros(8))
        table, _, _ = gain_table(fit_cells(cells, seed=seed, draws=4000, points=89), cells, shares=np.full(8, 1/8), seed=seed)
        above, promised, crossed = above + (table.lo[0] > 0), promised + (table.est.iloc[-1] > 0), crossed + (table.lo[2] <= 1e-12)
    assert above <= 6 and promised > 80 and crossed > 90   # 6: the 99 % band of 2.5 %


@pytest.mark.parametrize("effects", [[-2]*2 + [2]*6, [2]*4 + [-2]*4, "spread"], ids=["two odd", "half and half", "normal, 2.5 se"])
def test_gain_covers_planted_truth(effects):
    gains = crossed = 0
    for seed in range(100):
        rates, cells = planted(seed, np.random.default_rng(1000 + seed).normal(0, 2.5, 8) if effects == "spread" else effects)
        shares = np.full(8, 1/8)
        table, rule, uniform = gain_table(fit_cells(cells, seed=seed, draws=4000, points=89), cells, shares=shares, seed=seed)
        gains += table.lo[0] - 1e-12 <= gain(rates, rule, np.full(8, uniform), shares) <= table.hi[0] + 1e-12
        fitted = cross_fit(cells, shares=shares, seed=seed)
        learned = gain(np.broadcast_to(rates, (*fitted.rules.shape, 2)), fitted.rules, fitted.uniform, shares).mean()
        crossed += abs(fitted.against_uniform[0] - learned) <= 1.96*fitted.against_uniform[1] + 1e-12
    assert gains >= binom.ppf(.005, 100, .9) and crossed >= binom.ppf(.005, 100, .9)


def test_a_rule_is_never_worse_in_expectation_and_knowing_is_never_worth_less():
    rng, shares = np.random.default_rng(4), np.array([.5, .3, .2])
    net = rng.normal(size=(500, 3, 3))
    rule, uniform = decide(net.mean(0), shares)
    assert gain(net, rule, np.broadcast_to(uniform, rule.shape), shares).mean() >= 0
    assert (perfect_knowledge(net, uniform, shares) >= gain(net, rule, np.broadcast_to(uniform, rule.shape), shares) - 1e-12).all()


def test_a_segment_column_may_be_called_segment():
    given = counts(USUAL)
    plain, named = uplift(given, **asked), uplift(given.rename(columns=dict(rank="segment")), **asked | dict(by="segment"))
    pd.testing.assert_frame_equal(named.frame, plain.frame)
    assert named.rules == [dict(when=dict(segment=r["when"]["rank"]), arm=r["arm"]) if "when" in r else r for r in plain.rules] and named.text("en").count("among x") == 1
    two = given.assign(segment="a")
    with pytest.raises(cl.CrmlabError, match="rename that column"): uplift(two, **asked | dict(by=["rank", "segment"]))


def test_costs_turn_the_rule():
    rows = counts(USUAL)
    free, dear = (uplift(rows, cost=c, value=1000, **asked) for c in (0, 35))
    assert {r.arm for r in free.policy.itertuples()} == {"A", "B"} and set(dear.policy.arm) == {"A"} or dear.gain.est[1] < free.gain.est[1]
    ruinous = uplift(rows, cost=10**6, value=1, **asked)
    assert ruinous.rules == [{"arm": "A"}] and ruinous.gain.est[0] == 0


def test_shares_weigh_the_gain():
    rows = counts(USUAL)
    mostly_x, mostly_y = (uplift(rows, shares=dict(x=x, y=1 - x), **asked).gain.est[1] for x in (.99, .01))
    assert mostly_x > mostly_y and abs(mostly_x - uplift(rows, **asked).frame.est[0]) < .005


def test_a_segment_that_nobody_of_will_be_treated_has_no_part_in_gain_and_columns():
    rows = counts([*USUAL, ("A", "z", 1000, 50), ("B", "z", 1000, 55)])
    result = uplift(rows, shares=dict(x=0, y=0, z=1), **asked)
    assert np.isfinite(result.gain.est).all() and result.columns.spread.tolist() == [0] and list(result.policy.share) == [0, 0, 1]
    assert abs(result.gain.est[1] - result.policy.est[2]) < 1e-12 or result.policy.arm[2] == "B"


# --- the public function

def test_rows_polars_lazy_and_counts_agree():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(dict(arm=rng.choice(list("AB"), 4000), rank=rng.choice(["x", "y", None], 4000), bought=rng.random(4000) < .1))
    given = rows.assign(rank=rows["rank"].fillna("(unknown)")).groupby(["arm", "rank"], as_index=False).agg(n=("bought", "size"), successes=("bought", "sum"))
    frames = [uplift(t, **asked).frame for t in (rows, pl.from_pandas(rows), pl.from_pandas(rows).lazy(), given)]
    for other in frames[1:]: pd.testing.assert_frame_equal(frames[0], other)
    assert list(frames[0].columns[:6]) == ["segment", "arm", "n", "est", "lo", "hi"] and frames[0].n.sum() == (rows.arm == "B").sum()


def test_unknown_values_take_the_arm_of_everybody():
    rows = counts([*USUAL, ("A", None, 1000, 120), ("B", None, 1000, 20)])
    result = uplift(rows, **asked)
    policy = result.policy.set_index("segment")
    assert "(unknown)" in set(result.frame.segment) and policy.arm["(unknown)"] == policy.against["(unknown)"]
    assert all("(unknown)" not in json.dumps(r, ensure_ascii=False) for r in result.rules)


def test_rules_run_in_the_simulator():
    scenario = read_scenario("bronze_royal")
    arms = list(scenario.trial.arms)
    rows = counts([(arms[0], "Bronze", 5000, 250), (arms[0], "Royal", 5000, 900), (arms[1], "Bronze", 5000, 500), (arms[1], "Royal", 5000, 600)])
    rules = uplift(rows, **asked | dict(control=arms[0])).rules
    assert len(rules) == 2 and check_policy(json.loads(json.dumps(rules)), scenario) == rules


def test_value_types_survive_and_columns_name_what_matters():
    rng = np.random.default_rng(2)
    rows = pd.DataFrame(dict(arm=rng.choice(list("AB"), 40_000), rank=rng.integers(0, 2, 40_000), device=rng.choice(["m", "d"], 40_000)))
    rows["bought"] = rng.random(40_000) < np.where((rows.arm == "B") & (rows["rank"] == 1), .12, np.where(rows.arm == "B", .03, .06))
    result = uplift(rows, **asked | dict(by=["rank", "device"]))
    assert list(result.columns) != [] and result.columns.column[0] == "rank" and list(result.columns.order) == [1, 2]
    assert all(isinstance(r["when"]["rank"], int) for r in result.rules if "when" in r)
    assert "rank=1" in result.text("ja") and "効果" in result.text("ja") and "無作為" in result.text("ja")


def test_revenue_with_a_heavy_tail_says_so():
    rng = np.random.default_rng(3)
    rows = pd.DataFrame(dict(arm=rng.choice(list("AB"), 800), rank=rng.choice(["x", "y"], 800), spend=rng.lognormal(3, 2.5, 800)))
    result = uplift(rows, **asked | dict(metric="spend", kind="revenue"))
    assert result.frame.note.str.contains("%").any() and np.isfinite(result.frame.est).all()


def test_means_of_many_people_are_their_raw_difference():
    rng = np.random.default_rng(3)
    rows = pd.DataFrame(dict(arm=rng.choice(list("AB"), 40_000), rank=rng.choice(["x", "y"], 40_000)))
    rows["spend"] = rng.gamma(2, 50, 40_000)*np.where((rows.arm == "B") & (rows["rank"] == "x"), 1.5, 1)
    frame = uplift(rows, **asked | dict(metric="spend")).frame
    raw = rows.groupby(["rank", "arm"]).spend.mean().unstack().eval("B - A")
    assert np.allclose(frame.raw, raw) and (frame.est - frame.raw).abs().max() < 2 and frame.raw.between(frame.raw_lo, frame.raw_hi).all()


@pytest.mark.parametrize(("rows", "says"), [
    (USUAL[:2], "is the only arm"), ([(a, s, 0, 0) for a, s, _, _ in USUAL], "has no people"), ([(a, s, n, 0) for a, s, n, _ in USUAL], "is 0 for everybody"),
    ([*USUAL[:3], ("B", "y", -5, 0)], "negative count"), ([*USUAL[:3], ("B", "y", 5, 6)], "6 successes of n=5"), ([*USUAL[:3], ("B", "y", np.nan, 0)], "is missing"),
    ([*USUAL[:3], ("B", "y", 5.5, 1)], "not whole numbers"), ([*USUAL, (None, "y", 5, 1)], "have no 'arm'"), ([], "has no people")])
def test_bad_counts_are_refused(rows, says):
    with pytest.raises(cl.CrmlabError, match=says): uplift(counts(rows), **asked)


@pytest.mark.parametrize(("change", "says"), [
    (dict(control="Z"), "is not an arm"), (dict(by=[]), "it is empty"), (dict(by=3), "by=3 is not a list of names"), (dict(by=["rank", "rank"]), "is given twice"), (dict(by="arm"), "named twice"),
    (dict(by="rnk"), r"did you mean rank\?$"), (dict(metric=None), "metric=None is not a name"), (dict(arm=3), "arm=3 is not a name"), (dict(prob=95), "interval width"), (dict(kind="rates"), "did you mean rate"),
    (dict(cost=dict(Z=1)), "is not an arm"), (dict(cost="5"), "cost='5' is not a number"), (dict(cost=dict(B="x")), "cost of 'B'='x' is not a number"), (dict(cost=np.nan), "is not a number"), (dict(cost=True), "is not a number"),
    (dict(shares=dict(x=1)), "lacks segment 'y'"), (dict(shares=dict(x=1, Y=1)), "names 'Y', which is not a segment"), (dict(shares="x"), "is not a mapping"), (dict(shares=dict(x="a", y=1)), "share of 'x'='a' is not a number"),
    (dict(shares=dict(x=-1, y=2)), "must be 0 or more"), (dict(shares=dict(x=0, y=0)), "not all 0"), (dict(value=np.inf), "is not a number"), (dict(value="a"), "value='a' is not a number"), (dict(value=True), "is not a number"),
    (dict(seed="x"), "seed='x' is not a whole number"), (dict(seed=-1), "seed=-1 is not a whole number")])
def test_bad_questions_are_refused(change, says):
    with pytest.raises(cl.CrmlabError, match=says): uplift(counts(USUAL), **asked | change)


def test_bad_metrics_are_refused():
    rows = pd.DataFrame(dict(arm=list("AB")*50, rank=["x"]*50 + ["y"]*50, bought=0.))
    for values, says in ((np.nan, "missing or infinite"), (np.inf, "missing or infinite"), (7., "is 7 for everybody"), ("a", "not numbers")):
        with pytest.raises(cl.CrmlabError, match=says): uplift(rows.assign(bought=values), **asked)
    with pytest.raises(cl.CrmlabError, match="other than 0 and 1"): uplift(rows.assign(bought=np.arange(100.)), **asked | dict(kind="rate"))


@pytest.mark.parametrize("factor", [1e-300, 1e-60, 1e60, 1e160, 1e300])
def test_amounts_that_cannot_be_squared_are_refused(factor):
    rows = pd.DataFrame(dict(arm=list("AB")*50, rank=["x"]*50 + ["y"]*50, bought=factor*np.arange(100.)))
    with pytest.raises(cl.CrmlabError, match="cannot be squared"): uplift(rows, **asked)


def test_the_unit_of_money_changes_nothing():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(dict(arm=rng.choice(list("AB"), 900), rank=rng.choice(list("xyz"), 900), bought=rng.lognormal(3, 1, 900)))
    yen, tiny, huge = (uplift(rows.assign(bought=rows.bought*f), **asked).frame for f in (1, 1e-40, 1e40))
    assert np.allclose(tiny.est*1e40, yen.est) and np.allclose(huge.lo/1e40, yen.lo) and (huge.p_positive == yen.p_positive).all()


def test_a_column_of_people_is_refused_before_anything_is_fitted(monkeypatch):
    from crmlab.infer import uplift as module
    monkeypatch.setattr(module, "fit_cells", lambda *a, **k: pytest.fail("a fit"))
    rows = pd.DataFrame(dict(user_id=np.arange(3000), arm=list("AB")*1500, bought=np.arange(3000) % 3 == 0))
    with pytest.raises(cl.CrmlabError, match="makes 3,000 segments, at most 1,000"): uplift(rows, **asked | dict(by="user_id"))
    with pytest.raises(cl.CrmlabError, match="no segment of by=.* has 10 people"): uplift(rows.head(900), **asked | dict(by="user_id"))


def test_many_segments_are_answered_in_seconds_and_never_sampled(monkeypatch):
    from crmlab.infer import uplift as module
    monkeypatch.setattr(module, "sample_cells", lambda *a, **k: pytest.fail("thousands of parameters sampled"))
    rng, n = np.random.default_rng(0), 1000*15
    rows = pd.DataFrame(dict(arm=np.tile(list("AB"), n), rank=np.repeat(np.arange(1000), 30), bought=rng.random(2*n) < .1))
    start = time.process_time()
    result = uplift(rows, **asked)
    assert time.process_time() - start < 30 and len(result.frame) == 1000
    assert result.meta["method"] == "laplace" and (result.meta["trusted"] or "audit()" in result.text("en"))
    ax = result.plot()
    assert len(ax.get_yticks()) == 60 and "1,000" in ax.get_title(loc="left") and ax.figure.get_size_inches()[1] < 25
    plt.close(ax.figure)


def test_values_that_say_nothing_by_themselves_are_shown_with_their_column():
    for values, named in (((0, 1), ["rank=0", "rank=1"]), ((False, True), ["rank=False", "rank=True"]), (("0", "1"), ["rank=0", "rank=1"]), (("Bronze", "Royal"), ["Bronze", "Royal"])):
        rows = counts([(a, values[s == "y"], n, y) for a, s, n, y in USUAL])
        result = uplift(rows, **asked)
        assert list(result.names("ja").values()) == named
        assert list(result.names("en").values()) == [n.replace("=", " = ") for n in named]
        ax = result.plot()
        assert [t.get_text() for t in ax.get_yticklabels()] == [f"{n} · B" for n in result.names().values()]
        plt.close(ax.figure)


def test_thin_cells_are_named_and_not_estimated():
    rows = counts([*USUAL, ("B", "no control", 500, 30), ("A", "few", 4, 1), ("B", "few", 500, 30)])
    result = uplift(rows, **asked)
    thin = result.frame[result.frame.segment.isin(["no control", "few"])]
    assert thin.est.isna().all() and thin.p_positive.isna().all() and (thin.note != "").all() and np.isfinite(result.gain.est).all()
    policy = result.policy.set_index("segment")
    assert (policy.arm == policy.against)[["no control", "few"]].all()


def test_a_billion_people():
    frame = uplift(counts([(a, s, 10**9, y*10**6) for a, s, _, y in USUAL]), **asked).frame
    assert np.allclose(frame.est, [.04, -.02], atol=1e-4) and (frame.hi - frame.lo < 1e-4).all()


@pytest.mark.data("hillstrom")
def test_hillstrom(data):
    rows = pd.read_csv(next((data/"hillstrom").glob("*.csv")))
    result = uplift(rows, arm="segment", metric="visit", by="womens", control="No E-Mail", seed=1)
    mail = result.frame[result.frame.arm == "Womens E-Mail"].set_index("segment")
    assert abs(mail.raw["1"] - .0731) < 1e-4 and abs(mail.raw["0"] - .0111) < 1e-4 and (mail.est - mail.raw).abs().max() < .005
    several = uplift(rows, arm="segment", metric="visit", by=["mens", "womens", "newbie", "channel"], control="No E-Mail", seed=1).columns
    assert several[(several.arm == "Womens E-Mail") & (several.order == 1)].column.item() == "womens"


# --- PyMC

def test_the_pymc_model_says_the_same():
    result = uplift(counts([*USUAL, ("A", "z", 60, 0), ("B", "z", 50, 2)]), **asked)
    audit = result.audit(seed=2)
    assert audit.meta["health"].good and len(audit.frame) == 3
    assert audit.frame.gap_sd.max() < .1 and audit.frame.gap_p.max() < .03   # 6,000 draws of a sampler have noise of their own
    assert "R-hat" in audit.text("ja") and "R-hat" in audit.text("en")


def test_an_untrusted_fit_falls_back_on_nuts(monkeypatch):
    from crmlab.infer import uplift as module
    quick = module.fit_cells
    monkeypatch.setattr(module, "fit_cells", lambda cells, seed: module.Posterior(quick(cells, seed=seed).values, np.zeros((1, 2)), .05, .9))
    result = uplift(counts(USUAL), **asked)
    assert result.meta["method"] == "nuts" and result.meta["trusted"] and "PyMC" in result.text("en")
    monkeypatch.undo()
    assert (result.frame.est - uplift(counts(USUAL), **asked).frame.est).abs().max() < .002


def test_segments_of_one_name_are_refused_and_so_is_a_rule_from_nobody():
    pairs = [("x · y", "z"), ("x", "y · z")]
    two = pd.DataFrame([dict(arm=a, p=p, q=q, n=300, successes=k) for a, k in (("A", 20), ("B", 40)) for p, q in pairs])
    with pytest.raises(cl.CrmlabError, match="would both be called 'x · y · z'"): uplift(two, **asked | dict(by=["p", "q"]))
    few = counts([("A", "x", 5, 0), ("A", "y", 5, 0), ("B", "x", 5, 4), ("B", "y", 5, 5)])
    with pytest.raises(cl.CrmlabError, match="no segment of by=.* has 10 people both in the control"): uplift(few, **asked)
