"""One question put to one tool in this Python: reads {"tool", "question", "data"} from standard input, prints a list of answers.

Every answer comes with the median CPU and wall milliseconds of some calls after a first one that does not count, and is
made of the tool's own public functions, with its defaults where nothing is said. Runs in crmlab's environment and, without
crmlab, in the peers'.
"""
from __future__ import annotations

import json
import math
import statistics
import sys
import time
import warnings
from functools import partial

warnings.filterwarnings("ignore")
CALLS = 7


def timed(call, calls: int = CALLS) -> dict:
    "The last answer, and what a call costs."
    call()
    took = []
    for _ in range(calls):
        wall, cpu = time.perf_counter(), time.process_time()
        answer = call()
        took.append((1000*(time.process_time() - cpu), 1000*(time.perf_counter() - wall)))
    cpu, wall = (round(statistics.median(t), 3) for t in zip(*took))
    return dict(answer={k: float(v) if v is not None and math.isfinite(v) else None for k, v in answer.items()}, cpu_ms=cpu, wall_ms=wall)


# --- rates: counts of two arms

def exact_parts(a, b):
    "crmlab's probability and loss alone, nothing kept from the call before."
    from crmlab.infer import posterior
    posterior._cuts.cache_clear()
    one, two = (posterior.rate_posterior(s, n) for s, n in (a, b))
    return dict(p_better=posterior.p_better(two, one), loss=posterior.expected_loss([one, two])[1])


def counted(a, b):
    import pandas as pd
    return pd.DataFrame(dict(arm=["A", "B"], n=[a[1], b[1]], successes=[a[0], b[0]]))


def of_frame(frame): return frame[frame.arm == "B"].iloc[0][["p_better", "loss", "lift", "lift_lo", "lift_hi"]].to_dict()


def crmlab_rates(a, b):
    import crmlab as cl
    from crmlab.infer import posterior
    posterior._cuts.cache_clear()
    return of_frame(cl.ab_test(counted(a, b), arm="arm", metric="bought", control="A").frame)


def bayesian_testing_rates(a, b, prior):
    from bayesian_testing.experiments import BinaryDataTest
    test = BinaryDataTest()
    for name, (s, n) in dict(A=a, B=b).items(): test.add_variant_data_agg(name, totals=n, positives=s, a_prior=prior, b_prior=prior)
    found = test.evaluate(seed=1)[1]
    return dict(p_better=found["prob_being_best"], loss=found["expected_loss"])


def gbstats_test(a, b, kind):
    from gbstats.bayesian.tests import EffectBayesianABTest, EffectBayesianConfig
    found = EffectBayesianABTest(a, b, EffectBayesianConfig(difference_type=kind)).compute_result()
    lift = dict(lift=found.expected, lift_lo=found.ci[0], lift_hi=found.ci[1]) if kind == "relative" else {}
    return dict(p_better=found.chance_to_win, loss=found.risk[1] if kind == "absolute" else None, **lift)


def gbstats_rates(a, b, kind):
    from gbstats.models.statistics import ProportionStatistic
    return gbstats_test(*(ProportionStatistic(n=n, sum=s) for s, n in (a, b)), kind)


def tea_tasting_test(parts):
    import tea_tasting as tt
    from tea_tasting.aggr import Aggregates
    arms = {name: Aggregates(count_=n, mean_={"y": mean}, var_={"y": variance}) for name, (n, mean, variance) in parts.items()}
    found = tt.Mean("y").analyze_aggregates(control=arms["A"], treatment=arms["B"])
    return dict(lift=found.rel_effect_size, lift_lo=found.rel_effect_size_ci_lower, lift_hi=found.rel_effect_size_ci_upper, p_value=found.pvalue)


def tea_tasting_rates(a, b): return tea_tasting_test({name: (n, s/n, s*(n - s)/n/(n - 1)) for name, (s, n) in dict(A=a, B=b).items()})


RATES = {"crmlab: P and loss alone": exact_parts, "crmlab: ab_test": crmlab_rates,
         "bayesian-testing, Beta(1, 1)": partial(bayesian_testing_rates, prior=1), "bayesian-testing, its default": partial(bayesian_testing_rates, prior=.5),
         "gbstats, relative (its default)": partial(gbstats_rates, kind="relative"), "gbstats, absolute": partial(gbstats_rates, kind="absolute"), "tea-tasting": tea_tasting_rates}


# --- revenue per visitor: rows in a Parquet file, or their sums

def crmlab_revenue(file, sums):
    import crmlab as cl
    return of_frame(cl.ab_test(file, arm="arm", metric="revenue", control="A", kind="revenue", seed=1).frame)


def crmlab_revenue_sums(file, sums):
    import crmlab as cl
    import pandas as pd
    return of_frame(cl.ab_test(pd.DataFrame([dict(arm=arm, **s) for arm, s in sums.items()]), arm="arm", metric="revenue", control="A", kind="revenue", seed=1).frame)


def bayesian_testing_revenue(file, sums):
    import pandas as pd
    from bayesian_testing.experiments import DeltaLognormalDataTest
    rows, test = pd.read_parquet(file), DeltaLognormalDataTest()
    for arm in "AB": test.add_variant_data(arm, rows.revenue[rows.arm == arm].tolist())
    found = test.evaluate(seed=1)[1]
    return dict(p_better=found["prob_being_best"], loss=found["expected_loss"])


def gbstats_revenue(file, sums):
    from gbstats.models.statistics import SampleMeanStatistic
    stats = [SampleMeanStatistic(n=s["n"], sum=s["total"], sum_squares=s["squares"]) for s in sums.values()]
    return gbstats_test(*stats, "relative") | {"loss": gbstats_test(*stats, "absolute")["loss"]}


def tea_tasting_revenue(file, sums):
    import pandas as pd
    import tea_tasting as tt
    rows = pd.read_parquet(file).rename(columns=dict(arm="variant"))
    result = tt.Experiment(revenue=tt.Mean("revenue")).analyze(rows, control="A")["revenue"]
    return dict(lift=result.rel_effect_size, lift_lo=result.rel_effect_size_ci_lower, lift_hi=result.rel_effect_size_ci_upper, p_value=result.pvalue)


REVENUE = {"crmlab: ab_test, rows": crmlab_revenue, "crmlab: ab_test, sums": crmlab_revenue_sums, "bayesian-testing, rows": bayesian_testing_revenue, "gbstats, sums": gbstats_revenue, "tea-tasting, rows": tea_tasting_revenue}


# --- area under the uplift curve of given scores

def crmlab_qini(file):
    from crmlab.infer.qini import qini
    found = qini(file, arm="arm", metric="bought", control="control", score="score", held_out=True, seed=1).summary.iloc[0]
    return dict(auuc=found.auuc, auuc_lo=found.auuc_lo, auuc_hi=found.auuc_hi)


def sklift_qini(file):
    import pandas as pd
    from sklearn.metrics import auc
    from sklift.metrics import qini_auc_score, uplift_curve
    rows = pd.read_parquet(file)
    y, treated = rows.bought.to_numpy(), (rows.arm == "mail").astype(int).to_numpy()
    share, gain = uplift_curve(y, rows.score.to_numpy(), treated)
    return dict(auuc=auc(share/len(rows), gain/len(rows)), normalised_qini=qini_auc_score(y, rows.score.to_numpy(), treated))


QINI = {"crmlab: qini": crmlab_qini, "scikit-uplift": sklift_qini}


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    call = dict(rates=RATES, revenue=REVENUE, qini=QINI)[asked["question"]][asked["tool"]]
    print(json.dumps([timed(partial(call, **case)) for case in asked["data"]]))
