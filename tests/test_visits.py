"Visits, first view and scroll reach from outside: against plain Python, across engines, through a shop folder."
from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import assume, given, settings as hypothesis_settings
from hypothesis import strategies as st

import crmlab as cl

START = pd.Timestamp("2026-10-01T00:00:00Z")
ENGINES = {"duckdb": lambda f: f, "polars": lambda f: pl.from_pandas(f).lazy()}
few = hypothesis_settings(max_examples=5, deadline=None)

EVENT = st.tuples(st.sampled_from("vw"), st.integers(0, 200), st.sampled_from(["page_view", "click", "scroll", "purchase", "page_leave"]),
                  st.sampled_from(["/", "/list", "/item"]), st.sampled_from([None, 30., 400.]), st.sampled_from([None, "m1", "m2"]))
one_day = st.lists(EVENT, min_size=1, max_size=25, unique_by=lambda e: e[:2])


def frame_of(rows, **more):
    e = pd.DataFrame(rows, columns=["visitor_id", "minute", "event", "page", "scroll_y", "user_id"]).astype(dict(visitor_id="str", event="str", page="str", scroll_y="float", user_id="str"))
    return e.assign(ts=START + pd.to_timedelta(e.minute, unit="m"), event_id=[f"e{i:03}" for i in range(len(e))], device="desktop", viewport_h=800., page_h=2000., **more)


def visits_by_definition(rows):
    "The visits of `rows`, as plain lists of events in order."
    visits, known, last = {}, {}, {}
    for row in sorted(rows, key=lambda r: (r[0], r[1])):
        visitor, minute, user = row[0], row[1], row[5]
        fresh = visitor not in last or minute - last[visitor] > 30
        if fresh or (user and known[visitor] and user != known[visitor]):
            visits.setdefault(visitor, []).append([])
            known[visitor] = None
        known[visitor] = user or known[visitor]
        last[visitor] = minute
        visits[visitor][-1].append(row)
    return visits


def described(visit):
    "What sessionize says about one visit, by hand."
    acted = [r[1] for r in visit if r[2] == "click" or (r[4] is not None and r[4] > 50 and r[2] != "page_view")]
    pages = {r[3] for r in visit}
    landing = next((r[3] for r in visit if r[2] == "page_view"), None)   # of one moment the first by alphabet, as rows are sorted
    return dict(landing=landing, exit=visit[-1][3], depth=sum(r[2] == "page_view" for r in visit), dwell=60.*(visit[-1][1] - visit[0][1]),
                first_action=60.*(min(acted) - visit[0][1]) if acted else None, first_view_exit=landing is not None and not acted and len(pages) == 1,
                converted=any(r[2] == "purchase" for r in visit), user_id=next((r[5] for r in visit if r[5]), None))


@pytest.mark.parametrize("engine", ENGINES)
@few
@given(rows=one_day)
def test_sessionize_follows_its_definition(engine, rows):
    got = cl.sessionize(ENGINES[engine](frame_of(rows))).to_pandas()
    expected = {(v, k): described(visit) for v, visits in visits_by_definition(rows).items() for k, visit in enumerate(visits, 1)}
    assert set(zip(got.visitor_id, got.visit_no)) == set(expected)
    for r in got.itertuples():
        want = expected[r.visitor_id, r.visit_no]
        assert {k: None if pd.isna(getattr(r, k)) else getattr(r, k) for k in want} == pytest.approx(want)


@few
@given(rows=one_day, seed=st.integers(0, 10))
def test_sessionize_does_not_depend_on_the_order_of_rows_or_change_its_input(rows, seed):
    events = frame_of(rows)
    before = events.copy(deep=True)
    order = ["visitor_id", "visit_no"]
    a = cl.sessionize(events).to_pandas().sort_values(order, ignore_index=True)
    b = cl.sessionize(events.sample(frac=1, random_state=seed)).to_pandas().sort_values(order, ignore_index=True)
    pd.testing.assert_frame_equal(a, b)
    pd.testing.assert_frame_equal(events, before)


@few
@given(rows=one_day, gap=st.sampled_from(["10m", "1h"]))
def test_a_longer_gap_never_makes_more_visits(rows, gap):
    events = frame_of(rows).assign(user_id=None).astype(dict(user_id="str"))
    shorter, longer = sorted([gap, "30m"], key=lambda g: dict(zip(["10m", "30m", "1h"], range(3)))[g])
    assert len(cl.sessionize(events, gap=longer)) <= len(cl.sessionize(events, gap=shorter))


@few
@given(rows=one_day, ranks=st.lists(st.sampled_from(["Bronze", "Royal", None]), min_size=25, max_size=25))
def test_segments_sum_to_the_total_and_outcomes_to_one(rows, ranks):
    events = frame_of(rows).assign(rank=ranks[:len(rows)])
    landing = cl.sessionize(events).to_pandas().landing
    assume(landing.notna().any())
    page = landing.mode()[0]
    by, total = cl.first_view(events, page=page, by="rank").frame, cl.first_view(events, page=page).frame
    assert by[by.metric == "exit"].n.sum() == total.n.iloc[0] == (landing == page).sum()
    assert by.groupby("segment").est.sum().to_numpy() == pytest.approx(1)


@pytest.mark.parametrize("engine", ENGINES)
@few
@given(depths=st.lists(st.tuples(st.sampled_from("uvwxyz"), st.integers(0, 1500)), min_size=2, max_size=30))
def test_scroll_reach_is_the_share_of_visits_that_came_so_far(engine, depths):
    n = len(depths)
    events = pd.DataFrame(dict(visitor_id=[f"{v}{i}" for i, (v, _) in enumerate(depths)], user_id=[v for v, _ in depths], event="scroll", page="/", device="mobile",
                               ts=START + pd.to_timedelta(range(n), unit="h"), scroll_y=[float(y) for _, y in depths], viewport_h=500., page_h=2000.))
    frame = cl.scroll_reach(ENGINES[engine](events), page="/", device="mobile").frame
    seen = np.array([y + 500 for _, y in depths])
    assert list(frame.est) == pytest.approx([(seen >= 20*k).mean() for k in range(101)])
    assert (frame.n == n).all() and frame.est.diff().dropna().le(0).all()


def member_shop(tmp_path):
    "Twenty-four members, the even ones Bronze; the first three climb to Royal before their second visit."
    rows = [(f"v{i:02}", 24*60*day + k, event, "/", None, f"m{i:02}" if k else None) for i in range(24) for day in (0, 10) for k, event in [(0, "page_view"), (5, "click")][:1 + (i % 2 == 0)]]
    rows += [(f"v{i:02}", 24*60*day + 6, "login", "/", None, f"m{i:02}") for i in range(24) for day in (0, 10)]
    events = frame_of(rows)
    ranks = [dict(user_id=f"m{i:02}", attribute="rank", value="Bronze" if i % 2 == 0 else "Royal", valid_from=START - pd.Timedelta(days=1)) for i in range(24)]
    ranks += [dict(user_id=f"m{i:02}", attribute="rank", value="Royal", valid_from=START + pd.Timedelta(days=5)) for i in (0, 2, 4)]
    for name, frame in dict(events=events.drop(columns="minute"), attributes=pd.DataFrame(ranks)).items(): pl.from_pandas(frame).write_parquet(tmp_path/f"{name}.parquet")
    for name in ("events", "attributes"): shop = cl.import_data("parquet", tmp_path/f"{name}.parquet", into=tmp_path/"shop", table=name)
    return shop


def test_a_visit_counts_in_the_rank_its_member_had_at_that_time(tmp_path):
    shop = member_shop(tmp_path).tag("rank")
    visits = cl.sessionize(shop).to_pandas()
    assert visits.groupby("rank").size().to_dict() == {"Bronze": 12 + 9, "Royal": 12 + 15}
    frame = cl.first_view(shop, page="/", by="rank").frame.query("metric == 'exit'").set_index("segment")
    assert frame.n.to_dict() == {"Bronze": 21, "Royal": 27}
    assert frame.est.to_dict() == pytest.approx({"Bronze": 0, "Royal": 24/27})   # even members always click
    assert cl.sessionize(shop).fingerprint == shop.fingerprint


def test_bad_input_is_refused_by_name():
    events = frame_of([("v", 0, "page_view", "/", None, None)])
    for call, message in [(lambda: cl.sessionize(events.drop(columns="page")), "sessionize needs column 'page'"),
                          (lambda: cl.sessionize(events, gap="30"), "such as 30m"),
                          (lambda: cl.first_view(events, page="/lits"), "no events of page '/lits'"),
                          (lambda: cl.first_view(events, page="/", by="rank"), "first_view needs column 'rank'"),
                          (lambda: cl.scroll_reach(events, page="/", device="tablet"), "seen on desktop: pass device="),
                          (lambda: cl.scroll_reach(events.drop(columns="page_h"), page="/"), "no height of page '/'")]:
        with pytest.raises(cl.CrmlabError, match=message): call()


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_sentences_name_the_segments_and_the_number_of_visits(lang):
    rows = [(f"v{i:02}", 24*60*i, "page_view", "/", None, None) for i in range(40)] + [(f"v{i:02}", 24*60*i + 1, "scroll", "/", 300., None) for i in range(0, 40, 2)]
    events = frame_of(rows).assign(rank=lambda e: np.where(e.visitor_id < "v20", "Bronze", "Royal"))
    for result in (cl.first_view(events, page="/", by="rank"), cl.scroll_reach(events, page="/", by="rank")):
        text = result.text(lang)
        assert "Bronze" in text and "Royal" in text and "20" in text and "%" in text and "{" not in text
