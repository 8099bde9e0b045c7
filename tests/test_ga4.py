"GA4's BigQuery export from outside: the real row, JSON lines and Parquet, ranks as they were, purchases, and what is broken."
from __future__ import annotations

import gzip
import json

import pandas as pd
import pytest
from fuzzed import assert_adds_up, broken

import crmlab as cl

START = 1_772_334_000_000_000   # 2026-03-01 03:00 UTC, µs


def param(key, value):
    kind = "string_value" if isinstance(value, str) else "int_value" if isinstance(value, int) else "double_value"
    return dict(key=key, value={kind: str(value) if kind == "int_value" else value})


def event(name, second, page="/", *, user="u1", visitor="1.1", rank="Royal", since=START - 86_400_000_000, items=(), ecommerce=None, device="mobile", **more):
    told = dict(page_location=f"https://shop.example{page}", page_referrer="https://www.google.com/", ga_session_id=1772334000) if page else {}
    held = dict(string_value=rank) | (dict(set_timestamp_micros=str(since)) if since else {})
    return dict(event_date="20260301", event_timestamp=str(START + second*1_000_000), event_name=name, event_params=[param(k, v) for k, v in (told | more).items()], user_id=user, user_pseudo_id=visitor,
                user_properties=[dict(key="rank", value=held), dict(key="email", value=dict(string_value="someone@shop.example"))] if rank else [],
                device=dict(category=device), traffic_source=dict(source="elsewhere", medium="cpc"), ecommerce=ecommerce or {}, items=list(items), event_bundle_sequence_id="7")


SERUM, SOAP = dict(item_id="serum", item_name="美容液", item_category="skin", price=4000, quantity="1"), dict(item_id="(not set)", item_name="石けん", price=1000, quantity="2")
BOUGHT = dict(transaction_id="o1", purchase_revenue=6000, tax_value=600, shipping_value=500)
VISIT = [event("page_view", 0, "/?utm_source=line", user=None, rank=None), event("view_item", 20, "/item/1", items=[SERUM], value=4000., currency="JPY", color="red", size=3),
         event("scroll", 30, "/item/1", percent_scrolled=90), event("click", 40, "/item/1", link_url="https://elsewhere.example/"),
         event("purchase", 60, "/thanks", items=[SERUM, SOAP], ecommerce=BOUGHT, currency="JPY")]


def write(folder, rows, name="day.jsonl"):
    text = rows if isinstance(rows, bytes) else "\n".join(json.dumps(r, ensure_ascii=False) for r in rows).encode()
    (folder/name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return folder/name


def load(folder, rows, name="day.jsonl"): return cl.import_data("ga4", write(folder, rows, name), into=folder/"shop")


def typed(folder, rows, wrapped=False):
    "The same rows as BigQuery writes them to Parquet: typed, lists wrapped or not."
    import duckdb
    con, target = duckdb.connect(), folder/f"day{wrapped}.parquet"
    write(folder, rows, "typed.jsonl")
    lists = "* REPLACE ({'list': list_transform(event_params, lambda p: {'element': p})} AS event_params, {'list': list_transform(items, lambda p: {'element': p})} AS items)"
    whole = "event_timestamp: 'BIGINT', event_params: 'STRUCT(key VARCHAR, value STRUCT(string_value VARCHAR, int_value BIGINT, float_value DOUBLE, double_value DOUBLE))[]'"
    rest = ", ".join(f"{c}: 'VARCHAR'" for c in ("event_date", "event_name", "user_id", "user_pseudo_id")) + ", event_bundle_sequence_id: 'BIGINT'"
    nested = """user_properties: 'STRUCT(key VARCHAR, value STRUCT(string_value VARCHAR, int_value BIGINT, set_timestamp_micros BIGINT))[]', device: 'STRUCT(category VARCHAR, "language" VARCHAR)',
        ecommerce: 'STRUCT(transaction_id VARCHAR, purchase_revenue DOUBLE, tax_value DOUBLE, shipping_value DOUBLE, total_item_quantity BIGINT)', items: 'STRUCT(item_id VARCHAR, item_name VARCHAR, item_category VARCHAR, price DOUBLE, quantity BIGINT)[]'"""
    con.sql(f"SELECT {lists if wrapped else '*'} FROM read_json('{folder/'typed.jsonl'}', columns={{{whole}, {rest}, {nested}}})").to_parquet(str(target))
    return target


@pytest.mark.data("ga4_row")
def test_the_real_row(data, tmp_path):
    shop = cl.import_data("ga4", data/"ga4_row/ga4_event_row.json", into=tmp_path/"shop")
    row = shop.events.to_pandas().iloc[0]
    assert row[["event", "page", "visitor_id", "session_id", "device", "source", "medium"]].tolist() == ["page_view", "/payment.html", "1146540.1921992520", "1146540.1921992520.3599645542", "desktop", "(direct)", "(none)"]
    assert str(row.ts) == "2021-01-28 01:40:22.695757+00:00" and pd.isna(row.user_id) and pd.isna(row.referrer)
    assert json.loads(row.props) == dict(page_title="Payment Method", engagement_time_msec=7)
    assert {t: c["read"] for t, c in shop.counts.items() if c["read"]} == dict(events=1)


@pytest.mark.parametrize("form", ["lines", "zipped", "parquet", "wrapped"])
def test_a_visit_in_every_form(tmp_path, form):
    file = dict(lines=lambda: write(tmp_path, VISIT), zipped=lambda: write(tmp_path, VISIT, "day.jsonl.gz"), parquet=lambda: typed(tmp_path, VISIT), wrapped=lambda: typed(tmp_path, VISIT, wrapped=True))[form]()
    shop = cl.import_data("ga4", file, into=tmp_path/"shop")
    events = shop.events.to_pandas().sort_values("ts")
    assert events.event.tolist() == ["page_view", "view_item", "scroll", "outbound_click", "purchase"] and events.source.iloc[0] == "line"
    looked = events.iloc[1]
    assert looked[["page", "item_id", "category", "value", "currency", "device", "session_id"]].tolist() == ["/item/1", "serum", "skin", 4000., "JPY", "mobile", "1.1.1772334000"]
    assert json.loads(looked.props) == dict(color="red", size=3) and json.loads(events.props.iloc[2]) == dict(percent_scrolled=90)
    assert shop.orders.to_pandas()[["order_id", "user_id", "revenue", "gross", "tax", "shipping"]].values.tolist() == [["o1", "u1", 6600., 6600., 600., 500.]]
    assert shop.order_items.to_pandas().sort_values("price")[["item_id", "quantity", "price"]].values.tolist() == [["石けん", 2., 1000.], ["serum", 1., 4000.]]
    ranks = shop.attributes.to_pandas()
    assert ranks[["user_id", "attribute", "value"]].values.tolist() == [["u1", "rank", "Royal"]] and str(ranks.valid_from[0]) == "2026-02-28 03:00:00+00:00"


def test_a_rank_holds_from_its_change_on(tmp_path):
    seen = [("Bronze", 0), ("Bronze", 10), ("Royal", 20), ("Royal", 30), ("Bronze", 40)]
    shop = load(tmp_path, [event("page_view", s, rank=r, since=None) for r, s in seen])
    ranks = shop.attributes.to_pandas().sort_values("valid_from")
    assert ranks.value.tolist() == ["Bronze", "Royal", "Bronze"] and [str(t)[17:19] for t in ranks.valid_from] == ["00", "20", "40"]
    assert shop.tag("rank").events.to_pandas().sort_values("ts")["rank"].tolist() == ["Bronze"]*5   # the value at the start of the visit


def test_purchases_sent_twice_and_refunds(tmp_path):
    buy = lambda second, id, **sale: event("purchase", second, "/thanks", ecommerce=dict(transaction_id=id) | sale, items=[SERUM, SOAP], currency="JPY")
    back = lambda second, id, items=(), **sale: event("refund", second, None, ecommerce=dict(transaction_id=id) | sale, items=items)
    shop = load(tmp_path, [buy(0, "o1", purchase_revenue=6000, tax_value=600), buy(9, "o1", purchase_revenue=6000, tax_value=600), back(100, "o1", [SOAP | dict(quantity="1")]),
                           buy(10, "o2", purchase_revenue=6000), back(101, "o2", refund_value=500), back(102, "o2", refund_value=600), buy(20, "o3", purchase_revenue=100, shipping_value=50), back(103, "o3"),
                           back(104, "old", refund_value=70), buy(30, "(not set)", purchase_revenue=1)])
    found = shop.orders.to_pandas().set_index("order_id")[["status", "revenue", "refund"]].astype(object).where(lambda f: f.notna(), None).T.to_dict("list")
    assert found == dict(o1=["valid", 5600., 1000.], o2=["valid", 4900., 1100.], o3=["cancelled", 0., 150.]) | {f"old/return/{START + 104_000_000}": ["return", -70., 70.]}
    assert shop.counts["orders"]["rejected"] == 1 and len(shop.order_items.to_pandas().query("order_id == 'o1'")) == 2
    assert shop.notes == dict(outside_pages=5)


@pytest.mark.parametrize("number", ["", "(not set)"])
def test_a_purchase_without_an_order_number_is_an_event_and_no_order(tmp_path, number):
    shop = load(tmp_path, [event("purchase", 0, "/thanks", ecommerce=dict(transaction_id=number, purchase_revenue=100), transaction_id=number, currency="JPY")])
    assert shop.counts["events"]["kept"] == 1 and shop.events.to_pandas().event.tolist() == ["purchase"]
    assert (shop.counts["orders"]["kept"], shop.counts["orders"]["rejected"]) == (0, 1)


def test_who_declined_cookies_is_counted_and_left_out(tmp_path):
    declined = event("page_view", 5, user=None, rank=None, visitor=None) | dict(privacy_info=dict(analytics_storage="No"))
    shop = load(tmp_path, [VISIT[0], declined, event("page_view", 6, user=None, rank="Gold"), event("page_view", 7, visitor=None)])
    assert shop.notes == dict(no_consent=1, properties_of_nobody=1) and shop.counts["events"] == dict(read=3, kept=2, duplicate=0, rejected=1)


def test_an_app_has_screens(tmp_path):
    shop = load(tmp_path, [event("screen_view", 0, None, firebase_screen="Top", ga_session_id=5)])
    assert shop.events.to_pandas()[["event", "page", "session_id"]].values.tolist() == [["page_view", "Top", "1.1.5"]]


def test_twice_is_once(tmp_path):
    first = load(tmp_path, VISIT)
    again = cl.import_data("ga4", typed(tmp_path, VISIT), into=tmp_path/"shop")
    assert all(c["kept"] == 0 for t, c in again.counts.items() if t != "events") and len(again.orders.to_pandas()) == 1
    assert load(tmp_path, VISIT).counts["events"] == dict(read=5, kept=0, duplicate=5, rejected=0) and first.counts["events"]["kept"] == 5
    assert "someone@" not in "".join(again.table(t).to_pandas().to_csv() for t in again.tables)


@pytest.mark.parametrize("lines, complaint", [(b"", "empty file"), (b"{}\n", "no GA4 event"), (b"{\n", "no GA4 event"), (b"a,b\n1,2\n", "no GA4 event")])
def test_a_file_that_is_none_is_refused_by_name(tmp_path, lines, complaint):
    with pytest.raises(cl.CrmlabError, match=complaint) as e: load(tmp_path, lines)
    assert "day.jsonl" in str(e.value) and "\n" not in str(e.value)


def test_parquet_that_is_none_is_refused_by_name(tmp_path):
    pd.DataFrame(dict(a=[1])).to_parquet(tmp_path/"a.parquet")
    pd.DataFrame(dict(event_name=["x"], event_timestamp=[1], event_params=["text"])).to_parquet(tmp_path/"b.parquet")
    (tmp_path/"c.parquet").write_bytes(b"PAR1 no")
    for name, complaint in (("a", "no GA4 event"), ("b", "a.parquet|b.parquet"), ("c", "not readable as Parquet")):
        with pytest.raises(cl.CrmlabError, match=complaint) as e: cl.import_data("ga4", tmp_path/f"{name}.parquet", into=tmp_path/"shop")
        assert f"{name}.parquet" in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_wrong_with_an_event_the_counts_add_up(tmp_path, seed):
    rows = [*VISIT, event("refund", 5000, "/", items=[SOAP], ecommerce=dict(transaction_id="o1"))]
    shop = load(tmp_path, json.dumps(VISIT[0]).encode() + b"\n" + broken(rows, seed=seed, n=300))
    assert_adds_up(shop)
    assert shop.counts["events"]["kept"] > 5 and shop.counts["events"]["rejected"] > 10
    props = shop.events.to_pandas().props.dropna()
    assert props.map(json.loads).map(type).eq(dict).all()


def test_of_two_values_at_one_moment_the_last_told_counts_in_every_import(tmp_path):
    told = [event("page_view", i, user=f"u{u}", rank=rank, since=START) for u in range(150) for i, rank in enumerate(["A", "B", "A"])]
    told += [event("page_view", 9, user=f"u{u}", rank=rank, since=START + 5_000_000) for u in range(150) for rank in ("A", "C", "B")]
    rows = []
    for i in range(6):
        shop = cl.import_data("ga4", write(tmp_path, told), into=tmp_path/f"shop{i}")
        ranks = shop.attributes.to_pandas().query("attribute == 'rank'").sort_values(["user_id", "valid_from"])
        rows.append(ranks[["user_id", "value", "valid_from"]].astype(str).values.tolist())
    assert all(r == rows[0] for r in rows) and [r[1] for r in rows[0]] == ["A", "B"]*150
    assert cl.import_data("ga4", tmp_path/"day.jsonl", into=tmp_path/"shop0").counts["attributes"]["kept"] == 0
