"Qini curves from outside: hand-made cases, scikit-uplift's definitions, known truth, held-out scores, refusals."
from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

import crmlab as cl
from crmlab.infer.qini import qini

asked = dict(arm="arm", metric="bought", control="none", seed=1)


def users(seed, n=4000, strength=1.):
    rng = np.random.default_rng(seed)
    score, mailed = rng.random(n), rng.random(n) < .5
    bought = rng.random(n) < .10 + mailed*strength*(.08*score - .02)
    return pd.DataFrame(dict(arm=np.where(mailed, "mail", "none"), bought=bought.astype(int), score=score, third=np.where(score > .66, "high", np.where(score > .33, "mid", "low")), noise=rng.random(n)))


def by_definition(frame, score="score"):
    "scikit-uplift's uplift_curve and qini_curve, written out: cumulative at each distinct score, best first."
    ordered = frame.sort_values(score, ascending=False)
    treated = ordered.arm == "mail"
    n_t, n_c = treated.cumsum(), (~treated).cumsum()
    y_t, y_c = (ordered.bought*treated).cumsum(), (ordered.bought*~treated).cumsum()
    last = ~ordered[score].duplicated(keep="last")
    n = np.arange(1, len(ordered) + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return pd.DataFrame(dict(n=n, n_t=n_t, uplift=(y_t/n_t - y_c/n_c)*n, qini=y_t - y_c*n_t/n_c))[last.to_numpy()]


def test_a_curve_of_eight_people_by_hand(monkeypatch):
    monkeypatch.setenv("CRMLAB_MIN_USERS", "1")
    frame = pd.DataFrame(dict(arm=["mail", "none"]*4, bought=[1, 0, 1, 1, 0, 0, 1, 1], score=[8, 7, 6, 5, 4, 3, 2, 1]))
    found = qini(frame, score="score", held_out=True, **asked)
    at = found.frame.set_index("n").gain
    assert [at[2], at[4], at[6], at[8]] == pytest.approx([2/8*1, 4/8*(1 - 1/2), 6/8*(2/3 - 1/3), 3/4 - 2/4])
    points = [(0, 0), (2/8, .25), (3/8, 3/8*1), (4/8, .25), (5/8, 5/8*(2/3 - 1/2)), (6/8, .25), (7/8, 7/8*(3/4 - 1/3)), (1, .25)]
    area = sum((b[0] - a[0])*(a[1] + b[1])/2 for a, b in zip(points, points[1:]))
    assert found.summary.auuc[0] == pytest.approx(area) and found.summary.qini[0] == pytest.approx(area - .125)


def test_gain_times_people_is_the_cumulative_uplift_curve_and_nearly_radcliffes():
    frame = users(0)
    frame["score"] = frame.score.round(2)   # with ties
    found, defined = qini(frame, score="score", held_out=True, **asked).frame.query("n > 0").set_index("n"), by_definition(frame).set_index("n")
    assert np.allclose(found.gain*len(frame), defined.uplift[found.index], atol=1e-9)
    treated = (frame.arm == "mail").sum()
    assert np.abs(found.gain - defined.qini[found.index]/treated).max() < .002   # equal but for uneven mixing of the arms


def test_area_is_that_of_all_distinct_scores_not_of_the_points_shown():
    frame = users(1, 3000)
    defined = by_definition(frame).dropna()
    area = np.trapezoid(np.append(0, defined.uplift), np.append(0, defined.n))/len(frame)**2
    assert qini(frame, score="score", held_out=True, **asked).summary.auuc[0] == pytest.approx(area, abs=1e-9)


def test_order_of_rows_units_of_the_score_and_engine_change_nothing():
    frame = users(2)
    first = qini(frame, score="score", held_out=True, **asked)
    for other in (frame.sample(frac=1, random_state=1), frame.assign(score=np.exp(3*frame.score) - 7), pl.from_pandas(frame).lazy()):
        again = qini(other, score="score", held_out=True, **asked)
        pd.testing.assert_frame_equal(again.frame, first.frame)
        pd.testing.assert_frame_equal(again.summary, first.summary)


def test_turning_the_score_round_turns_the_coefficient_round():
    frame = users(3)
    up, down = (qini(frame.assign(score=s*frame.score), score="score", held_out=True, **asked).summary.iloc[0] for s in (1, -1))
    assert up.qini == pytest.approx(-down.qini, abs=2e-4) and up.p_positive > .5 > down.p_positive


@pytest.mark.parametrize("strength", [1., 0.], ids=["planted", "no effect"])
def test_band_and_interval_hold_the_truth(strength):
    gain = lambda share: strength*(.04*(1 - (1 - share)**2) - .02*share)
    area, whole, inside, above = strength*(.04*2/3 - .01) - gain(1)/2, 0, 0, 0
    for seed in range(100):
        found = qini(users(1000 + seed, 2000, strength), score="score", held_out=True, prob=.95, **asked)
        c, s = found.frame, found.summary.iloc[0]
        whole += bool(((c.lo - 1e-12 <= gain(c.share)) & (gain(c.share) <= c.hi + 1e-12)).all())
        inside, above = inside + (s.lo <= area <= s.hi), above + (s.lo > 0)
    assert whole >= 89 and inside >= 89      # the 99 % band of 95 % of 100 begins at 89
    if not strength: assert above <= 7       # and that of 2.5 % ends at 7


def test_pointwise_bands_are_narrower_and_say_so():
    frame = users(4)
    both = {b: qini(frame, score="score", held_out=True, band=b, **asked) for b in ("simultaneous", "pointwise")}
    width = {b: (r.frame.hi - r.frame.lo).iloc[1:] for b, r in both.items()}
    assert (width["pointwise"] < width["simultaneous"]).all() and both["pointwise"].meta["arguments"]["band"] == "pointwise"


@pytest.mark.parametrize("where", [dict(by="third"), dict(features=["score", "noise"])], ids=["segments", "regression"])
def test_cross_fitted_scores_find_the_planted_order_and_nothing_in_noise(where):
    found = qini(users(5, 12_000), **where, **asked).summary.iloc[0]
    assert found.p_positive > .95
    above = sum(qini(users(2000 + seed, 1500, 0.), **where, folds=2, **asked).summary.lo[0] > 0 for seed in range(20))
    assert above <= 3   # of 20 at 2.5 %: the 99.9 % band


def test_two_arms_two_curves_and_one_can_be_asked_for():
    frame = users(6)
    frame.loc[frame.index % 3 == 0, "arm"] = "line"
    found = qini(frame, features="score", **asked)
    assert found.summary.arm.tolist() == ["line", "mail"] and set(found.frame.arm) == {"line", "mail"}
    assert qini(frame, features="score", treatment="line", **asked).summary.arm.tolist() == ["line"]


def test_too_few_people_give_a_note_and_no_number():
    frame = users(7)
    frame.loc[frame.index < 4, "arm"] = "line"
    found = qini(frame, score="score", held_out=True, **asked)
    line = found.summary.set_index("arm").loc["line"]
    assert np.isnan(line.qini) and line.note and "line" not in set(found.frame.arm) and found.text("ja") and found.text("en")


def test_all_of_an_arm_alike_gives_no_interval_without_words():
    frame = users(8).assign(bought=lambda t: (t.arm == "mail").astype(int))
    found = qini(frame, score="score", held_out=True, **asked).summary.iloc[0]
    assert np.isnan(found.lo) and found.note


@pytest.mark.parametrize("change, complaint", [
    (dict(score="score"), "say held_out=True"),
    (dict(), "give exactly one of score="),
    (dict(score="score", held_out=True, by="third"), "give exactly one of score="),
    (dict(score="scor", held_out=True), "did you mean score"),
    (dict(score="gap", held_out=True), "'gap' is missing, infinite or no number in 1 rows"),
    (dict(score="same", held_out=True), "has one value for everybody"),
    (dict(score="third", held_out=True), "is missing, infinite or no number in 4,000 rows"),
    (dict(by="one"), "puts everybody into one segment"),
    (dict(features=[]), "features=[]"),
    (dict(features="noise", control="nobody"), "is not an arm; known: mail, none"),
    (dict(features="noise", treatment="none"), "is not an arm besides the control"),
    (dict(features="noise", metric="third"), "not numbers"),
    (dict(features="noise", metric="missing"), "missing or infinite in 2 rows"),
    (dict(features="noise", folds=1), "give 2 or more"),
    (dict(features="noise", folds=2.5), "folds=2.5 is not a whole number"),
    (dict(features="noise", band="both"), "band='both' is not known"),
    (dict(features="noise", prob=95), "prob=95"),
    (dict(features="noise", arm="bought"), "named twice"),
    (dict(features="noise", held_out="yes"), "held_out='yes' is not True or False")], ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v)) or "nothing")
def test_bad_input_gets_one_clear_line(change, complaint):
    frame = users(9).assign(same=1., one="all", gap=lambda t: t.score.where(t.index > 0), missing=lambda t: t.bought.where(t.index > 1))
    with pytest.raises(cl.CrmlabError) as e: qini(frame, **asked | change)
    assert complaint in str(e.value) and "\n" not in str(e.value) and len(str(e.value)) < 400


def test_one_arm_only_is_refused():
    with pytest.raises(cl.CrmlabError, match="is the only arm"): qini(users(10).query("arm == 'none'"), features="noise", **asked)


def test_words_and_picture_in_both_languages(monkeypatch):
    import matplotlib.pyplot as plt
    found = qini(users(11, 12_000), score="score", held_out=True, **asked)
    assert "Qini係数" in found.text("ja") and "Qini coefficient" in found.text("en") and "held out" in found.text("en")
    ax = found.plot()
    assert ax.get_xlim() == (0, 1) and len(ax.lines) >= 2
    plt.close(ax.figure)
    assert "<table" in found._repr_html_()
