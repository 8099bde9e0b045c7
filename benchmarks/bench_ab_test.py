"""Comparisons of arms: revenue intervals in worlds with known truth, published tests, and time.

Revenue worlds: 3 % of visitors buy (3.3 % in the arm, so that the true lift is a tenth), amounts are lognormal, gamma or two
prices; 900 or 150 expected buyers in the control. Two blocks of seeds per setting: 0 … n−1, and as many after them, which
nobody looked at while the method was chosen. Beside the studentised bootstrap of the package stand the normal and, in the second
block, the plain Bayesian bootstrap. Last, null tests looked at every day from day 14 to day 30 with `ab_test` as it stands, two
and three arms: how often any arm is chosen on any day, and how often one would be by 95 %.
Usage beside `run.py`: python benchmarks/bench_ab_test.py [worlds per block] [setting … or daily]
"""
from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from crmlab.core import settings
from crmlab.infer.decide import FEWEST
from crmlab.infer.effects import Asked, TestPrior, Told, effect_rows
from crmlab.infer.experiment import ab_test
from crmlab.infer.looks import rate_chances
from crmlab.infer.means import bootstrap_draws, draws_of, normal_draws, tail_of
from crmlab.infer.samples import sample_of
from crmlab.sources.datasets import load

RATE, LIFT, DRAWS = .03, .1, 500
AMOUNTS = dict(lognormal_1=("lognormal", 1.), lognormal_1_5=("lognormal", 1.5), lognormal_2=("lognormal", 2.), gamma_0_5=("gamma", .5), two_prices=("two", .05))
SETTINGS = {f"{name}_{buyers}": (*amount, buyers, 1) for buyers in (900, 150) for name, amount in AMOUNTS.items()} | {"lognormal_1_5_300_to_900": ("lognormal", 1.5, 300, 3)}

FIRST, NEAR = 14, .98                                           # day of the first look; a chance below the limits of two and three arms
DAILY = [(200, .05), (30, .01), (15, .3), (400, .03)]           # people per arm and day, share who do it


def spent(rng, kind: str, shape: float, visitors: int, rate: float):
    "What the visitors of one arm spend; buyers only, and how many bought nothing."
    buyers = rng.binomial(visitors, rate)
    if kind == "lognormal": amounts = rng.lognormal(8 - shape**2/2, shape, buyers)
    elif kind == "gamma": amounts = rng.gamma(shape, 3000, buyers)
    else: amounts = np.where(rng.random(buyers) < shape, 30_000., 3_000.)
    return sample_of(np.append(amounts, 0.), count=np.append(np.ones(buyers), visitors - buyers))


def mean_amount(kind: str, shape: float) -> float:
    return dict(lognormal=np.exp(8), gamma=3000*shape, two=3_000*(1 - shape) + 30_000*shape)[kind]


def one(setting: str, seed: int, plain: bool) -> dict:
    "Whether the intervals of one world hold its truth."
    kind, shape, buyers, times = SETTINGS[setting]
    rng, visitors = np.random.default_rng([seed, sum(setting.encode())]), int(buyers/RATE)
    a, b = spent(rng, kind, shape, times*visitors, RATE), spent(rng, kind, shape, visitors, RATE*(1 + LIFT))
    truth = dict(diff=mean_amount(kind, shape)*RATE*LIFT, lift=LIFT, mean=mean_amount(kind, shape)*RATE)
    found = dict(noted=tail_of(a).long() or tail_of(b).long())
    methods = dict(crmlab=draws_of, normal=normal_draws) | (dict(plain=lambda s, **k: bootstrap_draws(s, plain=True, **k)) if plain else {})
    for method, draw in methods.items():
        va, vb = (draw(s, rng=rng, size=DRAWS) for s in (a, b))
        for what, v in dict(diff=vb - va, lift=vb/va - 1, mean=va).items():
            lo, hi = np.quantile(v, [.025, .975])
            found |= {f"{method}_{what}": lo <= truth[what] <= hi, f"{method}_{what}_width": hi - lo}
    return found


def revenue(worlds: int, names=SETTINGS) -> dict:
    "Coverage of 95 % intervals per setting and block of seeds."
    found = {}
    for setting in names:
        first, second = (pd.DataFrame([one(setting, s, plain) for s in seeds]) for seeds, plain in ((range(worlds), False), (range(worlds, 2*worlds), True)))
        both = pd.concat([first, second])
        covered = {f"{m}_{w}": [round(float(b[f"{m}_{w}"].mean()), 4) for b in (first, second)] for m in ("crmlab", "normal") for w in ("diff", "lift", "mean")}
        covered |= {f"plain_{w}": [None, round(float(second[f"plain_{w}"].mean()), 4)] for w in ("diff", "lift", "mean")}
        width = {w: round(float((both[f"crmlab_{w}_width"]/both[f"normal_{w}_width"]).median()), 3) for w in ("diff", "lift")}
        found[setting] = dict(worlds=[len(first), len(second)], noted=round(float(both.noted.mean()), 4), covered_95=covered, width_in_normal=width)
        print(setting, found[setting], flush=True)
    return found


def false_choices(worlds: int) -> dict:
    "How often an arm passes 95 % (one arm) or its share of it (two arms) where nothing differs, read once."
    found = {}
    for name, (kind, shape) in AMOUNTS.items():
        passed = {1: 0, 2: 0}
        for seed in range(worlds):
            rng = np.random.default_rng([seed, 77, sum(name.encode())])
            arms = [draws_of(spent(rng, kind, shape, 30_000, RATE), rng=rng, size=DRAWS) for _ in range(3)]
            p = [(arms[k] > arms[0]).mean() for k in (1, 2)]
            passed[1] += p[0] >= .95
            passed[2] += max(p) >= .975
        found[name] = dict(worlds=worlds, one_arm=round(passed[1]/worlds, 4), two_arms=round(passed[2]/worlds, 4))
    print(found, flush=True)
    return found


def looked_at_daily(rng, arms: int, people: int, rate: float) -> tuple[bool, bool]:
    "One null test: whether `ab_test` chooses any arm on any day; and whether any passes 95 %, shared among arms, with the hundred outcomes asked for."
    n, done = np.cumsum(np.full((30, arms), people), axis=0)[FIRST - 1:], rng.binomial(people, rate, (30, arms)).cumsum(0)[FIRST - 1:]
    usual = 1 - .05/(arms - 1)
    chance = rate_chances(done[:, 1:], n[:, 1:], done[:, :1], n[:, :1], thresholds=[NEAR, usual])
    rarer = np.minimum(done, n - done)
    passed = ((chance > usual) & (rarer[:, 1:] + rarer[:, :1] >= FEWEST)).any()
    for k in np.flatnonzero((chance > NEAR).any(1)):   # on other days no limit can be reached
        sums = pd.DataFrame(dict(arm=list("ABC"[:arms]), n=n[k], successes=done[k]))
        if ab_test(sums, arm="arm", metric="m", control="A", days=int(FIRST + k)).decision.decision[0] == "choose": return True, passed
    return False, passed


def daily(tests: int) -> list[dict]:
    "Shares of null tests in which any arm is chosen, per arms and shop."
    rows = []
    for arms in (2, 3):
        for people, rate in DAILY:
            found = np.mean([looked_at_daily(np.random.default_rng([seed, arms, people]), arms, people, rate) for seed in range(tests)], axis=0)
            rows.append(dict(arms=arms, people_a_day=people, rate=rate, tests=tests, chosen=round(float(found[0]), 4), chosen_at_95=round(float(found[1]), 4)))
            print(rows[-1], flush=True)
    return rows


def timed(f, rounds: int = 5) -> float:
    "Median processor seconds."
    took = []
    for _ in range(rounds):
        start = time.process_time()
        f()
        took.append(time.process_time() - start)
    return round(float(np.median(took)), 4)


def speed() -> dict:
    "64,000 visitors, 2,000 buyers, 4,000 draws; and a whole test of 64,000 rows."
    rng = np.random.default_rng(1)
    arms = [spent(rng, "lognormal", 1.5, 32_000, .0312) for _ in range(2)]
    rows = pd.DataFrame(dict(arm=np.repeat(["A", "B"], 32_000), spend=np.concatenate([np.repeat(s.y, s.count.astype(int)) for s in arms])))
    rows["bought"] = (rows.spend > 0).astype(int)
    compared = dict(zip("AB", arms, strict=True))
    return dict(draws_cpu_s=timed(lambda: [draws_of(s, rng=rng) for s in arms]), comparison_cpu_s=timed(lambda: effect_rows(compared, Told("revenue", Asked("A"), False, [1]), prior=TestPrior())),
                ab_test_revenue_cpu_s=timed(lambda: ab_test(rows, arm="arm", metric="spend", control="A")), ab_test_rate_cpu_s=timed(lambda: ab_test(rows, arm="arm", metric="bought", control="A")))


def cached(*parts: str) -> Path | None:
    "A file of the folder of public data sets; None when it is not there."
    path = Path(settings().data_cache).expanduser().joinpath(*parts)
    return path if path.exists() else None


def published() -> dict:
    "Public tests beside the figures they were published with; what is not in the data folder is left out."
    f = ab_test(load("hillstrom"), arm="segment", metric=["visit", "conversion", "spend"], control="No E-Mail").frame.set_index(["metric", "arm"])
    found = dict(hillstrom={m: {a: round(float(f.est[m, a]), 6) for a in f.loc[m].index} for m in ("visit", "conversion", "spend")})
    if (file := cached("cookie_cats", "cookie_cats.csv")):
        cats = ab_test(pd.read_csv(file), arm="version", metric="retention_7", control="gate_30")
        row = cats.frame.iloc[1]
        found["cookie_cats"] = dict(points=[round(100*float(row[c]), 2) for c in ("diff", "diff_lo", "diff_hi")], sample_ratio_p=round(cats.meta["sample_ratio"]["p"], 4))
    if (file := cached("growthbook_stats", "gbstats_expected.json")): found["growthbook"] = dict(growthbook_cases(json.loads(file.read_text(encoding="utf-8"))))
    return found


def growthbook_cases(cases: dict):
    "Cases with a flat prior: published answer, and crmlab's from the same sums."
    for case in cases["bayesian"]:
        if "a" not in case or "prior" in case: continue
        if "sum_squares" in case["a"]: sums = [dict(arm=k, n=case[k]["n"], total=case[k]["sum"], squares=case[k]["sum_squares"]) for k in "ab"]
        else: sums = [dict(arm=k, n=case[k]["n"], successes=case[k]["sum"]) for k in "ab"]
        row = ab_test(pd.DataFrame(sums), arm="arm", metric="m", control="a").frame.iloc[1]
        yield case["name"], dict(published=dict(p_better=case["chanceToWin"], lift=[case["expected"], *case["ci"]]), crmlab=dict(p_better=round(float(row.p_better), 5), lift=[round(float(row[c]), 5) for c in ("lift", "lift_lo", "lift_hi")]))


def measure(worlds: int = 2000) -> dict:
    "All figures."
    return dict(speed=speed(), published=published(), revenue=revenue(worlds), false_choices=false_choices(worlds//8), daily=daily(worlds))


if __name__ == "__main__":
    import run
    if sys.argv[2:] == ["daily"]: run.keep("ab_test", json.loads((run.RESULTS/"ab_test.json").read_text(encoding="utf-8"))["result"] | dict(daily=daily(int(sys.argv[1]))))
    elif sys.argv[2:]: revenue(int(sys.argv[1]), sys.argv[2:])   # a look at some settings
    else: run.keep("ab_test", measure(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
