"Planning a test from outside: the threshold for daily looks, power and false choices against other simulations, and a shop counted by hand."
from __future__ import annotations

import time

import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import small_events
from scipy import stats

import crmlab as cl
from crmlab.infer.looks import false_choice, look_days, rate_chances, stop_threshold, thresholds_by_end
from crmlab.infer.plan import plan_test, sample_size
from crmlab.infer.posterior import p_better, rate_posterior

WEEK = [900, 800, 800, 850, 900, 1200, 1300]
asked = dict(metric="conversion", lift=.15, per_day=900, days=28, worlds=600, seed=3)


@pytest.fixture(scope="module")
def plan(): return plan_test(.05, **asked)


# --- the threshold

def crossing_by_walks(c, looks, arms, seed, walks=60_000):
    "P(any score beyond c at any look), from random walks: shares no line with the package."
    rng, bound = np.random.default_rng(seed), stats.norm.ppf(c)
    steps = np.sqrt(np.diff(np.asarray(looks, float), prepend=0))
    level, hit = np.zeros((arms, walks)), np.zeros(walks, bool)
    for day, step in zip(looks, steps, strict=True):
        level += step*rng.standard_normal(level.shape)
        hit |= ((level[1:] - level[0])/np.sqrt(2*day) > bound).any(0)
    return hit.mean()


@pytest.mark.parametrize("arms", [2, 3, 4])
@pytest.mark.parametrize("first", [1, 14])
def test_threshold_keeps_false_choices_at_five_percent_of_random_walks(arms, first):
    c = stop_threshold(arms=arms, first_day=first)
    share = crossing_by_walks(c, range(first, 31), arms, seed=arms)
    assert abs(share - .05) < 4*np.sqrt(.05*.95/60_000) + .0015
    assert abs(false_choice(c, arms=arms, first_day=first) - .05) < 1e-3


def test_threshold_has_the_published_values():
    assert stop_threshold() == pytest.approx(.983, abs=6e-4)
    assert stop_threshold(first_day=1) == pytest.approx(.993, abs=6e-4)
    assert stop_threshold(days=14) == pytest.approx(.95, abs=1e-6)
    assert .22 < false_choice(.95, first_day=1) < .25   # one of four
    pocock = stats.norm.cdf(2.1784)   # Pocock (1977): 2 looks at .05 two-sided 2.178, i.e. one-sided .025
    assert stop_threshold(days=2, first_day=1, alpha=.025) == pytest.approx(pocock, abs=5e-4)
    dunnett = stats.norm.cdf(1.916)   # Dunnett (1955): two treatments, one-sided .05, many degrees of freedom: 1.92
    assert stop_threshold(days=1, first_day=1, arms=3) == pytest.approx(dunnett, abs=1e-3)


def test_threshold_grows_with_looks_and_arms_and_falls_when_people_stop_coming():
    assert stop_threshold(days=14) < stop_threshold(days=28, every=7) < stop_threshold(days=28) < stop_threshold(days=28, arms=3) < stop_threshold(days=28, arms=4)
    assert stop_threshold(entries=100*.8**np.arange(30)) < stop_threshold()
    assert stop_threshold(entries=[100]*14 + [0]*16) == pytest.approx(.95, abs=1e-6)   # nothing new is no new look
    assert stop_threshold(entries=[7e9]*30) == pytest.approx(stop_threshold(), abs=1e-9)   # the unit of people is no matter


def test_run_times_have_the_thresholds_they_would_have_alone():
    for arms, near in ((2, 1e-9), (3, 1e-3)):
        c = thresholds_by_end(look_days(28), [0, 7, 14], arms=arms, entries=[5]*28, alpha=.05, who="x")
        assert c == pytest.approx([stop_threshold(days=d, arms=arms) for d in (14, 21, 28)], abs=near)


@pytest.mark.parametrize("people, rate", [(30, .02), (300, .1), (40, .6), (20_000, .003)])
def test_quick_chances_decide_as_the_exact_ones(people, rate):
    rng = np.random.default_rng(1)
    n = rng.poisson(people, (2, 150))
    s = rng.binomial(n, rate*np.array([[1.], [1 + 2/np.sqrt(people*rate)]]))
    exact = np.array([p_better(rate_posterior(s[1, k], n[1, k]), rate_posterior(s[0, k], n[0, k])) for k in range(150)])
    for c in (.95, .983, .9914): assert ((rate_chances(s[1], n[1], s[0], n[0], thresholds=[c]) > c) == (exact > c)).all()
    assert rate_chances(s[1], n[1], s[0], n[0], thresholds=[.5]) == pytest.approx(exact, abs=.05)


# --- the promise: at most 6.2 % of 2,000 tests, looked at daily for 30 days

@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize("arms", [2, 3])
def test_daily_looks_choose_falsely_in_at_most_62_of_1000(arms, block):
    rng, daily = np.random.default_rng([block, arms]), np.resize(WEEK, 30)
    n = rng.binomial(daily[:, None], .5, (2000, 30, arms))
    s = rng.binomial(n, .04).cumsum(1)[:, 13:]
    n, c = n.cumsum(1)[:, 13:], stop_threshold(arms=arms, entries=daily)
    start = time.process_time()
    chosen = (rate_chances(s[..., 1:], n[..., 1:], s[..., :1], n[..., :1], thresholds=[c]) > c).any((1, 2)).mean()
    assert chosen <= .062 and time.process_time() - start < 20


def test_revenue_with_long_tails_is_not_chosen_more_often():
    rng, c, chosen = np.random.default_rng(4), stop_threshold(days=21), 0
    for _ in range(400):
        spent = rng.lognormal(8, 1.5, (21, 2, 200))*(rng.random((21, 2, 200)) < .05)
        n, total, squares = 200*np.arange(1, 22)[:, None], spent.sum(2).cumsum(0), (spent**2).sum(2).cumsum(0)
        variance = (squares/n - (total/n)**2)/n
        score = (total[:, 1] - total[:, 0])/n[:, 0]/np.sqrt(variance.sum(1))
        chosen += (stats.norm.cdf(score[13:]) > c).any()
    assert chosen/400 <= .05 + 2.33*np.sqrt(.05*.95/400)


# --- one look: formulas written once more

def cohens_h_size(base, lift, power, alpha):
    "People per arm by the arcsine effect size, as statsmodels' NormalIndPower has it, one-sided."
    h = 2*np.arcsin(np.sqrt(base*(1 + lift))) - 2*np.arcsin(np.sqrt(base))
    return 2*((stats.norm.isf(alpha) + stats.norm.ppf(power))/h)**2


@pytest.mark.parametrize("base, lift, power, alpha", [(.05, .1, .8, .05), (.01, .2, .9, .025), (.3, .05, .8, .05), (.3, -.05, .8, .05), (.002, .5, .6, .1)])
def test_sample_size_agrees_with_the_arcsine_formula(base, lift, power, alpha):
    assert sample_size(base, lift=lift, power=power, alpha=alpha) == pytest.approx(cohens_h_size(base, lift, power, alpha), rel=.04)


def test_sample_size_of_a_mean_is_the_textbooks():
    wanted = 2*(9000/(2000*.1))**2*(stats.norm.isf(.05) + stats.norm.ppf(.8))**2
    assert sample_size(2000, lift=.1, sd=9000) == int(np.ceil(wanted))
    bonferroni = 2*(9000/(2000*.1))**2*(stats.norm.isf(.025) + stats.norm.ppf(.8))**2
    assert wanted < sample_size(2000, lift=.1, sd=9000, arms=3) < bonferroni   # the shared control makes two comparisons less than two


def test_a_plan_with_one_look_has_the_power_of_the_formula():
    n = sample_size(.05, lift=.1)
    plan = plan_test(.05, metric="conversion", lift=.1, per_day=2*n/14, days=14, caring=0, worlds=4000, seed=2)
    row = plan.frame.iloc[0]
    assert row.looks == 1 and row.c == pytest.approx(.95) and row.n == pytest.approx(n, abs=2)
    assert row.p_choose == pytest.approx(.8, abs=4*np.sqrt(.16/4000)) and row.p_choose == row.p_choose_once
    assert plan.meta["once"] == n


# --- the plan

def test_frame_has_its_columns_and_whole_weeks(plan):
    f = plan.frame
    assert list(f.columns) == ["days", "looks", "n", "c", "p_choose", "p_choose_lo", "p_choose_hi", "assurance", "assurance_lo", "assurance_hi", "p_false", "p_false_lo", "p_false_hi",
                               "expected_days", "expected_days_null", "loss", "p_choose_once", "note"]
    assert list(f.days) == [14, 21, 28] and list(f.looks) == [1, 8, 15]
    assert list(f.n) == [450*d for d in f.days]
    assert f.c.is_monotonic_increasing and f.p_choose.is_monotonic_increasing and (f.loss.diff().dropna() <= 0).all()
    assert ((f.p_choose_lo <= f.p_choose) & (f.p_choose <= f.p_choose_hi) & (f.p_false_lo <= f.p_false) & (f.p_false <= f.p_false_hi)).all()
    assert ((f.expected_days >= 14) & (f.expected_days <= f.days) & (f.expected_days_null <= f.days)).all()
    assert f.assurance.isna().all() and f.note.str.len().gt(0).all()


def test_power_is_what_another_simulation_finds():
    plan = plan_test(.04, metric="conversion", lift=.12, per_day=WEEK, days=28, caring=0, worlds=2000, seed=6)
    last, rng, tests = plan.frame.iloc[-1], np.random.default_rng(9), 1500
    half = np.resize(WEEK, 28)//2
    a, b = (rng.binomial(half, rate, (tests, 28)).cumsum(1)[:, 13:] for rate in (.04, .04*1.12))
    n = np.broadcast_to(half.cumsum()[13:], a.shape)
    found = (rate_chances(b, n, a, n, thresholds=[last.c]) > last.c).any(1).mean()
    assert last.p_choose == pytest.approx(found, abs=4*np.sqrt(.25/1500 + .25/2000))


def test_revenue_is_drawn_from_the_buyers_seen():
    rng = np.random.default_rng(2)
    spent = np.where(rng.random(8000) < .06, rng.choice([1000., 3000., 20_000.], 8000), 0)
    plan = plan_test(pd.DataFrame(dict(spent=spent)), metric="spent", lift=.3, per_day=1000, days=28, caring=0, worlds=2000)
    assert plan.meta["kind"] == "revenue" and plan.meta["base"] == pytest.approx(spent.mean()) and plan.meta["sd"] == pytest.approx(spent.std(), rel=1e-6)
    last, hits = plan.frame.iloc[-1], 0
    for _ in range(500):
        a = spent[rng.integers(0, 8000, 14_000)]
        more = rng.random(14_000) < .06*1.3*(spent > 0).mean()/.06   # 30 % more buyers, the same baskets
        b = np.where(more, rng.choice(spent[spent > 0], 14_000), 0)
        upto = 500*np.arange(14, 29)
        mean = [x.cumsum()[upto - 1]/upto for x in (a, b)]
        variance = sum(((x**2).cumsum()[upto - 1]/upto - m**2)/upto for x, m in zip((a, b), mean, strict=True))
        hits += (stats.norm.cdf((mean[1] - mean[0])/np.sqrt(variance)) > last.c).any()
    assert last.p_choose == pytest.approx(hits/500, abs=4*np.sqrt(.25/500 + .25/2000))


def test_three_arms_need_more_people_and_stay_as_honest():
    two, three = (plan_test(.05, **asked | dict(arms=k, per_day=450*k, worlds=2000)) for k in (2, 3))
    assert (three.frame.n == two.frame.n).all() and (three.frame.c > two.frame.c).all()
    assert (three.frame.p_choose <= two.frame.p_choose + .02).all()
    assert max(two.frame.p_false.max(), three.frame.p_false.max()) <= .062


def test_assurance_averages_over_the_belief():
    sharp, vague = (plan_test(.05, **asked | dict(lift=(.15, sd), worlds=2000)).frame.iloc[-1] for sd in (1e-6, .15))
    assert sharp.assurance == pytest.approx(sharp.p_choose, abs=.04)
    assert vague.assurance < stats.norm.cdf(1) - .1   # it cannot find what is not there, nor what is tiny


def test_a_worse_variant_is_hardly_chosen_and_ends_early(plan):
    curve = plan.curve.set_index("lift")
    assert curve.p_choose.iloc[0] <= .01 and curve.p_choose.iloc[-1] >= .95
    assert curve.expected_days.iloc[0] < curve.expected_days.max()
    assert curve.loss.loc[0.] == 0   # nothing can be lost when nothing differs


def test_caring_about_less_makes_tests_longer_and_never_less_honest():
    little, much = (plan_test(.05, **asked | dict(caring=k)).frame for k in (0, .5))
    assert (little.expected_days_null >= much.expected_days_null).all() and (little.p_false >= much.p_false).all()


def test_a_seed_gives_the_same_plan_and_another_seed_another(plan):
    pd.testing.assert_frame_equal(plan.frame, plan_test(.05, **asked).frame)
    assert not plan.frame.p_choose.equals(plan_test(.05, **asked | dict(seed=4)).frame.p_choose)


def test_rows_of_every_frame_give_the_same_plan_and_stay_untouched():
    rows = pd.DataFrame(dict(bought=[0]*95 + [1]*5))
    kept = rows.copy()
    plans = [plan_test(source, metric="bought", lift=.2, per_day=3000, days=14, worlds=200) for source in (rows, pl.from_pandas(rows), rows.sample(frac=1, random_state=1))]
    pd.testing.assert_frame_equal(rows, kept)
    for other in plans[1:]: pd.testing.assert_frame_equal(plans[0].frame, other.frame)
    rate = plan_test(.05, metric="bought", lift=.2, per_day=3000, days=14, worlds=200)
    pd.testing.assert_frame_equal(plans[0].frame, rate.frame)


def test_people_by_the_billion_and_shares_near_one_are_planned():
    huge = plan_test(.02, metric="conversion", lift=.001, per_day=1e9, days=14, worlds=200)
    assert huge.frame.n.iloc[0] == 7e9 and 0 < huge.frame.p_choose.iloc[0] <= 1
    assert plan_test(.95, metric="kept", lift=.02, per_day=2000, days=14, worlds=200).frame.p_choose.notna().all()


def test_waiting_for_outcomes_moves_the_days_and_nothing_else(plan):
    late = plan_test(.05, **asked | dict(within="36h"))
    assert list(late.frame.days) == [16, 23, 30] and late.frame.p_choose.equals(plan.frame.p_choose)
    assert (late.frame.expected_days - plan.frame.expected_days).to_numpy() == pytest.approx(2)


def test_a_whole_plan_takes_seconds():
    start = time.process_time()
    plan_test(.03, metric="conversion", lift=.1, per_day=3000, arms=3)   # 2,000 tests of 43 looks, ten true lifts
    assert time.process_time() - start < 20


@pytest.mark.parametrize("arms", [2, 3])
def test_ab_test_decides_by_the_rule_of_the_plan(arms):
    plan = plan_test(.05, **asked | dict(arms=arms, per_day=450*arms))
    c, n = plan.recommended.c, 9000
    chance = rate_chances(np.arange(450, 600), np.full(150, n), np.full(150, 450), np.full(150, n), thresholds=[c])
    enough = 450 + int((chance > c).argmax())   # the first count that is enough
    for successes, decision in ((enough - 1, "running"), (enough, "choose")):
        counts = pd.DataFrame(dict(arm=list("ABC")[:arms], n=n, successes=[450, successes, 450][:arms]))
        test = cl.ab_test(counts, arm="arm", metric="conversion", control="A", days=20, **plan.rule)
        assert test.decision.decision.tolist() == [decision]


# --- a shop, counted by hand

def counted_by_hand(days=7):
    "People, buyers and first entries of the small shop, with pandas."
    events = small_events()
    local = events.ts.dt.tz_convert("Asia/Tokyo")
    until = local.max().normalize()
    weeks = min(int((until - local.min()).total_seconds()//86400 - days)//7, 8)
    start = until - pd.Timedelta(days=days + 7*weeks)
    member = events.groupby(["visitor_id", "session_id"]).user_id.transform("max")
    events = events.assign(unit=member.fillna(events.visitor_id), local=local)
    visits = events.groupby(["visitor_id", "session_id"]).agg(unit=("unit", "first"), start=("local", "min"))
    first = visits[visits.start >= start].groupby("unit").start.min()
    first = first[first < start + pd.Timedelta(days=7*weeks)]
    bought = events[(events.event == "purchase") & events.unit.isin(first.index)]
    since = bought.local - bought.unit.map(first)
    since = since[(since >= pd.Timedelta(0)) & (since < pd.Timedelta(days=days))]
    buyers = bought.unit[since.index].nunique()
    daily = ((first - start).dt.total_seconds()//86400).astype(int).value_counts().reindex(range(7*weeks), fill_value=0).sort_index()
    return len(first), buyers, daily.to_numpy(), since


def test_a_shop_tells_its_rate_arrivals_and_delay(small_shop):
    people, buyers, daily, since = counted_by_hand()
    plan = plan_test(cl.open_shop(small_shop), metric="purchase", lift=.6, within="7d", days=14, worlds=200)
    assert plan.meta["rows"]["people"] == people and plan.meta["base"] == pytest.approx(buyers/people)
    assert plan.meta["wait"] == 7 and list(plan.frame.days) == [21]
    assert plan.frame.n.iloc[0] == pytest.approx(daily[:14].sum()/2, abs=1)
    assert plan.delay.share.iloc[-1] == 1 and plan.delay.share.iloc[0] == pytest.approx((since < pd.Timedelta(days=1)).mean(), abs=.1)


def test_entry_and_revenue_of_a_simulated_shop(tmp_path):
    shop = cl.simulate("bronze_royal", users=800, seed=5, into=tmp_path/"shop")
    everyone = plan_test(shop, metric="revenue", lift=.5, within="7d", per_day=800, days=14, worlds=200)
    assert everyone.meta["kind"] == "revenue" and everyone.meta["unit"] == "JPY"
    fewer = plan_test(shop, metric="purchase", lift=.5, within="7d", entry="view_item", per_day=800, days=14, worlds=200)
    assert 0 < fewer.meta["rows"]["people"] < everyone.meta["rows"]["people"]
    assert "円" in everyone.text("ja")


# --- words and picture

def test_text_says_days_people_power_and_false_choices(plan):
    row = plan.recommended
    for lang in ("ja", "en"):
        text = plan.text(lang)
        for part in (f"{row.days}", f"{row.n:,.0f}", f"{100*row.p_choose:.1f}%", f"{100*row.p_false:.1f}%", f"{100*row.c:.1f}%", "+15.0%"): assert part in text
        assert "nan" not in text and "{" not in text
    assert "<table" in plan._repr_html_()


def test_a_plan_that_cannot_reach_the_power_says_so():
    short = plan_test(.05, **asked | dict(per_day=200))
    assert not short.meta["enough"] and short.recommended.days == 28
    assert "届きません" in short.text("ja") and "short of the 80.0%" in short.text("en")


def test_a_heavy_buyer_is_told():
    spent = [0.]*900 + [1000.]*90 + [500_000.]
    plan = plan_test(pd.DataFrame(dict(spent=spent)), metric="spent", lift=.5, per_day=500, days=14, worlds=200)
    assert "heavy" in plan.meta["notes"] and "1人の値が合計の" in plan.text("ja") and "one person makes up" in plan.text("en")


def test_a_run_time_without_a_second_look_is_judged_once():
    once = plan_test(.05, **asked | dict(days=14, per_day=4000))
    assert once.recommended.looks == 1 and "一度だけ判定" in once.text("ja") and "judged once, on day 14" in once.text("en")


def test_a_metric_that_chooses_by_chance_gets_a_higher_threshold():
    falling = pd.DataFrame(dict(x=[0]*2 + [96]*30 + [97]*30 + [98]*20 + [100]*18))
    plan = plan_test(falling, metric="x", lift=.02, per_day=3, arms=4, days=28, worlds=2000)
    assert plan.frame.c.iloc[-1] > stop_threshold(arms=4, days=28) and "raised" in plan.meta["notes"]
    assert plan.frame.p_false.iloc[-1] <= .062


def test_picture_shows_both_curves(plan):
    ax = plan.plot()
    assert len(ax.get_lines()) == 2 and ax.get_xlabel() and len(ax.figure.axes) == 2
    assert ax.get_lines()[0].get_ydata() == pytest.approx(plan.curve.p_choose)


# --- refusals: one line each

REFUSED = {
    "no source": (dict(source=None), "neither a Shop"), "a list": (dict(source=[.1]), "neither a Shop"), "text": (dict(source="nowhere.parquet"), "no Parquet file"), "truth value": (dict(source=True), "neither a Shop"),
    "an object": (dict(source=object()), "cannot read a object"), "base 0": (dict(source=0.), "base rate of 0.0 is impossible"), "base 5": (dict(source=5), "base rate of 5 is impossible"), "base NaN": (dict(source=float("nan")), "base rate of nan"),
    "no metric": (dict(metric=None), "metric=None"), "empty metric": (dict(metric=" "), "is not a name"), "a list of metrics": (dict(metric=["a"]), "is not a name"),
    "lift text": (dict(lift="10%"), "relative effect"), "lift None": (dict(lift=None), "relative effect"), "lift 0": (dict(lift=0), "above 0"), "lift negative": (dict(lift=-.1), "above 0"), "lift NaN": (dict(lift=float("nan")), "relative effect"),
    "lift of three": (dict(lift=(.1, .1, .1)), "relative effect"), "spread 0": (dict(lift=(.1, 0)), "relative effect"), "lift over 100 %": (dict(source=.6, lift=.9), "exceeds 100 %"), "lift in percent": (dict(lift=15), "at most 10"),
    "one arm": (dict(arms=1), "arms=1"), "half an arm": (dict(arms=2.5), "arms=2.5"), "no traffic": (dict(per_day=None), "per_day is missing"), "traffic 0": (dict(per_day=0), "per_day=0"), "traffic of three days": (dict(per_day=[1, 2, 3]), "per_day"),
    "traffic text": (dict(per_day="many"), "per_day='many'"), "traffic NaN": (dict(per_day=float("nan")), "per_day=nan"), "traffic negative": (dict(per_day=[-1]*7), "per_day"), "too few people": (dict(per_day=.5), "too few"),
    "days 7": (dict(days=7), "days=7"), "days None": (dict(days=None), "days=None"), "too many looks": (dict(days=500), "looks"), "first day 0": (dict(first_day=0), "first_day=0"), "every 0": (dict(every=0), "every=0"),
    "alpha 5": (dict(alpha=5), "alpha=5"), "alpha text": (dict(alpha="5%"), "alpha='5%'"), "power 1": (dict(power=1), "power=1"), "power 80": (dict(power=80), "power=80"), "caring": (dict(caring=-1), "caring=-1"), "caring None": (dict(caring=None), "caring=None"),
    "worlds": (dict(worlds=1), "worlds=1"), "prob": (dict(prob=95), "prob=95"), "seed": (dict(seed=-1), "seed=-1"), "seed text": (dict(seed="a"), "seed='a'"), "within": (dict(within="two weeks"), "duration"), "entry": (dict(entry="page:/"), "needs a Shop"), "kind": (dict(kind="ratio"), "kind='ratio'")}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_arguments_are_refused_in_one_line(case):
    change, says = REFUSED[case]
    given = dict(source=.05) | asked | change
    with pytest.raises(cl.CrmlabError) as refused: plan_test(given.pop("source"), **given)
    message = str(refused.value)
    assert says in message and "\n" not in message and len(message) < 400


FRAMES = {"no people": (pd.DataFrame(dict(x=pd.Series([], dtype=float))), "no people"), "no column": (pd.DataFrame(dict(y=[0, 1])), "needs column 'x'"), "text": (pd.DataFrame(dict(x=["a", "b"])), "not numbers"), "NaN": (pd.DataFrame(dict(x=[0, np.nan])), "missing or infinite for 1 "),
          "infinite": (pd.DataFrame(dict(x=[0, np.inf])), "missing or infinite"), "all zero": (pd.DataFrame(dict(x=[0., 0.])), "everybody has the value 0"), "mean below 0": (pd.DataFrame(dict(x=[-2., 1.])), "mean of the metric")}


@pytest.mark.parametrize("case", FRAMES)
def test_bad_rows_are_refused_in_one_line(case):
    frame, says = FRAMES[case]
    with pytest.raises(cl.CrmlabError, match=says) as refused: plan_test(frame, metric="x", lift=.1, per_day=500)
    assert "\n" not in str(refused.value)


SHOPS = {"unknown event": (dict(metric="purchas"), "did you mean purchase"), "unknown page": (dict(entry="page:/nowhere"), "entry='page:/nowhere' never happened"), "orders without orders": (dict(metric="revenue"), "has no orders"), "longer than the data": (dict(within="90d"), "no whole week"),
         "exit of a visit": (dict(metric="first_view_exit"), "belongs to a single visit"), "never within": (dict(metric="purchase", within="1s"), "none of ")}


@pytest.mark.parametrize("case", SHOPS)
def test_what_a_shop_cannot_tell_is_refused_in_one_line(case, small_shop):
    change, says = SHOPS[case]
    with pytest.raises(cl.CrmlabError, match=says) as refused: plan_test(cl.open_shop(small_shop), **dict(metric="purchase", lift=.3, within="7d", worlds=200) | change)
    assert "\n" not in str(refused.value)
