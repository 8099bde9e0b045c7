"The queries that benchmarks time give the same answers as the hand-written SQL they are measured against."
import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/"benchmarks"))
import agree
import ratios
import tool_crmlab
import tool_floor
import tool_pandas
import tool_polars
import tool_sorting
from random_shop import random_shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory): return random_shop(tmp_path_factory.mktemp("bench")/"shop", 12_000, seed=3)


@pytest.fixture(scope="module")
def floor(shop): return {q: agree.answer(q, run(shop)) for q, run in tool_floor.QUERIES.items()}


@pytest.mark.parametrize("query", tool_floor.QUERIES)
@pytest.mark.parametrize("tool", [tool_crmlab, tool_sorting, tool_pandas, tool_polars], ids=lambda t: t.__name__.removeprefix("tool_"))
def test_every_tool_gives_what_the_floor_gives(tool, query, shop, floor):
    agree.assert_same(query, floor[query], agree.answer(query, tool.QUERIES[query](shop)), who=tool.__name__)


def test_the_world_has_what_could_go_wrong(shop, floor):
    events = pd.read_parquet(shop/"events")
    visits = agree.frame_of(tool_floor.QUERIES["sessionize"](shop))
    members = visits.dropna(subset="user_id").groupby("visitor_id").user_id.nunique()
    assert events.viewport_h.isna().any() and events.session_id.notna().any() and events.session_id.isna().any()
    assert (members > 1).any(), "no visitor with a second member"
    assert visits.user_id.isna().any() and visits.revenue.gt(0).any()
    assert (events.x > events.page_w).any(), "no click outside the page"
    assert set(floor["funnel"].segment) == {"Bronze", "Silver", "Gold", "Royal", "(unknown)"}
    assert floor["funnel"].n[floor["funnel"].step == "purchase"].sum() > 0


@pytest.mark.parametrize("query, column", [("heatmap", "xy"), ("heatmap", "exposed"), ("heatmap", "xx"), ("scroll", "yy"), ("scroll", "xy"), ("scroll", "xx"), ("funnel", "n")])
def test_a_floor_that_drifts_is_noticed(query, column, shop, floor):
    wrong = floor[query].copy()
    share = wrong["rate" if query == "heatmap" else "est"]
    row = wrong[(wrong.segment == "Bronze") & (share > 0) & (share < 1)].index[0]   # a segment with people enough for intervals
    wrong.loc[row, column] += 1
    ours = agree.answer(query, tool_crmlab.QUERIES[query](shop))
    with pytest.raises(AssertionError, match="differs from the floor"): agree.assert_same(query, wrong, ours, who="crmlab")


def test_a_digest_knows_its_rows_but_not_their_order():
    rows = pd.DataFrame(dict(user_id=["u1", None, "u2"], ts_us=[1, 2, 3], rank=["Bronze", None, "Royal"]))
    assert agree.digest(rows) == agree.digest(rows.sample(frac=1, random_state=1))
    assert agree.digest(rows) != agree.digest(rows.assign(rank=["Royal", None, "Bronze"]))
    assert agree.digest(rows) != agree.digest(rows[:2])


def _queries(size, crmlab, floor, peak):
    figures = dict(crmlab=dict(cpu_s=crmlab/5, peak_mb=peak))
    row = dict(crmlab=dict(cpu_s=crmlab, peak_mb=peak), floor=dict(cpu_s=floor, peak_mb=peak))
    return dict(size=size, memory_limit="4GB", cpu_sum=dict(crmlab=1.5*crmlab, floor=floor), in_a_row=row, queries={q: figures for q in tool_floor.QUERIES})


def test_promises_are_read_from_the_results():
    found = {"queries-10M": _queries("10M", 22, 20, 900), "queries-100M": _queries("100M", 250, 200, 5200),
             "import_formats": dict(formats=dict(segment=dict(rows_per_s=250_000, peak_mb=900), ga4=dict(reason="no such file"))),
             "maps-10M": dict(size="10M", crmlab=dict(cpu_s=12), floor=dict(cpu_s=10)), "attention-1M": dict(size="1M", crmlab=dict(cpu_s=1), floor=dict(cpu_s=1)),
             "simulate-1M": dict(size="1M", events_per_s=400_000, peak_mb=1500, rows=dict(events=10**6))}
    made = {p["what"]: p for p in ratios.promises(found)}
    kept = {what: p["kept"] for what, p in made.items() if p["bound"] is not None}
    assert kept == {"CPU of the five queries in a row, crmlab / floor, 10M events": True, "CPU of crmlab, 100M / 10M events": True, "peak memory of crmlab in GB, 100M events, memory_limit 4GB": False,
                    "CPU of click maps of every page and device, crmlab / floor, 10M events": False, "rows a second, import of segment": True, "peak memory in GB, import of segment": True,
                    "events a second, simulate, 1M events": False, "peak memory in GB, simulate, 1M events": True}
    assert made["CPU of crmlab, 100M / 10M events"]["value"] == round(250/22, 3)
    assert made["CPU of the five queries in a row, crmlab / floor, 100M events"]["kept"] is None
