"Exports of carts and any CSV by a column map: made files in the real layouts, real order data, broken rows."
from __future__ import annotations

import csv
import io
import json
import random

import carts
import pandas as pd
import pytest

import crmlab as cl
from crmlab.sources.cells import read_map
from crmlab.sources.commerce import purchase_check, read_eccube, read_futureshop, read_makeshop, read_ptengine, read_shopify
from crmlab.sources.maps import read_csv_map
from crmlab.tables.commit import commit
from crmlab.tables.shop import ShopSettings, open_shop

SHOP = ShopSettings(name="test")


def put(folder, content, name="orders.csv"):
    path = folder/name
    path.write_bytes(content)
    return path


def kept(folder, reading):
    "The shop that a reading gives, and its counts by table."
    counts = {c["table"]: c for c in commit(folder, reading.tables, kind="test", refused=reading.refused)}
    shop = open_shop(folder)
    for table, c in counts.items():
        assert c["read"] == c["kept"] + c["duplicate"] + c["rejected"] and c["kept"] == (len(getattr(shop, table).to_pandas()) if table in shop.tables else 0), c
    return shop, counts


def orders_of(shop): return shop.orders.to_pandas().set_index("order_id")


def local(shop): return orders_of(shop).ts_local.astype(str)


# --- the four carts: every order equals what it was made from

def test_shopify_orders_come_out_by_the_money_rule(tmp_path):
    lines, truth = carts.shopify()
    shop, counts = kept(tmp_path/"s", read_shopify([put(tmp_path, carts.written(carts.SHOPIFY, lines, "utf-8"))], shop=SHOP))
    orders = orders_of(shop)
    assert {k: (o.status, o.revenue, o.gross) for k, o in orders.iterrows()} == {k: t[:3] for k, t in truth.items()}
    assert counts["order_items"]["kept"] == sum(t[3] for t in truth.values()) == len(lines)   # the same article twice is two lines
    assert local(shop)["#1001"] == "2026-01-01 00:00:00" and str(orders.ts["#1001"]) == "2025-12-31 15:00:00+00:00"
    assert set(orders.channel.dropna()) == {"web", "store"} and set(orders.currency) == {"JPY", "USD"}
    assert orders.shipping.sum() == sum(float(line.get("Shipping") or 0) for line in lines)


def test_shopify_taxes_can_be_said(tmp_path):
    lines, truth = carts.shopify(20)
    file = put(tmp_path, carts.written(carts.SHOPIFY, lines, "utf-8"))
    on_top = [f"#{1001 + i}" for i in (9, 19) if truth[f"#{1001 + i}"][0] == "valid"]
    included = orders_of(kept(tmp_path/"a", read_shopify([file], shop=SHOP, taxes="included"))[0])
    excluded = orders_of(kept(tmp_path/"b", read_shopify([file], shop=SHOP, taxes="excluded"))[0])
    assert all(included.revenue[o] < truth[o][1] == excluded.revenue[o] for o in on_top) and on_top
    with pytest.raises(cl.CrmlabError, match="taxes='maybe' is not one of auto, included, excluded"): read_shopify([file], shop=SHOP, taxes="maybe")


def test_an_old_shopify_export_lacks_the_last_columns(tmp_path):
    lines, truth = carts.shopify(60)
    old = carts.SHOPIFY[:carts.SHOPIFY.index("Refunded Amount")]
    orders = orders_of(kept(tmp_path/"s", read_shopify([put(tmp_path, carts.written(old, lines, "utf-8"))], shop=SHOP))[0])
    assert len(orders) == 60 and orders.refund.isna().all() and (orders.revenue >= [truth[o][1] for o in orders.index]).all()


def test_eccube_orders_come_out_by_the_money_rule(tmp_path):
    lines, truth = carts.eccube()
    shop, counts = kept(tmp_path/"s", read_eccube([put(tmp_path, carts.written(carts.ECCUBE, lines))], shop=SHOP))
    orders = orders_of(shop)
    assert {k: (o.status, o.revenue, o.points_used, o.fee) for k, o in orders.fillna(dict(points_used=0, fee=0)).iterrows()} == {k: t[:4] for k, t in truth.items()}
    assert counts["order_items"]["kept"] == sum(t[4] for t in truth.values())
    assert set(orders.shipping) == {0, 500}   # the order's, not the parcel's 999 in the second column of that name
    items = shop.order_items.to_pandas()
    goods = (items.price*items.quantity).groupby(items.order_id).sum()
    assert (goods == orders.gross[goods.index]).all()   # article prices with tax add up to the order's goods
    assert orders.shipped_at.notna().sum() == sum("2026-12-30 09:00:00" in line for line in {line[1]: line for line in lines if line[46] == 1}.values())


def test_eccube_members_agree_with_the_cart_or_are_named(tmp_path):
    lines, truth = carts.eccube()
    member = {line[1]: line[2] for line in lines}
    counts = pd.Series([member[o] for o, t in truth.items() if t[0] == "valid" and member[o]]).value_counts().to_dict()
    header, members = carts.eccube_members(counts)
    files = [put(tmp_path, carts.written(carts.ECCUBE, lines)), put(tmp_path, carts.written(header, members), "members.csv")]
    shop = cl.import_data("eccube", files, into=tmp_path/"s")
    assert purchase_check(shop).empty
    members[0]["購入回数"] += 1
    wrong = cl.import_data("eccube", [files[0], put(tmp_path, carts.written(header, members), "wrong.csv")], into=tmp_path/"t")
    assert purchase_check(wrong).values.tolist() == [[members[0]["会員ID"], str(members[0]["購入回数"]), members[0]["購入回数"] - 1]]


def test_no_name_address_or_birthday_reaches_the_shop(tmp_path):
    lines, truth = carts.eccube()
    header, members = carts.eccube_members({"1": 1})
    shop = cl.import_data("eccube", [put(tmp_path, carts.written(carts.ECCUBE, lines)), put(tmp_path, carts.written(header, members), "members.csv")], into=tmp_path/"s")
    cl.import_data("shopify", put(tmp_path, carts.written(carts.SHOPIFY, carts.shopify()[0], "utf-8"), "shopify.csv"), into=tmp_path/"s")
    shop = cl.open_shop(tmp_path/"s")
    everything = " ".join(shop.table(t).to_pandas().astype(str).to_csv() for t in shop.tables) + (tmp_path/"s/manifest.json").read_text(encoding="utf-8")
    for private in ("山田", "髙橋", "千代田", "1990-01-01", "example.jp", "Example.jp", "090-1111", "03-0000"): assert private not in everything
    users = shop.orders.to_pandas().user_id
    assert users.notna().all() and users.str.startswith(("email:", "phone:")).any() and shop.identities.to_pandas().kind.isin(["email_hash", "phone_hash", "member"]).all()


def test_futureshop_orders_with_all_columns_and_with_few(tmp_path):
    lines, truth = carts.futureshop()
    shop, counts = kept(tmp_path/"s", read_futureshop([put(tmp_path, carts.written(carts.FUTURESHOP, lines))], shop=SHOP))
    orders = orders_of(shop)
    assert {k: (o.status, o.revenue) for k, o in orders.iterrows()} == {k: t[:2] for k, t in truth.items()}
    assert counts["order_items"]["kept"] == len(lines)
    few = [h for h in carts.FUTURESHOP if h not in ("請求合計金額", "送料", "決済手数料", "クール便手数料", "包装手数料", "販売単価", "会員番号")]
    reading = read_futureshop([put(tmp_path, carts.written(few, lines), "few.csv")], shop=SHOP)
    shop, _ = kept(tmp_path/"t", reading)
    assert {k: (o.status, o.revenue) for k, o in orders_of(shop).iterrows()} == {k: (t[0], t[2]) for k, t in truth.items()} and list(reading.tables) == ["orders"] and not reading.notes


def test_makeshop_times_that_lost_their_zeros(tmp_path):
    lines, truth = carts.makeshop()
    file = put(tmp_path, carts.written(carts.MAKESHOP, lines))
    shop, counts = kept(tmp_path/"s", read_makeshop([file], shop=SHOP, columns=carts.MAKESHOP_COLUMNS))
    orders, at = orders_of(shop), local(shop)
    assert {k: (o.status, o.revenue, at[k]) for k, o in orders.iterrows()} == truth
    assert set(orders.points_used) == {0} and set(orders.shipping) == {500} and counts["order_items"]["kept"] == len(lines)
    with pytest.raises(cl.CrmlabError, match="makeshop: the template's money columns"): read_makeshop([file], shop=SHOP)


def test_provisional_orders_that_vanished_can_be_taken_back(tmp_path):
    lines, _ = carts.makeshop(10)
    for n, part in enumerate((lines, lines[:4] + lines[5:])):   # the fifth was never paid
        reading = read_makeshop([put(tmp_path, carts.written(carts.MAKESHOP, part), f"{n}.csv")], shop=SHOP, columns=carts.MAKESHOP_COLUMNS)
        commit(tmp_path/"s", dict(orders=reading.tables["orders"]), kind="makeshop", retract="period")
    assert len(orders_of(open_shop(tmp_path/"s"))) == 9


def test_a_status_of_the_shops_own(tmp_path):
    lines, _ = carts.makeshop(3)
    lines[0]["処理状況"], lines[1]["処理状況"], lines[2]["処理状況"] = "取り置き", "配送", "未処理"
    file = put(tmp_path, carts.written(carts.MAKESHOP, lines))
    shop, counts = kept(tmp_path/"s", read_makeshop([file], shop=SHOP, columns=carts.MAKESHOP_COLUMNS))
    assert counts["orders"]["rejected"] == 1
    told = [json.loads(line) for f in (tmp_path/"s/_rejected").iterdir() for line in f.read_text(encoding="utf-8").splitlines()]
    assert told[0]["line"] == 2 and "status" in told[0]["reason"] and "取り置き" in told[0]["row"]
    shop, _ = kept(tmp_path/"t", read_makeshop([file], shop=SHOP, columns=carts.MAKESHOP_COLUMNS, status={"取り置き": "pending", "未処理": "pending"}))
    assert sorted(orders_of(shop).status) == ["pending", "pending", "valid"]


READERS = dict(shopify=lambda f, e: read_shopify(f, shop=SHOP, encoding=e), eccube=lambda f, e: read_eccube(f, shop=SHOP, encoding=e), futureshop=lambda f, e: read_futureshop(f, shop=SHOP, encoding=e),
               makeshop=lambda f, e: read_makeshop(f, shop=SHOP, encoding=e, columns=carts.MAKESHOP_COLUMNS))
FILES = dict(shopify=(carts.SHOPIFY, carts.shopify), eccube=(carts.ECCUBE, carts.eccube), futureshop=(carts.FUTURESHOP, carts.futureshop), makeshop=(carts.MAKESHOP, carts.makeshop))


@pytest.mark.parametrize("kind", READERS)
def test_one_table_in_each_encoding_and_none_in_a_wrong_one(tmp_path, kind):
    header, make = FILES[kind]
    lines, tables = make(40)[0], {}
    for written in ("cp932", "utf-8", "utf-8-sig"):
        file = put(tmp_path, carts.written(header, lines, written), f"{written}.csv")
        reading = READERS[kind]([file], written.removesuffix("-sig"))
        tables[written] = {t: r.df().drop(columns="_file").sort_values(["order_id", "_line"]).reset_index(drop=True) for t, r in reading.tables.items()}
    for t, first in tables["cp932"].items():
        for other in ("utf-8", "utf-8-sig"): pd.testing.assert_frame_equal(first, tables[other][t])
    with pytest.raises(cl.CrmlabError, match="cp932.csv.*not utf-8"): READERS[kind]([tmp_path/"cp932.csv"], "utf-8")
    with pytest.raises(cl.CrmlabError, match="utf-8.csv.*declared cp932, but it is utf-8"): READERS[kind]([tmp_path/"utf-8.csv"], "cp932")


# --- broken rows

NASTY = ["", " ", "nan", "inf", "-inf", "1e400", "1e308", "-1e308", "9"*400, "0001-01-01", "9999-12-31 23:59:59", "99999-01-01", "0000-00-00 00:00:00", "2026-02-30", "昨日", "１２３４", "▲500", "¥", "-", "''", '"', "x\ny", "\t", "a" * 100_000,
         "'; DROP TABLE orders; --", "#REF!", "=1+1", "\\", "\u200b", "😀", "true", "1,2,3"]


def fuzzed(header, lines, seed):
    "Lines with some cells replaced, some cut short, some too long, and two that are no CSV."
    draw, rows = random.Random(seed), []
    for line in lines:
        cells = line[:] if isinstance(line, list) else [line.get(h, "") for h in header]
        for _ in range(draw.choice([0, 0, 1, 2, 5])): cells[draw.randrange(len(cells))] = draw.choice(NASTY)
        if draw.random() < .03: cells = cells[:draw.randrange(1, len(cells))]
        if draw.random() < .03: cells = cells + ["more"]*draw.randint(1, 3)
        rows.append(cells)
    out = io.StringIO()
    csv.writer(out).writerows([header, *rows])
    return out.getvalue().encode("utf-8") + b"\r\n\r\nonly one cell\r\n\"never closed,1,2"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", READERS)
def test_broken_cells_cost_their_row_and_nothing_else(tmp_path, kind, seed):
    header, make = FILES[kind]
    file = put(tmp_path, fuzzed(header, make(60, seed=seed)[0], seed))
    shop, counts = kept(tmp_path/"s", READERS[kind]([file], "utf-8"))
    assert counts["orders"]["kept"] > 20 and counts["order_items"]["rejected"] > 0
    for o in shop.orders.to_pandas().itertuples(): assert o.status in ("pending", "valid", "cancelled", "return") and abs(o.revenue) < float("inf") and o.ts.year in range(1970, 2101)


def test_ten_megabytes_in_a_cell_and_bytes_that_are_no_text(tmp_path):
    lines, _ = carts.makeshop(5)
    lines[2]["商品名"] = "長"*3_500_000
    shop, counts = kept(tmp_path/"s", read_makeshop([put(tmp_path, carts.written(carts.MAKESHOP, lines, "utf-8"))], shop=SHOP, columns=carts.MAKESHOP_COLUMNS, encoding="utf-8"))
    assert counts["orders"]["kept"] == 5
    broken = carts.written(carts.MAKESHOP, lines[:2], "utf-8").replace("未処理".encode(), b"x").replace("配送".encode(), b"\xed\xa0\x80")   # half a character
    with pytest.raises(cl.CrmlabError, match="bad.csv near byte .*not utf-8"): read_makeshop([put(tmp_path, broken + b"\xed\xa0\x80", "bad.csv")], shop=SHOP, columns=carts.MAKESHOP_COLUMNS, encoding="utf-8")


# --- column maps

@pytest.mark.parametrize("content, complaint", [
    ("orders", "it holds no mapping"), ("columns: [a, b]", "columns of table orders is not a mapping"), ("colums: {order_id: a}", "has no column 'colums'"), ("table: oders\ncolumns: {order_id: a}", "'oders' is not a table of the schema; did you mean orders"),
    ("columns: {order_id: {colum: a}}", "'colum' means nothing in a column map; did you mean column"), ("columns: {order_id: {column: a, digits: x}}", "digits = 'x' is no number"), ("columns: {order_id: {with: a}}", "says nothing about where its value comes from"),
    ("columns: {order_id: {column: a, values: [x]}}", "values is not a mapping"), ("columns: {order_id: {first: [[a]]}}", "is no cell"), ("columns: {order_id: {first: [{column: [a, b]}]}}", "alternatives stand at the top"), ("columns: {order_id: a}\ntimezone: Tokio", "timezone = 'Tokio' is not"),
    ("columns: {order_id: a}\ndelimiter: '##'", "is not a comma"), ("columns: {order_id: 'a", "not a readable column map"), ("one_row_per: oder\ncolumns: {order_id: a, ts: b, status: c, revenue: d}", "one_row_per is 'oder', which is no column of this map"),
    ("columns: {order_id: {column: a, patterns: {'(': x}}}", "pattern '\\(' of order_id is not understood"), ("tables: [orders]", "tables is not a mapping"), ("columns: {order_id: {column: a, lines: sum}, ts: b, status: c, revenue: d}", "say one_row_per"),
    ("one_row_per: order\ncolumns: {order_id: a, ts: {column: b, lines: middle}, status: c, revenue: d}", "use sum, first or last"), ("columns: {order_id: a, ts: {column: b, format: '%Q'}, status: c, revenue: d}", "format of ts is not understood")])
def test_a_wrong_map_says_what_is_wrong(tmp_path, content, complaint):
    (tmp_path/"map.yaml").write_text(content, encoding="utf-8")
    file = put(tmp_path, b"a,b,c,d\n1,2026-01-01,valid,5\n")
    with pytest.raises(cl.CrmlabError, match=complaint) as e: kept(tmp_path/"s", read_csv_map([file], shop=SHOP, table="orders", columns=tmp_path/"map.yaml"))
    assert "\n" not in str(e.value) and not (tmp_path/"s").exists()


@pytest.mark.parametrize("options, complaint", [
    (dict(columns=["a"]), "is no column map"), (dict(columns=5), "is no column map"), (dict(columns=dict(status=dict(constant="done"))), "'done' is no status; known: pending, valid, cancelled, return"),
    (dict(columns=dict(status=dict(column="c", values={"x": "canceled"}))), "'canceled' is no status; did you mean cancelled"), (dict(columns=dict(status=dict(first=["c", dict(constant="done")]))), "'done' is no status")])
def test_a_map_that_is_none_or_writes_words_the_schema_lacks_is_refused(tmp_path, options, complaint):
    file = put(tmp_path, b"a,b,c,d\n1,2026-01-01,valid,5\n")
    with pytest.raises(cl.CrmlabError, match=complaint): cl.import_data("csv", file, into=tmp_path/"s", table="orders", **options)


@pytest.mark.parametrize("kind", ["shopify", "eccube", "futureshop", "makeshop"])
@pytest.mark.parametrize("options, complaint", [(dict(columns=["a"]), "is no mapping"), (dict(columns=5), "is no mapping"), (dict(status="valid"), "is no mapping"), (dict(status={"済": "done"}), "'done' is no status")])
def test_what_a_shop_adds_to_a_cart_is_checked_too(tmp_path, kind, options, complaint):
    with pytest.raises(cl.CrmlabError, match=complaint): cl.import_data(kind, put(tmp_path, b"a,b\n1,2\n"), into=tmp_path/"s", **options)


def test_every_map_that_ships_is_read():
    for name in ("shopify", "eccube", "eccube_members", "futureshop", "makeshop"): assert read_map(name).tables
    with pytest.raises(cl.CrmlabError, match="has no column 'segment'"): read_map("ptengine", table="events")


def test_tables_of_every_kind_by_a_map(tmp_path):
    sent = put(tmp_path, "配信ID,会員番号,配信日時,媒体,件名,開封\nc1,m1,2026年2月1日 9:00,メール,春の便り,○\nc1,m2,2026/2/1 9:00,LINE,春の便り,\n".encode("cp932"), "sent.csv")
    columns = dict(message_id=dict(join=["配信ID", "会員番号"], **{"with": "-"}), user_id="会員番号", campaign="配信ID", sent_at="配信日時", subject="件名", channel=dict(column="媒体", values={"メール": "email", "LINE": "line"}),
                   delivered=dict(constant="true"), props=dict(column="開封", values={"○": '{"opened": true}'}))
    shop, counts = kept(tmp_path/"s", read_csv_map([sent], shop=SHOP, table="messages", columns=columns, encoding="cp932"))
    assert shop.messages.to_pandas()[["message_id", "channel", "delivered"]].values.tolist() == [["c1-m1", "email", True], ["c1-m2", "line", True]]
    assert shop.messages.to_pandas().sent_at.astype(str).tolist() == ["2026-02-01 00:00:00+00:00"]*2
    voices = put(tmp_path, "会員番号,日付,点数,感想\nm1,2026-02-01T10:00:00Z,５,良い\n".encode(), "voices.csv")
    reading = read_csv_map([voices], shop=SHOP, table="feedback", columns=dict(user_id="会員番号", ts="日付", score="点数", text="感想", kind=dict(constant="survey")))
    assert kept(tmp_path/"t", reading)[0].feedback.to_pandas()[["score", "text"]].values.tolist() == [[5., "良い"]]
    till = put(tmp_path, "レシート番号;日時;税込合計;店舗\n7;2026-02-01 10:00:00;１，０８０円;渋谷\n".encode(), "till.csv")
    reading = read_csv_map([till], shop=SHOP, table="orders", columns=dict(order_id="レシート番号", ts="日時", revenue="税込合計", status=dict(constant="valid"), channel=dict(constant="store")))
    order = kept(tmp_path/"u", reading)[0].orders.to_pandas().iloc[0]
    assert (order.revenue, order.channel, order.currency, json.loads(order.props)) == (1080, "store", "JPY", {"店舗": "渋谷"})


def test_a_map_of_a_header_in_the_schemas_own_names_is_no_map(tmp_path):
    file = put(tmp_path, b"order_id,ts,status,revenue,currency,_email,note\n1,2026-02-01 00:30:00,valid,\"1,200\",JPY,a@example.jp,x\n")
    reading = read_csv_map([file], shop=SHOP, table="orders")
    assert reading.tables["orders"].df()[["revenue", "_email", "note"]].astype(str).values.tolist() == [["1200.0", "a@example.jp", "x"]]


def test_values_of_an_order_come_from_its_first_line_even_when_lines_are_apart(tmp_path):
    file = put(tmp_path, b"no,when,total,item,qty,price\nA,2026-02-01,100,x,1,60\nB,2026-02-02,50,y,1,50\nA,2026-02-03,999,z,1,40\n,2026-02-03,1,q,1,1\n,2026-02-04,1,q,1,1\n")
    tables = dict(orders=dict(one_row_per="order", columns=dict(order_id="no", ts="when", revenue="total", status=dict(constant="valid"))), order_items=dict(columns=dict(order_id="no", item_id="item", quantity="qty", price="price")))
    shop, counts = kept(tmp_path/"s", read_csv_map([file], shop=SHOP, columns=dict(tables=tables)))
    assert orders_of(shop).revenue.to_dict() == {"A": 100, "B": 50} and counts["orders"]["rejected"] == 2   # lines without a number are rejected one by one
    assert shop.order_items.to_pandas().query("order_id == 'A'").line.tolist() == [1, 2]


def test_events_members_without_a_number_and_lines_that_do_not_count(tmp_path):
    seen = put(tmp_path, "訪問者,日時,種別,URL,UA\nv1,2026-02-01 00:30:00,閲覧,https://shop.example/list/?utm_source=line,Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)\n".encode(), "seen.csv")
    columns = dict(visitor_id="訪問者", ts="日時", event=dict(column="種別", values={"閲覧": "page_view"}), _url="URL", _user_agent="UA")
    shop = cl.import_data("csv", seen, into=tmp_path/"s", table="events", columns=columns)
    assert shop.events.to_pandas()[["event", "page", "source", "device"]].values.tolist() == [["page_view", "/list", "line", "mobile"]]
    ranks = put(tmp_path, "メール\tランク\t日付\nA@example.jp\tRoyal\t2026/1/1\n\tGold\t2026/1/1\nb@example.jp\t\t2026/1/1\n".encode("utf-16"), "ranks.tsv")
    map_of_ranks = dict(table="attributes", columns=dict(_email="メール", valid_from="日付"), attributes=dict(rank="ランク"))
    shop = cl.import_data("csv", ranks, into=tmp_path/"t", columns=map_of_ranks, encoding="utf-16")
    assert shop.counts["attributes"] == dict(read=2, kept=1, duplicate=0, rejected=1) and shop.attributes.to_pandas().user_id.str.startswith("email:").all()   # nobody has Gold; b has no rank
    mixed = put(tmp_path, b"no,kind,when,total\n1,order,2026-02-01,100\n1,memo,2026-02-01,5\n2,memo,2026-02-01,5\n", "mixed.csv")
    orders = dict(table="orders", one_row_per="order", where=dict(kind="order"), columns=dict(order_id="no", ts="when", revenue="total", status=dict(constant="valid")))
    assert orders_of(kept(tmp_path/"u", read_csv_map([mixed], shop=SHOP, columns=orders))[0]).revenue.to_dict() == {"1": 100}
    with pytest.raises(cl.CrmlabError, match="wants 'kinds' for where.*did you mean kind"): read_csv_map([mixed], shop=SHOP, columns=orders | dict(where=dict(kinds="order")))


@pytest.mark.data("online_retail")
def test_online_retail_meets_its_published_figures(data, tmp_path):
    reading = read_csv_map([data/"online_retail/onlineretail.csv.gz"], shop=ShopSettings(timezone="Europe/London", currency="GBP"), columns="online_retail")
    shop, counts = kept(tmp_path/"s", reading)
    orders = orders_of(shop)
    assert len(orders) == counts["orders"]["kept"] == 25_900 and round(orders.revenue.sum(), 2) == 9_747_747.93
    assert counts["order_items"]["kept"] == 541_909 and orders.user_id.nunique() == 4_372 and "17850" in set(orders.user_id)
    assert (orders.status == "return").sum() == orders.index.str.startswith("C").sum() == 3_836


@pytest.mark.data("completejourney")
def test_baskets_of_completejourney_keep_their_sales(data, tmp_path):
    columns = dict(tables=dict(orders=dict(one_row_per="order", columns=dict(order_id="basket_id", user_id="household_id", ts="transaction_timestamp", status=dict(constant="valid"), channel=dict(constant="store"), revenue=dict(plus=["sales_value"], lines="sum"),
                   discount=dict(plus=["retail_disc", "coupon_disc"], lines="sum"))), order_items=dict(columns=dict(order_id="basket_id", item_id="product_id", quantity="quantity", price="sales_value"))))
    shop, counts = kept(tmp_path/"s", read_csv_map([data/"completejourney/transactions_sample.csv.gz"], shop=SHOP, columns=columns))
    raw = pd.read_csv(data/"completejourney/transactions_sample.csv.gz")
    orders = orders_of(shop)
    assert counts["order_items"]["kept"] == len(raw) == 75_000 and len(orders) == raw.basket_id.nunique() == 47_243
    assert orders.revenue.sum() == pytest.approx(raw.sales_value.sum()) and orders.user_id.nunique() == 2_377


# --- aggregated heatmaps stay apart

def test_ptengine_is_a_frame_and_never_events(tmp_path):
    file = put(tmp_path, "要素,クリック数,クリック率,平均滞在時間,謎の列\nカートに入れる,\"1,204\",12.3%,1:05,x\nレビュー,87,-,65.5秒,\n".encode("cp932"), "p.csv")
    frame = read_ptengine(file, encoding="cp932")
    assert frame.element.tolist() == ["カートに入れる", "レビュー"] and frame.clicks.tolist() == [1204, 87] and frame.stay_s.tolist() == [65, 65.5]
    assert frame.click_rate[0] == .123 and pd.isna(frame.click_rate[1]) and frame["謎の列"][0] == "x"
    with pytest.raises(cl.CrmlabError, match="no column for a block, an element or a page"): read_ptengine(put(tmp_path, b"a,b\n1,2\n", "q.csv"))
    with pytest.raises(cl.CrmlabError, match="kind 'ptengine' is unknown"): cl.import_data("ptengine", file, into=tmp_path/"s")


# --- public purchase histories

@pytest.mark.data("cdnow", "online_retail")
def test_public_purchase_histories_are_shops(data, monkeypatch, tmp_path):
    monkeypatch.setenv("CRMLAB_DATA_CACHE", str(data))
    cdnow = cl.datasets.load("cdnow", into=tmp_path/"cdnow")
    orders = cdnow.orders.to_pandas()
    raw = pd.read_csv(data/"cdnow/CDNOW_master.txt", sep=r"\s+", dtype={"customer_id": str})
    assert len(orders) == len(raw) == 69_659 and orders.user_id.nunique() == raw.customer_id.nunique() == 23_570 and orders.revenue.sum() == pytest.approx(raw.dollar_value.sum())
    assert orders.ts_local.dt.strftime("%Y%m%d").value_counts().to_dict() == raw.date.astype(str).value_counts().to_dict()
    again = cl.datasets.load("cdnow", into=tmp_path/"cdnow")
    assert again.fingerprint == cdnow.fingerprint and len(again.manifest["imports"]) == 1
    retail = cl.datasets.load("online_retail")
    assert len(retail.orders) == 25_900 and retail.settings.currency == "GBP"


def test_a_data_set_that_is_not_published_as_it_is_read_says_how_to_make_it(monkeypatch, tmp_path):
    monkeypatch.setenv("CRMLAB_DATA_CACHE", str(tmp_path))
    with pytest.raises(cl.CrmlabError, match="online_retail: not in the cache.*make .*onlineretail.csv.gz from https://"): cl.datasets.load("online_retail")
