"Snowplow from outside: the web package's sample and its expected tables, the four kinds of file, and broken ones."
from __future__ import annotations

import gzip
import json
import random

import pandas as pd
import pytest

import crmlab as cl
from crmlab.sources.snowplow import _ORDER, page_engagement, read_snowplow
from crmlab.tables.commit import commit
from crmlab.tables.shop import ShopSettings, open_shop

SHOP = ShopSettings()
PAGE_VIEW = "contexts_com_snowplowanalytics_snowplow_web_page_1"
EVENT = dict(event="page_view", event_name="page_view", event_id="e1", domain_userid="v1", domain_sessionid="s1", collector_tstamp="2026-10-01 03:00:00.500", derived_tstamp="2026-10-01 03:00:00",
             page_url="https://shop.example/list", useragent="Mozilla/5.0 (iPhone)", br_viewwidth=390, br_viewheight=800, doc_width=390, doc_height=3000)


def landed(reading, folder):
    "The reading in a shop; page and device are made here in the plainest way."
    rows = reading.tables["events"].project("* EXCLUDE (device), COALESCE(device, 'desktop') AS device, '/' AS page")
    return commit(folder, reading.tables | dict(events=rows), kind="snowplow", refused=reading.refused)


def ndjson(path, rows): return path.write_bytes("".join(json.dumps(r) + "\n" for r in rows).encode("utf-8", "surrogatepass")) and path


@pytest.mark.data("snowplow_web")
def test_the_sample_gives_its_expected_page_views_and_sessions(data, tmp_path):
    root = data/"snowplow_web"
    shop = cl.import_data("snowplow", root/"source/snowplow_web_events.csv", into=tmp_path/"s")
    assert shop.counts["events"] == dict(read=157, kept=154, duplicate=3, rejected=0) and shop.notes == {"sent late": 3}   # of 160
    assert shop.events.to_pandas().page.str.startswith("/").all() and set(shop.events.to_pandas().device) == {"desktop", "mobile"}
    got = page_engagement(shop).to_pandas()
    views = pd.read_csv(root/"expected/snowplow_web_page_views_expected.csv").set_index("page_view_id")
    ours = got[got.viewed].set_index("pageview_id").loc[views.index]
    assert len(views) == 43 == got.viewed.sum()
    assert (ours.engaged == views.engaged_time_in_s).all() and (ours.scroll_y == views.vertical_pixels_scrolled).all()
    assert ((100*ours.depth).round() == views.vertical_percentage_scrolled).all()
    assert (pd.to_datetime(ours.start_us, unit="us") == pd.to_datetime(views.start_tstamp)).all()
    sessions = pd.read_csv(root/"expected/default/snowplow_web_sessions_expected.csv").set_index("domain_sessionid").sort_index()
    assert len(sessions) == 18 == got.session_id.nunique()
    assert (got.groupby("session_id").engaged.sum() == sessions.engaged_time_in_s).all() and (got.groupby("session_id").size() == sessions.page_views).all()


@pytest.mark.data("snowplow_web")
def test_the_sample_as_other_files_gives_the_same_events(data, tmp_path):
    table = pd.read_csv(data/"snowplow_web/source/snowplow_web_events.csv", dtype=str)
    table.to_parquet(tmp_path/"a.parquet")
    table.to_csv(tmp_path/"a.tsv", sep="\t", index=False)
    rows = [{k: v for k, v in r.items() if isinstance(v, str)} for r in table.to_dict("records")]
    views = [r.pop(PAGE_VIEW + "_0_0", None) for r in rows]
    ndjson(tmp_path/"a.json", [r | ({PAGE_VIEW: json.loads(v)} if v else {}) for r, v in zip(rows, views, strict=True)])
    (tmp_path/"b.json.gz").write_bytes(gzip.compress((tmp_path/"a.json").read_bytes()))
    of = lambda path: read_snowplow([path], shop=SHOP).tables["events"].project("event_id, ts, event, pageview_id, session_id, scroll_y, _url").df().sort_values(["event_id", "ts"]).reset_index(drop=True)
    first = of(data/"snowplow_web/source/snowplow_web_events.csv")
    assert first.pageview_id.notna().sum() == 91
    for name in ("a.parquet", "a.tsv", "a.json", "b.json.gz"): pd.testing.assert_frame_equal(of(tmp_path/name), first)


def test_several_files_are_one_reading_and_personal_data_is_not_read(tmp_path):
    a = ndjson(tmp_path/"a.json", [EVENT | dict(user_id="m1", user_ipaddress="203.0.113.7", geo_city="Kyoto")])
    b = tmp_path/"b.csv"
    pd.DataFrame([EVENT | dict(event_id="e2", user_id="someone@shop.example")]).to_csv(b, index=False)
    rows = read_snowplow([a, b], shop=SHOP).tables["events"].df()
    assert rows.user_id.tolist()[0] == "m1" and pd.isna(rows.user_id.tolist()[1]) and rows._email.tolist()[1] == "someone@shop.example"
    assert "203.0.113.7" not in rows.to_json() and "Kyoto" not in rows.to_json()


def test_nested_columns_of_a_warehouse(tmp_path):
    nested = EVENT | {PAGE_VIEW + "_0_0": [dict(id="pv1")], "contexts_com_iab_snowplow_spiders_and_robots_1_0_0": [dict(spider_or_robot=False)], "collector_tstamp": pd.Timestamp("2026-10-01 03:00:00.5", tz="UTC"), "derived_tstamp": pd.Timestamp("2026-10-01 03:00:00", tz="UTC")}
    pd.DataFrame([nested, nested | {"event_id": "e2", "contexts_com_iab_snowplow_spiders_and_robots_1_0_0": [dict(spider_or_robot=True)]}]).to_parquet(tmp_path/"a.parquet")
    reading = read_snowplow([tmp_path/"a.parquet"], shop=SHOP)
    assert reading.tables["events"].df()[["event_id", "pageview_id"]].values.tolist() == [["e1", "pv1"]] and reading.notes == {"robots": 1}
    assert landed(reading, tmp_path/"s")[0]["kept"] == 1


def test_lines_of_the_pipeline(tmp_path):
    contexts = json.dumps(dict(schema="iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-0", data=[dict(schema="iglu:com.snowplowanalytics.snowplow/web_page/jsonschema/1-0-0", data=dict(id='p"1'))]))
    click = json.dumps(dict(schema="iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0", data=dict(schema="iglu:com.snowplowanalytics.snowplow/link_click/jsonschema/1-0-1", data=dict(elementId="hero"))))
    line = lambda **row: "\t".join(str((EVENT | dict(contexts=contexts) | row).get(n, "")) for n in _ORDER)
    text = [line(page_title='"quoted" \\ 見出し'), line(event="unstruct", event_name="link_click", event_id="e2", unstruct_event=click), "a\tb", line(event_id="e3") + "\t", line(event_id="e4", contexts="{")]
    (tmp_path/"run.txt.gz").write_bytes(gzip.compress("\n".join(text).encode()))
    reading = read_snowplow([tmp_path/"run.txt.gz"], shop=SHOP)
    rows = reading.tables["events"].df()
    assert rows.event.tolist() == ["page_view", "click", "page_view"] and rows.selector.fillna("").tolist() == ["", "#hero", ""]
    assert rows.pageview_id.fillna("").tolist() == ['p"1', 'p"1', ""] and json.loads(rows.props[0])["page_title"] == '"quoted" \\ 見出し' and rows._line.tolist() == [1, 2, 5]
    assert [(r["line"], r["reason"]) for r in reading.refused] == [(3, "not 131 cells"), (4, "not 131 cells")]


def test_robots_and_late_events_are_left_out_unless_asked_for(tmp_path):
    file = ndjson(tmp_path/"a.json", [EVENT, EVENT | dict(event_id="e2", useragent="Mozilla/5.0 (compatible; bingbot/2.0)"),
                                      EVENT | dict(event_id="e3", contexts_com_iab_snowplow_spiders_and_robots_1=[dict(spiderOrRobot=True)]),
                                      EVENT | dict(event_id="e4", dvce_created_tstamp="2026-09-20 00:00:00", dvce_sent_tstamp="2026-10-01 03:00:00")])
    ids = lambda **options: read_snowplow([file], shop=SHOP, **options).tables["events"].df().event_id.tolist()
    assert ids() == ["e1"] and ids(bots=True) == ["e1", "e2", "e3"] and ids(late=None) == ["e1", "e4"]
    assert read_snowplow([file], shop=SHOP).notes == {"robots": 2, "sent late": 1}
    with pytest.raises(cl.CrmlabError, match="duration 'soon'"): ids(late="soon")


def test_clicks_know_their_element_and_typed_values_are_dropped(tmp_path):
    def own(name, vendor="com.snowplowanalytics.snowplow", **data): return EVENT | {"event": "unstruct", "event_name": name, "event_vendor": vendor, "event_version": "1-0-0", "event_id": name + str(data)} | {f"unstruct_event_{vendor.replace('.', '_')}_{name}_1": data}
    rows = [own("link_click", elementId="hero", targetUrl="https://shop.example/item"), own("link_click", elementClasses=["btn", "wide"]), own("link_click", targetUrl="https://shop.example/"), own("button_click", id="buy", label="買う"),
            own("change_form", elementId="mail", nodeName="INPUT", value="someone@shop.example"), own("submit_form", formId="f", elements=[dict(name="mail", value="someone@shop.example")]),
            own("site_search", terms=["セラム"]), own("ad_impression", vendor="jp.example", slot="top")]
    found = read_snowplow([ndjson(tmp_path/"a.json", rows)], shop=SHOP).tables["events"].df()
    assert found.event.tolist() == ["click"]*4 + ["input", "submit_form", "search", "ad_impression"]
    assert found.selector.fillna("").tolist() == ["#hero", "a.btn", "a", "#buy", "#mail", "", "", ""]
    assert not found.props.str.contains("someone@").any() and json.loads(found.props.iloc[-1]) == dict(slot="top") and json.loads(found.props[0])["targetUrl"] == "https://shop.example/item"


def test_the_commerce_schema_gives_an_order_with_its_lines(tmp_path):
    name = "com_snowplowanalytics_snowplow_ecommerce"
    sale = EVENT | dict(event="unstruct", event_name="snowplow_ecommerce_action", event_vendor="com.snowplowanalytics.snowplow.ecommerce", event_version="1-0-2", event_id="e5", user_id="m1")
    sale |= {f"unstruct_event_{name}_snowplow_ecommerce_action_1": dict(type="transaction"),
             f"contexts_{name}_transaction_1": [dict(transaction_id="o1", currency="JPY", revenue=7100, tax=600, shipping=500)],
             f"contexts_{name}_product_1": [dict(id="serum", name="セラム", category="skin", price=2200, quantity=3)]}
    reading = read_snowplow([ndjson(tmp_path/"a.json", [EVENT, sale])], shop=SHOP)
    assert reading.tables["events"].df().event.tolist() == ["page_view", "purchase"]
    landed(reading, tmp_path/"s")
    shop = open_shop(tmp_path/"s")
    assert shop.orders.to_pandas()[["order_id", "user_id", "revenue", "tax", "shipping"]].values.tolist() == [["o1", "m1", 6600, 600, 500]]
    assert shop.order_items.to_pandas()[["item_id", "quantity", "price"]].values.tolist() == [["serum", 3, 2200]]


def test_a_folder_with_the_loaders_tables_of_entities_is_read(tmp_path):
    (tmp_path/"events.csv").write_text("event_id,event,event_name,collector_tstamp,domain_userid,page_url,dvce_type\ne1,page_view,page_view,2026-10-01 10:00:00,d1,https://s.example/,Computer\n", encoding="utf-8")
    (tmp_path/"com_snowplowanalytics_snowplow_web_page_1.csv").write_text("schema_vendor,schema_name,root_id,root_tstamp,ref_root,ref_parent,id\nv,web_page,e1,2026-10-01 10:00:00,events,events,pv1\n", encoding="utf-8")
    shop = cl.import_data("snowplow", tmp_path, into=tmp_path/"shop")
    assert shop.counts["events"] == dict(read=1, kept=1, duplicate=0, rejected=0) and shop.notes == {"tables of entities": 1}
    with pytest.raises(cl.CrmlabError, match="web_page_1.csv: a table of entities without its events"): cl.import_data("snowplow", next(tmp_path.glob("com_*")), into=tmp_path/"other")


@pytest.mark.parametrize("text, complaint", [("a,b\n1,2\n", "no Snowplow events"), ("", "empty file"), ("\x00\x01\n\x02", "no Snowplow events|not readable|column names")])
def test_a_file_of_something_else_names_itself(tmp_path, text, complaint):
    (tmp_path/"x.csv").write_text(text, encoding="utf-8")
    with pytest.raises(cl.CrmlabError, match=complaint) as e: read_snowplow([tmp_path/"x.csv"], shop=SHOP)
    assert "x.csv" in str(e.value) and "\n" not in str(e.value)


WILD = [None, "", "x"*200, 10**30, -1, 1.5, True, [], {}, {"id": {"id": 1}}, [[]], "0001-01-01 00:00:00", "9999-12-31 23:59:59", "NaN", "1e400", "\ud800", "'; DROP TABLE x; --", "<script>", "2026-02-30 00:00:00"]


def test_wild_rows_are_kept_or_rejected_and_never_a_traceback(tmp_path):
    pick, rows = random.Random(3), []
    fields = [*EVENT, PAGE_VIEW, "contexts", "unstruct_event", "pp_yoffset_max", "se_action", "tr_total", "tr_orderid", "dvce_sent_tstamp", "user_id", "event_version", "event_vendor"]
    for n in range(600):
        row = EVENT | dict(event_id=f"e{n}", event=pick.choice(["page_view", "page_ping", "struct", "unstruct", "transaction", "transaction_item"]))
        rows.append(row | {k: pick.choice(WILD) for k in pick.sample(fields, 2)})
    lines = [json.dumps(r) for r in rows] + ["{", "[1]", "7", '"text"', "null", json.dumps(EVENT | dict(event_id="big", page_title="あ"*3_500_000))]
    (tmp_path/"wild.json").write_text("\n".join(lines) + "\n", encoding="utf-8")
    reading = read_snowplow([tmp_path/"wild.json"], shop=SHOP)
    counts = landed(reading, tmp_path/"s")
    for c in counts: assert c["read"] == c["kept"] + c["duplicate"] + c["rejected"]
    items = next((c["read"] for c in counts if c["table"] == "order_items"), 0)
    assert counts[0]["read"] + sum(reading.notes.values()) + items == len(lines)   # a transaction's line is a line of its order
    assert {r["line"] for r in reading.refused} >= {len(rows) + k for k in range(1, 6)}


def test_wild_cells_of_tables_too(tmp_path):
    pick = random.Random(4)
    as_text = [w if isinstance(w, str) else json.dumps(w) for w in WILD if w != "\ud800"] + ['{"a":"\\ud800"}', "{", '[{"id":1', "\u3000"]
    rows = [EVENT | dict(event_id=f"e{n}") | {k: pick.choice(as_text) for k in pick.sample([*EVENT, PAGE_VIEW, "user_id", "unstruct_event"], 3)} for n in range(300)]
    frame = pd.DataFrame(rows).astype("str")
    frame.to_csv(tmp_path/"a.csv", index=False)
    frame.to_parquet(tmp_path/"a.parquet")
    for name in ("a.csv", "a.parquet"):
        counts = landed(read_snowplow([tmp_path/name], shop=SHOP, bots=True, late=None), tmp_path/name.replace(".", "-"))
        assert counts[0]["read"] == 300 == sum(counts[0][k] for k in ("kept", "duplicate", "rejected"))
