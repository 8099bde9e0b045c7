"""crmlab beside PyMC, nutpie, bayesian-testing, gbstats, tea-tasting and scikit-uplift: same input, answers and times.

Tools with pins of their own run in one environment in the benchmark cache (gbstats asks for numpy below 2 and is installed
without what it asks for); where that cannot be made, their column says so and the rest is measured. Every tool answers in a
process of its own, with its defaults. gbstats is also held against by the cases that its own tests publish, read from the
folder of data sets (`CRMLAB_DATA`, by default shared/data beside the repository) and left out where that is absent.
Usage beside `run.py`, to measure some parts anew and keep the others: python benchmarks/bench_peers.py rates revenue
"""
from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import environments
import numpy as np
import pandas as pd
from scipy import integrate, stats

HERE = Path(__file__).resolve().parent
PEERS, ALONE = ("bayesian-testing==0.10.0", "tea-tasting==2.0.0", "scikit-uplift==0.5.1", "pydantic<3", "pyarrow"), ("gbstats==0.8.0",)
PAIRS = (((2, 150), (6, 150)), ((5, 100), (9, 105)), ((8, 400), (15, 410)), ((20, 1000), (31, 1010)), ((120, 4000), (150, 4020)),
         ((3000, 80_000), (3150, 80_100)), ((0, 100), (4, 100)), ((3, 100), (0, 100)))   # successes, people
SECONDS = 900


def peers_python() -> tuple:
    "Python of the peers' environment and None, or None and why there is none."
    try: return environments.python_of("peers", *PEERS, alone=ALONE), None
    except (OSError, subprocess.CalledProcessError) as e:
        why = (getattr(e, "stderr", None) or str(e)).strip().splitlines()[-1][:200]
        print(f"peers: their environment cannot be made, so they are left out ({why})")
        return None, f"not installable here: {why}"


def asked(python: Path, question: str, tool: str, data: list) -> list[dict]:
    "Answers of one tool in a process of its own, or one reason for all."
    done = subprocess.run([str(python), str(HERE/"one_peer.py")], input=json.dumps(dict(question=question, tool=tool, data=data)), capture_output=True, text=True, timeout=SECONDS)
    if done.returncode: return [dict(reason=(done.stderr.strip().splitlines() or ["no message"])[-1][:200])]*len(data)
    return json.loads(done.stdout.strip().splitlines()[-1])


def all_asked(question: str, tools: dict, data: list, peers) -> dict:
    "Answers of every tool; ours in this environment, others in theirs."
    python, why = peers
    return {tool: asked(Path(sys.executable), question, tool, data) if tool.startswith("crmlab") else asked(python, question, tool, data) if python else [dict(reason=why)]*len(data) for tool in tools}


# --- rates

def quadrature(a: tuple, b: tuple) -> dict:
    "P(B > A) and the loss of B under Beta(1, 1), by adaptive quadrature over log odds: slow, and none of crmlab's code."
    one, two = (stats.beta(1 + s, 1 + n - s) for s, n in (a, b))
    rate = lambda t: 1/(1 + np.exp(-t))
    cuts = sorted({float(np.log(q/(1 - q))) for d in (one, two) for q in d.ppf([1e-12, 1e-4, .1, .5, .9, 1 - 1e-4, 1 - 1e-12])})
    over = lambda f: sum(integrate.quad(lambda t: f(rate(t))*rate(t)*(1 - rate(t)), lo, hi, epsabs=1e-16, epsrel=1e-13, limit=200)[0] for lo, hi in zip([-60, *cuts], [*cuts, 60]))
    return dict(p_better=over(lambda x: one.pdf(x)*two.sf(x)), loss=over(lambda x: one.sf(x)*two.cdf(x)))


def rates(peers) -> dict:
    "All pairs by all tools, beside the reference."
    import one_peer
    made = all_asked("rates", one_peer.RATES, [dict(a=a, b=b) for a, b in PAIRS], peers)
    return dict(pairs=[dict(a=list(a), b=list(b), reference=quadrature(a, b)) for a, b in PAIRS], tools=made)


# --- revenue per visitor

VISITORS, BUYERS = 32_000, .03


def revenue(peers) -> dict:
    "64,000 visitors, 3 % of whom buy, a tenth more of them in B; lognormal baskets."
    import one_peer
    rng = np.random.default_rng(1)
    rows = pd.DataFrame(dict(arm=np.repeat(["A", "B"], VISITORS), revenue=rng.lognormal(8.3, .9, 2*VISITORS).round()*(rng.random(2*VISITORS) < np.repeat([BUYERS, 1.1*BUYERS], VISITORS))))
    sums = {arm: dict(n=len(own), total=float(own.revenue.sum()), squares=float((own.revenue**2).sum())) for arm, own in rows.groupby("arm")}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder)/"visitors.parquet"
        rows.to_parquet(file)
        made = all_asked("revenue", one_peer.REVENUE, [dict(file=str(file), sums=sums)], peers)
    return dict(visitors=len(rows), buyers=int((rows.revenue > 0).sum()), tools={tool: found[0] for tool, found in made.items()})


# --- eight segments, three arms

def hierarchical() -> dict:
    "The quick fit, a warm pm.sample and a reused compiled nutpie: times, and how far the answers are from pm.sample's."
    import nutpie
    import pymc as pm
    from bench_uplift import made_cells, timed

    from crmlab.infer.nuts import pymc_model
    from crmlab.infer.pooling import fit_cells
    logging.getLogger("pymc").setLevel(logging.ERROR)
    cells, other = made_cells(), made_cells(101)
    def sampled(c):
        with pymc_model(c): return pm.sample(progressbar=False, quiet=True, random_seed=1, compute_convergence_checks=False)
    compiled = nutpie.compile_pymc_model(pymc_model(cells))
    reused = lambda: nutpie.sample(compiled, draws=500, tune=500, chains=2, seed=1, progress_bar=False)
    for warm in (lambda: sampled(other), reused, lambda: fit_cells(other, seed=1)): warm()
    flat = lambda trace: trace.posterior["value"].to_numpy().reshape(-1, *cells.y.shape)
    effects = {"crmlab: quick fit": fit_cells(cells, seed=1).values, "PyMC: pm.sample, warm": flat(sampled(cells)), "nutpie, compiled before": flat(reused())}
    effects = {tool: v[..., 1:] - v[..., :1] for tool, v in effects.items()}
    took = {"crmlab: quick fit": timed(lambda: fit_cells(cells, seed=1), 15), "PyMC: pm.sample, warm": timed(lambda: sampled(cells), 3), "nutpie, compiled before": timed(reused, 5)}
    base = effects["PyMC: pm.sample, warm"]
    gap = lambda e: dict(mean_gap_sd=round(float((np.abs(e.mean(0) - base.mean(0))/base.std(0)).max()), 4), p_gap=round(float(np.abs((e > 0).mean(0) - (base > 0).mean(0)).max()), 4))
    first = lambda e: dict(est=round(float(e[:, 0, 0].mean()), 5), p_positive=round(float((e[:, 0, 0] > 0).mean()), 4))   # the first segment and arm, to look at
    return dict(segments=cells.y.shape[0], arms=cells.y.shape[1], tools={tool: first(e) | gap(e) | took[tool] | dict(draws=len(e)) for tool, e in effects.items()})


# --- cases that gbstats publishes

def published_file() -> Path: return Path(os.environ.get("CRMLAB_DATA", HERE.parent.parent/"shared/data"))/"growthbook_stats/gbstats_expected.json"


def answered(case: dict) -> dict:
    "The same sums by ab_test, under the same prior; or the one line in which it declines."
    import crmlab as cl
    from crmlab.infer.effects import TestPrior
    sums = pd.DataFrame([dict(arm=arm, n=s["n"]) | (dict(total=s["sum"], squares=s["sum_squares"]) if "sum_squares" in s else dict(successes=s["sum"])) for arm, s in (("A", case["a"]), ("B", case["b"]))])
    before, base = case.get("prior"), case["a"]["sum"]/max(case["a"]["n"], 1)   # theirs is about the lift, ours about the difference
    prior = TestPrior(effect=(before["mean"]*base, before["variance"]**.5*base)) if before else (1, 1)
    try: row = cl.ab_test(sums, arm="arm", metric="metric", control="A", seed=1, prior=prior).frame.query("arm == 'B'").iloc[0]
    except cl.CrmlabError as e: return dict(declined=str(e))
    return {k: None if pd.isna(row[k]) else round(float(row[k]), 5) for k in ("lift", "lift_lo", "lift_hi", "diff", "diff_lo", "diff_hi", "p_better", "loss")}


def published() -> dict | None:
    "The published cases with two arms, ours beside."
    if not published_file().exists(): return print("peers: no published cases of gbstats here, left out")
    told = json.loads(published_file().read_text(encoding="utf-8"))
    cases = [dict(kind=kind) | case for kind in ("bayesian", "frequentist") for case in told[kind] if "a" in case]   # one is a formula without arms
    cases.append(dict(kind="bayesian", name="nobody in either arm") | told["bayesian_empty"])
    return dict(source=told["source"].split(";")[0], cases=[case | dict(crmlab=answered(case)) for case in cases])


# --- uplift curve

def scored(rng, people: int = 40_000) -> pd.DataFrame:
    "A mail that moves some more than others, and a score that half knows whom."
    moved, arm = rng.normal(.02, .03, people), rng.choice(["control", "mail"], people)
    bought = rng.random(people) < np.clip(.1 + moved*(arm == "mail"), 0, 1)
    return pd.DataFrame(dict(arm=arm, bought=bought.astype(int), score=moved + rng.normal(0, .03, people)))


def curves(peers) -> dict:
    "Area under the uplift curve of the same scores."
    import one_peer
    rows = scored(np.random.default_rng(1))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder)/"scored.parquet"
        rows.to_parquet(file)
        made = all_asked("qini", one_peer.QINI, [dict(file=str(file))], peers)
    return dict(people=len(rows), tools={tool: found[0] for tool, found in made.items()})


PARTS = dict(rates=rates, revenue=revenue, hierarchical=lambda peers: hierarchical(), published=lambda peers: published(), qini=curves)


def measure(*parts: str) -> dict:
    "Everything; or the parts named, beside what was stored of the others."
    import run
    peers, file = peers_python(), run.RESULTS/"peers.json"
    stored = json.loads(file.read_text(encoding="utf-8"))["result"] if parts and file.exists() else {}
    return stored | dict(packages=[*PEERS, *ALONE]) | {part: PARTS[part](peers) for part in parts or PARTS}


if __name__ == "__main__":
    import run
    run.keep("peers", measure(*sys.argv[1:]))
