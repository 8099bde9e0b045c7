"Forms, profiles and clicks from outside: against counts in plain Python on random attempts."
from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import Phase, given, settings as hypothesis_settings
from hypothesis import strategies as st

import crmlab as cl
from crmlab.measure.forms import FILLED, after_message, forms, profile

START = pd.Timestamp("2026-04-01T00:00:00Z")
few = hypothesis_settings(max_examples=4, deadline=None, phases=[Phase.generate])
touch = st.tuples(st.sampled_from(["#a", "#b", "#c"]), st.integers(1, 90), st.sampled_from(["input", "input", "form_error"]))
attempts = st.lists(st.tuples(st.lists(touch, min_size=1, max_size=8), st.booleans()), min_size=2, max_size=15)


def events_of(attempts):
    rows = [("z", 0, "page_view", None), ("z", 1, "sign_up", None)]
    for i, (touches, done) in enumerate(attempts):
        at = 0
        for field, wait, event in touches:
            rows.append((f"v{i:02}", at, event, field))
            at += wait
        if done: rows.append((f"v{i:02}", at, "sign_up", None))
    e = pd.DataFrame(rows, columns=["visitor_id", "second", "event", "selector"])
    return e.assign(ts=START + pd.to_timedelta(e.second, unit="s"), page="/join", device="mobile")


def by_hand(attempts):
    "Per field: visits, seconds, re-entries, errors, given up."
    found = {}
    for touches, done in attempts:
        first = next((k for k, t in enumerate(touches) if t[2] == "input"), None)
        if first is None: continue
        fields = [t[0] for t in touches]
        for field in set(fields):
            mine = [k for k, f in enumerate(fields) if f == field]
            stays = sum(k == 0 or fields[k - 1] != field for k in mine)
            seconds = sum(min(touches[k][1], 60) if k + 1 < len(touches) or done else 0 for k in mine)
            row = np.array([1, seconds, stays > 1, any(touches[k][2] == "form_error" for k in mine), not done and mine[-1] == len(touches) - 1], float)
            found[field] = found.get(field, 0) + row
    return found


@pytest.mark.parametrize("engine", ["duckdb", "polars"])
@few
@given(attempts=attempts)
def test_every_field_by_its_definition(engine, attempts):
    attempts = [([("#a", 5, "input")], True), *attempts]
    e = events_of(attempts)
    got = forms(e if engine == "duckdb" else pl.from_pandas(e).lazy(), page="/join").frame.set_index(["field", "metric"])
    for field, (n, *sums) in by_hand(attempts).items():
        for metric, y in zip(["seconds", "reentry", "error", "abandon"], sums):
            assert got.n[field, metric] == n and got.est[field, metric] == pytest.approx(y/n), (field, metric)


def test_bad_input():
    e = events_of([([("#a", 5, "input")], True)]*15)
    for options, message in [(dict(page="/jion"), "did you mean page:/join"), (dict(page="/join", done="signup"), "did you mean sign_up"), (dict(page="/join", field="label"), "needs column 'label'")]:
        with pytest.raises(cl.CrmlabError, match=message): forms(e, **options)
    with pytest.raises(cl.CrmlabError, match="nothing was typed"): forms(e[e.event == "sign_up"].assign(page="/join", event="page_view").pipe(lambda f: pd.concat([f, f.assign(event="sign_up", second=9)])), page="/join")


def attributes():
    rows = [(f"u{i:02}", a, v, START + pd.Timedelta(days=d)) for i in range(40) for a, v, d, there in
            [("rank", "Bronze" if i < 20 else "Royal", 0, True), ("birthday", "1990", 0, i % 2 == 0), ("birthday", "", 1, i % 4 == 0), ("method", "line" if i % 5 else "mail", 0, True)] if there]
    return pd.DataFrame(rows, columns=["user_id", "attribute", "value", "valid_from"])


@pytest.mark.parametrize("engine", ["duckdb", "polars"])
def test_a_profile_counts_the_newest_value_and_an_empty_one_is_none(engine):
    a = attributes()
    f = profile(a if engine == "duckdb" else pl.from_pandas(a).lazy(), attributes=["birthday", "rank"], methods=("method",), by="rank")
    got = f.frame.set_index(["segment", "attribute", "value"])
    assert got.est["Bronze", "birthday", FILLED] == .25 and got.est["Bronze", "method", "mail"] == .2 and got.n["Royal", "rank", FILLED] == 20
    assert list(f.completeness.est) == [.625, .625]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    "Members who click; some come at once, some an hour later, one is recognised on two devices."
    home = tmp_path_factory.mktemp("clicks")
    click = lambda i: START + pd.Timedelta(hours=i)
    messages = pd.DataFrame([(f"x{i}", f"u{i:02}", "spring", "email", None if i == 17 else "/sale" if i % 2 else "/news", START, click(i)) for i in range(24)], columns=["message_id", "user_id", "campaign", "channel", "landing", "sent_at", "clicked_at"])
    rows = [(i, 0 if i < 18 else 3600, "page_view", "/sale") for i in range(24)] + [(i, 60, "add_to_cart", "/item") for i in range(6)]
    events = pd.DataFrame([(f"e{k}", click(i) + pd.Timedelta(seconds=s), f"b{i}", f"u{i:02}", e, p, "mobile" if i < 12 else "desktop") for k, (i, s, e, p) in enumerate(rows)], columns=["event_id", "ts", "visitor_id", "user_id", "event", "page", "device"])
    for name, frame in dict(messages=messages, events=events).items():
        pl.from_pandas(frame).write_parquet(home/f"{name}.parquet")
        made = cl.import_data("parquet", home/f"{name}.parquet", into=home/"shop", table=name)
    return made


def test_clicks_find_their_visit(shop):
    after = after_message(shop)
    got = after.frame.set_index(["device", "metric"])
    assert after.meta["rows"] == dict(clicks=24, unseen=6)
    assert got.n["mobile", "cart"] == 12 and got.est["mobile", "cart"] == .5 and got.est["mobile", "landed"] == .5 and got.n["desktop", "purchase"] == 6
    assert got.n["desktop", "landed"] == 5     # one message leads to no page that is known
    assert after_message(shop, within="2h").meta["rows"]["unseen"] == 0
    with pytest.raises(cl.CrmlabError, match="did you mean spring"): after_message(shop, campaign="sping")
    with pytest.raises(cl.CrmlabError, match="needs a Shop"): after_message(attributes())


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_sentences_and_plots(lang, shop, monkeypatch):
    import warnings

    import matplotlib.pyplot as plt
    monkeypatch.setenv("CRMLAB_LANGUAGE", lang)
    for result in (forms(events_of([([("#a", 5, "input"), ("#b", 9, "input")], i % 2 == 0) for i in range(30)]), page="/join"), profile(attributes(), attributes=["birthday"]), after_message(shop)):
        assert result.text(lang) and "{" not in result.text(lang)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result.plot().figure.canvas.draw()
        plt.close("all")
