"""Uplift: coverage in worlds with known truth, agreement with long NUTS, and time beside PyMC and a compiled nutpie.

Worlds: truth from the prior (large cells, and cells of 17 to 400 people with often no conversion), and fixed plants of eight
segments with 2,000 people a cell and a base rate of 5 %, in standard errors of a segment's effect: no effect, one common
effect of one arm and of two, one and two odd segments, half and half, effects that spread by 1 and by 2.5. Every setting has a block of worlds
with the seeds 0, 1, … and a second one that nothing was tuned on.
Usage beside `run.py`, to measure one part anew and keep the others: python benchmarks/bench_uplift.py PART, where PART is
speed, hillstrom, agreement, or settings as "calibration prior null".
"""
from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pandas as pd
from scipy.special import expit, ndtri

from crmlab.infer.gain import cross_fit, gain, gain_table
from crmlab.infer.pooling import ArmCells, Prior, fit_cells

SEGMENTS, PEOPLE, BASE = 8, 2000, .05
ERROR = np.sqrt(2*BASE*(1 - BASE)/PEOPLE)   # of a segment's effect
PLANTS = dict(null=[0]*8, common=[2]*8, common_arms=[[2, 2]]*8, one_odd=[0]*7 + [4], two_odd=[-2]*2 + [2]*6, two_odd_up=[2]*2 + [0]*6, half=[2]*4 + [-2]*4, spread_1=1., spread_2_5=2.5)
SETTINGS, BLOCKS, WORLDS = ("prior", "prior_small", *PLANTS), (0, 1000), 1000


def drawn_from_prior(rng, people: tuple, arms: int = 3) -> tuple:
    "True rates, people per cell between two bounds, and the two spreads."
    prior = Prior()
    common, tau_b, tau_d = prior.effect*rng.normal(size=arms - 1), abs(rng.normal(0, prior.tau_b)), rng.rayleigh(prior.tau_d)
    control = rng.normal(*prior.level) + tau_b*rng.normal(size=(SEGMENTS, 1))
    theta = np.concatenate([control, control + common + tau_d*rng.normal(size=(SEGMENTS, arms - 1))], axis=1)
    return expit(theta), rng.integers(*people, theta.shape), tau_b, tau_d


def truth(setting: str, rng) -> tuple:
    "True rates and people per segment × arm."
    if not setting.startswith("prior"):
        plant = PLANTS[setting]
        effect = ERROR*np.reshape(rng.normal(0, plant, SEGMENTS) if isinstance(plant, float) else plant, (SEGMENTS, -1))
        rates = np.clip(np.hstack([np.full((SEGMENTS, 1), BASE), BASE + effect]), .001, .999)
        return rates, np.full(rates.shape, PEOPLE)
    return drawn_from_prior(rng, (17, 400) if setting == "prior_small" else (350, 8000))[:2]


def one(setting: str, seed: int) -> dict:
    "What is claimed of one world, beside its truth."
    rng = np.random.default_rng([seed, sum(setting.encode())])
    rates, n = truth(setting, rng)
    cells = ArmCells(n, rng.binomial(n, rates))
    shares = n.sum(1)/n.sum()
    posterior = fit_cells(cells, seed=seed, draws=6000, points=233)
    table, rule, uniform = gain_table(posterior, cells, shares=shares, seed=seed)
    true = gain(rates, rule, np.full(len(rule), uniform), shares)
    lo, hi = np.quantile(posterior.effects, [.05, .95], axis=0)
    effects = rates[:, 1:] - rates[:, :1]
    crossed = cross_fit(cells, shares=shares, seed=seed)
    learned = gain(np.broadcast_to(rates, (*crossed.rules.shape, rates.shape[1])), crossed.rules, crossed.uniform, shares).mean()
    est, se = crossed.against_uniform
    first = table.iloc[0]
    return dict(trusted=posterior.trusted, ess=posterior.ess, pareto_k=posterior.pareto_k, cells=(lo <= effects) & (effects <= hi), personal=bool((rule != uniform).any()),
                covered=bool(first.lo - 1e-12 <= true <= first.hi + 1e-12), above=bool(first.lo > 0), raw_positive=bool(table.est.iloc[-1] > 0),
                cross_covered=bool(abs(est - learned) <= ndtri(.975)*se + 1e-12), true=true, est=first.est)


def counted(setting: str, first: int, rows: pd.DataFrame) -> dict:
    "A block of worlds in figures."
    own, cells = rows[rows.personal], np.stack(rows.cells)
    by_segment = {} if setting.startswith("prior") else dict(cells_covered_90_by_segment=cells.mean((0, 2)).round(3).tolist())
    return dict(setting=setting, first_seed=first, worlds=len(rows), untrusted=int((~rows.trusted).sum()), least_ess=round(float(rows.ess.min()), 3), cells_covered_90=round(float(cells.mean()), 4), **by_segment,
                rule_differs=len(own), gain_covered_95=int(rows.covered.sum()), gain_covered_95_where_rule_differs=int(own.covered.sum()), lower_end_above_0=int(rows.above.sum()),
                raw_winners_positive=int(rows.raw_positive.sum()), cross_fitted_covered_95=int(rows.cross_covered.sum()), mean_true_gain=round(float(rows.true.mean()), 6), mean_est=round(float(rows.est.mean()), 6))


def calibration(settings=SETTINGS, worlds: int = WORLDS) -> list[dict]:
    "Counts per setting and block of seeds."
    found = []
    for setting in settings:
        for first in BLOCKS:
            with ProcessPoolExecutor() as pool: rows = pd.DataFrame(list(pool.map(partial(one, setting), range(first, first + worlds), chunksize=20)))
            found.append(counted(setting, first, rows))
            print(found[-1], flush=True)
    return found


def made_cells(seed: int = 100, people=(350, 8000)) -> ArmCells:
    "Eight segments, three arms."
    rng = np.random.default_rng(seed)
    control = -3 + .3*rng.normal(size=(SEGMENTS, 1))
    theta = np.concatenate([control, control + .2*rng.normal(size=2) + .2*rng.normal(size=(SEGMENTS, 2))], axis=1)
    n = rng.integers(*people, theta.shape)
    return ArmCells(n, rng.binomial(n, expit(theta)))


def timed(f, rounds: int) -> dict:
    "Median wall and CPU seconds."
    took = []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        f()
        took.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = np.median(took, axis=0)
    return dict(wall_s=round(float(wall), 4), cpu_s=round(float(cpu), 4))


def agreement(draws: int = 10_000, seeds: int = 20) -> dict:
    "Largest differences to long NUTS over cells, for each of 20 seeds."
    from crmlab.infer.nuts import sample_cells
    found = {}
    for name, cells in dict(large=made_cells(), small=made_cells(7, (17, 400))).items():
        slow, health = sample_cells(cells, seed=1, draws=draws)
        mean, sd, p = slow.effects.mean(0), slow.effects.std(0), (slow.effects > 0).mean(0)
        fits = [fit_cells(cells, seed=s).effects for s in range(seeds)]
        found[name] = dict(nuts_draws=len(slow.spreads), divergences=health.divergences, r_hat=round(health.r_hat, 4), seeds=seeds,
                           p_positive=[round(float(np.abs((e > 0).mean(0) - p).max()), 4) for e in fits], mean_in_sd=[round(float((np.abs(e.mean(0) - mean)/sd).max()), 4) for e in fits])
        print(name, found[name], flush=True)
    return found


def speed() -> dict:
    "The quick fit, a warm pm.sample and a reused compiled nutpie, on the same cells in the same run."
    import logging

    import nutpie
    import pymc as pm

    from crmlab.infer.nuts import pymc_model
    logging.getLogger("pymc").setLevel(logging.ERROR)
    cells, other = made_cells(), made_cells(101)
    def sampled(c):
        with pymc_model(c): pm.sample(progressbar=False, quiet=True, random_seed=1, cores=2, compute_convergence_checks=False)
    sampled(other)   # warms PyMC's cache
    compiled = nutpie.compile_pymc_model(pymc_model(cells))
    reused = lambda: nutpie.sample(compiled, draws=500, tune=500, chains=2, seed=1, progress_bar=False)
    reused()
    fit_cells(other, seed=1)
    found = dict(quick=timed(lambda: fit_cells(cells, seed=1), 15), pm_sample_warm=timed(lambda: sampled(cells), 3), nutpie_reused=timed(reused, 5))
    quick = found["quick"]
    found |= {f"{k}_times": {c: round(found[k][f"{c}_s"]/quick[f"{c}_s"], 1) for c in ("wall", "cpu")} for k in ("pm_sample_warm", "nutpie_reused")}
    print(found, flush=True)
    return found


def hillstrom() -> dict:
    "Rows of the Hillstrom test to the decision table."
    from crmlab.infer.uplift import uplift
    from crmlab.sources.datasets import load
    rows = load("hillstrom")
    asked = dict(arm="segment", metric="visit", by="womens", control="No E-Mail", seed=1)
    first = timed(lambda: uplift(rows.head(1000), **asked), 1)
    took = timed(lambda: uplift(rows, **asked), 3)
    frame = uplift(rows, **asked).frame
    mail = frame[frame.arm == "Womens E-Mail"].set_index("segment")
    return dict(first_call=first, rows_to_table=took, people=len(rows), raw={k: round(v, 4) for k, v in mail.raw.items()}, est={k: round(v, 4) for k, v in mail.est.items()})


def measure() -> dict:
    "All figures."
    return dict(speed=speed(), hillstrom=hillstrom(), agreement=agreement(), calibration=calibration())


def measured_anew(part: str, settings: list[str]) -> dict:
    "The stored figures with one part replaced."
    fresh = calibration(settings or SETTINGS) if part == "calibration" else dict(speed=speed, hillstrom=hillstrom, agreement=agreement)[part]()
    stored = json.loads((run.RESULTS/"uplift.json").read_text(encoding="utf-8"))["result"]   # read late: another part may have been measured meanwhile
    if part != "calibration": return stored | {part: fresh}
    blocks = [b for b in stored["calibration"] if b["setting"] not in {f["setting"] for f in fresh}] + fresh
    return stored | dict(calibration=sorted(blocks, key=lambda b: (SETTINGS.index(b["setting"]), b["first_seed"])))


if __name__ == "__main__":
    import run
    part, *settings = sys.argv[1:]
    run.keep("uplift", measured_anew(part, settings))
