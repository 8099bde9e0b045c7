"The journey map from outside: its counted rows are the measures they stand for; its text is checked, not guessed."
from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

import crmlab as cl
from crmlab.measure.journey_map import journey_map, phase_behaviours

START = pd.Timestamp("2026-04-01T00:00:00Z")
STEPS = ["page:/", "view_item", "purchase"]


def events(n=60):
    rng, rows = np.random.default_rng(1), []
    for i in range(n):
        for v in range(1 + i % 3):
            way = ["page_view", "view_item", "purchase"][:1 + rng.binomial(2, .4 if i % 2 else .7)]
            rows += [(f"u{i:02}", 1440*v + 3*k, event, "/" if k == 0 else "/item") for k, event in enumerate(way)]
    e = pd.DataFrame(rows, columns=["user_id", "minute", "event", "page"])
    return e.assign(event_id=[f"e{k}" for k in range(len(e))], visitor_id="b" + e.user_id, device="mobile", source="line", ts=START + pd.to_timedelta(e.minute, unit="m"), phase=np.where(e.user_id.str[-1].astype(int) % 2, "F1", "regular"))


@pytest.mark.parametrize("engine", ["duckdb", "polars"])
def test_shares_are_those_of_the_visits(engine):
    e = events()
    visits = e.groupby(["phase", "user_id", e.minute//1440]).event.agg(set).groupby("phase").agg(lambda s: np.mean(["purchase" in v for v in s]))
    got = phase_behaviours(e if engine == "duckdb" else pl.from_pandas(e).lazy(), by="phase", behaviours=["purchase"]).frame.set_index("segment")
    assert got.est.to_dict() == pytest.approx(visits.to_dict())


def test_the_kpi_is_the_funnel_s_or_the_share_of_visits_with_a_purchase():
    e = events()
    f = cl.funnel(e, steps=STEPS, within="30d").frame
    kpi = journey_map(e, steps=STEPS).frame.query("row == 'kpi'")
    assert list(kpi.stage) == STEPS and list(kpi.est) == pytest.approx([f.step_est[1], f.step_est[2], f.est[2]])
    by = journey_map(e, by="phase").frame.query("row == 'kpi'").set_index("stage").est
    assert by.to_dict() == pytest.approx(phase_behaviours(e, by="phase", behaviours=["purchase"]).frame.set_index("segment").est.to_dict())


def test_visits_belong_to_the_furthest_step():
    e = events()
    far = e.groupby(["user_id", e.minute//1440]).event.agg(lambda s: STEPS[["page_view", "view_item", "purchase"].index(s.iloc[-1])]).value_counts()
    got = journey_map(e, steps=STEPS).frame.query("kind == 'pages'").set_index("stage").n
    assert got.to_dict() == far.to_dict()


def test_text_from_a_file_and_refusals(tmp_path):
    e, path = events(), tmp_path/"map.yaml"
    path.write_text("F1:\n  goal: 2回目を選ぶ\n  feeling: 不安\n", encoding="utf-8")
    assert journey_map(e, by="phase", notes=path).table.iloc[1, 0] == "2回目を選ぶ"
    path.write_text("just text", encoding="utf-8")
    for options, message in [(dict(by="phase", notes=path), "not a mapping"), (dict(by="phase", notes=dict(F2={})), "no stage 'F2'"), (dict(by="phase", steps=STEPS), "either steps"), (dict(by="phase", notes=dict(F1=dict(kpi="x"))), "counted from the data"),
                             (dict(steps=["page:/", "purchse"]), "did you mean purchase"), (dict(by="fase"), "needs column 'fase'")]:
        with pytest.raises(cl.CrmlabError, match=message): journey_map(e, **options)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    home, e = tmp_path_factory.mktemp("voices"), events()
    tables = dict(events=e.drop(columns=["minute", "phase"]), attributes=e.drop_duplicates("user_id").assign(attribute="phase", value=lambda f: f.phase, valid_from=START - pd.Timedelta(days=9))[["user_id", "attribute", "value", "valid_from"]],
                  feedback=pd.DataFrame([(f"u{i:02}", START + pd.Timedelta(days=4), "survey", "shipping" if i % 3 else "size", float(1 + i % 5), "text") for i in range(40)], columns=["user_id", "ts", "kind", "topic", "score", "text"]))
    for name, frame in tables.items():
        pl.from_pandas(frame).write_parquet(home/f"{name}.parquet")
        made = cl.import_data("parquet", home/f"{name}.parquet", into=home/"shop", table=name)
    return made


def test_voices_join_the_phase_of_their_day(shop):
    f = journey_map(shop.tag("phase"), by="phase").frame
    voices = f[f.row == "feedback"].set_index(["stage", "kind"])
    assert voices.n["F1", "topic"] == voices.n["regular", "topic"] == 20 and voices.entry["F1", "topic"] == "shipping"
    assert voices.est["F1", "score"] == pytest.approx(np.mean([1 + i % 5 for i in range(1, 40, 2)]))


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_sentences_and_plots(lang, shop, monkeypatch):
    import warnings

    import matplotlib.pyplot as plt
    monkeypatch.setenv("CRMLAB_LANGUAGE", lang)
    for result in (journey_map(shop.tag("phase"), by="phase", notes=dict(F1=dict(goal="選ぶ"))), journey_map(events(), steps=STEPS), phase_behaviours(events(), by="phase")):
        assert result.text(lang) and "{" not in result.text(lang)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", PendingDeprecationWarning)   # seaborn still asks matplotlib the old way
            result.plot().figure.canvas.draw()
        plt.close("all")
