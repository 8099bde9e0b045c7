"The recorded demo shop: its planted story is found, and what was made equal is not called different."
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import crmlab as cl
from crmlab.core import show

DEMO = Path(__file__).resolve().parent.parent/"data/demo"


@pytest.fixture(scope="module")
def demo_shop(tmp_path_factory) -> cl.Shop:
    folder = tmp_path_factory.mktemp("demo")/"shop"
    folder.mkdir()
    shutil.copy(DEMO/"shop.toml", folder)
    cl.import_data("rrweb", DEMO/"recordings", into=folder)
    cl.import_data("csv", DEMO/"layouts.csv", into=folder, table="layouts")
    return cl.import_data("csv", DEMO/"truth.csv", into=folder, table="truth")


@pytest.fixture(scope="module")
def gap(demo_shop):
    "The contrast of Royal with Bronze, beside the truth."
    found = cl.contrast(cl.behaviours(demo_shop.tag("rank"), by="rank"), a="Bronze", b="Royal")
    truth = demo_shop.truth.to_pandas().query("kind == 'behaviour'").rename(columns=dict(key="behaviour", value="truth"))
    return found, found.frame.merge(truth[["behaviour", "truth", "is_null"]], on="behaviour", how="left")


def test_it_is_as_large_as_promised(demo_shop):
    events = demo_shop.events.to_pandas()
    visits = events.groupby(["visitor_id", "visit_no"])
    assert visits.ngroups >= 150 and events.user_id.nunique() >= 55
    assert (events.ts.max() - events.ts.min()).days >= 21 and set(events.device) == {"desktop", "mobile"}
    assert .5 < visits.user_id.first().notna().mean() < .9   # many log in late or never
    assert sum(p.stat().st_size for p in (DEMO/"recordings").iterdir()) <= 6_000_000
    assert not any((demo_shop.path/"_rejected").glob("*"))


def test_the_planted_story_is_found_and_nothing_else(gap):
    frame = gap[1]
    planted, equal = frame[frame.is_null == False], frame[frame.is_null == True]   # noqa: E712  (null where the truth is silent)
    certain = planted[planted.flagged]
    assert {"landing:/", "landing:/mypage", "first_view_exit"} <= set(certain.behaviour)
    assert (certain.raw*certain.truth > 0).all()
    assert len(equal) >= 5 and not equal.flagged.any()


def test_the_truth_lies_in_most_intervals(gap):
    known = gap[1].dropna(subset=["truth", "raw_lo"])
    inside = (known.raw_lo <= known.truth) & (known.truth <= known.raw_hi)
    assert len(known) >= 15 and inside.mean() >= .8


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_the_report_states_it_with_intervals(demo_shop, gap, lang, tmp_path):
    page = cl.report("behaviour", shop=demo_shop.path, lang=lang, out=tmp_path).html.read_text(encoding="utf-8")
    assert page.count("credible" if lang == "en" else "信用区間") >= 3 and demo_shop.fingerprint in page
    for row in gap[1][gap[1].flagged].itertuples(): assert show(row.est, row.unit, lang, signed=True) in page, row.behaviour


def test_rank_is_the_one_of_the_day(demo_shop):
    tagged = demo_shop.tag("rank").events.to_pandas()
    moved = tagged[tagged.user_id.notna()].groupby("user_id")["rank"].nunique()
    assert (moved > 1).sum() >= 2   # members whose rank changed count under both
    assert len(tagged) == len(demo_shop.events)
