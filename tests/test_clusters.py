"""Clusters: planted kinds are found, the engine assigns as scikit-learn does, seeds and engines agree."""
from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

import crmlab as cl
from crmlab.measure.clusters import person_features, visit_clusters, visit_features
from crmlab.tables.engine import collect

START = pd.Timestamp("2026-10-01T00:00Z")


@pytest.fixture(scope="module")
def events() -> pd.DataFrame:
    "Visits of two kinds by 60 members: glances, and long looks with items; `kind` says which."
    rng, rows = np.random.default_rng(9), []
    for no in range(400):
        kind = "look" if rng.random() < .35 else "glance"
        names = ["page_view"] + (["view_item", "page_view"]*rng.integers(4, 9) if kind == "look" else ["page_view"]*rng.integers(0, 2))
        seconds = np.cumsum(rng.exponential(45 if kind == "look" else 8, len(names)))
        rows += [dict(event_id=f"{no}-{i}", ts=START + pd.Timedelta(hours=no, seconds=round(s, 3)), visitor_id=f"v{no % 60}", user_id=f"u{no % 60}", event=e, page="/", device="mobile", kind=kind) for i, (e, s) in enumerate(zip(names, seconds))]
    return pd.DataFrame(rows)


def test_planted_kinds_are_found(events):
    found = visit_clusters(events, clusters=2, seed=1)
    visits = found.assign(events).to_pandas()
    kind = events.groupby(["visitor_id", events.ts.dt.floor("h")]).kind.first()
    truth = [kind[v, pd.Timestamp(us, unit="us", tz="UTC").floor("h")] for v, us in zip(visits.visitor_id, visits.visit_start_us)]
    table = pd.crosstab(visits.cluster, pd.Series(truth))
    assert table.max(axis=1).sum() >= .97*len(visits)
    assert "many items viewed" in found.words("en")[1] and "商品をよく見る" in found.words("ja")[1]


def test_the_engine_assigns_as_the_mixture_does(events):
    from sklearn.mixture import GaussianMixture
    found = visit_clusters(events, clusters=3, seed=2)
    p = found.meta["model"]
    mixture = GaussianMixture(3, covariance_type="diag")
    mixture.weights_, mixture.means_, mixture.covariances_ = (np.array(p[k]) for k in ("weights", "means", "variances"))
    mixture.precisions_cholesky_ = 1/np.sqrt(mixture.covariances_)
    ours = found.assign(events).to_pandas()
    z = (np.log1p(ours[p["features"]]) - p["centre"])/p["scale"]
    assert (mixture.predict(z.to_numpy()) + 1 == ours.cluster).all()


def test_seed_rows_and_engine_do_not_matter(events):
    a, b, c = visit_clusters(events, clusters=3, seed=5), visit_clusters(events[::-1], clusters=3, seed=5), visit_clusters(pl.from_pandas(events).lazy(), clusters=3, seed=5)
    pd.testing.assert_frame_equal(a.frame, b.frame)
    pd.testing.assert_frame_equal(a.frame, c.frame, check_dtype=False)


@pytest.mark.spark
@pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas")
def test_spark_says_the_same(events, spark):
    there = spark.createDataFrame(pl.from_pandas(events).to_arrow())
    here, = [visit_clusters(events, clusters=2, of="person", seed=5)]
    pd.testing.assert_frame_equal(here.frame, visit_clusters(there, clusters=2, of="person", seed=5).frame, check_dtype=False)
    sort = lambda t: t.to_pandas().sort_values(["user_id", "valid_from"], ignore_index=True)
    pd.testing.assert_frame_equal(sort(here.segments(events)), sort(here.segments(there)), check_dtype=False)


def test_memberships_of_people_know_no_later_visit(events):
    moment = START + pd.Timedelta(hours=200)
    model = visit_clusters(events, of="person", clusters=2, until=moment, seed=1)
    again = visit_clusters(events[events.ts < moment], of="person", clusters=2, seed=1)
    pd.testing.assert_frame_equal(model.frame, again.frame)
    early, whole = (model.segments(e).to_pandas()[lambda f: f.valid_from <= moment].sort_values(["user_id", "valid_from"], ignore_index=True) for e in (events[events.ts < moment], events))
    pd.testing.assert_frame_equal(early, whole)


def test_means_are_of_the_visits_so_far(events):
    people, visits = collect(person_features(events)), collect(visit_features(events)).sort_values("visit_end_us")
    mean = visits[visits.user_id == "u7"]["items"].expanding().mean()
    ours = people[people.user_id == "u7"].sort_values("visit_end_us")
    assert np.allclose(ours["items"], mean) and list(ours.visits) == list(range(1, len(ours) + 1))


def test_a_large_shop_is_sampled(events):
    found = visit_clusters(events, clusters=2, sample=150, seed=1)
    assert 90 <= found.meta["rows"]["sampled"] <= 210 and found.meta["rows"]["all"] == 400


def test_words_and_plot_in_both_languages(events, monkeypatch):
    found = visit_clusters(events, clusters=2, seed=1)
    assert "400 visits fall into 2 groups" in found.text("en") and "400回の訪問" in found.text("ja")
    for lang in ("ja", "en"):
        monkeypatch.setenv("CRMLAB_LANGUAGE", lang)
        found.plot()
    with pytest.raises(cl.CrmlabError, match="did you mean pages"): visit_clusters(events, features=["pagse"])
