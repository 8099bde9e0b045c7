"What is believed before a test: from arguments, from the settings, from past tests; and how fast a whole comparison is."
from __future__ import annotations

import time

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats
from scipy.optimize import brentq

import crmlab as cl
from crmlab.core import settings
from crmlab.deliver.trials import trial_priors
from crmlab.infer.posterior import difference_quantile, lift_quantile, rate_posterior

COUNTS = pd.DataFrame(dict(arm=["A", "B"], n=[150, 150], successes=[2, 9]))
PAST = pd.DataFrame(dict(n=[5000, 8000, 4000, 9000], successes=[180, 230, 130, 260]))
ASKED = dict(arm="arm", metric="bought", control="A")


@pytest.fixture(autouse=True)
def english(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRMLAB_LANGUAGE", "en")
    monkeypatch.delenv("CRMLAB_PRIOR", raising=False)


def given(test): return test.sensitivity[test.sensitivity.prior == "given"].iloc[0]


def test_a_prior_of_the_settings_reaches_the_numbers_and_is_shown(tmp_path, monkeypatch):
    flat = cl.ab_test(COUNTS, **ASKED)
    (tmp_path/"settings.ini").write_text("[crmlab]\nprior = 3, 97\n", encoding="utf-8")
    asked = cl.ab_test(COUNTS, **ASKED)
    row, meta = given(asked), asked.meta["arguments"]
    assert (row.a, row.b) == meta["prior"] == (3, 97) and meta["prior_from"] == "settings" and flat.meta["arguments"]["prior"] == (1, 1)
    b, a = stats.beta(3 + 9, 97 + 141), stats.beta(3 + 2, 97 + 148)
    assert abs(asked.frame.p_better[1] - stats.norm.expect(lambda z: b.sf(a.ppf(stats.norm.cdf(z))), lb=-9, ub=9)) < 1e-7
    assert "Beta(3, 97) from the settings" in trial_priors(asked)[1]._repr_html_()
    assert given(cl.ab_test(COUNTS, prior=(1, 1), **ASKED)).equals(given(flat))
    monkeypatch.setenv("CRMLAB_PRIOR", "0.5, 0.5")
    assert cl.ab_test(COUNTS, **ASKED).meta["arguments"]["prior"] == (.5, .5)


@pytest.mark.parametrize("text", ["3", "3, 0", "-1, 2", "1, 2, 3", "a, b", "", "inf, 1", "nan, 1", "(1, 1)"])
def test_a_malformed_prior_of_the_settings_is_refused_in_one_line(tmp_path, monkeypatch, text):
    (tmp_path/"settings.ini").write_text(f"[crmlab]\nprior = {text}\n", encoding="utf-8")
    with pytest.raises(cl.CrmlabError, match="settings.ini: prior = .* is not two numbers above 0 with a comma, such as 1, 1") as e: cl.ab_test(COUNTS, **ASKED)
    assert "\n" not in str(e.value)
    (tmp_path/"settings.ini").unlink()
    monkeypatch.setenv("CRMLAB_PRIOR", text)
    with pytest.raises(cl.CrmlabError, match="CRMLAB_PRIOR"): cl.ab_test(COUNTS, **ASKED)


def test_settings_that_change_are_seen_at_once(tmp_path):
    for language in ("ja", "en", "ja"):
        (tmp_path/"settings.ini").write_text(f"[crmlab]\nlanguage = {language}\nseed = 3\n", encoding="utf-8")
        assert settings(tmp_path).seed == 3
    (tmp_path/"settings.ini").write_text("[crmlab]\nseed = 4\n", encoding="utf-8")
    assert settings(tmp_path).seed == 4
    (tmp_path/"settings.ini").unlink()
    assert settings(tmp_path).seed == 1


@pytest.mark.parametrize("frame", [PAST, pl.from_pandas(PAST), PAST.astype(str), PAST.astype("Int64")], ids=["pandas", "polars", "text", "nullable"])
def test_past_tests_are_a_prior_of_any_frame(frame):
    test = cl.ab_test(COUNTS, prior=frame, **ASKED)
    row = given(test)
    assert row.a/(row.a + row.b) == pytest.approx(PAST.successes.sum()/PAST.n.sum()) and 2 < row.a + row.b <= PAST.n.median()
    assert test.meta["arguments"]["prior_from"] == "past tests" and "Beta(" in trial_priors(test)[1]._repr_html_()
    assert abs(row["diff"]) < abs(given(cl.ab_test(COUNTS, **ASKED))["diff"])


def test_past_effects_are_a_prior_of_means_and_are_told_as_such():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(dict(arm=np.repeat(["A", "B"], 200), spent=np.append(rng.gamma(2, 50, 200), rng.gamma(2, 65, 200))))
    effects = pd.DataFrame(dict(effect=[1., -2, 0, 3], se=[2., 2, 3, 2]))
    test, alone = (cl.ab_test(rows, **ASKED | dict(metric="spent"), prior=p) for p in (effects, None))
    assert abs(given(test)["diff"]) < abs(given(alone)["diff"]) and test.meta["arguments"]["effect_prior"] == (given(test).a, given(test).b)
    assert "effects of past tests" in trial_priors(test)[1]._repr_html_()


CASES = {"2/150 v 6/150": ((2, 150), (6, 150)), "3000/80000 v 3150/80100": ((3000, 80000), (3150, 80100)), "0/100 v 4/100": ((0, 100), (4, 100)),
         "40/40 v 30/40": ((40, 40), (30, 40)), "10**9": ((3*10**7, 10**9), (3*10**7 + 9000, 10**9))}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("p", [.0005, .025, .5, .975])
def test_quantiles_are_the_roots_of_an_independent_integral(case, p):
    a, b = (stats.beta(*rate_posterior(*c)) for c in case)
    nodes, weights = np.polynomial.legendre.leggauss(400)
    z = 9*nodes
    x, mass = a.ppf(stats.norm.cdf(z)), 9*weights*stats.norm.pdf(z)
    A, B = (rate_posterior(*c) for c in case)
    for found, below, unit in ((difference_quantile(B, A, p), lambda d: mass @ b.cdf(x + d), np.hypot(a.std(), b.std())), (lift_quantile(B, A, p), lambda r: mass @ b.cdf((1 + r)*x), np.hypot(a.std()/a.mean(), b.std()/b.mean()))):
        root = brentq(lambda q, below=below: below(q) - p, found - .2*unit - 1e-12, found + .2*unit + 1e-12, xtol=1e-14)
        assert abs(root - found) < 1e-4*unit, (root, found)


def test_a_whole_comparison_of_two_arms_takes_little_time():
    took = []
    for k in range(12):
        start = time.process_time()
        cl.ab_test(COUNTS.assign(n=4000 + k, successes=[120, 150 + k]), **ASKED)
        took.append(1e3*(time.process_time() - start))
    assert min(took) < 45, took   # some 25 on a quiet machine
