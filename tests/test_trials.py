"The experiment report from outside: what it decides, what it shows where it can, and what it leaves out where it cannot."
from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import crmlab as cl
from crmlab.core import word
from crmlab.infer.experiment import metric_name
from crmlab.deliver.further import lasting_section, next_section, open_segments, ranking_section, rehearsed_cover, trust_section
from crmlab.deliver.parts import speak
from crmlab.deliver.personal import personal_gain, personal_section, rules_text
from crmlab.deliver.trials import Trial, explained, trial_arms, trial_decision, trial_effects, trial_of, trial_priors, trial_segments, trial_split, trial_terms, trial_test


@pytest.fixture(autouse=True)
def english(monkeypatch):
    monkeypatch.setenv("CRMLAB_LANGUAGE", "ja")   # so that it is put back afterwards
    speak("en")


def html(parts) -> str: return " ".join(p.html for p in parts if hasattr(p, "html"))


def people(n=6000, effect=.05, seed=1):
    rng = np.random.default_rng(seed)
    arm, womens = rng.choice(["A", "B"], n), rng.integers(0, 2, n)
    bought = (rng.random(n) < .1 + effect*(arm == "B")*womens).astype(int)
    return pd.DataFrame(dict(arm=arm, womens=womens, before=rng.gamma(2, 100, n), bought=bought, spent=bought*rng.gamma(2, 1500, n)))


def made(metric="bought", frame=None, days=21., **how):
    trial = Trial(people() if frame is None else frame, "arm", "Example", "by lot", days=days)
    return trial, trial_test(trial, metric=metric, control="A", **how)


def counts(*rows): return pd.DataFrame([dict(zip(("arm", "n", "successes"), r, strict=True)) for r in rows])


@pytest.mark.parametrize("rows, days, decision", [
    ((("A", 5000, 500), ("B", 5000, 650)), 21., "choose"), ((("A", 5000, 500), ("B", 5000, 650)), 5., "running"), ((("A", 5000, 650), ("B", 5000, 500)), 21., "control"), ((("A", 9000, 500), ("B", 5000, 650)), 21., "invalid")],
    ids=["choose", "running", "control", "invalid"])
def test_the_decision_stands_first_in_both_languages(rows, days, decision):
    for lang in ("ja", "en"):
        speak(lang)
        trial, test = made(frame=counts(*rows), days=days)
        box = html(trial_decision(test))
        assert test.decision.decision[0] == decision and word(f"report.experiment.decision.{decision}", arm=test.decision.arm[0], control="A") in box
        assert word(f"report.experiment.next.{decision}", arm=test.decision.arm[0], control="A", metric="bought")[:20] in html(next_section(None, test))


def test_a_claim_beside_an_interval_that_holds_0_is_explained():
    trial, test = made(frame=counts(("A", 2000, 200), ("B", 2000, 234)), choose_at=.95)
    assert explained(test) and test.frame.diff_lo[1] < 0
    for parts in (trial_decision(test), trial_effects(test)): assert word("experiment.one_sided", prob="95") in html(parts)
    clear = made(frame=counts(("A", 2000, 200), ("B", 2000, 300)))[1]
    assert word("experiment.one_sided", prob="95") not in html((*trial_decision(clear), *trial_effects(clear)))


def test_headline_lines_and_table_never_say_different_things():
    speak("en")
    trial, test = made(frame=counts(("A", 3000, 150), ("B", 3000, 186)), days=15.)
    box = html(trial_decision(test))
    claimed = word("certainty.certain", "en")
    assert test.decision.decision[0] == "running" and f"; {claimed}." not in box and "the limit for daily looks (98.32%) is not reached" in box
    assert f"<td>{claimed}" not in html(trial_arms(test)) and f'class="text">{claimed}' not in html(trial_arms(test)) and "98.32% or more" in box
    once = made(frame=counts(("A", 3000, 150), ("B", 3000, 186)), days=15., choose_at=.95)[1]
    assert once.decision.decision[0] == "choose" and f"; {claimed}." in html(trial_decision(once))


def test_less_is_better_shows_the_chance_of_being_better():
    speak("en")
    trial, test = made(frame=counts(("A", 5000, 650), ("B", 5000, 560)), better="low")
    table = html(trial_arms(test)) + html(trial_priors(test))
    assert test.frame.p_better[1] < .01 and "P(better)" in table and "P(higher)" not in table and "99." in table


def test_segments_of_numbers_stand_with_their_column_everywhere():
    trial, test = made(frame=people().assign(newbie=lambda f: (f.before > 200).astype(int)))
    for lang, named in dict(ja="womens=", en="womens = ").items():
        speak(lang)
        shown = [html(trial_segments(trial, test, "womens")), html(personal_section(personal_gain(trial, test, "womens"), test))]
        assert all(named + "0" in s and named + "1" in s and ">0</td>" not in s for s in shown)
    assert html(trial_segments(trial, test, ["womens", "newbie"])).count("<table") == 2


def test_amounts_and_guardrails_have_a_place():
    trial, test = made(["bought", "spent"], guardrails=["before"])
    table = html(trial_arms(test))
    assert table.count("<tr") == 1 + 3*2 and word("report.experiment.level") in table
    assert "before" in html(trial_decision(test)) and word("report.experiment.term.interval_amount.name") in html(trial_terms(test))
    assert all(word(f"report.experiment.term.{k}.name") in html(trial_terms(test)) for k in ("rate", "level", "effect"))
    adjusted = made("spent", covariate="before")[1]
    assert word("report.experiment.term.adjusted.name") in html(trial_terms(adjusted)) and word("report.experiment.priors.sceptical") in html(trial_priors(adjusted))


def test_nobody_is_one_people():
    trial, test = made(frame=counts(("A", 1, 0), ("B", 1, 1)))
    assert not re.search(r"\b1 people", html((*trial_decision(test), *trial_effects(test), *trial_split(trial, test))))


def test_the_rule_is_json_and_says_what_the_table_says():
    trial, test = made()
    found = personal_gain(trial, test, "womens")
    rules = json.loads(rules_text(found))
    assert rules == found.rules and personal_gain(trial, test, None) is None and personal_section(None, test) == ()


def test_what_cannot_be_answered_is_left_out():
    trial, test = made()
    assert ranking_section(trial, test) == () and lasting_section(trial, test) == () and trial_segments(trial, test, None) == ()
    assert len(open_segments(None, test)) == 0
    assert rehearsed_cover(made("spent")[1]) is None and rehearsed_cover(test) >= 180   # 190 of 200 expected, 3 standard errors are 9
    assert word("report.experiment.trust_not") in html(trust_section(made("spent")[1]))


def test_people_are_ranked_by_segments_or_by_features():
    trial, test = made()
    for how in (dict(by="womens"), dict(features=["womens", "before"])):
        parts = ranking_section(trial, test, **how)
        assert word("report.experiment.ranking_heading") in html(parts)
    assert sum(hasattr(p, "png") for p in parts) == 2   # the curve, and models beside the rule


@pytest.mark.parametrize("metric, key, how", [("bought", "not_done", dict(by="womens")), ("spent", "less", dict(by="womens")), ("bought", "not_done", dict(features=["womens", "before"]))], ids=["rate", "amount", "features"])
def test_where_less_is_better_people_are_ranked_by_what_falls(metric, key, how):
    trial, low = made(metric, better="low")
    name = word(f"report.experiment.{key}", metric=metric_name(metric))
    flipped = Trial(trial.users.assign(**{name: 1 - trial.users.bought if metric == "bought" else -trial.users.spent}), *[getattr(trial, k) for k in ("arm", "name", "measured")])
    wanted = ranking_section(flipped, trial_test(flipped, metric=name, control=low.meta["arguments"]["control"], prob=low.meta["prob"]), **how)
    parts = ranking_section(trial, low, **how)
    assert name in html(parts) and len(parts) == len(wanted) + 1
    assert [p.html for p in parts if hasattr(p, "html")][2:] == [p.html for p in wanted if hasattr(p, "html")][1:]


def test_open_segments_are_those_still_undecided():
    rng = np.random.default_rng(5)
    n, small = 9000, 160
    frame = pd.DataFrame(dict(arm=rng.choice(["A", "B"], n + small), kind=["many"]*n + ["few"]*small))
    frame["bought"] = (rng.random(n + small) < np.where(frame.arm == "B", .16, .1)).astype(int)
    trial, test = made(frame=frame)
    rows = open_segments(personal_gain(trial, test, "kind"), test)
    assert set(rows.segment) <= {"few"} and ((rows.lo < 0) & (rows.hi > 0)).all()


def test_a_shop_and_a_file_give_a_report_and_sections_by_name(tmp_path):
    shop = cl.simulate("bronze_royal", users=1500, seed=3, into=tmp_path/"shop")
    params = dict(experiment="top_first_view", metric="purchase", guardrails=["revenue"], control="A", by="rank", trigger="page:/list", only=["split", "segments", "lasting", "next"])
    page = Path(cl.report("experiment", shop=shop, lang="ja", params=params, out=tmp_path/"out").html).read_text(encoding="utf-8")
    for section in ("split", "segments", "lasting", "next"): assert word(f"report.experiment.{section}_heading", "ja") in page, section
    for section in ("personal", "ranking", "prior", "trust"): assert word(f"report.experiment.{section}_heading", "ja") not in page, section
    assert "変更箇所まで来た人の比" in page and "比較から除いています" in page
    with pytest.raises(cl.CrmlabError, match="no section 'segmens'; did you mean segments"): cl.report("experiment", shop=shop, params=params | dict(only="segmens"), out=tmp_path/"out")
    people(1500).to_csv(tmp_path/"mail.csv", index=False)
    page = Path(cl.report("experiment", shop=tmp_path/"mail.csv", lang="en", params=dict(arm="arm", metric="bought", by="womens"), out=tmp_path/"out").html).read_text(encoding="utf-8")
    for section in ("effect", "split", "segments", "personal", "ranking", "next", "prior", "trust", "definitions"): assert word(f"report.experiment.{section}_heading", "en") in page, section
    assert word("report.experiment.lasting_heading", "en") not in page


def test_a_source_without_arms_says_so(tmp_path):
    people(50).to_csv(tmp_path/"mail.csv", index=False)
    with pytest.raises(cl.CrmlabError, match="name the column that holds the arm"): trial_of(tmp_path/"mail.csv", metric="bought")
    shop = cl.simulate("bronze_royal", users=300, seed=3, into=tmp_path/"shop")
    with pytest.raises(cl.CrmlabError, match="name the test: experiment=…; the shop has top_first_view"): trial_of(shop.path, metric="purchase")
