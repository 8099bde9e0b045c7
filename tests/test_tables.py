"The shop folder from outside: as-of joins, visits, commits, and what happens when things go wrong."
from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings as hypothesis_settings
from hypothesis import strategies as st

import crmlab as cl
from crmlab.tables.commit import commit
from crmlab.tables.folder import new_shop
from crmlab.tables.engine import as_of, collect, connection, int_bin, scan
from crmlab.tables.identity import with_visits

START = pd.Timestamp("2026-10-01T00:00:00Z")
ENGINES = {"duckdb": lambda f: f, "polars": lambda f: pl.from_pandas(f).lazy()}
few = hypothesis_settings(max_examples=40, deadline=None)

history = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("BGR"), st.integers(0, 20)), min_size=1, max_size=25)
questions = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d", None]), st.integers(-3, 25)), min_size=1, max_size=25)


@pytest.mark.parametrize("engine", ENGINES)
@few
@given(history=history, questions=questions)
def test_as_of_is_the_last_value_at_or_before_the_row(engine, history, questions):
    values = pd.DataFrame(history, columns=["user_id", "rank", "valid_from_us"]).astype(dict(user_id="str", rank="str"))
    rows = pd.DataFrame(questions, columns=["user_id", "ts_us"]).astype(dict(user_id="str")).assign(row=range(len(questions)))
    got = collect(as_of(scan(ENGINES[engine](rows)), scan(ENGINES[engine](values)), value="rank")).sort_values("row")

    def truth(user, at):
        known = [(when, rank) for u, rank, when in history if u == user and when <= at]
        return max(known)[1] if known else None
    assert list(got.row) == list(range(len(questions)))   # every row once
    assert [r if isinstance(r, str) else None for r in got["rank"]] == [truth(u, t) for u, t in questions]


visits_of_one_day = st.lists(st.tuples(st.sampled_from("vw"), st.integers(0, 300), st.sampled_from([None, None, "m1", "m2"])), min_size=1, max_size=30, unique_by=lambda e: e[:2])


def _events(rows):
    frame = pd.DataFrame(rows, columns=["visitor_id", "minute", "user_id"]).astype(dict(visitor_id="str", user_id="str"))
    return frame.assign(ts=START + pd.to_timedelta(frame.minute, unit="m"), event_id=[f"e{i}" for i in range(len(frame))])


@pytest.mark.parametrize("engine", ENGINES)
@few
@given(rows=visits_of_one_day)
def test_visits_end_after_silence_and_have_one_member(engine, rows):
    got = collect(with_visits(ENGINES[engine](_events(rows)))).sort_values(["visitor_id", "ts_us"])
    assert len(got) == len(rows)
    for _, visit in got.groupby(["visitor_id", "visit_no"]):
        assert visit.ts_us.diff().max() <= 30*60*10**6 or len(visit) == 1
        assert visit.user_id.nunique(dropna=False) == 1 and visit.visit_start_us.eq(visit.ts_us.min()).all()
    for _, visitor in got.groupby("visitor_id"):
        number, gap = visitor.visit_no.to_numpy(), visitor.ts_us.diff().to_numpy()
        assert number[0] == 1 and set(np.diff(number)) <= {0, 1}
        assert all(number[i] > number[i-1] for i in range(1, len(number)) if gap[i] > 30*60*10**6)


@few
@given(rows=visits_of_one_day, seed=st.integers(0, 9))
def test_visits_do_not_depend_on_row_order_and_keep_every_identification(rows, seed):
    events = _events(rows)
    one, other = (collect(with_visits(e)).sort_values(["visitor_id", "ts_us"]) for e in (events, events.sample(frac=1, random_state=seed)))
    assert list(one.visit_no) == list(other.visit_no)
    merged = one.merge(events[["event_id", "user_id"]].dropna(), on="event_id", suffixes=("", "_said"))
    assert (merged.user_id == merged.user_id_said).all()


def test_february_in_tokyo_on_every_engine():
    order = pd.DataFrame(dict(ts=pd.to_datetime(["2026-01-31T15:30Z"])))
    for make in ENGINES.values():
        local = collect(scan(make(order), timezone="Asia/Tokyo")).ts_local[0]
        assert (local.year, local.month, local.day) == (2026, 2, 1)


def test_bins_are_floors_on_every_engine():
    import narwhals.stable.v2 as nw
    values = pd.DataFrame(dict(v=[-20., -.5, 0., 19.9999, 20., 3.7e6]))
    for make in ENGINES.values(): assert list(collect(scan(make(values)).select(b=int_bin(nw.col("v"), 20.))).b) == [-1, -1, 0, 0, 1, 185000]


def orders(*ids, **more):
    return connection().from_df(pd.DataFrame(dict(order_id=list(ids), ts="2026-10-01T03:00:00Z", status="valid", revenue="100", currency="JPY") | more))


def test_counts_add_up_and_the_second_time_changes_nothing(tmp_path):
    rows = orders("a", "b", "b", "c", revenue=["1", "2", "2", "many"])
    first = commit(tmp_path/"s", dict(orders=rows), kind="t")[0]
    assert (first["read"], first["kept"], first["duplicate"], first["rejected"]) == (4, 2, 1, 1)
    state = cl.open_shop(tmp_path/"s").fingerprint
    second = commit(tmp_path/"s", dict(orders=rows), kind="t")[0]
    assert (second["read"], second["kept"], second["duplicate"], second["rejected"]) == (4, 0, 3, 1)
    assert cl.open_shop(tmp_path/"s").fingerprint == state
    said = [json.loads(line) for f in (tmp_path/"s/_rejected").iterdir() for line in f.read_text(encoding="utf-8").splitlines()]
    assert said[0]["reason"] == "not a number: revenue" and json.loads(said[0]["row"])["revenue"] == "many"


def test_files_that_no_manifest_names_are_invisible_and_swept(tmp_path):
    shop = tmp_path/"s"
    commit(shop, dict(orders=orders("a")), kind="t")
    orders("ghost").to_parquet(str(shop/"orders/ghost.parquet"))
    assert list(cl.open_shop(shop).orders.to_pandas().order_id) == ["a"]
    commit(shop, dict(orders=orders("b")), kind="t")
    assert not (shop/"orders/ghost.parquet").exists()
    assert sorted(cl.open_shop(shop).orders.to_pandas().order_id) == ["a", "b"]


def test_an_import_killed_before_its_commit_leaves_the_shop_as_it_was(tmp_path):
    shop = tmp_path/"s"
    commit(shop, dict(orders=orders("a")), kind="t")
    before = cl.open_shop(shop).fingerprint
    code = ("import os, crmlab.tables.commit as c; c._publish = lambda *a: os._exit(9)\n"
            "import pandas as pd; from crmlab.tables.engine import connection\n"
            f"c.commit({str(shop)!r}, dict(orders=connection().from_df(pd.DataFrame(dict(order_id=['z'], ts='2026-10-01T03:00:00Z', status='valid', revenue='1', currency='JPY')))), kind='t')")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert cl.open_shop(shop).fingerprint == before
    commit(shop, dict(orders=orders("b")), kind="t")
    assert sorted(cl.open_shop(shop).orders.to_pandas().order_id) == ["a", "b"]


def test_rank_counts_as_it_was_at_the_start_of_the_visit(tmp_path):
    shop = tmp_path/"s"
    new_shop(shop, ranks=["Bronze", "Royal"])
    at = lambda *minutes: [START + pd.Timedelta(minutes=m) for m in minutes]
    events = pd.DataFrame(dict(event_id=list("123"), ts=at(0, 10, 600), visitor_id="v", user_id=[None, "m", "m"], event="page_view", page="/", device="mobile"))
    ranks = pd.DataFrame(dict(user_id="m", attribute="rank", value=["Bronze", "Royal"], valid_from=at(-60, 5)))   # Royal from the middle of the first visit
    commit(shop, dict(events=connection().from_df(events), attributes=connection().from_df(ranks)), kind="t")
    seen = cl.open_shop(shop).tag("rank").events.to_pandas().sort_values("event_id")
    assert list(seen["rank"]) == ["Bronze", "Bronze", "Royal"]
    assert list(cl.open_shop(shop).tag("rank").attributes.columns).count("rank") == 0   # only rows with a moment of their own are tagged


@pytest.mark.parametrize("text, complaint", [('nmae = "x"\n', "unknown key 'nmae'; did you mean name?"), ('name = "x\n', "shop.toml"), ('timezone = "Mars"\n', "is not an IANA time zone")])
def test_bad_shop_settings_are_one_line(tmp_path, text, complaint):
    (tmp_path/"shop.toml").write_text(text, encoding="utf-8")
    with pytest.raises(cl.CrmlabError, match=complaint): cl.open_shop(tmp_path)


def test_damaged_folders_are_refused_by_name(tmp_path):
    with pytest.raises(cl.CrmlabError, match="not a shop folder"): cl.open_shop(tmp_path)
    commit(tmp_path/"s", dict(orders=orders("a")), kind="t")
    next((tmp_path/"s/orders").iterdir()).unlink()
    with pytest.raises(cl.CrmlabError, match="listed in manifest.json but missing"): cl.open_shop(tmp_path/"s").orders
    (tmp_path/"s/manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(cl.CrmlabError, match="not a manifest"): cl.open_shop(tmp_path/"s")


def test_no_write_permission_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    root = hasattr(os, "geteuid") and os.geteuid() == 0   # root may write into any folder, but not below a file
    folder = tmp_path/"file" if root else tmp_path
    if root: folder.write_text("")
    with pytest.raises(cl.CrmlabError, match="cannot write there"): commit(folder/"s", dict(orders=orders("a")), kind="t")
