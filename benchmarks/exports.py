"""Exports of other tools, made from the benchmark's shop with the fields that those tools write, one file per format.

`python exports.py FORMAT SHOP ROWS FILE` writes one. Only what the tool records goes into its file: Segment and GA4 know no
pointer. Values are the shop's; identifiers, addresses and browser names have the length of real ones.
"""
from __future__ import annotations

import sys
from pathlib import Path

import floor

AGENT = "'Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1'"
URL = "'https://shop.example' || page || '?utm_source=' || coalesce(source, '') || '&utm_medium=' || coalesce(medium, '')"
ISO = "strftime(ts, '%Y-%m-%dT%H:%M:%S.%gZ')"
BOUGHT = "CASE WHEN event = 'purchase' THEN 'order-' || event_id END"
SQL = dict(
    segment=f"""SELECT CASE WHEN event = 'page_view' THEN 'page' ELSE 'track' END AS type, event_id AS messageId, visitor_id AS anonymousId, user_id AS userId, {ISO} AS timestamp, {ISO} AS originalTimestamp,
        {ISO} AS sentAt, {ISO} AS receivedAt, CASE event WHEN 'page_view' THEN NULL WHEN 'view_item' THEN 'Product Viewed' WHEN 'add_to_cart' THEN 'Product Added' WHEN 'begin_checkout' THEN 'Checkout Started'
          WHEN 'purchase' THEN 'Order Completed' ELSE event END AS event, 'client' AS channel, 'k3yOfTheSourceThatSent' AS writeKey,
        {{page: {{url: {URL}, path: page, referrer: referrer, title: 'Shop', search: ''}}, userAgent: {AGENT}, locale: 'ja-JP', ip: '203.0.113.7', library: {{name: 'analytics.js', version: '4.1.0'}},
          campaign: {{source: source, medium: medium, name: campaign}}}} AS context,
        {{url: {URL}, path: page, product_id: item_id, category: category, value: value, currency: currency, order_id: {BOUGHT}, total: CASE WHEN event = 'purchase' THEN value END}} AS properties FROM rows""",
    ga4=f"""SELECT strftime(ts, '%Y%m%d') AS event_date, CAST(epoch_us(ts) AS VARCHAR) AS event_timestamp, event AS event_name, user_id, visitor_id AS user_pseudo_id, CAST(row_number() OVER () AS VARCHAR) AS event_bundle_sequence_id,
        [{{key: 'page_location', value: {{string_value: {URL}, int_value: NULL}}}}, {{key: 'page_referrer', value: {{string_value: referrer, int_value: NULL}}}},
         {{key: 'ga_session_id', value: {{string_value: NULL, int_value: CAST(hash(session_id)//4000000000 AS VARCHAR)}}}}, {{key: 'ga_session_number', value: {{string_value: NULL, int_value: '3'}}}},
         {{key: 'page_title', value: {{string_value: 'Shop', int_value: NULL}}}}, {{key: 'engagement_time_msec', value: {{string_value: NULL, int_value: '1200'}}}},
         {{key: 'source', value: {{string_value: source, int_value: NULL}}}}, {{key: 'medium', value: {{string_value: medium, int_value: NULL}}}}] AS event_params,
        [] AS user_properties, {{category: device, operating_system: 'iOS', language: 'ja-jp', browser: 'Safari'}} AS device, {{country: 'Japan', region: 'Tokyo'}} AS geo,
        {{analytics_storage: 'Yes'}} AS privacy_info, {{manual_source: source, manual_medium: medium, manual_campaign_name: campaign}} AS collected_traffic_source,
        {{transaction_id: {BOUGHT}, purchase_revenue: CASE WHEN event = 'purchase' THEN value END}} AS ecommerce, [] AS items FROM rows""",
    posthog=f"""SELECT event_id AS uuid, CASE event WHEN 'page_view' THEN '$pageview' WHEN 'page_leave' THEN '$pageleave' ELSE event END AS event, coalesce(user_id, visitor_id) AS distinct_id, {ISO} AS timestamp,
        {{"$current_url": {URL}, "$pathname": page, "$host": 'shop.example', "$session_id": session_id, "$device_id": visitor_id, "$pageview_id": pageview_id, "$window_id": session_id, "$lib": 'web', "$lib_version": '1.260.0',
          "$viewport_width": viewport_w, "$viewport_height": viewport_h, "$screen_width": viewport_w, "$screen_height": viewport_h, "$device_type": device, "$browser": 'Safari', "$os": 'iOS', "$raw_user_agent": {AGENT},
          "$referrer": referrer, "$is_identified": user_id IS NOT NULL, "$user_id": user_id, product_id: item_id, category: category, value: value, currency: currency}} AS properties,
        {{plan: 'free'}} AS person_properties, '' AS elements_chain FROM rows""",
    parquet="SELECT * FROM rows")
ORDERS = """SELECT i//2 AS o, i % 2 AS line, 'user' || hash(i//2) % 200000 AS person, TIMESTAMP '2026-01-01' + to_seconds(CAST(hash(i//2) % 15000000 AS INT)) AS placed,
    100*(5 + hash(i) % 90) AS price, 1 + hash(i, 3) % 3 AS quantity, 100*(5 + hash(2*(i//2)) % 90)*(1 + hash(2*(i//2), 3) % 3) + 100*(5 + hash(2*(i//2) + 1) % 90)*(1 + hash(2*(i//2) + 1, 3) % 3) AS goods FROM range({rows}) AS r(i)"""
first = "CASE WHEN line = 0 THEN {} END".format
CARTS = dict(
    shopify=f"""SELECT '#' || (1000 + o) AS "Name", {first("person || '@mail.example'")} AS "Email", {first("'paid'")} AS "Financial Status", {first("strftime(placed, '%Y-%m-%d %H:%M:%S +0900')")} AS "Paid at",
        {first("'fulfilled'")} AS "Fulfillment Status", {first("'JPY'")} AS "Currency", {first('goods')} AS "Subtotal", {first(500)} AS "Shipping", {first('goods//11')} AS "Taxes", {first('goods + 500')} AS "Total",
        {first("''")} AS "Discount Code", {first('0.00')} AS "Discount Amount", {first("'Standard'")} AS "Shipping Method", strftime(placed, '%Y-%m-%d %H:%M:%S +0900') AS "Created at", quantity AS "Lineitem quantity",
        'Article ' || price AS "Lineitem name", price AS "Lineitem price", 'SKU-' || price AS "Lineitem sku", 'true' AS "Lineitem taxable", {first("'Tokyo'")} AS "Billing City", {first(0)} AS "Refunded Amount",
        'Vendor' AS "Vendor", {first('o')} AS "Id", {first("'Low'")} AS "Risk Level", {first("'web'")} AS "Source" FROM orders ORDER BY o, line""",
    eccube="""SELECT o AS "注文ID", 'EC' || o AS "注文番号", hash(o) % 200000 AS "会員ID", '山田' AS "お名前(姓)", '花子' AS "お名前(名)", 'ヤマダ' AS "お名前(セイ)", 'ハナコ' AS "お名前(メイ)", '東京都' AS "都道府県(名称)",
        '千代田区千代田' AS "住所1", person || '@mail.example' AS "メールアドレス", '03' || 10000000 + hash(o) % 90000000 AS "TEL", 5 AS "対応状況(ID)", '発送済み' AS "対応状況(名称)", strftime(placed, '%Y-%m-%d %H:%M:%S') AS "受注日",
        goods AS "小計", 0 AS "値引き", 500 AS "送料", 0 AS "手数料", goods//11 AS "税金", goods + 500 AS "支払い合計", 1 AS "明細区分(ID)", '商品' AS "明細区分(名称)", price AS "商品ID", 'SKU-' || price AS "商品コード",
        '有機ほうじ茶 ' || price AS "商品名", price AS "価格", quantity AS "個数", 0 AS "税率", strftime(placed + INTERVAL 2 DAY, '%Y-%m-%d %H:%M:%S') AS "発送日" FROM orders ORDER BY o, line""",
    csv="""SELECT 'A' || (2*o + line) AS "注文番号", strftime(placed, '%Y/%m/%d %H:%M:%S') AS "注文日時", 'M' || hash(o) % 200000 AS "会員番号", '¥' || price*quantity AS "商品合計", 0 AS "値引き", '有効' AS "状態" FROM orders""")
MAP = dict(table="orders", columns=dict(order_id="注文番号", ts="注文日時", user_id="会員番号", revenue="商品合計", discount="値引き", status={"column": "状態", "values": {"有効": "valid"}}))
ENDINGS = dict(segment="json", ga4="json", posthog="json", parquet="parquet", shopify="csv", eccube="csv", csv="csv")
ENCODINGS = dict(eccube="cp932")   # others are UTF-8
FORMATS = tuple(ENDINGS)


def write(kind: str, shop: Path, rows: int, file: Path) -> None:
    "Write one export of that many lines, as a whole or not at all."
    con = floor.connect()
    if kind in CARTS: con.execute(f"CREATE VIEW orders AS {ORDERS.format(rows=rows)}")
    else: con.execute(f"CREATE VIEW rows AS SELECT * FROM read_parquet({floor.files_of(shop, 'events')}) LIMIT {rows}")
    half, how = file.with_suffix(".part"), dict(json="FORMAT json", parquet="FORMAT parquet", csv="FORMAT csv, HEADER")[ENDINGS[kind]]
    written = con.execute(f"COPY ({(SQL | CARTS)[kind]}) TO '{half}' ({how})").fetchall()[0][0]
    if written != rows: raise SystemExit(f"{kind}: {written:,} of {rows:,} lines; the shop is too small")
    if kind in ENCODINGS: recode(half, ENCODINGS[kind])
    half.rename(file)


def recode(file: Path, encoding: str) -> None:
    "Rewrite a UTF-8 file in another encoding, piece by piece."
    whole = file.with_suffix(".recoded")
    with open(file, encoding="utf-8", newline="") as source, open(whole, "w", encoding=encoding, newline="") as target:
        while piece := source.read(1 << 20): target.write(piece)
    whole.replace(file)


if __name__ == "__main__": write(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
