"What follows from a test: decisions, guardrails, words, and one line for whatever is no test."
from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

import crmlab as cl
from crmlab.core import word
from crmlab.infer.decide import daily_choose_at
from crmlab.infer.experiment import value_text

ASKED = dict(arm="arm", control="A")


def counts(*cells, arms="ABCD", **more):
    "Successes and people of each arm, compared."
    frame = pd.DataFrame([dict(arm=a, successes=s, n=n) for a, (s, n) in zip(arms, cells, strict=False)])
    return cl.ab_test(frame, **dict(metric="purchase", **ASKED) | more)


def answer(test): return tuple(test.decision.iloc[0][["decision", "why"]])


SITUATIONS = {
    "clear": (counts, [(500, 5000), (650, 5000)], {}, ("choose", "sure")),
    "2/30 against 8/30": (counts, [(2, 30), (8, 30)], {}, ("running", "few")),
    "2/150 against 6/150": (counts, [(2, 150), (6, 150)], {}, ("running", "few")),
    "all but a few did it": (counts, [(4990, 5000), (4999, 5000)], {}, ("running", "few")),
    "unclear": (counts, [(500, 5000), (530, 5000)], {}, ("running", "unclear")),
    "inside the rope": (counts, [(50_000, 500_000), (50_030, 500_000)], dict(rope=.005), ("equal", "rope")),
    "nothing to lose": (counts, [(50_000, 500_000), (49_950, 500_000)], {}, ("equal", "loss")),
    "harmful": (counts, [(650, 5000), (500, 5000)], {}, ("control", "worse")),
    "less is better": (counts, [(650, 5000), (500, 5000)], dict(better="low"), ("choose", "sure")),
    "less is better by nature": (counts, [(650, 5000), (500, 5000)], dict(metric="first_view_exit"), ("choose", "sure")),
    "broken split": (counts, [(500, 5000), (650, 4000)], {}, ("invalid", "split")),
    "an empty arm": (counts, [(500, 5000), (0, 0)], dict(expected_ratio=dict(A=10**6, B=1)), ("invalid", "empty")),
    "five days": (counts, [(500, 5000), (650, 5000)], dict(days=5), ("running", "short")),
    "fourteen days": (counts, [(500, 5000), (650, 5000)], dict(days=14), ("choose", "sure")),
    "sure for one comparison, not for three": (counts, [(500, 5000), (556, 5000), (500, 5000), (505, 5000)], {}, ("running", "unclear")),
    "no outcome at all": (counts, [(0, 50), (0, 60)], {}, ("running", "few")),
    "a billion people": (counts, [(10**8, 10**9), (10**8 + 10**5, 10**9)], {}, ("choose", "sure"))}


@pytest.mark.parametrize("name", SITUATIONS)
def test_decisions(name):
    make, cells, arguments, expected = SITUATIONS[name]
    test = make(*cells, **arguments)
    assert answer(test) == expected
    for lang, start in dict(ja="判断:", en="Decision: ").items(): assert test.text(lang).startswith(start)
    assert test.decision.reason.str.len().min() > 0


def test_the_frame_of_decisions():
    test = counts((500, 5000), (530, 5000), days=20)
    assert test.decision.columns.tolist() == ["metric", "segment", "decision", "arm", "p", "limit", "days", "people", "why", "reason"]
    row = test.decision.iloc[0]
    assert row.days >= 1 and abs(row.days/20 - row.people/10_000) < .1 and "日" in test.text("ja") and "more days" in test.text("en")
    without = counts((500, 5000), (530, 5000))
    assert np.isnan(without.decision.days[0]) and without.decision.people[0] == row.people and "more people" in without.text("en")


def test_more_people_at_the_projection_settle_it():
    row = counts((500, 5000), (540, 5000)).decision.iloc[0]
    times = 1 + 1.05*row.people/10_000
    assert answer(counts(*((round(s*times), round(5000*times)) for s in (500, 540)))) == ("choose", "sure")


def test_three_arms_and_segments_share_the_error():
    assert counts((500, 5000), (556, 5000), choose_at=.95).decision.decision[0] == "choose"
    three = counts((500, 5000), (556, 5000), (500, 5000), (505, 5000), choose_at=.95)
    assert np.isclose(three.decision.limit[0], 1 - .05/3) and three.decision.decision[0] == "running"
    frame = pd.DataFrame([dict(arm=a, rank=r, successes=s, n=5000) for r in ("Bronze", "Royal") for a, s in (("A", 500), ("B", 556 if r == "Royal" else 501))])
    by = cl.ab_test(frame, metric="purchase", by="rank", choose_at=.95, **ASKED)
    assert np.allclose(by.decision.limit, .975) and (by.decision.decision == "running").all() and "Royal" in by.text("en")


@pytest.mark.parametrize("days, last", [(None, 30), (20, 30), (30, 30), (45, 45), (89.5, 90)])
def test_without_a_word_the_limit_is_that_for_daily_looks(days, last):
    two, three = counts((500, 5000), (530, 5000), days=days), counts((500, 5000), (530, 5000), (505, 5000), days=days)
    left = 1 - cl.stop_threshold(days=last)
    assert two.decision.limit[0] == pytest.approx(1 - left, abs=1e-5) and three.decision.limit[0] == pytest.approx(1 - left/2, abs=1e-5)
    assert three.decision.limit[0] == pytest.approx(cl.stop_threshold(days=last, arms=3), abs=2.5e-4)
    assert two.meta["looks_until"] == last and two.meta["choose_at"] == dict(purchase=two.decision.limit[0]) and two.meta["arguments"]["choose_at"] is None
    assert f"every day from day 14 to day {last}" in two.text("en") and f"14日目から{last}日目まで" in two.text("ja")
    once = counts((500, 5000), (530, 5000), days=days, choose_at=.95)
    assert once.meta["looks_until"] is None and "every day" not in once.text("en") and once.decision.limit[0] == .95


def test_segments_share_what_daily_looks_leave():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame([dict(arm=a, rank=f"r{k}", successes=rng.binomial(5000, .1), n=5000) for k in range(8) for a in "AB"])
    by = cl.ab_test(frame, metric="purchase", by="rank", **ASKED)
    assert np.allclose(by.decision.limit, 1 - (1 - daily_choose_at(30, 8))/8) and 8*(1 - by.decision.limit[0]) == pytest.approx(8*(1 - cl.stop_threshold(alpha=.05/8)), rel=.02)


@pytest.mark.parametrize("arms", [2, 3])
def test_looked_at_daily_hardly_any_null_test_chooses(arms):
    rng, chosen, tests = np.random.default_rng([7, arms]), 0, 150
    for _ in range(tests):
        n, done = 200*np.arange(1, 31), rng.binomial(200, .05, (30, arms)).cumsum(0)
        leading = (done[:, 1:].max(1) - done[:, 0])/np.sqrt(2*n*.05*.95) > 1.8   # elsewhere no limit is near
        chosen += any(counts(*((s, n[d]) for s in done[d]), days=d + 1).decision.decision[0] == "choose" for d in range(13, 30) if leading[d])
    assert chosen/tests < .05 + .046   # 99 % of such counts


def test_no_line_of_a_test_contradicts_another():
    open_still = counts((150, 3000), (186, 3000), days=15)
    row = open_still.frame.iloc[1]
    assert answer(open_still) == ("running", "unclear") and row.diff_lo > 0 and .975 < row.p_better < open_still.decision.limit[0]
    assert "can be claimed" not in open_still.text("en") and "excludes no difference, but the limit for daily looks (98.32%) is not reached" in open_still.text("en")
    assert "差があると" not in open_still.text("ja") and "毎日の確認を見込んだ採用の基準(98.32%)" in open_still.text("ja")
    assert "looked at daily until then" in open_still.text("en") and "毎日確認してもかまいません" in open_still.text("ja")


def test_no_bound_is_rounded_to_the_other_side_of_0():
    assert [value_text(v, "share", "en", signed=True) for v in (-.00028, .00028, -.0000012)] == ["−0.03 pt", "+0.03 pt", "−0.0001 pt"]
    assert [value_text(v, "amount", "en", signed=True, scale=400) for v in (-.03, .2, -12.)] == ["−0.03", "+0.2", "−12"]
    test = counts((150, 3000), (184, 3000))
    assert test.frame.diff_lo[1] < 0 and "+0.0 pt" not in test.text("en") and "−0.0 pt" not in test.text("en")


def test_the_chance_told_is_that_of_being_better():
    import matplotlib
    matplotlib.use("agg")
    exits = counts((650, 5000), (560, 5000), better="low")
    assert exits.frame.p_better[1] < .01 and answer(exits) == ("choose", "sure")
    told = [t.get_text() for t in exits.plot().texts]
    assert any(t.startswith("99.") for t in told) and word("experiment.chance", "en") == "P(better)"


def test_of_two_good_arms_the_better_one_is_chosen():
    test = counts((500, 5000), (640, 5000), (650, 5000))
    assert test.decision.arm[0] == "C" and answer(test) == ("choose", "sure") and test.frame.p_best.max() < .9
    low = counts((650, 5000), (500, 5000), (480, 5000), better="low")
    assert low.decision.arm[0] == "C" and low.frame.set_index("arm").p_best.idxmax() == "C" and low.frame.set_index("arm").loss.idxmin() == "C"


def people(returns=(.05, .05), n=20_000, seed=2):
    rng = np.random.default_rng(seed)
    arm = rng.integers(0, 2, n)
    return pd.DataFrame(dict(arm=np.array(["A", "B"])[arm], bought=(rng.random(n) < np.where(arm, .13, .10)).astype(int), returned=(rng.random(n) < np.array(returns)[arm]).astype(int), minutes=rng.gamma(3, 2, n) - 1.*arm*(returns[1] > .1)))


@pytest.mark.parametrize("returns, guardrails, expected", [
    ((.05, .05), "returned", ("choose", "sure")), ((.05, .05), dict(returned=.3), ("choose", "sure")), ((.05, .05), dict(returned=.01), ("running", "guardrail_open")),
    ((.05, .08), "returned", ("control", "guardrail")), ((.05, .08), dict(returned=.05), ("control", "guardrail")), ((.05, .051), ["returned"], ("choose", "sure"))])
def test_guardrails(returns, guardrails, expected):
    test = cl.ab_test(people(returns), metric="bought", guardrails=guardrails, better=dict(returned="low"), **ASKED)
    assert answer(test) == expected
    state = test.guardrails.set_index("metric").loc["returned"]
    assert state.state == {"sure": "holds", "guardrail_open": "open", "guardrail": "broken"}[expected[1]] and 0 <= state.p <= 1
    assert "守るべき指標" in test.text("ja") and test.decision.metric.tolist() == ["bought"] and test.frame.metric.unique().tolist() == ["bought", "returned"]


def test_a_guardrail_of_another_kind():
    test = cl.ab_test(people((.05, .2)), metric="bought", guardrails=dict(minutes=.02), **ASKED)
    assert answer(test) == ("control", "guardrail") and test.meta["kind"]["minutes"] == "mean"


def test_the_first_metric_decides():
    frame = people()
    test = cl.ab_test(frame, metric=["bought", "minutes"], **ASKED)
    assert test.decision.metric.tolist() == ["bought", "minutes"] and test.text("en").startswith("Decision: use B.")
    assert cl.ab_test(frame, metric=["minutes", "bought"], **ASKED).text("en").startswith("Decision: ") and test.meta["unit"] == dict(bought="share", minutes="amount")


def test_a_one_sided_claim_says_why_its_interval_may_contain_0():
    test = counts((500, 5000), (552, 5000), choose_at=.95)
    row = test.frame.iloc[1]
    assert row.p_better > .95 and row.diff_lo < 0 < row.diff_hi
    assert "片側" in test.text("ja") and "looks at both sides" in test.text("en")
    assert "片側" not in counts((500, 5000), (650, 5000)).text("ja")


def test_words_never_say_more_than_they_may():
    tests = [counts(*c, **k) for _, c, k, _ in SITUATIONS.values()] + [cl.ab_test(people(), metric=["minutes", "bought"], guardrails="returned", **ASKED)]
    for test in tests:
        ja = test.text("ja").replace("差がないという意味ではありません", "")
        for forbidden in ("有意", "差がない", "差はない", "nan", "None"): assert forbidden not in ja
        assert "nan" not in test.text("en").lower().replace("nant", "")
        assert "100.0%)" not in ja or "確率100.0%" not in ja   # certainty is never rounded up


def test_pictures_of_every_sort():
    import matplotlib
    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    for test, unit in ((counts((500, 5000), (650, 5000)), "pt"), (cl.ab_test(people(), metric="minutes", **ASKED), "効果"), (cl.ab_test(people(), metric=["minutes", "bought"], **ASKED), "相対")):
        ax = test.plot()
        assert unit in ax.get_xlabel() and len(ax.get_yticklabels()) == test.frame.p_better.notna().sum()
        plt.close(ax.figure)


ROWS = people(n=400).assign(who=lambda f: np.arange(400)//2, spend=lambda f: f.bought*900., text="a", zero=0, day=pd.Timestamp("2026-01-01"), seg="x")
ODD = dict(
    metric=[[], None, "", 3, True, {}, ["bought", "bought"], ["bought", None], "nope", "text", "day", "arm", {"bought": "x"}, {"bought": None}],
    control=[None, "a", 3], arm=[None, "", 3, ["arm"], "nope", "who"], by=["", 3, ["seg"], "nope", "arm", "bought", True], cluster=["", 3, ["who"], "nope", "who"],
    kind=[None, "x", 3, ["rate"], {"nope": "rate"}, "p0", "p100", "quantile", "ratio", "hurdle", True], denominator=["", 3, ["minutes"], {"nope": "minutes"}, "nope", "bought", "text"],
    covariate=["", 3, [], [None], "nope", "text", "zero", "arm", "bought", ["minutes", "minutes"]], rope=["5%", None, True, -1, float("nan"), float("inf"), [1], {"nope": 1}, 5],
    prior=[1, "flat", (1,), (1, 0), (1, "a"), (1, 1, 1), (True, 1), (float("inf"), 1), pd.DataFrame(), pd.DataFrame(dict(n=[1, 2], successes=[0, 1])), pd.DataFrame(dict(n=[1, 2, 3], successes=[2, 2, 2])), pd.DataFrame(dict(effect=[1, 2, 3], se=[0, 1, 1]))],
    prob=[95, 0, 1, "x", True, float("nan")], choose_at=[95, 1, .4, "x", True, float("nan")], days=[-1, "x", True, float("nan"), float("inf")], seed=[-1, "x", 1.5, True], quantile=["x", True],
    guardrails=[3, "", [3], "nope", "bought", {"minutes": "2%"}, {"minutes": -1}, {"minutes": True}, {"minutes": 2}], better=["up", 3, True, ["low"], {"nope": "low"}, {"bought": None}],
    expected_ratio=[{}, {"A": 1}, {"A": 1, "B": 0}, {"A": "1", "B": 1}, {"A": float("nan"), "B": 1}, "x", [1, 1]])


@pytest.mark.parametrize("name", ODD)
def test_odd_arguments_get_one_line(name):
    for value in ODD[name]:
        with pytest.raises(cl.CrmlabError) as error: cl.ab_test(ROWS, **dict(metric="bought", **ASKED) | {name: value})
        line = str(error.value)
        assert "\n" not in line and len(line) < 400 and not any(word in line for word in ("Traceback", "narwhals", "numpy")), (name, value, line)


BAD = {
    "one arm only": (ROWS[ROWS.arm == "A"], {}, "'A' is the only arm"), "nobody": (ROWS.head(0), {}, "has no people"), "missing": (ROWS.assign(bought=ROWS.bought.where(ROWS.index > 2)), {}, "missing or infinite for 3 people"),
    "infinite": (ROWS.assign(spend=np.inf), dict(metric="spend"), "missing or infinite for 400 people"), "too large": (ROWS.assign(spend=ROWS.spend*1e200), dict(metric="spend"), "rescale it"),
    "two arms": (ROWS, dict(cluster="who"), "saw two arms (such as"), "no name": (ROWS.assign(who=ROWS.who.where(ROWS.index > 3), arm=np.where(ROWS.who % 2, "A", "B")), dict(cluster="who"), "some rows have no 'who'"),
    "no arm": (ROWS.assign(arm=ROWS.arm.where(ROWS.index > 1)), {}, "2 people have no 'arm'"), "negative denominator": (ROWS.assign(minutes=-1.), dict(denominator="minutes"), "has a negative value (-1)"),
    "negative counts": (pd.DataFrame(dict(arm=["A", "B"], n=[5, -5], successes=[1, 0])), {}, "negative count"), "too many successes": (pd.DataFrame(dict(arm=["A", "B"], n=[5, 5], successes=[1, 9])), {}, "9 successes of n=5"),
    "shares": (pd.DataFrame(dict(arm=["A", "B"], n=[50, 50], successes=[.1, .2])), {}, "not whole numbers"), "counts as text": (pd.DataFrame(dict(arm=["A", "B"], n=["5", "x"], successes=[1, 2])), {}, "holds String"),
    "impossible squares": (pd.DataFrame(dict(arm=["A", "B"], n=[5, 5], total=[50, 50], squares=[1000, 100])), {}, "squares of arm 'B' are too small"), "negative sd": (pd.DataFrame(dict(arm=["A", "B"], n=[50, 50], mean=[1, 2], sd=[-1, 1])), {}, "negative"),
    "median of sums": (pd.DataFrame(dict(arm=["A", "B"], n=[50, 50], mean=[1, 2], sd=[1, 1])), dict(kind="median"), "of sums only a mean is known"), "mean of counts": (pd.DataFrame(dict(arm=["A", "B"], n=[5, 5], successes=[1, 2])), dict(kind="mean"), "counts of successes make a rate"),
    "covariate of sums": (pd.DataFrame(dict(arm=["A", "B"], n=[5, 5], successes=[1, 2], x=[1, 2])), dict(covariate="x"), "covariate= needs rows"), "adjusted median": (ROWS, dict(metric="minutes", kind="median", covariate="spend"), "covariate= adjusts means"),
    "rate of amounts": (ROWS, dict(metric="spend", kind="rate"), "has the value 900, not 0/1"), "two sorts of metric": (ROWS, dict(metric="minutes", kind="mean", denominator="spend"), "leave one of them out"), "no table": (None, {}, "cannot read a NoneType")}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_gets_one_line(name):
    users, arguments, says = BAD[name]
    with pytest.raises(cl.CrmlabError) as error: cl.ab_test(users, **dict(metric="bought", **ASKED) | arguments)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_arms_that_are_true_and_false_or_numbers():
    flags = ROWS.assign(arm=ROWS.arm == "B")
    for users in (flags, pl.from_pandas(flags).lazy()):
        for control in (False, "False"): assert cl.ab_test(users, arm="arm", metric="bought", control=control).frame.arm.tolist() == ["False", "True"]
    assert cl.ab_test(ROWS.assign(arm=(ROWS.arm == "B").astype(int)), arm="arm", metric="bought", control=0).frame.arm.tolist() == ["0", "1"]
