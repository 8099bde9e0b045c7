"""The rule of plan_test in tests that it did not simulate: false choices when looking daily, power against the plan, and time.

Worlds: people are drawn day by day (binomial counts, or baskets one by one), in shops with a weekly cycle of people and of rates,
a rush of regulars on the first days, few conversions, and revenue with long tails. Nothing differs between arms. Each test is
looked at daily from day 14 to day 30. Counted twice: by the default rule (choose when the probability to be better exceeds c,
keep the control when that loses less than a tenth of the lift that 30 days find in 80 %), and by the threshold alone.
Seeds are the blocks 0, 1, 3 and 4 of 2,000 tests each, and a block 2 of 10,000 that shows the rate itself. Blocks 3 and 4 were
declared here before they were run, after one of the first 36 blocks had lain above the limit; how many of all blocks keep the
limit stands beside how many would pass it by chance if the rate were the solved 5 % everywhere.
Usage beside `run.py`: python benchmarks/bench_plan.py [tests per block]
"""
from __future__ import annotations

import sys
import time

import numpy as np
import pandas as pd
from scipy import stats

from crmlab.infer.dry_runs import Sums, chances_seen, loss_of_keeping, metric_of, rate_metric, rehearse, stopped
from crmlab.infer.looks import false_choice, look_days, stop_threshold
from crmlab.infer.plan import plan_test

DAYS, FIRST = 30, 14
SOLVED, ALLOWED = .05, .062   # the rate that thresholds are solved for; the end of its 99 % band in 2,000 tests
SMALL = (0, 1, 3, 4)          # blocks of as many tests as asked for; block 2 has five times as many
WEEK = np.array([1, .9, .9, .95, 1, 1.3, 1.4])
CYCLE = np.resize(WEEK, DAYS)
RUSH = 3*np.exp(-np.arange(DAYS)/5) + .6
# people per arm and day, share who do it, how people arrive, whether the rate has a weekly cycle too
RATES = {"500 a day, 5 %": (500, .05, "even", False), "60 a day, 2 %": (60, .02, "even", False), "3,000 a day, 1 %, weekly cycle of people and rates": (3000, .01, "cycle", True),
         "40 a day, 30 %": (40, .3, "even", False), "400 a day, 4 %, regulars first": (400, .04, "rush", False), "10 a day, 1 %": (10, .01, "even", False)}
BASKETS = {"lognormal, sigma 1": lambda rng, k: rng.lognormal(8, 1, k), "lognormal, sigma 1.5": lambda rng, k: rng.lognormal(8, 1.5, k), "two prices": lambda rng, k: np.where(rng.random(k) < .9, 1000., 30000.)}
ARRIVALS = dict(even=None, cycle=CYCLE, rush=RUSH)


def rate_tests(rng, tests: int, arms: int, people: int, rate: float, arrive: str = "even", cycle: bool = False) -> Sums:
    "People and successes so far: (tests, days, arms)."
    profile = np.ones(DAYS) if ARRIVALS[arrive] is None else ARRIVALS[arrive]
    n = rng.poisson(people*profile[:, None], (tests, DAYS, arms))
    level = rate*np.resize(WEEK/WEEK.mean(), DAYS)[::-1] if cycle else np.full(DAYS, rate)
    done = rng.binomial(n, level[:, None]).cumsum(1)
    return Sums(n.cumsum(1), done, done)


def revenue_tests(rng, tests: int, arms: int, people: int, share: float, basket) -> Sums:
    "The same with amounts; every basket is drawn by itself."
    n = rng.poisson(people, (tests, DAYS, arms))
    buyers = rng.binomial(n, share)
    values, cell = basket(rng, int(buyers.sum())), np.repeat(np.arange(n.size), buyers.ravel())
    total, squares = (np.bincount(cell, v, n.size).reshape(n.shape).cumsum(1) for v in (values, values**2))
    return Sums(n.cumsum(1), total, squares)


def from_day(sums: Sums, first: int) -> Sums: return Sums(*(x[:, first - 1:] for x in sums))


def ended(sums: Sums, kind: str, c: float) -> dict:
    "Shares of tests in which any variant is chosen: by the default rule, and by the threshold alone."
    seen, n, total, squares = from_day(sums, FIRST), *(x[:, -1].sum() for x in sums)
    found_in_80 = (1.645 + .842)*np.sqrt(2*(squares/n - (total/n)**2)/sums.n[:, -1].mean())   # as a difference
    chance, loss = chances_seen(seen, kind, thresholds=[c]), loss_of_keeping(seen, kind)
    return {name: float((stopped(chance, loss, c=c, care=care, last=chance.shape[1] - 1).arm > 0).mean()) for name, care in (("rule", .1*found_in_80), ("c_alone", 0.))}


def false_choices(tests: int) -> list[dict]:
    "Any variant chosen although nothing differs, per shop, arms and block of seeds."
    shops = [(name, "rate", ARRIVALS[arrive], lambda rng, k, arms, given=(people, rate, arrive, cycle): rate_tests(rng, k, arms, *given)) for name, (people, rate, arrive, cycle) in RATES.items()]
    for name, basket in BASKETS.items():
        shops.append((f"revenue, 300 a day, 3 % buyers, {name}", "revenue", None, lambda rng, k, arms, basket=basket: revenue_tests(rng, k, arms, 300, .03, basket)))
    rows = []
    for arms in (2, 3):
        for place, (name, kind, entries, draw) in enumerate(shops):
            c = stop_threshold(days=DAYS, arms=arms, first_day=FIRST, entries=entries)
            row = dict(shop=name, arms=arms, c=round(c, 4))
            for block in range(5):
                row[f"block_{block}"] = ended(draw(np.random.default_rng([block, place, arms]), tests if block in SMALL else 5*tests, arms), kind, c)
            rows.append(row)
            print(row, flush=True)
    return rows


def blocks_kept(rows: list[dict], tests: int) -> dict:
    "How many small blocks keep the limit, and how many of them a binomial count at the solved rate would take above it by chance."
    shares = {b: np.array([r[f"block_{b}"]["rule"] for r in rows]) for b in SMALL}
    above = {f"block_{b}": int((s > ALLOWED).sum()) for b, s in shares.items()}
    chance, n = stats.binom.sf(np.floor(ALLOWED*tests + 1e-9), tests, SOLVED), len(rows)*len(SMALL)
    return dict(blocks=n, kept=n - sum(above.values()), above=sum(above.values()), above_per_block=above, expected_above=round(float(n*chance), 3), p_one_or_more=round(float(1 - (1 - chance)**n), 4),
                highest={b: float(s.max()) for b, s in zip(above, shares.values(), strict=True)}, pooled=round(float(np.mean(list(shares.values()))), 4))


def peeking(tests: int) -> dict:
    "What the usual 95 % does, looked at daily: simulated and solved."
    chance = chances_seen(rate_tests(np.random.default_rng([0, 999]), tests, 2, 500, .05), "rate", thresholds=[.95])[..., 0]
    return {f"from_day_{first}": dict(simulated=float((chance[:, first - 1:] > .95).any(1).mean()), solved=round(false_choice(.95, first_day=first), 4)) for first in (1, FIRST, DAYS)}


def found(sums: Sums, kind: str, c: float, days: int) -> float:
    "How often the first variant is chosen by the threshold alone."
    seen = Sums(*(x[:, FIRST - 1:days] for x in sums))
    ends = stopped(chances_seen(seen, kind, thresholds=[c]), loss_of_keeping(seen, kind), c=c, care=0., last=days - FIRST)
    return round(float((ends.arm == 1).mean()), 4)


def power(tests: int) -> list[dict]:
    "Power as planned, and as found in tests that were drawn otherwise."
    rng, rows = np.random.default_rng(5), []
    for arms in (2, 3):
        last = plan_test(.05, metric="conversion", lift=.1, arms=arms, per_day=1000*arms*WEEK, days=28, caring=0, seed=11).frame.iloc[-1]
        lifted = [rate_tests(rng, tests, 1, 1000, .05*(1 + .1*(k == 1)), "cycle") for k in range(arms)]
        sums = Sums(*(np.concatenate(x, -1) for x in zip(*lifted, strict=True)))
        rows.append(dict(arms=arms, metric="rate", planned=round(float(last.p_choose), 4), played=found(sums, "rate", last.c, 28)))
    seen = rng.lognormal(8, 1, 20_000)*(rng.random(20_000) < .05)
    last, buyers = plan_test(pd.DataFrame(dict(spent=seen)), metric="spent", lift=.2, per_day=1200, days=28, caring=0, seed=12).frame.iloc[-1], seen[seen > 0]
    lifted = [revenue_tests(rng, tests, 1, 600, len(buyers)/len(seen)*k, lambda g, m: g.choice(buyers, m)) for k in (1, 1.2)]
    sums = Sums(*(np.concatenate(x, -1) for x in zip(*lifted, strict=True)))
    return [*rows, dict(arms=2, metric="revenue", planned=round(float(last.p_choose), 4), played=found(sums, "revenue", last.c, 28))]


def cpu_of(work) -> float:
    start = time.process_time()
    work()
    return round(time.process_time() - start, 2)


def speed() -> dict:
    "CPU seconds: 2,000 tests of 30 daily looks and three arms, and a whole plan."
    looks, nothing = look_days(30, first_day=1), np.zeros((2000, 2))
    basket = metric_of(*np.unique(np.random.default_rng(0).lognormal(8, 1, 5000).round(), return_counts=True))
    people = np.full(len(looks), 500.)
    return dict(rehearse_rate=cpu_of(lambda: rehearse(rate_metric(.05), people, lifts=nothing, thresholds=[.98], seed=1)),
                rehearse_revenue=cpu_of(lambda: rehearse(basket, people, lifts=nothing, thresholds=[.98], seed=1)),
                threshold_two_arms=cpu_of(lambda: stop_threshold(days=33)), threshold_three_arms=cpu_of(lambda: stop_threshold(days=33, arms=3)),
                plan_rate=cpu_of(lambda: plan_test(.05, metric="conversion", lift=.1, per_day=2000)),
                plan_rate_three_arms=cpu_of(lambda: plan_test(.05, metric="conversion", lift=.1, per_day=3000, arms=3)))


def measure(tests: int = 2000) -> dict:
    "All figures."
    rows = false_choices(tests)
    small = {how: [r[f"block_{b}"][how] for r in rows for b in SMALL] for how in ("rule", "c_alone")}
    return dict(tests=tests, allowed=ALLOWED, blocks=blocks_kept(rows, tests), worst=max(small["rule"]), worst_c_alone=max(small["c_alone"]), worst_of_five_times_as_many={how: max(r["block_2"][how] for r in rows) for how in small},
                mean={how: round(float(np.mean(v)), 4) for how, v in small.items()}, false_choices=rows, peeking=peeking(tests), power=power(tests), speed=speed())


if __name__ == "__main__":
    import run
    run.keep("plan", measure(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
