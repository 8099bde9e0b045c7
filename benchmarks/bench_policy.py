"""Policies: intervals in worlds with known truth, the loop from test to policy to fresh shop, and the Hillstrom e-mail test.

`values`: logs of 2,000 decisions with unequal chances known by column, with three even arms whose chances are estimated, with
an amount as reward, and with several rows a person; the share of worlds in which each estimator's interval holds the true
value and the true difference. `curves`: the simultaneous band of `qini` against the whole true curve, and its coefficient.
`loop`: a test is drawn by the simulator, `uplift` learns a rule, and two things are asked. Does the interval of the gain hold
the true gain, from the scenario's truth? And does the gain realised in two fresh shops, one under the rule and one under the
best single arm, fall into its posterior-predictive interval? Shops are drawn on the simulator's layer of people (`draw_people`:
members, orders, exposures), where `simulate` draws its people too, without the clicks; `full_shop` shows for whole
shops that the counts are the same. Every scenario that has an experiment is drawn, one of them without any effect.
Seeds are 0, 1, …, then a second block from 10,000.
Usage beside `run.py`: python benchmarks/bench_policy.py PART [worlds] [scenario …] with PART of values, curves, loop, full_shop,
hillstrom; scenarios are those of the loop, all when none is named, and the others' figures stay as they are
"""
from __future__ import annotations

import sys
import tempfile
import time

import numpy as np
import pandas as pd

from crmlab.infer.policy import METHODS, policy_value
from crmlab.infer.qini import qini
from crmlab.infer.uplift import uplift
from crmlab.sources.population import draw_people
from crmlab.sources.scenarios import read_scenario
from crmlab.sources.truth import truth_of

BLOCKS = (0, 10_000)   # first seeds
RATES = pd.DataFrame(dict(A=[.05, .10, .20], B=[.11, .10, .14], C=[.08, .12, .16]), index=["Bronze", "Silver", "Royal"])
SHARES = pd.Series([.5, .3, .2], index=RATES.index)
LEAN = pd.Series([.3, .5, .3], index=RATES.index)   # chance of B, where two arms are drawn unevenly
RULES = [{"when": {"rank": "Bronze"}, "arm": "B"}, {"arm": "A"}]
TAKEN = dict(Bronze="B", Silver="A", Royal="A")


def made_log(setting: str, rng, n: int = 2000) -> tuple:
    "Log, arguments of `policy_value`, true value of the rule, true value of what was done."
    rank = rng.choice(RATES.index, n, p=SHARES)
    if setting == "three even arms, estimated": chance = pd.DataFrame(1/3, index=RATES.index, columns=list("ABC"))
    else: chance = pd.DataFrame(dict(A=1 - LEAN, B=LEAN))
    draw = (rng.random(n)[:, None] > chance.loc[rank].to_numpy().cumsum(1)[:, :-1]).sum(1)
    arm, level = chance.columns.to_numpy()[draw], np.zeros(n)
    if setting == "several rows a person": level = np.repeat(rng.normal(0, .6, n//4), 4)   # log odds of a person
    base = RATES.stack()[list(zip(rank, arm))].to_numpy()
    rate = base*np.exp(level - .18) if setting == "several rows a person" else base
    reward = (rng.random(n) < np.clip(rate, 0, 1)).astype(float)
    if setting == "amount": reward = reward*rng.lognormal(8, .8, n)
    unit = np.exp(8 + .32) if setting == "amount" else 1.
    log = pd.DataFrame(dict(rank=rank, mail=arm, chance=np.take_along_axis(chance.loc[rank].to_numpy(), draw[:, None], 1)[:, 0], reward=reward, person=np.arange(n)//4))
    asked = dict(propensity=None if "estimated" in setting else "chance", cluster="person" if "person" in setting else None)
    value = sum(SHARES[r]*RATES.loc[r, TAKEN[r]] for r in RATES.index)
    return log, asked, unit*value, unit*float((SHARES.to_numpy()[:, None]*chance*RATES[chance.columns]).to_numpy().sum())


SETTINGS = ("uneven chances, known", "three even arms, estimated", "amount", "several rows a person")


def values(worlds: int) -> dict:
    "Share of intervals at 95 % that hold the truth, per setting, method and block of seeds."
    found = {}
    for setting in SETTINGS:
        rows = []
        for block in BLOCKS:
            for seed in range(block, block + worlds):
                log, asked, value, logged = made_log(setting, np.random.default_rng([seed, sum(setting.encode())]))
                frame = policy_value(log, RULES, arm="mail", metric="reward", features=["rank"], prob=.95, seed=seed, **asked).frame
                rows.append(frame.assign(block=block, value=(frame.lo <= value) & (value <= frame.hi), difference=(frame.diff_lo <= value - logged) & (value - logged <= frame.diff_hi)))
        kept = pd.concat(rows).groupby(["block", "method"])[["value", "difference"]].mean()
        found[setting] = {m: {f"seeds from {b}": {c: round(float(kept.loc[(b, m), c]), 4) for c in ("value", "difference")} for b in BLOCKS} for m in METHODS}
        print(setting, found[setting], flush=True)
    return dict(worlds=worlds, decisions=2000, settings=found)


def made_users(rng, n: int, strength: float) -> pd.DataFrame:
    "A test by lot in which the effect grows with the score."
    score, mailed = rng.random(n), rng.random(n) < .5
    return pd.DataFrame(dict(arm=np.where(mailed, "mail", "none"), bought=(rng.random(n) < .10 + mailed*strength*(.08*score - .02)).astype(int), score=score))


def curves(worlds: int, people: int = 3000) -> dict:
    "Share of simultaneous bands that hold the whole true curve, of intervals that hold the coefficient, and of null worlds in which it lies above 0."
    found = {}
    for name, strength in (("planted", 1.), ("no effect", 0.)):
        gain = lambda share, strength=strength: strength*(.04*(1 - (1 - share)**2) - .02*share)
        area = strength*(.04*(1 - 1/3) - .01) - gain(1)/2
        for block in BLOCKS:
            rows = []
            for seed in range(block, block + worlds):
                made = qini(made_users(np.random.default_rng([seed, int(strength)]), people, strength), arm="arm", metric="bought", control="none", score="score", held_out=True, prob=.95, seed=seed)
                c, s = made.frame, made.summary.iloc[0]
                rows.append((bool(((c.lo - 1e-12 <= gain(c.share)) & (gain(c.share) <= c.hi + 1e-12)).all()), s.lo <= area <= s.hi, s.lo > 0))
            whole, coefficient, above = np.mean(rows, axis=0)
            found[f"{name}, seeds from {block}"] = dict(band=round(float(whole), 4), qini=round(float(coefficient), 4), above_0=round(float(above), 4))
            print(name, block, found[f"{name}, seeds from {block}"], flush=True)
    return dict(worlds=worlds, people=people, settings=found)


def trial_counts(scenario, *, seed: int, members: int, policy=None, block: int = 0) -> pd.DataFrame:
    "People and buyers per group and arm: a valid order within the window after the first exposure."
    people, trial = draw_people(scenario, seed=seed, block=block, members=members, policy=policy), scenario.trial
    e, o = people.exposures, people.orders
    since = np.full(len(people.habits.pace), np.inf)
    since[e.person] = e.day
    after = o.day - since[o.member]
    bought = np.bincount(o.member[~o.cancelled & (after >= 0) & (after <= trial.within)], minlength=len(since))[e.person] > 0
    rows = pd.DataFrame(dict(group=e.group, arm=e.arm, bought=bought))[e.group >= 0]
    counts = rows.groupby(["group", "arm"]).bought.agg(n="size", successes="sum").reset_index()
    return counts.assign(group=np.array(trial.groups)[counts.group], arm=np.array(trial.arms)[counts.arm])


def true_rates(scenario) -> pd.DataFrame:
    "Chance to buy by group and arm, from the truth of the scenario."
    truth = truth_of(scenario)
    rows = truth[(truth.kind == "experiment") & (truth.key == f"{scenario.trial.name}:purchase") & truth.a.isna() & truth.segment.isin(scenario.trial.groups)]
    return rows.pivot(index="segment", columns="b", values="value")


def realised(counts: pd.DataFrame) -> float: return counts.successes.sum()/counts.n.sum()


def predicted(found, counts: pd.DataFrame, arms: dict, rng) -> np.ndarray:
    "Draws of the rate of a fresh shop, given its people per group and the arm of each group."
    values, names = found.posterior.values, list(found.segments.segment)
    arm = [found.meta["arguments"]["control"], *dict.fromkeys(found.frame.arm)]
    groups = counts.groupby("group").n.sum()
    at = [(names.index(str(g)), arm.index(arms[str(g)])) for g in groups.index]
    drawn = rng.binomial(groups.to_numpy(), np.stack([values[:, s, a] for s, a in at], axis=1))
    return drawn.sum(1)/groups.sum()


def one_loop(scenario, rates, seed: int, members: int) -> dict:
    "Test, rule, gain, and two fresh shops."
    trial = scenario.trial
    counts = trial_counts(scenario, seed=seed, members=members)
    found = uplift(counts.rename(columns=dict(group=trial.by)), arm="arm", metric="purchase", by=trial.by, control=trial.arms[0], prob=.95, seed=seed)
    policy, gain = found.policy.set_index(found.policy.segment.astype(str)), found.gain.iloc[0]
    true = sum(r.share*(rates.loc[g, r.arm] - rates.loc[g, r.against]) for g, r in policy.iterrows())
    uniform = policy.against.iloc[0]
    ruled, single = (trial_counts(scenario, seed=seed + shift, members=members, policy=p) for shift, p in ((10**6, found.rules), (2*10**6, [{"arm": uniform}])))
    rng, gap = np.random.default_rng(seed), realised(ruled) - realised(single)
    draws = predicted(found, ruled, policy.arm.to_dict(), rng) - predicted(found, single, dict.fromkeys(policy.index, uniform), rng)
    lo, hi = np.quantile(draws, [.025, .975])
    return dict(differs=bool((policy.arm != uniform).any()), covered=bool(gain.lo - 1e-12 <= true <= gain.hi + 1e-12), predicted=bool(lo <= gap <= hi), true=true, est=gain.est, realised=gap)


def counted(rows: pd.DataFrame, members: int) -> dict:
    "Worlds of one block as counts."
    own = rows[rows.differs]
    return dict(worlds=len(rows), members=members, rule_differs=len(own), gain_covered_95=int(rows.covered.sum()), gain_covered_95_where_rule_differs=round(float(own.covered.mean()), 4), realised_within_predicted_95=int(rows.predicted.sum()),
                mean_true=round(float(rows.true.mean()), 5), mean_est=round(float(rows.est.mean()), 5), mean_realised=round(float(rows.realised.mean()), 5), cpu_s_per_world=round(float(rows.cpu.mean()), 3))


def timed_loop(scenario, rates, seed: int, members: int) -> dict:
    start = time.process_time()
    return one_loop(scenario, rates, seed, members) | dict(cpu=time.process_time() - start)


TESTED = ("f2_followup", "dormant_150", "bronze_royal", "rank_up_bar", "rarely_logged_in", "null")   # scenarios with an experiment


def loop(worlds: int, names=TESTED, members: int = 10_000) -> dict:
    "Counts per scenario and block."
    found = {}
    for name in names:
        scenario = read_scenario(name)
        rates = true_rates(scenario)
        for block in BLOCKS:
            found[f"{name}, seeds from {block}"] = counted(pd.DataFrame([timed_loop(scenario, rates, seed, members) for seed in range(block, block + worlds)]), members)
            print(name, block, found[f"{name}, seeds from {block}"], flush=True)
    return found


def full_shop(users: int = 2000, seed: int = 5, name: str = "f2_followup") -> dict:
    "Whole shops, under the lot and under a rule: people and buyers of `experiment_users` beside those of the layer of people, arm by arm."
    import crmlab as cl
    scenario, found = read_scenario(name), {}
    trial = scenario.trial
    for kind, policy in dict(lot=None, rule=[{"when": {trial.by: trial.groups[0]}, "arm": trial.arms[-1]}, {"arm": trial.arms[1]}]).items():
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            shop = cl.simulate(scenario, users=users, seed=seed, into=f"{folder}/shop", policy=policy)
            took = time.process_time() - start
            units = cl.experiment_users(shop, experiment=trial.name, metrics="bought", within=f"{trial.within}d").to_pandas()
        whole = units.groupby("arm").bought.agg(n="size", successes="sum").astype(int)
        layer = pd.concat([trial_counts(scenario, seed=seed, members=1000, block=b, policy=policy) for b in range(users//1000)]).groupby("arm")[["n", "successes"]].sum().astype(int)
        found[kind] = dict(cpu_s_of_simulate=round(took, 2), shop=whole.to_dict("index"), layer=layer.to_dict("index"), same=whole.to_dict("index") == layer.to_dict("index"))
    return dict(scenario=name, members=users, **found)


def hillstrom() -> dict:
    "The published e-mail test: learners, segment rule and one mail for all, and the curves of both mails."
    from crmlab.infer.learners import individual_uplift
    from crmlab.sources.datasets import load
    rows = load("hillstrom")
    asked = dict(arm="segment", metric="visit", control="No E-Mail", prob=.95, seed=1)
    features = ["recency", "history", "mens", "womens", "zip_code", "newbie", "channel"]
    start = time.process_time()
    found = individual_uplift(rows, features=features, by=["mens", "womens"], **asked)
    took = time.process_time() - start
    start = time.process_time()
    curve = qini(rows, by="womens", treatment="Womens E-Mail", **asked)
    plain = lambda frame: [{k: round(v, 5) if isinstance(v, float) else v for k, v in r.items()} for r in frame.astype(object).where(frame.notna(), None).to_dict("records")]
    return dict(people=len(rows), learners_cpu_s=round(took, 1), verdict=found.meta["verdict"], rope=round(found.meta["rope"], 5), rules=plain(found.frame.drop(columns="note")), qini_cpu_s=round(time.process_time() - start, 2), qini_womens_by_past_purchase=plain(curve.summary))


PARTS = dict(values=lambda worlds: values(worlds), curves=lambda worlds: curves(worlds), loop=loop, full_shop=lambda worlds: full_shop(), hillstrom=lambda worlds: hillstrom())


def measure(worlds: int = 500) -> dict:
    "All parts; worlds per block of seeds, half as many for the loop."
    return {name: part(worlds//2 if name == "loop" else worlds) for name, part in PARTS.items()}


if __name__ == "__main__":
    import json

    import run
    part, worlds, names = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 100, sys.argv[3:]
    kept = run.RESULTS/"policy.json"
    before = json.loads(kept.read_text(encoding="utf-8"))["result"] if kept.exists() else {}
    made = before.get("loop", {}) | loop(worlds, names) if part == "loop" and names else PARTS[part](worlds)
    run.keep("policy", before | {part: made})
