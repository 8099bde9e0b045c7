"""Rules: what plain Python finds at any moment, nothing from the future, equal on DuckDB and Spark."""
from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings as hypothesis_settings
from hypothesis import strategies as st

import crmlab as cl
from crmlab.measure.rules import segment_where
from crmlab.tables.commit import commit
from crmlab.tables.folder import new_shop
from crmlab.tables.engine import connection

few = hypothesis_settings(max_examples=5, deadline=None, phases=[Phase.explicit, Phase.generate])   # shrinking would make shops for minutes
START, HOUR = pd.Timestamp("2026-01-01T00:00Z"), pd.Timedelta(hours=1)
NAMES, PAGES = ["page_view", "view_item", "add_to_cart", "purchase", "search"], ["/", "/list", "/item"]
RULES = dict(
    left={"cart_without_purchase": "24h"}, looked={"page": "/list", "within": "2d"}, thrice={"visits": True, "times": 3, "within": "5d"}, seldom={"visits": True, "at_most": 1},
    undecided={"all": [{"event": "view_item"}, {"not": {"event": "purchase", "within": "3d"}}]}, either={"any": [{"search": True}, {"event": "purchase"}]},
    away={"no_return": "4d"}, silent={"days_since": {"view_item": "3d"}}, unmoved={"event": "view_item", "without": "add_to_cart", "within": "6h"}, young={"attribute": "age", "between": [20, 39]}, unread={"unopened": "2d"})

worlds = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 300), st.sampled_from(NAMES), st.sampled_from(PAGES)), min_size=5, max_size=25)


def events_of(rows) -> pd.DataFrame:
    "Events on the hour; each is a visit of its own where an hour lies between."
    rows = sorted({(u, h): (u, h, e, p) for u, h, e, p in rows}.values())
    return pd.DataFrame([dict(event_id=f"e{i}", ts=START + h*HOUR, visitor_id=f"v{u}", user_id=f"u{u}", event=e, page=p, device="mobile") for i, (u, h, e, p) in enumerate(rows)])


AGES = pd.DataFrame([dict(user_id="u0", attribute="age", value=v, valid_from=START + h*HOUR) for v, h in [("19", 0), ("20", 50), ("40", 120)]] + [dict(user_id="u1", attribute="age", value="unknown", valid_from=START)])
MAIL = pd.DataFrame([dict(message_id=f"m{i}", user_id=f"u{u}", campaign="a", channel="email", sent_at=START + s*HOUR, opened_at=START + o*HOUR if o else None) for i, (u, s, o) in enumerate([(0, 5, 20), (0, 100, 190), (1, 30, None)])])


def shop_of(events, until=None):
    "A shop with what was known at a moment; the last moment belongs to it."
    home, known = Path(mkdtemp())/"shop", until or events.ts.max()
    mail = MAIL[MAIL.sent_at <= known]
    tables = dict(events=events[events.ts <= known], attributes=AGES, messages=mail.assign(opened_at=pd.to_datetime(mail.opened_at.where(mail.opened_at <= known), utc=True)))
    new_shop(home)
    commit(home, {n: connection().from_df(f) for n, f in tables.items() if len(f)}, kind="test")
    return home


def holds(rule, user, moment, events) -> bool:
    "Whether a rule holds for a user at a moment, by plain Python."
    e, ago = events[(events.user_id == user) & (events.ts <= moment)], lambda d: moment - pd.Timedelta(d)
    happened = lambda name, since=None: ((e.event == name) & ((e.ts > since) if since is not None else True)).any()
    def unanswered(ask, answer, wait):
        return any(not ((events.user_id == user) & (events.event == answer) & (events.ts >= t) & (events.ts <= moment)).any() and moment >= t + pd.Timedelta(wait) for t in e.ts[e.event == ask]) or any(
            moment >= t + pd.Timedelta(wait) and (later := e.ts[(e.event == answer) & (e.ts >= t)]).size and later.min() > t + pd.Timedelta(wait) and moment < later.min() for t in e.ts[e.event == ask])
    return dict(
        left=lambda: unanswered("add_to_cart", "purchase", "24h"), unmoved=lambda: unanswered("view_item", "add_to_cart", "6h"),
        looked=lambda: ((e.event == "page_view") & (e.page == "/list") & (e.ts > ago("2D"))).any(), thrice=lambda: (e.ts > ago("5D")).sum() >= 3, seldom=lambda: len(e) <= 1,
        undecided=lambda: happened("view_item") and not happened("purchase", ago("3D")), either=lambda: happened("search") or happened("purchase"),
        away=lambda: len(e) > 0 and moment - e.ts.max() >= pd.Timedelta("4D"), silent=lambda: happened("view_item") and moment - e.ts[e.event == "view_item"].max() >= pd.Timedelta("3D"),
        young=lambda: user == "u0" and START + 50*HOUR <= moment < START + 120*HOUR,
        unread=lambda: ((MAIL.user_id == user) & (MAIL.sent_at + pd.Timedelta("2D") <= moment) & ~(MAIL.opened_at <= moment)).any())[rule]()


def usable(events) -> dict:
    "Rules whose events and pages occur; the others are refused."
    seen = set(events.event) | set(events.page[events.event == "page_view"])
    asked = dict(left={"add_to_cart"}, looked={"/list", "page_view"}, undecided={"view_item", "purchase"}, either={"search", "purchase"}, silent={"view_item"}, unmoved={"view_item", "add_to_cart"})
    sent = events.ts.max() >= MAIL.sent_at.min()
    return {name: rule for name, rule in RULES.items() if asked.get(name, set()) <= seen and (name != "unread" or sent)}


@few
@given(rows=worlds, hours=st.lists(st.integers(0, 300), min_size=12, max_size=12), names=st.lists(st.sampled_from(sorted(RULES)), min_size=4, max_size=4, unique=True))
def test_rules_hold_when_plain_python_says_so(rows, hours, names):
    events = events_of(rows)
    shop = cl.open_shop(shop_of(events))
    moments = [m for m in (START + h*HOUR for h in hours) if m <= events.ts.max()]
    for name, rule in usable(events).items():
        if name not in names: continue
        table = segment_where(shop, {"in": rule}, rest="out").to_pandas().sort_values("valid_from")
        assert not table.duplicated(["user_id", "valid_from"]).any()
        for moment in moments:
            now = table[table.valid_from <= moment].groupby("user_id").segment.last()
            for user in now.index: assert (now[user] == "in") == holds(name, user, moment, events), (name, user, moment)


@few
@given(rows=worlds, share=st.floats(.2, .9), names=st.lists(st.sampled_from(sorted(RULES)), min_size=3, max_size=3, unique=True))
def test_what_happens_later_never_changes_an_earlier_membership(rows, share, names):
    events = events_of(rows)
    moment = events.ts.sort_values().iloc[int(share*(len(events) - 1))]
    rules = usable(events[events.ts <= moment])
    shops = [cl.open_shop(shop_of(events, until)) for until in (moment, None)]
    for name, rule in rules.items():
        if name not in names: continue
        early, whole = (segment_where(s, {name: rule}).to_pandas()[lambda f: f.valid_from <= moment].sort_values(["user_id", "valid_from"], ignore_index=True) for s in shops)
        pd.testing.assert_frame_equal(early, whole, obj=name)


def test_the_first_rule_counts_and_everybody_is_somewhere_once():
    rng = np.random.default_rng(2)
    events = events_of(list(zip(rng.integers(0, 20, 300), rng.integers(0, 300, 300), rng.choice(NAMES, 300), rng.choice(PAGES, 300))))
    shop = cl.open_shop(shop_of(events))
    several = [dict(segment=n, when=RULES[n]) for n in ("left", "thrice", "looked")]
    tagged = shop.tag(segment_where(shop, several)).events.to_pandas()
    assert len(tagged) == len(events) and (tagged.segment != "(unknown)").all()
    for r in tagged.sample(50, random_state=3).itertuples():
        expected = next((n for n in ("left", "thrice", "looked") if holds(n, r.user_id, r.ts, events)), "rest")
        assert r.segment == expected


@pytest.mark.spark
@pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas")
def test_spark_says_the_same(spark):
    rng = np.random.default_rng(6)
    events = events_of(list(zip(rng.integers(0, 12, 150), rng.integers(0, 300, 150), rng.choice(NAMES, 150), rng.choice(PAGES, 150))))
    folder, rules = shop_of(events), [dict(segment=n, when=r) for n, r in RULES.items()]
    here, there = (segment_where(cl.open_shop(folder, engine=e), rules).to_pandas().sort_values(["user_id", "valid_from"], ignore_index=True) for e in ("duckdb", "spark"))
    pd.testing.assert_frame_equal(here, there, check_dtype=False)
    assert here.segment.nunique() > 4


def test_a_rule_on_a_missing_column_or_table_is_named(tmp_path):
    new_shop(tmp_path/"s")
    commit(tmp_path/"s", dict(events=connection().from_df(events_of([(0, 1, "page_view", "/")]))), kind="test")
    shop = cl.open_shop(tmp_path/"s")
    with pytest.raises(cl.CrmlabError, match="has no table 'messages'"): segment_where(shop, {"x": {"unopened": "2d"}})
    with pytest.raises(cl.CrmlabError, match="has no table 'attributes'"): segment_where(shop, {"x": {"attribute": "age", "is": "20"}})
    with pytest.raises(cl.CrmlabError, match="rule x: .*categor"): segment_where(shop, {"x": {"category": "tea"}})
    with pytest.raises(cl.CrmlabError, match="has no table 'orders'"): segment_where(shop, {"x": {"bought": True}})
