"Data that no comparison can use: one line that names the culprit, or a note; never a number that looks like an answer."
from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.linear_model import Ridge

import crmlab as cl
from crmlab.infer.looks import stop_threshold

N = 400
rng = np.random.default_rng(0)
ROWS = pd.DataFrame(dict(arm=rng.choice(["A", "B"], N), seg=rng.choice(["x", "y"], N), bought=(rng.random(N) < .2).astype(int), f=rng.normal(size=N), chance=.5))
ROWS["spent"] = ROWS.bought*rng.gamma(2, 1000, N)
FUNCTIONS = dict(
    ab_test=lambda d, m: cl.ab_test(d, arm="arm", metric=m, control="A", seed=1), uplift=lambda d, m: cl.uplift(d, arm="arm", metric=m, control="A", by="seg", seed=1),
    qini=lambda d, m: cl.qini(d, arm="arm", metric=m, control="A", features="f", seed=1),
    policy_value=lambda d, m: cl.policy_value(d, [{"when": {"seg": "x"}, "arm": "B"}, {"arm": "A"}], arm="arm", metric=m, propensity="chance", seed=1),
    individual_uplift=lambda d, m: cl.individual_uplift(d, arm="arm", metric=m, control="A", features="f", learners="T", folds=2, seed=1, model=Ridge()),
    plan_test=lambda d, m: cl.plan_test(d, metric=m, lift=.1, per_day=500, worlds=200, days=21, seed=1))
REFUSED = {
    "missing": (ROWS.assign(bought=ROWS.bought.where(ROWS.index > 2)), "bought"), "infinite": (ROWS.assign(spent=ROWS.spent.where(ROWS.index > 2, np.inf)), "spent"),
    "text": (ROWS.assign(bought=ROWS.bought.astype(str)), "bought"), "moments": (ROWS.assign(spent=pd.Timestamp("2026-01-01")), "spent"),
    "huge": (ROWS.assign(spent=ROWS.spent*1e300), "spent"), "tiny": (ROWS.assign(spent=ROWS.spent*1e-300), "spent"), "nobody": (ROWS.head(0), "bought"), "no columns": (pd.DataFrame(), "bought"), "number": (42, "bought")}
USED = {"pyarrow": ROWS.convert_dtypes(dtype_backend="pyarrow"), "nullable": ROWS.convert_dtypes(), "categories": ROWS.astype({"arm": "category", "seg": "category"}), "polars": pl.from_pandas(ROWS), "lazy": pl.from_pandas(ROWS).lazy(), "boolean": ROWS.assign(bought=ROWS.bought.astype(bool))}


def one_line(work, *said):
    with pytest.raises(cl.CrmlabError) as error: work()
    line = str(error.value)
    assert "\n" not in line and len(line) < 450 and all(s in line for s in said), line


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("case", REFUSED)
def test_data_that_cannot_be_used_are_refused_in_one_line(function, case): one_line(lambda: FUNCTIONS[function](*REFUSED[case]))


@pytest.mark.parametrize("function", ["ab_test", "uplift", "policy_value", "plan_test"])
def test_frames_of_all_kinds_give_the_same_answer(function):
    usual = FUNCTIONS[function](ROWS, "bought").frame.select_dtypes("number")
    for kind, frame in USED.items():
        found = FUNCTIONS[function](frame, "bought").frame.select_dtypes("number")
        assert np.allclose(found, usual, atol=1e-6, equal_nan=True), kind


def counts(*rows, columns=("arm", "n", "successes")): return pd.DataFrame(list(rows), columns=list(columns))


@pytest.mark.parametrize("table, said", [
    (counts(("A", 10, 11), ("B", 10, 1)), "11 successes of n=10"), (counts(("A", -10, 1), ("B", 10, 1)), "negative count"), (counts(("A", 10, 1)), "'A' is the only arm"),
    (counts(("A", 0, 0), ("B", 0, 0)), "no people (n = 0) in arm 'A', arm 'B'"), (counts(("A", np.nan, 1), ("B", 10, 1)), "arm 'A' is missing"), (counts(("A", np.inf, 1), ("B", 10, 1)), "arm 'A' is missing"),
    (counts(("A", "10", "1"), ("B", "10", "1")), "holds String"), (counts(("A", 100, 1e200, 1e200), ("B", 100, 1., 1.), columns=("arm", "n", "mean", "sd")), "arm 'A' are larger than"),
    (counts(("A", 0, 5., 25.), ("B", 10, 5., 25.), columns=("arm", "n", "total", "squares")), "arm 'A'")],
    ids=["above", "negative", "one arm", "nobody", "missing", "infinite", "text", "huge", "sums of nobody"])
def test_counts_and_sums_that_cannot_be_are_named(table, said): one_line(lambda: cl.ab_test(table, arm="arm", metric="m", control="A"), said)


@pytest.mark.parametrize("empty", ["A", "B"])
@pytest.mark.parametrize("columns", [("n", "successes"), ("n", "total", "squares"), ("n", "mean", "sd")], ids=["counts", "sums", "means"])
def test_an_arm_without_people_is_named_and_decides_nothing(empty, columns, monkeypatch):
    monkeypatch.setenv("CRMLAB_LANGUAGE", "en")
    some = dict(n=100, successes=7, total=300., squares=2000., mean=3., sd=2.)
    test = cl.ab_test(pd.DataFrame([dict(arm=a) | {c: 0 if a == empty else some[c] for c in columns} for a in "AB"]), arm="arm", metric="m", control="A")
    assert test.frame[["diff", "p_better", "p_best", "loss"]].isna().all(axis=None) and test.frame.note.str.contains("nobody").any()
    assert (test.decision.decision[0], test.decision.arm[0], test.decision.reason[0]) == ("invalid", empty, f"There is nobody in {empty}.")


@pytest.mark.parametrize("done", [0, 100])
def test_where_everybody_did_the_same_the_probabilities_say_so(done, monkeypatch):
    monkeypatch.setenv("CRMLAB_LANGUAGE", "en")
    test = cl.ab_test(counts(("A", 100, done), ("B", 100, done)), arm="arm", metric="m", control="A")
    assert test.frame.note.str.contains("tell the arms apart by nothing").all() and test.decision.decision[0] == "running"


@pytest.mark.parametrize("n", [10**9, 10**12])
def test_very_many_people_are_no_trouble(n):
    test = cl.ab_test(counts(("A", n, n//30), ("B", n, n//30 + int(n**.5)//4)), arm="arm", metric="m", control="A")
    row = test.frame.iloc[1]
    assert np.isfinite(row[["diff_lo", "diff_hi", "lift_lo", "lift_hi", "loss"]].astype(float)).all() and .5 < row.p_better < 1


@pytest.mark.parametrize("prior", [(1e300, 1e300), (1e-300, 1), (0, 1), (np.nan, 1)])
def test_an_extreme_prior_is_refused(prior): one_line(lambda: cl.ab_test(counts(("A", 100, 1), ("B", 100, 2)), arm="arm", metric="m", control="A", prior=prior), "prior=")


def test_text_as_counts_of_uplift_and_people_beyond_all_measure():
    one_line(lambda: cl.uplift(pd.DataFrame(dict(arm=["A", "B"], seg="x", n=["many", "10"], successes=["1", "2"])), arm="arm", metric="m", control="A", by="seg"), "column 'n' holds")
    one_line(lambda: stop_threshold(days=30, entries=[1e308]*30), "entries hold 1e+308")
