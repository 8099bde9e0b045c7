"Paths from outside: the visits that contain a path are those that a search in plain Python finds."
from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings as hypothesis_settings
from hypothesis import strategies as st

import crmlab as cl
from crmlab.measure.paths import paths

START = pd.Timestamp("2026-10-01T00:00:00Z")
ENGINES = {"duckdb": lambda f: f, "polars": lambda f: pl.from_pandas(f).lazy()}
few = hypothesis_settings(max_examples=5, deadline=None)
visit = st.lists(st.sampled_from(["/", "/list", "/item", "/cart"]), min_size=1, max_size=7)
visits = st.lists(visit, min_size=2, max_size=15)


def events_of(visits):
    rows = [(f"v{i:02}", 10*k, page) for i, pages in enumerate(visits) for k, page in enumerate(pages)]
    e = pd.DataFrame(rows, columns=["visitor_id", "minute", "page"])
    return e.assign(ts=START + pd.to_timedelta(e.minute, unit="m"), event="page_view", device="mobile", user_id="m" + e.visitor_id, rank=np.where(e.visitor_id.str[-1] < "5", "Bronze", "Royal"))


def contained(visits, length):
    "Number of visits that contain each path of up to `length` steps, reloads counted once."
    found = {}
    for pages in visits:
        way = [p for k, p in enumerate(pages) if not k or p != pages[k - 1]]
        for path in {" → ".join(way[i:i + n]) for n in range(2, length + 1) for i in range(len(way) - n + 1)}: found[path] = found.get(path, 0) + 1
    return {path: n for path, n in found.items() if n >= 2}    # what occurs once is no path


@pytest.mark.parametrize("engine", ENGINES)
@few
@given(visits=visits, length=st.integers(2, 5))
def test_visits_that_contain_a_path(engine, visits, length):
    got = paths(ENGINES[engine](events_of(visits)), length=length, least=0).frame
    assert dict(got.set_index("path").n) == contained(visits, length)
    assert (got.length == got.path.str.split(" → ").map(len)).all() if len(got) else True


def many(n=120):
    rng = np.random.default_rng(1)
    return events_of([["/", "/list", "/item"] if rng.random() < (.3 if i % 10 < 5 else .7) else ["/", "/cart"] for i in range(n)])


def test_differences_and_bad_input():
    e = many()
    ways = paths(e, by="rank")
    share = ways.frame.set_index(["segment", "path"]).est
    d = ways.difference(a="Bronze", b="Royal")
    assert d.frame.est.to_numpy() == pytest.approx([share["Royal", p] - share["Bronze", p] for p in d.frame.path])
    assert d.frame.flagged.all() and (d.frame.p.diff().dropna() >= 0).all()
    same = paths(pd.concat([e.assign(rank="a"), e.assign(rank="b", user_id="n" + e.user_id, visitor_id="w" + e.visitor_id)]), by="rank").difference(a="a", b="b").frame
    assert not same.flagged.any() and same.est.abs().max() < 1e-12
    for options, message in [(dict(length=9), "from 2 to 8"), (dict(by="gender"), "needs column 'gender'"), (dict(steps="pages"), "did you mean page")]:
        with pytest.raises(cl.CrmlabError, match=message): paths(e, **options)
    with pytest.raises(cl.CrmlabError, match="name two segments"): ways.difference(a="Royal", b="Royal")


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_sentences_and_plots(lang, monkeypatch):
    import warnings

    import matplotlib.pyplot as plt
    monkeypatch.setenv("CRMLAB_LANGUAGE", lang)
    ways = paths(many(), by="rank")
    for result in (ways, ways.difference(a="Bronze", b="Royal")):
        assert "Royal" in result.text(lang) and "→" in result.text(lang) and "{" not in result.text(lang)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result.plot().figure.canvas.draw()
        plt.close("all")
