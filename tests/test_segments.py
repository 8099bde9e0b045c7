"""RFM cells and purchase phases: the same memberships as plain Python, nothing from the future, equal on every engine, published figures."""
from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings as hypothesis_settings
from hypothesis import strategies as st

import crmlab as cl
from crmlab.measure.moves import rfm_map, rfm_moves, segment_counts
from crmlab.measure.segments import purchase_phases, rfm
from crmlab.tables.commit import commit
from crmlab.tables.folder import new_shop
from crmlab.tables.engine import connection, scan

few = hypothesis_settings(max_examples=12, deadline=None)
START = pd.Timestamp("2024-01-01T00:00Z")
DAY = 86400*10**6


def table_of_orders(rows) -> pd.DataFrame:
    "Orders from (user, day, second, status, revenue, delivery) rows."
    us = [day*DAY + second*10**6 for _, day, second, *_ in rows]
    return pd.DataFrame(dict(order_id=[f"o{i}" for i in range(len(rows))], user_id=[f"u{r[0]}" for r in rows], ts=(START + pd.to_timedelta(us, unit="us")).astype("datetime64[us, UTC]"),
                             status=[r[3] for r in rows], revenue=[float(r[4]) if r[3] != "return" else -float(r[4]) for r in rows], delivery_no=pd.Series([r[5] for r in rows], dtype="Int64").astype(float), currency="JPY"))


orders = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 500), st.sampled_from([0, 53999, 54000, 86399]), st.sampled_from(["valid", "valid", "valid", "pending", "cancelled", "return"]),
                            st.integers(0, 60000), st.sampled_from([None, 1, 2])), min_size=1, max_size=30).map(table_of_orders)


def in_order(table) -> pd.DataFrame: return table.to_pandas().sort_values(["user_id", "valid_from"], ignore_index=True)


SEGMENTS = dict(rfm=rfm, some_days=lambda o: rfm(o, as_of=["2024-02-10", "2024-02-11", "2024-11-30"], cell="rfm"), phases=purchase_phases, own=lambda o: purchase_phases(o, dormant="own", deliveries=True))


def attempt(segment, given_orders):
    "A segment table, or None where there is nothing to make it of."
    try: return in_order(SEGMENTS[segment](given_orders))
    except cl.CrmlabError: return None


@pytest.mark.parametrize("segment", SEGMENTS)
@few
@given(orders=orders, cut=st.integers(0, 29))
def test_later_orders_never_change_earlier_memberships(segment, orders, cut):
    moment = orders.ts.sort_values().iloc[min(cut, len(orders) - 1)]
    early, whole = attempt(segment, orders[orders.ts <= moment]), attempt(segment, orders)
    if early is None: return
    known = [t[t.valid_from <= moment].reset_index(drop=True) for t in (early, whole)]
    pd.testing.assert_frame_equal(*known)


@pytest.mark.parametrize("segment", SEGMENTS)
@few
@given(orders=orders)
def test_polars_says_the_same(segment, orders):
    duckdb, polars = attempt(segment, orders), attempt(segment, pl.from_pandas(orders).lazy())
    assert (duckdb is None) == (polars is None)
    if duckdb is not None: pd.testing.assert_frame_equal(duckdb, polars, check_dtype=False)


@pytest.mark.spark
@pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas")
def test_spark_says_the_same(spark):
    rng = np.random.default_rng(4)
    made = table_of_orders(list(zip(rng.integers(0, 60, 400), rng.integers(0, 500, 400), rng.integers(0, 86400, 400), rng.choice(["valid", "pending", "return"], 400, p=[.8, .1, .1]), rng.integers(1, 60000, 400), [None, 1, 2, 3]*100)))
    made["delivery_no"] = made.delivery_no.astype("Int64")
    there = spark.createDataFrame(pl.from_pandas(made).to_arrow())
    for name, segment in SEGMENTS.items(): pd.testing.assert_frame_equal(in_order(segment(made)), in_order(segment(there)), check_dtype=False, obj=name)


def by_hand(orders, day) -> dict:
    "user → (last day, orders, money) of those who had ordered before a local day."
    local = orders.ts.dt.tz_convert("Asia/Tokyo").dt.tz_localize(None).dt.normalize()
    known = orders[(local < day) & orders.status.isin(["valid", "return"])].assign(day=local)
    state = {}
    for user, o in known.groupby("user_id"):
        valid = o[o.status == "valid"]
        if len(valid): state[user] = ((day - valid.day.max()).days, len(valid), o.revenue.sum())
    return state


@few
@given(orders=orders, days=st.lists(st.integers(1, 520), min_size=1, max_size=4, unique=True))
def test_cells_are_those_of_plain_python_on_every_looked_at_day(orders, days):
    days = sorted(pd.Timestamp("2024-01-01") + pd.Timedelta(days=d) for d in days)
    try: table = in_order(rfm(orders, as_of=days))
    except cl.CrmlabError: return
    for day in days:
        now = table[table.valid_from <= day.tz_localize("Asia/Tokyo")].groupby("user_id").last()
        hand = by_hand(orders, day)
        assert set(now.index) == set(hand)
        for user, (recency, n, money) in hand.items():
            assert now.segment[user] == f"R{1 + sum(recency <= c for c in (90, 180, 365, 730))}F{min(n, 5)}"


def phase_at(orders, user, moment) -> str:
    "A customer's phase at a moment, by plain Python."
    o = orders[(orders.user_id == user) & (orders.status == "valid") & (orders.ts <= moment)].sort_values("ts")
    if o.empty: return ""
    days = o.assign(day=o.ts.dt.tz_convert("Asia/Tokyo").dt.date, counted=~(o.delivery_no > 1)).groupby("day").counted.max()
    silence = (moment - o.ts.max()).total_seconds()/86400
    band = [b for b in (90, 150, 365) if silence >= b]
    n = int(days.sum())
    return f"dormant {band[-1]}d" if band else "F1" if n <= 1 else "F2" if n == 2 else "F3+" if n < 5 else "regular"


@few
@given(orders=orders, moments=st.lists(st.integers(0, 500*86400), min_size=3, max_size=3))
def test_phases_are_those_of_plain_python_at_any_moment(orders, moments):
    try: table = in_order(purchase_phases(orders))
    except cl.CrmlabError: return
    assert not table.duplicated(["user_id", "valid_from"]).any()
    assert not (table.segment == table.groupby("user_id").segment.shift()).any()      # a row is a change
    for moment in [START + pd.Timedelta(seconds=s) for s in moments]:
        if moment > orders.ts.max(): continue
        now = table[table.valid_from <= moment].groupby("user_id").segment.last()
        for user in orders.user_id.unique(): assert now.get(user, "") == phase_at(orders, user, moment)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    "A shop with 60 customers, their visits, and members who never bought."
    rng, home = np.random.default_rng(8), tmp_path_factory.mktemp("segments")/"shop"
    n = 200
    made = table_of_orders(list(zip(rng.integers(0, 60, n), rng.integers(0, 500, n), rng.integers(0, 86400, n), ["valid"]*n, rng.integers(500, 9000, n), [None]*n))).drop(columns="delivery_no")
    who = rng.integers(0, 80, 400)
    events = pd.DataFrame(dict(event_id=[f"e{i}" for i in range(400)], ts=START + pd.to_timedelta(rng.integers(0, 700*86400, 400), unit="s"), visitor_id=[f"v{w}" for w in who], user_id=[f"u{w}" for w in who], event="page_view", page="/", device="mobile"))
    new_shop(home)
    commit(home, dict(orders=connection().from_df(made), events=connection().from_df(events)), kind="test")
    return home


def test_a_shop_knows_prospects_and_its_own_cut_points(shop):
    with (shop/"shop.toml").open("a", encoding="utf-8") as f: f.write('[rfm]\npreset = "subscription"\nf = [2, 3, 4, 5]\n')
    opened = cl.open_shop(shop)
    cuts = rfm(opened).meta["arguments"]["cuts"]
    assert cuts["r"] == (30, 90, 180, 365) and cuts["f"] == (2, 3, 4, 5)
    assert rfm(opened, preset="repeat").meta["arguments"]["cuts"]["f"] == (2, 3, 4, 5) and rfm(opened, preset="repeat").meta["arguments"]["cuts"]["r"] == (90, 180, 365, 730)
    phases = in_order(purchase_phases(opened))
    first = phases.groupby("user_id").segment.first()
    assert {f"u{w}" for w in range(60, 80)} & set(first.index) <= set(first.index[first == "prospect"])
    events = opened.tag(purchase_phases(opened), name="phase").events.to_pandas()
    assert len(events) == 400 and (events.phase != "(unknown)").all()          # everybody seen is a prospect at least
    assert set(events.phase[events.ts > START + pd.Timedelta(days=600)]) & {"dormant 90d", "dormant 150d", "dormant 365d"}   # orders end on day 500, visits go on


def test_tagged_rows_have_the_phase_of_their_moment(shop):
    opened = cl.open_shop(shop)
    bought = opened.orders.to_pandas()
    events = opened.tag(purchase_phases(opened), name="phase").tag(rfm(opened), name="cell").events.to_pandas()
    for r in events.sample(60, random_state=1).itertuples():
        assert (phase_at(bought.assign(delivery_no=np.nan), r.user_id, r.ts) or "prospect") == r.phase


def test_quantiles_hold_still_and_say_where_they_cut(shop):
    opened = cl.open_shop(shop)
    table = rfm(opened, quantiles=4, as_of=["2025-01-01", "2025-05-01"], cell="rfm")
    cuts = table.meta["arguments"]["cuts"]
    first = in_order(rfm(opened, quantiles=4, as_of="2025-01-01", cell="rfm"))
    assert all(len(c) <= 3 and list(c) == sorted(set(c)) for c in cuts.values())
    pd.testing.assert_frame_equal(in_order(table)[lambda f: f.valid_from == first.valid_from.iloc[0]].reset_index(drop=True), first)
    again = rfm(opened, cuts=cuts, as_of="2025-05-01", cell="rfm")             # the same cut points, given by hand
    later = in_order(table)[lambda f: f.valid_from > first.valid_from.iloc[0]].set_index("user_id").segment
    assert (in_order(again).set_index("user_id").segment.reindex(later.index) == later).all()
    shares = first.r.value_counts(normalize=True)
    assert shares.between(.15, .35).all()


def test_bad_input_is_named(monkeypatch):
    made = table_of_orders([(1, d, 0, "valid", 1000, None) for d in range(3)])
    same = table_of_orders([(u, 5, 0, "valid", 1000, None) for u in range(30)])
    with pytest.raises(cl.CrmlabError, match="the same for nearly everybody .* quantiles cannot separate"): rfm(same, quantiles=5, as_of="2024-02-01")
    with pytest.raises(cl.CrmlabError, match="orders begin on 2024-01-01"): rfm(made, as_of="2023-01-01")
    with pytest.raises(cl.CrmlabError, match="needs column 'user_id'"): purchase_phases(made.drop(columns="user_id"))
    with pytest.raises(cl.CrmlabError, match="no valid order"): purchase_phases(made.assign(status="pending"))
    monkeypatch.setenv("CRMLAB_CURRENCY", "GBP")
    with pytest.raises(cl.CrmlabError, match="in yen only; give cuts={'m'"): rfm(made, as_of="2024-02-01", cell="rfm")
    assert rfm(made, as_of="2024-02-01").to_pandas().m.isna().all()            # money is not scored by another currency's cut points
    one = in_order(rfm(made, as_of="2024-02-01"))
    assert list(one.segment) == ["R5F3"] and rfm_moves(rfm(made, as_of=["2024-02-01", "2024-03-01"])).frame.lo.isna().all()   # a segment of one: no interval


overlaps = st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab"), st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=8)


@few
@given(rows=overlaps)
def test_a_tag_refuses_exactly_the_overlapping_intervals(rows, shop):
    day = lambda d: START + pd.Timedelta(days=d)
    frame = pd.DataFrame([dict(user_id=f"u{u}", segment=s, valid_from=day(a), valid_to=day(b)) for u, s, a, b in rows])
    distinct = frame.drop_duplicates()
    bad = (distinct.valid_to <= distinct.valid_from).any()
    for _, f in distinct.groupby("user_id"):
        f = f.sort_values(["valid_from", "valid_to"])
        bad |= bool((f.valid_from.shift(-1) < f.valid_to).any() | (f.valid_from.shift(-1) == f.valid_from).any())
    if bad:
        with pytest.raises(cl.CrmlabError, match="users? with overlapping segments, such as 'u"): cl.open_shop(shop).tag(frame)
    else:
        tagged = cl.open_shop(shop).tag(frame).orders.to_pandas()
        for r in tagged.itertuples():
            now = distinct[(distinct.user_id == r.user_id) & (distinct.valid_from <= r.ts) & (r.ts < distinct.valid_to)].segment
            assert r.segment == (now.iloc[0] if len(now) else "(unknown)")


def test_counts_and_moves_add_up(shop):
    opened = cl.open_shop(shop)
    cells, phases = rfm(opened), purchase_phases(opened)
    counts, moves, atlas = segment_counts(phases), rfm_moves(cells), rfm_map(cells)
    assert counts.frame.groupby("day").share.sum().round(9).isin([0, 1]).all()
    totals = segment_counts(cells).frame.groupby("day").n.sum()
    assert (moves.frame.groupby("day").n.sum() == totals.iloc[1:]).all()
    assert atlas.frame.n.sum() == totals.iloc[-1]
    assert ((moves.frame.lo <= moves.frame.share + 1e-9) & (moves.frame.share <= moves.frame.hi + 1e-9) | moves.frame.lo.isna()).all()
    for r in (counts, moves, atlas):
        assert r.text("ja") and r.text("en")
        r.plot()


@pytest.mark.data("cdnow")
def test_cdnow_meets_its_published_figures(data):
    raw = pd.read_csv(data/"cdnow/CDNOW_master.txt", sep=r"\s+", dtype={"customer_id": str})
    made = pd.DataFrame(dict(order_id=raw.index.astype(str), user_id=raw.customer_id, ts=pd.to_datetime(raw.date.astype(str), format="%Y%m%d", utc=True), status="valid", revenue=raw.dollar_value, currency="USD"))
    cells = in_order(rfm(made, as_of="1998-07-01"))
    assert len(cells) == 23_570 and cells.frequency.sum() == 69_659        # customers and purchases, ../shared/data/README.md
    assert cells.monetary.sum() == pytest.approx(raw.dollar_value.sum())
    days = raw.groupby("customer_id").date.nunique()
    reached = in_order(purchase_phases(made)).groupby("user_id").segment.agg(set)
    for phase, least in {"F1": 1, "F2": 2, "regular": 5}.items(): assert reached.map(lambda s, phase=phase: phase in s).sum() == (days >= least).sum()


@pytest.mark.data("online_retail")
def test_online_retail_counts_returns_as_money_and_not_as_orders(data, monkeypatch):
    monkeypatch.setenv("CRMLAB_DATA_CACHE", str(data))
    retail = cl.datasets.load("online_retail")
    bought = retail.orders.to_pandas()
    assert bought.revenue.sum() == pytest.approx(9_747_747.93)             # net, ../shared/data/README.md
    cells = in_order(rfm(retail, as_of="2012-01-01"))
    known = bought[bought.user_id.notna()]
    assert known.user_id.nunique() == 4_372
    buyers = known.user_id[(known.status == "valid")].unique()
    money = known[known.user_id.isin(buyers) & known.status.isin(["valid", "return"])].groupby("user_id").revenue.sum()
    ours = cells.set_index("user_id").monetary
    assert set(ours.index) <= set(buyers) and len(ours) >= .98*len(buyers)
    assert np.allclose(ours, money.reindex(ours.index))


def test_cells_of_another_day_are_refused():
    made = rfm(table_of_orders([(0, 10, 0, "valid", 5000, None), (1, 20, 0, "valid", 9000, None)]), as_of="2024-03-01")
    for ask in (lambda: rfm_map(made, day="2024-09-01"), lambda: segment_counts(made, days=["2024-03-01", "2024-09-01"])):
        with pytest.raises(cl.CrmlabError, match="were not looked at on 2024-09-01"): ask()


def test_orders_of_a_shop_know_its_zone_and_currency(tmp_path):
    new_shop(tmp_path/"s", timezone="America/New_York", currency="USD")
    commit(tmp_path/"s", dict(orders=connection().from_df(table_of_orders([(0, 10, 0, "valid", 50, None), (0, 40, 0, "valid", 90, None)]).assign(currency="USD"))), kind="test")
    shop = cl.open_shop(tmp_path/"s")
    of_table, of_shop = (rfm(x, as_of="2024-03-01") for x in (shop.orders, shop))
    assert of_table.meta["timezone"] == "America/New_York" and of_table.meta["currency"] == "USD" and of_table.meta["arguments"]["cuts"] == of_shop.meta["arguments"]["cuts"]
    pd.testing.assert_frame_equal(in_order(of_table), in_order(of_shop))


@pytest.mark.parametrize("name", ["visit_no", "visit_start_us", "depth", "", 3])
def test_tags_with_names_of_columns_of_visits_are_refused(shop, name):
    with pytest.raises(cl.CrmlabError, match="tag"): cl.open_shop(shop).tag(pd.DataFrame(dict(user_id=["u1"], segment=["a"])), name=name)
