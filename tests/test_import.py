"Imports from outside: the real rrweb recording, broken files, and untrusted content."
from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pandas as pd
import pytest

import crmlab as cl
from crmlab.sources.rrweb import read_rrweb
from crmlab.sources.web import device_of, page_path, traffic_source

T0 = 1_790_000_000_000   # ms, 2026


def meta(t, href="https://shop.example/", width=1280, height=800): return dict(type=4, timestamp=T0 + t, data=dict(href=href, width=width, height=height))
def snapshot(t, *children, top=0):
    node = dict(type=0, id=1, childNodes=[dict(type=2, id=2, tagName="body", attributes={}, childNodes=list(children))])
    return dict(type=2, timestamp=T0 + t, data=dict(node=node, initialOffset=dict(left=0, top=top)))
def did(t, source, **data): return dict(type=3, timestamp=T0 + t, data=dict(source=source, **data))
def call(t, tag, **payload): return dict(type=5, timestamp=T0 + t, data=dict(tag=tag, payload=payload))
def click(t, x, y, node=2): return did(t, 2, type=2, id=node, x=x, y=y)


VISIT = [meta(0), snapshot(1), call(2, "session", visitorId="v1", sessionId="s1"), call(3, "page", type="page", properties=dict(width=1280, height=3000)),
         did(1000, 1, positions=[dict(x=10, y=20, id=2, timeOffset=-400), dict(x=30, y=40, id=2, timeOffset=-100)]),
         did(2000, 3, id=1, x=0, y=600), click(2500, 100, 50), did(2600, 3, id=2, x=0, y=90), click(2700, 100, 60),
         call(3000, "identify", userId="m1", traits=dict(rank="Royal", email="someone@shop.example"), timestamp="2026-09-20T00:00:00Z"),
         call(3100, "track", type="track", event="Experiment Viewed", properties=dict(experiment_id="top", variation_id="B")),
         meta(4000, "https://shop.example/list?sort=new"), snapshot(4001, top=120), click(4500, 5, 5),
         call(5000, "track", type="track", event="Order Completed", properties=dict(order_id="o1", total=7100, shipping=500, currency="JPY", products=[dict(product_id="p", price=6600, quantity=1)]))]


def write(folder, events, name="visit.json"):
    path = folder/name
    text = events if isinstance(events, str) else json.dumps(events)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode("utf-8", "surrogatepass"))
    return path


def rows_of(shop, event): return shop.events.to_pandas().query("event == @event").sort_values("ts")


@pytest.mark.data("rrweb")
def test_the_real_recording_gives_its_published_counts(data, tmp_path):
    shop = cl.import_data("rrweb", data/"rrweb/rrweb_player_demo_events.json", into=tmp_path/"s")
    raw = json.loads((data/"rrweb/rrweb_player_demo_events.json").read_text(encoding="utf-8"))
    moves, mouse, scrolls = ([e for e in raw if e["type"] == 3 and e["data"]["source"] == s] for s in (1, 2, 3))
    events = shop.events.to_pandas()
    assert len(rows_of(shop, "mouse_move")) == sum(len(e["data"]["positions"]) for e in moves) == 87
    assert len(rows_of(shop, "scroll")) == len(scrolls) == 12
    assert events.event.isin(["mouse_up", "mouse_down", "click", "focus", "blur"]).sum() == len(mouse) == 14
    clicks = [e for e in mouse if e["data"]["type"] == 2]
    assert list(zip(rows_of(shop, "click").x, rows_of(shop, "click").y)) == [(e["data"]["x"], e["data"]["y"]) for e in clicks]
    assert events.scroll_y.eq(0).all() and rows_of(shop, "scroll").selector.notna().all()   # only elements scroll in it
    assert set(zip(events.viewport_w, events.viewport_h)) == {(1166, 705)} and events.page.unique().tolist() == ["/e/react"]


def test_positions_are_of_the_page_and_element_scrolls_move_nothing(tmp_path):
    shop = cl.import_data("rrweb", write(tmp_path, VISIT), into=tmp_path/"s")
    assert rows_of(shop, "click")[["x", "y", "page"]].values.tolist() == [[100, 650, "/"], [100, 660, "/"], [5, 125, "/list"]]
    moves = rows_of(shop, "mouse_move")
    assert moves.ts_us.tolist() == [(T0 + 600)*1000, (T0 + 900)*1000] and moves.y.tolist() == [20, 40]
    scrolls = rows_of(shop, "scroll")
    assert scrolls.scroll_y.tolist() == [600, 600] and json.loads(scrolls.props.iloc[1])["element_scroll_y"] == 90


def test_calls_become_attributes_orders_and_exposures_without_personal_traits(tmp_path):
    shop = cl.import_data("rrweb", write(tmp_path, VISIT), into=tmp_path/"s")
    attributes = shop.attributes.to_pandas()
    assert attributes.attribute.tolist() == ["rank"] and str(attributes.valid_from[0]) == "2026-09-20 00:00:00+00:00"
    assert "someone@shop.example" not in "".join(p.read_bytes().decode("latin-1") for p in (tmp_path/"s").rglob("*") if p.is_file())
    assert shop.orders.to_pandas()[["order_id", "user_id", "revenue"]].values.tolist() == [["o1", "m1", 6600.]]
    assert shop.exposures.to_pandas()[["experiment", "variant", "visitor_id"]].values.tolist() == [["top", "B", "v1"]]
    assert set(shop.events.to_pandas().user_id) == {"m1"}   # the visit belongs to its member from the start


def test_a_recording_without_a_session_is_its_file(tmp_path):
    shop = cl.import_data("rrweb", write(tmp_path, VISIT[:2], "abc.json.gz"), into=tmp_path/"s")
    assert shop.events.to_pandas().visitor_id.tolist() == ["abc"]


def test_order_in_the_file_does_not_matter_and_twice_is_once(tmp_path):
    shuffled = VISIT[:]
    random.Random(1).shuffle(shuffled)
    a = cl.import_data("rrweb", write(tmp_path, VISIT), into=tmp_path/"a").events.to_pandas().sort_values("event_id")
    b = cl.import_data("rrweb", write(tmp_path, shuffled), into=tmp_path/"b")
    pd.testing.assert_frame_equal(a.reset_index(drop=True), b.events.to_pandas().sort_values("event_id").reset_index(drop=True))
    again = cl.import_data("rrweb", tmp_path/"visit.json", into=tmp_path/"b")
    assert again.counts["events"] == dict(read=len(a), kept=0, duplicate=len(a), rejected=0) and again.fingerprint == b.fingerprint


def test_a_fresh_snapshot_of_the_same_page_is_no_new_view(tmp_path):
    again = [meta(0), snapshot(1), click(100, 1, 1), meta(200), snapshot(201, top=300), click(300, 1, 1)]
    shop = cl.import_data("rrweb", write(tmp_path, again), into=tmp_path/"s")
    assert len(rows_of(shop, "page_view")) == 1 and rows_of(shop, "click").y.tolist() == [1, 301]


BROKEN = [click(100, None, 1), click(101, "left", 1), click(102, float("nan"), 1), click(103, 1e300, 1), did(104, 3, id=1), did(105, 1, positions="none"), did(106, 2, type=99, id=1, x=1, y=1),
          dict(type=3, timestamp=None, data=dict(source=2, type=2, id=2, x=1, y=1)), dict(type=3, timestamp=1, data=dict(source=4, width=1, height=1)), dict(type=3, timestamp=T0 + 5, data=None),
          call(107, "identify"), call(108, "track", event="Order Completed", properties=dict(order_id="x", total="many")), call(109, "identify", userId="m", timestamp="yesterday")]


@pytest.mark.parametrize("bad", range(len(BROKEN)))
def test_a_broken_event_is_kept_aside_and_the_rest_counts(tmp_path, bad):
    shop = cl.import_data("rrweb", write(tmp_path, [*VISIT, BROKEN[bad]]), into=tmp_path/"s")
    clean = cl.import_data("rrweb", write(tmp_path, VISIT), into=tmp_path/"clean")
    counts = shop.counts["events"]
    assert counts["rejected"] == 1 and counts["read"] == counts["kept"] + counts["duplicate"] + counts["rejected"]
    assert counts["kept"] == clean.counts["events"]["kept"]
    said = [json.loads(line) for f in (tmp_path/"s/_rejected").iterdir() for line in f.read_text(encoding="utf-8").splitlines()]
    assert len(said) == 1 and said[0]["reason"] and said[0]["file"].endswith("visit.json") and said[0]["line"]


NOT_RECORDINGS = {"empty file": "", "not complete JSON": json.dumps(VISIT)[:-40], "not an rrweb recording": '{"hello": 1}', "no array of events": "[1, 2]", "no Meta event": json.dumps(VISIT[1:3])}


@pytest.mark.parametrize("complaint", NOT_RECORDINGS)
def test_a_bad_file_names_itself_and_leaves_the_shop_alone(tmp_path, complaint):
    cl.import_data("rrweb", write(tmp_path, VISIT, "good.json"), into=tmp_path/"s")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path/"s").rglob("*")}
    bad = write(tmp_path, NOT_RECORDINGS[complaint], "bad.json")
    with pytest.raises(cl.CrmlabError, match=complaint) as e: cl.import_data("rrweb", [tmp_path/"good.json", bad], into=tmp_path/"s")
    assert str(bad) in str(e.value) and "\n" not in str(e.value)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path/"s").rglob("*")} == before


def test_a_bad_file_makes_no_new_shop(tmp_path):
    with pytest.raises(cl.CrmlabError): cl.import_data("rrweb", write(tmp_path, "["), into=tmp_path/"s")
    assert not (tmp_path/"s").exists()


def test_a_damaged_gzip_is_one_line(tmp_path):
    whole = write(tmp_path, VISIT, "visit.json.gz").read_bytes()
    (tmp_path/"visit.json.gz").write_bytes(whole[:-30])
    with pytest.raises(cl.CrmlabError, match="cut off or damaged"): cl.import_data("rrweb", tmp_path/"visit.json.gz", into=tmp_path/"s")


def test_what_a_browser_sends_is_only_text(tmp_path):
    evil = [meta(0, "https://shop.example/<script>alert(1)</script>"), snapshot(1, dict(type=2, id=7, tagName="a", attributes=dict(id="<img src=x onerror=alert(1)>"), childNodes=[])), click(10, 1, 1, node=7)]
    shop = cl.import_data("rrweb", write(tmp_path, evil), into=tmp_path/"s")
    assert "<script>" in shop.events.to_pandas().page[0]
    for shown in (shop.events._repr_html_(), shop._repr_html_()): assert "<script>" not in shown and "<img" not in shown


def test_lone_surrogates_do_not_break_an_import(tmp_path):
    events = [meta(0, "https://shop.example/\ud800"), snapshot(1), call(5, "track", event="note \udfff", properties={}), call(6, "identify", userId="m\ud800", traits=dict(rank="R\udc00"))]
    shop = cl.import_data("rrweb", write(tmp_path, events), into=tmp_path/"s")
    assert shop.counts["events"]["kept"] == 3


CSV = "order_id,ts,status,revenue,currency\n1,2026-02-01 00:30:00,valid,5400,JPY\n2,2026-02-01T00:30:00Z,valid,\"1,200\",JPY\n3,2026-02-01,valid,12千円,JPY\n"


def test_csv_times_are_the_shops_unless_they_carry_a_zone(tmp_path):
    shop = cl.import_data("csv", write(tmp_path, CSV, "o.csv"), into=tmp_path/"s", table="orders")
    assert shop.counts["orders"] == dict(read=3, kept=2, duplicate=0, rejected=1)   # 12千円 is no number
    orders = shop.orders.to_pandas().set_index("order_id")
    assert orders.revenue.to_dict() == {"1": 5400., "2": 1200.}
    assert [str(t) for t in orders.ts] == ["2026-01-31 15:30:00+00:00", "2026-02-01 00:30:00+00:00"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
def test_the_same_table_in_each_encoding(tmp_path, encoding):
    (tmp_path/"o.csv").write_bytes("order_id,ts,status,revenue,currency,備考\n1,2026-02-01 00:30:00,valid,5400,JPY,のし①\n".encode(encoding))
    shop = cl.import_data("csv", tmp_path/"o.csv", into=tmp_path/"s", table="orders", encoding=encoding.removesuffix("-sig"))
    assert json.loads(shop.orders.to_pandas().props[0]) == {"備考": "のし①"}


@pytest.mark.parametrize("text, options, complaint", [
    ("", {}, "empty file"), ("a,b\n1,2\n", {}, "no column for orders.order_id"), (CSV, dict(columns=dict(order_id="注文番号")), "the column map wants '注文番号'"),
    (CSV, dict(columns=dict(order="order_id")), "has no column 'order'; did you mean"), (CSV, dict(encoding="klingon"), "encoding 'klingon' is unknown"),
    (CSV, dict(tabel="orders"), "csv has no option 'tabel'; did you mean table?"), (CSV, dict(columns="no.yaml"), "not a readable column map")])
def test_bad_tables_are_one_line_and_change_nothing(tmp_path, text, options, complaint):
    with pytest.raises(cl.CrmlabError, match=complaint): cl.import_data("csv", write(tmp_path, text, "o.csv"), into=tmp_path/"s", **dict(table="orders") | options)
    assert not (tmp_path/"s").exists()


@pytest.mark.parametrize("encoding", ["hex", "zip", "undefined", "no-such", 5, "a\0b"])
def test_an_encoding_that_is_none_is_one_line(tmp_path, encoding):
    (tmp_path/"o.csv").write_text("order_id,ts,status,revenue,currency\n1,2026-02-01,valid,5,JPY\n", encoding="utf-8")
    with pytest.raises(cl.CrmlabError, match="is unknown; use utf-8 or cp932"): cl.import_data("csv", tmp_path/"o.csv", into=tmp_path/"s", table="orders", encoding=encoding)


@pytest.mark.parametrize("paths", [None, 5, [None], [["a.csv"]]])
def test_what_is_no_path_is_one_line(tmp_path, paths):
    with pytest.raises(cl.CrmlabError, match="is no path"): cl.import_data("csv", paths, into=tmp_path/"s", table="orders")


def test_capitals_in_endings_and_headers_are_read(tmp_path):
    (tmp_path/"in").mkdir()
    (tmp_path/"in/X.CSV").write_text("order_id,ts,status,revenue,Revenue,currency\n1,2026-02-01,valid,5,6,JPY\n", encoding="utf-8")
    shop = cl.import_data("csv", tmp_path/"in", into=tmp_path/"s", table="orders")
    assert shop.counts["orders"]["kept"] == 1
    assert shop.table("orders").to_pandas().revenue.tolist() == [5]


@pytest.mark.parametrize("content, complaint", [(b"PK\x03\x04xl/worksheets", "spreadsheet or ZIP archive.*save it as CSV"), (gzip.compress(b"order_id\n1\n", mtime=0), "gzip.*end in .gz")])
def test_a_file_that_is_no_text_is_named_as_what_it_is(tmp_path, content, complaint):
    for kind, name, options in (("csv", "o.csv", dict(table="orders")), ("segment", "o.jsonl", {}), ("ga4", "o.jsonl", {})):
        (tmp_path/name).write_bytes(content)
        with pytest.raises(cl.CrmlabError, match=f"{name}: this is .*{complaint}"): cl.import_data(kind, tmp_path/name, into=tmp_path/"s", **options)


def test_parquet_that_has_the_schema(tmp_path):
    from_csv = cl.import_data("csv", write(tmp_path, CSV, "o.csv"), into=tmp_path/"a", table="orders")
    file = next((tmp_path/"a/orders").iterdir())
    shop = cl.import_data("parquet", file, into=tmp_path/"b", table="orders")
    pd.testing.assert_frame_equal(shop.orders.to_pandas(), from_csv.orders.to_pandas())


def test_a_picture_of_a_layout_moves_into_the_shop_and_nothing_from_outside_its_folder(tmp_path):
    (tmp_path/"in").mkdir()
    (tmp_path/"in/p.png").write_bytes(b"png")
    (tmp_path/"secret.png").write_bytes(b"secret")
    row = lambda picture: "page,device,version,valid_from,selector,x,y,w,h,page_w,page_h,screenshot\n/,desktop,1,2026-09-01T00:00:00Z,#a,0,0,10,10,1280,3000," + picture + "\n"
    shop = cl.import_data("csv", write(tmp_path/"in", row("p.png"), "l.csv"), into=tmp_path/"s", table="layouts")
    name = shop.layouts.to_pandas().screenshot[0]
    assert (tmp_path/"s"/name).read_bytes() == b"png" and name in json.loads((tmp_path/"s/manifest.json").read_text(encoding="utf-8"))["media"]
    for outside in ("../secret.png", str(tmp_path/"secret.png")):
        with pytest.raises(cl.CrmlabError, match="outside the file's folder"): cl.import_data("csv", write(tmp_path/"in", row(outside), "l.csv"), into=tmp_path/"t", table="layouts")
    with pytest.raises(cl.CrmlabError, match="is not there"): cl.import_data("csv", write(tmp_path/"in", row("q.png"), "l.csv"), into=tmp_path/"t", table="layouts")
    assert not (tmp_path/"t").exists()


def test_addresses_sources_and_devices():
    assert [page_path(u) for u in ("https://a.example/list/?x=1#y", "https://a.example", "/index.html", "https://a.example/a/index.php")] == ["/list", "/", "/", "/a"]
    assert traffic_source("https://a.example/?utm_source=line&utm_medium=message&utm_campaign=c", "https://www.google.com/") == dict(source="line", medium="message", campaign="c")
    assert [device_of(w) for w in (360, 768, 1440)] == ["mobile", "tablet", "desktop"]


def test_reading_does_not_need_a_shop(tmp_path):
    tables, rejected = read_rrweb(Path(write(tmp_path, VISIT)))
    assert not rejected and len(tables["events"]) == 12


def test_unknown_data_set_names_the_known():
    with pytest.raises(cl.CrmlabError, match="did you mean hillstrom"): cl.datasets.load("hilstrom")


@pytest.mark.data("hillstrom")
def test_hillstrom_meets_its_published_rates(data, monkeypatch):
    monkeypatch.setenv("CRMLAB_DATA_CACHE", str(data))
    rates = cl.datasets.load("hillstrom").groupby("segment").visit.mean()
    assert rates.round(6).to_dict() == {"Mens E-Mail": .182757, "No E-Mail": .106167, "Womens E-Mail": .151400}


MANY = 50_000   # more than two groups of rows of what is laid down on the way


def _call(kind, i, when):
    "One page view as a tracker writes it."
    if kind == "segment": return dict(type="page", messageId=f"m{i}", anonymousId=f"v{i % 999}", timestamp=when, context=dict(page=dict(url=f"https://shop.example/{i % 7}")))
    if kind == "posthog": return dict(uuid=f"m{i}", event="$pageview", distinct_id=f"v{i % 999}", timestamp=when, properties={"$current_url": f"https://shop.example/{i % 7}", "$device_id": f"v{i % 999}"})
    return dict(event_name="page_view", event_timestamp=when, user_pseudo_id=f"v{i % 999}", event_bundle_sequence_id=str(i), event_params=[dict(key="page_location", value=dict(string_value=f"https://shop.example/{i % 7}"))])


@pytest.mark.parametrize("kind", ["segment", "posthog", "ga4"])
def test_refused_lines_of_a_long_file_keep_their_numbers(kind, tmp_path):
    broken, good = {7, 20_481, 40_960, 49_999}, {"ga4": "1769000000000000"}.get(kind, "2026-01-21T13:00:00Z")
    (tmp_path/"calls.json").write_text("\n".join(json.dumps(_call(kind, i, "never" if i in broken else good)) for i in range(1, MANY + 1)), encoding="utf-8")
    shop = cl.import_data(kind, tmp_path/"calls.json", into=tmp_path/"shop")
    told = [json.loads(line) for file in (tmp_path/"shop/_rejected").iterdir() for line in file.read_text(encoding="utf-8").splitlines()]
    assert {r["line"] for r in told} == broken and len(told) == len(broken)
    assert shop.counts["events"] == dict(read=MANY, kept=MANY - len(broken), duplicate=0, rejected=len(broken))


ODD_LINES = ['{"event": ', "[1, 2]", '"text"', '{"a": 1, "a": 2}', '{"a": {"b": "' + "x"*600_000 + '"}}', '{"context": "none", "event_params": "none", "properties": "none"}', '{"event": "\\ud800"}']


@pytest.mark.parametrize("line", ODD_LINES, ids=range(len(ODD_LINES)))
@pytest.mark.parametrize("kind", ["segment", "posthog", "ga4"])
def test_an_odd_line_changes_nothing_about_the_others(kind, line, tmp_path):
    good = [json.dumps(_call(kind, i, {"ga4": "1769000000000000"}.get(kind, "2026-01-21T13:00:00Z"))) for i in range(300)]
    stored = []
    for name, lines in dict(plain=good, odd=[*good[:290], line, *good[290:]]).items():
        (tmp_path/f"{name}.json").write_text("\n".join(lines), encoding="utf-8")
        shop = cl.import_data(kind, tmp_path/f"{name}.json", into=tmp_path/name)
        stored.append(shop.events.to_pandas().sort_values("event_id", ignore_index=True))
    assert len(stored[0]) == 300
    pd.testing.assert_frame_equal(*stored)
