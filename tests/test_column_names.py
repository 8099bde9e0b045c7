"A caller's own column names: every one is measured by, or refused in one line that names it."
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import crmlab as cl

NAMES = ["my seg", 'se"g', "se'g", "select", "from", "group", "区分", "segment", "a.b", "_x", "_kept", "cluster", "{0}", "%s", "n", "day", "start", "depth", "view", "stretch", "ts_us", "ts_local", "visit_no", "visit_start", "landing", "happened", "person", "rate", "x0"]
MEASURES = dict(
    heatmap=lambda e, by: cl.heatmap(e, page="/", by=by, anchor="none").frame, sessionize=lambda e, by: cl.sessionize(e).to_pandas(), behaviours=lambda e, by: cl.behaviours(e, by=by, strata=("device",)).to_pandas())


@pytest.fixture(scope="module")
def events():
    rng, n = np.random.default_rng(3), 600
    who = rng.integers(0, 60, n)
    return pd.DataFrame(dict(event_id=[f"e{i}" for i in range(n)], ts=pd.Timestamp("2026-03-01", tz="UTC") + pd.to_timedelta(rng.integers(0, 20*86400*10**6, n), unit="us"), visitor_id=[f"v{k}" for k in who], user_id=[f"u{k}" for k in who],
                             event=rng.choice(["page_view", "click", "add_to_cart"], n), page="/", device="desktop", viewport_w=1280, viewport_h=800, page_w=1280., page_h=4000., x=rng.uniform(0, 1280, n), y=rng.uniform(0, 4000, n), scroll_y=0., seg=[["A", "B", "C"][k % 3] for k in who]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("measure", MEASURES)
def test_any_name_is_measured_by_or_refused_in_one_line(measure, name, events):
    given = events.rename(columns=dict(seg=name)) if name not in events else events.drop(columns="seg").assign(**{name: events.seg})
    try: frame = MEASURES[measure](given, name)
    except cl.CrmlabError as e:
        assert repr(name) in str(e) and "rename" in str(e) and "\n" not in str(e)
        return
    if measure == "sessionize" and name == "cluster": return   # its own is the person
    if measure == "sessionize": assert set(frame[name]) == {"A", "B", "C"}
    else: assert set(frame.segment) == {"A", "B", "C"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("measure", MEASURES)
def test_any_name_may_stand_beside(measure, name, events):
    if name == "segment": return
    try: frame = MEASURES[measure](events.assign(**{name: "Z"}), "seg")
    except cl.CrmlabError as e:
        assert repr(name) in str(e) and "rename" in str(e) and "\n" not in str(e)
        return
    assert set(frame["seg" if measure == "sessionize" else "segment"]) == {"A", "B", "C"}
