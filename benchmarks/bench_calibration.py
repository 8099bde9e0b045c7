"""Simulation-based calibration: where the truth lies in the posterior, world after world.

When the truth of a world is drawn from the prior, the share of the posterior below it is uniform over worlds. That holds for
exact rates (their lift, by quadrature) and for the pooled effects of uplift (two effects, both spreads). The Bayesian
bootstrap has no prior to draw from: there the truth is fixed and the same share should be uniform if its intervals cover.
Kept are counts in a hundred bins, for the pictures of the calibration page. Seeds are 0, 1, … and a second block from 10,000.
Usage beside `run.py`: python benchmarks/bench_calibration.py [worlds per block]
"""
from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from bench_uplift import drawn_from_prior
from scipy.special import betainc

from crmlab.infer.means import bootstrap_draws
from crmlab.infer.pooling import ArmCells, fit_cells
from crmlab.infer.posterior import p_ratio_below, rate_posterior
from crmlab.infer.samples import sample_of

BLOCKS, BINS = (0, 10_000), 100


def below(draws, truth, rng) -> float:
    "Share of the draws below the truth; ties fall on either side by chance."
    return float((draws < truth).mean() + rng.random()*(draws == truth).mean())


# --- rates, exact

def rates(prior: tuple, people: tuple, seed: int) -> dict:
    "Place of the true ratio of two rates that were drawn from the prior."
    rng = np.random.default_rng([seed, people[1]])
    true, n = rng.beta(*prior, 2), rng.integers(*people, 2)
    one, two = (rate_posterior(int(rng.binomial(size, rate)), int(size), prior=prior) for rate, size in zip(true, n))
    return dict(lift=p_ratio_below(two, one, true[1]/true[0]), rate=float(betainc(one.a, one.b, true[0])))


# --- means, Bayesian bootstrap

AMOUNTS = {"lognormal, sigma 1": (lambda rng, n: rng.lognormal(0, 1, n), np.exp(.5)), "lognormal, sigma 2": (lambda rng, n: rng.lognormal(0, 2, n), np.exp(2)),
           "two prices": (lambda rng, n: np.where(rng.random(n) < .05, 10., 1.), 1.45)}


def mean(amount: str, buyers: int, seed: int) -> dict:
    "Place of the true revenue per visitor, 3 % of whom buy."
    draw, value = AMOUNTS[amount]
    rng, visitors = np.random.default_rng([seed, buyers, len(amount)]), round(buyers/.03)
    bought = rng.binomial(visitors, .03)
    sample = sample_of(np.append(draw(rng, bought), 0.), count=np.append(np.ones(bought), visitors - bought))
    return dict(mean=below(bootstrap_draws(sample, rng=rng, size=1000), .03*value, rng))


# --- uplift, nested Laplace with importance sampling

def uplift(people: tuple, seed: int) -> dict:
    "Places of two effects and of both spreads in a world drawn from the prior."
    rng = np.random.default_rng([seed, people[1]])
    true, n, tau_b, tau_d = drawn_from_prior(rng, people)
    fit = fit_cells(ArmCells(n, rng.binomial(n, true)), seed=seed, draws=6000, points=233)
    effect, effects = true[:, 1:] - true[:, :1], fit.effects
    return {"first effect": below(effects[:, 0, 0], effect[0, 0], rng), "last effect": below(effects[:, -1, -1], effect[-1, -1], rng),
            "spread of levels": below(fit.spreads[:, 0], tau_b, rng), "spread of effects": below(fit.spreads[:, 1], tau_d, rng)}


SETTINGS = {"rates, 20 to 300 people": partial(rates, (1, 1), (20, 300)), "rates of a few percent, 500 to 20,000 people": partial(rates, (2, 60), (500, 20_000)),
            **{f"revenue per visitor, {amount}, {buyers} buyers": partial(mean, amount, buyers) for amount in AMOUNTS for buyers in (900, 150)},
            "uplift, 350 to 8,000 people a cell": partial(uplift, (350, 8000)), "uplift, 17 to 400 people a cell": partial(uplift, (17, 400))}


def counted(places) -> dict:
    "Places in bins, and how many of them lie within the middle 90 and 95 %."
    places = np.asarray(places)
    within = lambda prob: int((np.abs(places - .5) <= prob/2).sum())
    return dict(bins=np.histogram(places, BINS, (0, 1))[0].tolist(), covered_90=within(.9), covered_95=within(.95))


def measure(worlds: int = 1000) -> dict:
    "Counts per setting, quantity and block; ten times as many worlds of rates, which cost next to nothing."
    found = []
    with ProcessPoolExecutor() as pool:
        for setting, one in SETTINGS.items():
            for first in BLOCKS:
                count = worlds*(10 if setting.startswith("rates") else 1)
                made = list(pool.map(one, range(first, first + count), chunksize=20))
                found += [dict(setting=setting, quantity=q, first_seed=first, worlds=count, **counted([m[q] for m in made])) for q in made[0]]
                print(*(f"{f['setting']} · {f['quantity']}: {f['covered_95']} of {count}" for f in found[-len(made[0]):]), sep="\n", flush=True)
    return dict(blocks=found)


if __name__ == "__main__":
    import run
    run.keep("calibration", measure(*map(int, sys.argv[1:])))
