"Intervals of shares and averages from outside: what they must obey, and how often they hold the truth."
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings as hypothesis_settings
from hypothesis import strategies as st

from crmlab.core import CrmlabError
from crmlab.intervals import rate_interval, ratio_interval

some = hypothesis_settings(max_examples=60, deadline=None)
people = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)).map(lambda v: (min(v), v[1])), min_size=2, max_size=40)


def sums(y, x):
    y, x = np.asarray(y, float), np.asarray(x, float)
    return dict(y=y.sum(-1), x=x.sum(-1), yy=(y*y).sum(-1), xy=(x*y).sum(-1), xx=(x*x).sum(-1), n=x.shape[-1])


@some
@example([(1, 1), (1, 1), (1, 1), (1, 1), (3, 3)])   # everybody always: rounding once put hi below 1
@given(people)
def test_a_share_stays_within_its_interval_and_its_interval_within_0_and_1(rows):
    y, x = np.array(rows).T
    est, lo, hi, se = ratio_interval(**sums(y, x), share=True)
    assert 0 <= lo <= est <= hi <= 1 and lo < hi and se >= 0
    mirrored = ratio_interval(**sums(x - y, x), share=True)
    np.testing.assert_allclose([1 - mirrored[0], 1 - mirrored[2], 1 - mirrored[1]], [est, lo, hi], atol=1e-9)


@some
@given(people, st.integers(2, 5))
def test_more_people_of_the_same_kind_narrow_it_and_more_confidence_widens_it(rows, times):
    y, x = np.array(rows).T
    _, lo, hi, _ = ratio_interval(**sums(y, x), share=True)
    _, more_lo, more_hi, _ = ratio_interval(**sums(np.tile(y, times), np.tile(x, times)), share=True)
    _, wide_lo, wide_hi, _ = ratio_interval(**sums(y, x), share=True, prob=.99)
    assert more_hi - more_lo < hi - lo + 1e-12
    assert wide_lo <= lo + 1e-12 and hi <= wide_hi + 1e-12


@some
@given(st.lists(st.tuples(st.floats(0, 1e3), st.integers(1, 5)), min_size=2, max_size=30), st.floats(.01, 1e4))
def test_an_average_follows_its_unit(rows, unit):
    y, x = np.array(rows, float).T
    first, scaled = ratio_interval(**sums(y, x)), ratio_interval(**sums(unit*y, x))
    np.testing.assert_allclose(scaled[0], unit*first[0], rtol=1e-6, atol=1e-9)
    if np.isfinite(first[1]) and np.isfinite(scaled[1]): np.testing.assert_allclose(scaled[2] - scaled[1], unit*(first[2] - first[1]), rtol=1e-3, atol=1e-6*unit)


def test_arrays_give_the_same_as_their_elements():
    rng = np.random.default_rng(0)
    x = 1 + rng.poisson(1., (4, 30))
    y = rng.binomial(x, .2)
    together = ratio_interval(**sums(y, x), share=True)
    for k in range(4): np.testing.assert_allclose([v[k] for v in together], [float(v) for v in ratio_interval(**sums(y[k], x[k]), share=True)])


def test_nothing_is_claimed_where_nothing_is_known():
    assert np.isnan(rate_interval(0, 0)).all()
    assert np.isnan(ratio_interval(**sums([1], [2]), share=True)).all()
    est, lo, hi, _ = ratio_interval(**sums([3., 3., 3.], [1, 1, 1]))
    assert est == 3 and np.isnan([lo, hi]).all()
    lo, hi = rate_interval([0, 30], 30)
    assert lo[0] == 0 < hi[0] < .2 and .8 < lo[1] < hi[1] == 1


@pytest.mark.parametrize("call, says", [
    (lambda: rate_interval(-1, 5), "-1 successes"), (lambda: rate_interval(6, 5), "6 successes of 5"),
    (lambda: rate_interval(1, 5, prob=95), "prob=95"), (lambda: ratio_interval(7, 5, 9, 7, 5, 3, share=True), "Σy=7 of Σx=5 is not a share"),
    (lambda: ratio_interval(1, 5, -1, 1, 5, 3), "Σy² is negative")])
def test_impossible_input_is_named(call, says):
    with pytest.raises(CrmlabError, match=says.replace("²", ".")) as error: call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("users, mean, likeness", [(12, .1, .2), (40, .02, .4), (80, .5, .5), (400, .03, .3)])
def test_intervals_of_clustered_shares_hold_the_truth(users, mean, likeness):
    "Two blocks of 500 worlds; too generous with rare cases is fine, too narrow is not: at least the lower end of the 99 % band."
    for block in (0, 1):
        rng = np.random.default_rng([7, block])
        x = 1 + rng.negative_binomial(1, .4, (500, users))
        habit = rng.beta(mean*(1/likeness - 1), (1 - mean)*(1/likeness - 1), (500, users))
        _, lo, hi, _ = ratio_interval(**sums(rng.binomial(x, habit), x), share=True)
        assert ((lo <= mean) & (mean <= hi)).sum() >= 462
