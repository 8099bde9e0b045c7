"Matomo from outside: its own test answers, the heatmap plugin's tables, hostile XML, and broken rows."
from __future__ import annotations

import gzip
import json
import random
import xml.etree.ElementTree as ET

import pandas as pd
import pytest

import crmlab as cl
from crmlab.sources.matomo import read_matomo, xml_visits
from crmlab.tables.commit import commit
from crmlab.tables.shop import ShopSettings

SHOP = ShopSettings()
ORDERS = "matomo/test_ecommerceOrderWithItems__Live.getLastVisitsDetails_day.xml"
LOG = "matomo/test_ImportLogs__Live.getLastVisitsDetails_range.xml"
VISITORS = "matomo/test_ManyVisitorsOneWebsiteTest__Live.getLastVisitsDetails_month.xml"
ACTION = dict(type="action", url="https://shop.example/list", pageId=1, idpageview="aaaaaa", timestamp=1790823600)
VISIT = dict(idSite=1, idVisit=7, visitorId="c1d2", deviceType="Desktop", siteCurrency="JPY", actionDetails=[ACTION])


def landed(reading, folder):
    "The reading in a shop; a page from an address is made here in the plainest way."
    rows = reading.tables["events"].project("* EXCLUDE (page), COALESCE(page, '/') AS page")
    return commit(folder, reading.tables | dict(events=rows), kind="matomo", refused=reading.refused)


def events_of(*files, **options): return read_matomo(files, shop=SHOP, **options).tables["events"].df()


def timed(source, to):
    "Matomo's own test answers have their times taken out; here each action gets one, a minute after the one before."
    tree = ET.parse(source)
    for n, action in enumerate(tree.getroot().iter("actionDetails")):
        for i, row in enumerate(action): ET.SubElement(row, "timestamp").text = str(1790823600 + 86400*n + 60*i)
    tree.write(to, encoding="utf-8", xml_declaration=True)
    return to


def text_of(row, tag): return (row.findtext(tag) or "").strip()


@pytest.mark.data("matomo")
def test_orders_equal_their_xml(data, tmp_path):
    file = timed(data/ORDERS, tmp_path/"orders.xml")
    written = {text_of(a, "orderId"): a for a in ET.parse(file).getroot().iter("row") if text_of(a, "type") == "ecommerceOrder"}
    shop = cl.import_data("matomo", file, into=tmp_path/"s")
    assert [shop.counts[t]["rejected"] for t in ("events", "orders", "order_items")] == [0, 0, 0]
    orders, items = shop.orders.to_pandas().set_index("order_id"), shop.order_items.to_pandas()
    assert sorted(orders.index) == sorted(written) and len(written) == 2
    for name, a in written.items():
        o, money = orders.loc[name], lambda tag, a=a: float(text_of(a, tag))
        assert o.revenue == pytest.approx(money("revenue") - money("revenueShipping")) == pytest.approx(money("revenueSubTotal") + money("revenueTax"))
        assert (o.tax, o.shipping, o.discount, o.currency) == (money("revenueTax"), money("revenueShipping"), money("revenueDiscount"), "USD")
        assert o.gross == pytest.approx(o.revenue + o.discount)
        lines = [(text_of(r, "itemSKU"), text_of(r, "itemName"), float(text_of(r, "price")), float(text_of(r, "quantity"))) for r in a.find("itemDetails")]
        assert sorted(items[items.order_id == name][["item_id", "name", "price", "quantity"]].itertuples(index=False, name=None)) == sorted(lines)
        assert items[items.order_id == name].quantity.sum() == money("items")
    events = shop.events.to_pandas()
    assert events.event.value_counts().to_dict() == {"page_view": 13, "view_item": 11, "abandoned_cart": 2, "purchase": 2, "goal: title match, triggered ONCE": 1}
    assert events[events.event == "abandoned_cart"].value.max() == 2510.11 and not events.props.str.contains("156.5.3.2").any()


@pytest.mark.data("matomo")
@pytest.mark.parametrize("name", [LOG, VISITORS, ORDERS])
def test_every_action_of_a_visit_is_an_event(data, tmp_path, name):
    actions = [r for a in ET.parse(data/name).getroot().iter("actionDetails") for r in a]
    named = dict(action="page_view", search="search", download="download", outlink="outlink", ecommerceOrder="purchase", ecommerceAbandonedCart="abandoned_cart")
    count = lambda kind: sum(text_of(a, "type") == kind for a in actions)
    events = events_of(timed(data/name, tmp_path/"t.xml"))
    assert len(events[events.event != "view_item"]) == len(actions)
    for kind, event in named.items(): assert (events.event == event).sum() == count(kind)
    assert events.event.str.startswith("goal: ").sum() == count("goal")
    assert (events.event == "view_item").sum() == sum(bool(text_of(a, "productViewSku")) for a in actions)
    counts = landed(read_matomo([tmp_path/"t.xml"], shop=SHOP), tmp_path/"s")[0]
    assert counts["rejected"] == 0 and counts["kept"] == len(events)   # also those whose device Matomo could not tell
    untimed = landed(read_matomo([data/name], shop=SHOP), tmp_path/"u")[0]   # as it stands, without times
    assert untimed["rejected"] == untimed["read"] == len(events)


@pytest.mark.data("matomo")
def test_other_answers_and_exports_are_refused_by_name(data):
    for name, complaint in [("test___Live.getVisitorProfile.xml", "one visitor's profile"), ("exportDataSubject_allVisits.json", "not readable as Matomo's answer"), ("fake_logs_replay.log", "neither Matomo's Live API")]:
        with pytest.raises(cl.CrmlabError, match=complaint) as e: read_matomo([data/"matomo"/name], shop=SHOP)
        assert name in str(e.value) and "\n" not in str(e.value)


def test_a_profile_is_refused_and_an_action_without_its_moment_says_what_it_lacks(tmp_path):
    (tmp_path/"p.json").write_text(json.dumps(dict(totalVisits=1, lastVisits=[VISIT | dict(actionDetails=[ACTION])])), encoding="utf-8")
    with pytest.raises(cl.CrmlabError, match="p.json: one visitor's profile .* Live.getLastVisitsDetails"): read_matomo([tmp_path/"p.json"], shop=SHOP)
    (tmp_path/"v.json").write_text(json.dumps([VISIT | dict(actionDetails=[{k: v for k, v in ACTION.items() if k != "timestamp"}])]), encoding="utf-8")
    assert landed(read_matomo([tmp_path/"v.json"], shop=SHOP), tmp_path/"s")[0]["rejected"] == 1
    assert "no ts (when it happened)" in next((tmp_path/"s_rejected").iterdir()).read_text(encoding="utf-8")   # no shop was made of it


def test_a_search_and_a_download_stand_on_the_page_seen_last(tmp_path):
    steps = [dict(type="search", siteSearchKeyword="x", timestamp=1790823590), ACTION, dict(type="download", url="https://shop.example/a.pdf", timestamp=1790823601),
             ACTION | dict(url="https://shop.example/item", pageId=2, timestamp=1790823602), dict(type="outlink", url="https://elsewhere.example/", timestamp=1790823603)]
    (tmp_path/"v.json").write_text(json.dumps([VISIT | dict(actionDetails=steps), VISIT | dict(idVisit=8, actionDetails=steps[2:3])]), encoding="utf-8")
    events = events_of(tmp_path/"v.json")
    assert events._url.fillna("").tolist() == ["https://shop.example/list"]*3 + ["https://shop.example/item"]*2 + [""] and events.page.tolist()[-1] == "(unknown)"
    assert json.loads(events.props[2])["target"] == "https://shop.example/a.pdf"


def test_the_same_visits_from_each_form_and_twice_is_once(tmp_path):
    visits = [VISIT | dict(idVisit=i, userId=u, actionDetails=[ACTION | dict(pageId=i)]) for i, u in enumerate(["m1", None, "someone@shop.example"])]
    (tmp_path/"a.json").write_text(json.dumps(visits), encoding="utf-8")
    (tmp_path/"b.json").write_text("\n".join(map(json.dumps, visits)), encoding="utf-8")
    (tmp_path/"c.json.gz").write_bytes(gzip.compress((tmp_path/"a.json").read_bytes()))
    tag = lambda v: "".join(f"<{k}>{tag(x) if isinstance(x, dict) else ''.join(f'<row>{tag(r)}</row>' for r in x) if isinstance(x, list) else x if x is not None else ''}</{k}>" for k, x in v.items())
    (tmp_path/"d.xml").write_text("<result>" + "".join(f"<row>{tag(v)}</row>" for v in visits) + "</result>", encoding="utf-8")
    first = events_of(tmp_path/"a.json").drop(columns=["_file"])
    assert first.user_id.fillna("").tolist() == ["m1", "", ""] and first._email.fillna("").tolist() == ["", "", "someone@shop.example"]
    for name in ("b.json", "c.json.gz", "d.xml"): pd.testing.assert_frame_equal(events_of(tmp_path/name).drop(columns=["_file"]), first)
    landed(read_matomo([tmp_path/"a.json"], shop=SHOP), tmp_path/"s")
    assert landed(read_matomo([tmp_path/"d.xml"], shop=SHOP), tmp_path/"s")[0] == dict(table="events", read=3, kept=0, duplicate=3, rejected=0)


BOMBS = ['<!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "' + "&a;"*50 + '">]><result><row>&b;</row></result>', '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/hostname">]><result><row>&x;</row></result>',
         '<!DOCTYPE r SYSTEM "http://127.0.0.1:9/x.dtd"><result/>']


@pytest.mark.parametrize("text", BOMBS)
def test_xml_that_declares_entities_is_refused(tmp_path, text):
    (tmp_path/"x.xml").write_text(text, encoding="utf-8")
    with pytest.raises(cl.CrmlabError, match="declares a document type"): list(xml_visits(tmp_path/"x.xml"))


@pytest.mark.parametrize("raw, complaint", [(b"", "not complete XML"), (b"<result><row>", "not complete XML"), (b"\xff\xfe\x00", "not complete XML"), (b"<result>" + b"<row>"*100_000, "over 40 deep"),
                                            (b"<html><body/></html>", "its root is <html>"), (b"<result><a>1</a></result>", "x.xml: <a> where visits are expected"), (b"<result><lastVisits><row/></lastVisits></result>", "x.xml: one visitor's profile .* Live.getLastVisitsDetails"), (b'<?xml version="1.0" encoding="klingon"?><result/>', "not complete XML")])
def test_what_is_no_answer_is_one_line(tmp_path, raw, complaint):
    (tmp_path/"x.xml").write_bytes(raw)
    with pytest.raises(cl.CrmlabError, match=complaint) as e: read_matomo([tmp_path/"x.xml"], shop=SHOP)
    assert "x.xml" in str(e.value) and "\n" not in str(e.value)


def test_a_long_file_is_read_visit_by_visit(tmp_path):
    import tracemalloc
    row = "<row><idVisit>1</idVisit><actionDetails>" + "<row><type>action</type><url>https://shop.example/" + "x"*500 + "</url></row>"*1 + "</actionDetails></row>"
    with open(tmp_path/"long.xml", "w", encoding="utf-8") as f:
        f.write("<result>")
        for _ in range(60_000): f.write(row)
        f.write("</result>")
    tracemalloc.start()
    n = sum(1 for _ in xml_visits(tmp_path/"long.xml"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n == 60_000 and peak < 12e6 < (tmp_path/"long.xml").stat().st_size


HSR = dict(log_hsr=dict(idloghsr="1", idvisit="7", idpageview="aaaaaa", idaction_url="10", device_type="1", server_time="2026-10-01 03:00:00", time_on_page="9000", viewport_w_px="1280", viewport_h_px="800", scroll_y_max_relative="700", fold_y_relative="200"),
           log_hsr_event=dict(idhsrevent="1", idloghsr="1", time_since_load="1500", event_type="2", idselector="11", x="500", y="1500"), log_action=dict(idaction="10", name="shop.example/list", url_prefix="2"))


def tables(folder, form="csv", **rows):
    files = []
    for name, one in HSR.items():
        frame, file = pd.DataFrame(rows.get(name, [one]), dtype="object").astype("str"), folder/f"{name}.{form}"
        if form == "csv": frame.to_csv(file, index=False)
        elif form == "parquet": frame.to_parquet(file)
        else: file.write_text("".join(json.dumps(r) + "\n" for r in frame.to_dict("records")), encoding="utf-8")
        files.append(file)
    return files


@pytest.mark.parametrize("form", ["csv", "parquet", "ndjson"])
def test_a_click_lies_within_its_element(tmp_path, form):
    names = [HSR["log_action"], dict(idaction="11", name="#hero-cta", url_prefix="")]
    events = events_of(*tables(tmp_path, form, log_action=names))
    click = events[events.event == "click"].iloc[0]
    assert (float(click.el_x), float(click.el_y), click.selector, click._url, click.pageview_id) == (.25, .75, "#hero-cta", "https://shop.example/list", "aaaaaa")
    half = events_of(*tables(tmp_path, form, log_action=names), scale="1000").query("event == 'click'").iloc[0]
    assert float(half.el_x) == .5
    assert landed(read_matomo(tables(tmp_path, form, log_action=names), shop=SHOP), tmp_path/"s")[0] == dict(table="events", read=3, kept=3, duplicate=0, rejected=0)


def test_visitors_come_from_log_visit_when_it_is_there(tmp_path):
    (tmp_path/"visits.csv").write_text("idvisit,idvisitor,user_id,location_ip\n7,c1d2,m1,203.0.113.7\n", encoding="utf-8")
    events = events_of(*tables(tmp_path), tmp_path/"visits.csv")
    assert set(events.visitor_id) == {"c1d2"} and set(events.user_id) == {"m1"} and "203.0.113.7" not in events.to_json()
    assert set(events_of(*tables(tmp_path)).visitor_id) == {"visit 7"}


@pytest.mark.parametrize("scale", [0, -1, "wide", float("nan"), None])
def test_a_scale_that_is_none_is_refused(tmp_path, scale):
    with pytest.raises(cl.CrmlabError, match="is no width"): read_matomo(tables(tmp_path), shop=SHOP, scale=scale)


WILD = [None, "", "x"*200, 10**30, -1, 1.5, True, [], {}, {"row": 1}, [[]], "0001-01-01 00:00:00", "9999-12-31 23:59:59", "NaN", "1e400", 1e300, "'; DROP TABLE x; --", "<script>", "あ"]


def test_wild_visits_are_kept_or_rejected_and_never_a_traceback(tmp_path):
    pick, visits = random.Random(5), []
    kinds = ["action", "search", "goal", "event", "download", "ecommerceOrder", "ecommerceAbandonedCart", "odd"]
    keys = [*ACTION, "orderId", "revenue", "revenueShipping", "itemDetails", "goalName", "eventAction", "productViewSku", "productViewCategories", "siteSearchKeyword"]
    for n in range(400):
        action = ACTION | dict(type=pick.choice(kinds), pageId=n, orderId=f"o{n}", revenue=100) | {k: pick.choice(WILD) for k in pick.sample(keys, 3)}
        visits.append(VISIT | dict(idVisit=n, actionDetails=[action, pick.choice([ACTION | dict(pageId=f"b{n}"), 7, None, "x"])]) | {k: pick.choice(WILD) for k in pick.sample([*VISIT, "userId", "resolution"], 1)})
    (tmp_path/"v.json").write_text(json.dumps([*visits, VISIT | dict(idVisit="big", actionDetails=[ACTION | dict(pageId="big", pageTitle="あ"*3_000_000)])]), encoding="utf-8")
    reading = read_matomo([tmp_path/"v.json"], shop=SHOP)
    counts = landed(reading, tmp_path/"s")
    for c in counts: assert c["read"] == c["kept"] + c["duplicate"] + c["rejected"]
    assert counts[0]["kept"] > 200 and counts[0]["rejected"] > 50


def test_wild_recordings_are_kept_or_rejected_and_never_a_traceback(tmp_path):
    pick = random.Random(6)
    wild = lambda base, n, key: [base | {key: str(i)} | {k: w if isinstance(w := pick.choice(WILD), str) else json.dumps(w) for k in pick.sample([c for c in base if c != key], 2)} for i in range(n)]
    files = tables(tmp_path, log_hsr=[HSR["log_hsr"], *wild(HSR["log_hsr"] | dict(idloghsr="9"), 60, "idloghsr")], log_hsr_event=wild(HSR["log_hsr_event"], 400, "idhsrevent"), log_action=[HSR["log_action"]])
    counts = landed(read_matomo(files, shop=SHOP), tmp_path/"s")[0]
    assert counts["read"] == counts["kept"] + counts["duplicate"] + counts["rejected"] and counts["kept"] > 100
