"Recordings from outside: frames, resizing, touches, several pages, large files in bounded memory, and fuzz."
from __future__ import annotations

import gzip
import json
import random

import pytest

import crmlab as cl
from crmlab.sources import rrweb
from crmlab.sources.rrweb import read_rrweb, rrweb_reading
from crmlab.tables.commit import commit
from crmlab.tables.shop import ShopSettings
from test_import import VISIT, call, click, did, meta, snapshot, write

SHOP = ShopSettings()
FRAME = did(10, 0, adds=[dict(parentId=2, node=dict(type=2, id=50, tagName="iframe", attributes={}, childNodes=[])),
                         dict(parentId=50, node=dict(type=0, id=51, childNodes=[dict(type=2, id=52, tagName="body", attributes={}, childNodes=[dict(type=2, id=53, tagName="a", attributes=dict(id="x"), childNodes=[])])]))])


def events_of(*files): return rrweb_reading(files, shop=SHOP).tables["events"].df()


def landed(reading, folder):
    rows = reading.tables["events"].project("* EXCLUDE (page), COALESCE(page, '/') AS page")
    return commit(folder, reading.tables | dict(events=rows), kind="rrweb", refused=reading.refused)


def test_what_happens_in_a_frame_is_left_out_and_counted(tmp_path):
    inside = [click(100, 5, 5, node=53), did(110, 3, id=51, x=0, y=700), did(120, 5, id=53, text="secret"), did(130, 1, positions=[dict(x=1, y=1, id=53, timeOffset=0), dict(x=9, y=9, id=2, timeOffset=0)])]
    reading = rrweb_reading([write(tmp_path, [meta(0), snapshot(1), FRAME, *inside, click(200, 7, 8)])], shop=SHOP)
    rows = reading.tables["events"].df()
    assert reading.notes == {"inside iframes": 4} and rows.event.tolist() == ["page_view", "mouse_move", "click"]
    assert rows[["x", "y"]].values.tolist()[1:] == [[9, 9], [7, 8]] and rows.scroll_y.eq(0).all()


def test_the_frame_itself_is_an_element_of_the_page(tmp_path):
    rows = events_of(write(tmp_path, [meta(0), snapshot(1), FRAME, click(100, 5, 5, node=50)]))
    assert rows.selector.tolist()[1] == "body > iframe"


def test_a_fresh_snapshot_forgets_the_frame(tmp_path):
    again = [meta(0), snapshot(1), FRAME, meta(50), snapshot(51, dict(type=2, id=53, tagName="a", attributes=dict(id="buy"), childNodes=[])), click(100, 5, 5, node=53)]
    assert events_of(write(tmp_path, again)).selector.tolist()[1] == "#buy"


def test_a_resized_window_counts_from_then_on(tmp_path):
    rows = events_of(write(tmp_path, [meta(0), snapshot(1), click(100, 1, 1), did(200, 4, width=390, height=844), click(300, 1, 1), did(400, 4, width=844, height=390), click(500, 1, 1)]))
    assert rows[rows.event == "click"][["viewport_w", "viewport_h", "device"]].values.tolist() == [[1280, 800, "desktop"], [390, 844, "mobile"], [844, 390, "tablet"]]
    assert rows.pageview_id.nunique() == 1


def test_touches_are_rows_of_their_own(tmp_path):
    taps = [did(100, 2, type=7, id=2, x=10, y=20, pointerType=2), did(150, 6, positions=[dict(x=10, y=25, id=2, timeOffset=-20), dict(x=10, y=40, id=2, timeOffset=0)]), did(200, 2, type=9, id=2, x=10, y=40), did(210, 2, type=2, id=2, x=10, y=40, pointerType=2), did(220, 2, type=10, id=2, x=1, y=1)]
    rows = events_of(write(tmp_path, [meta(0, width=390, height=844), snapshot(1, top=300), *taps]))
    assert rows.event.tolist() == ["page_view", "touch_start", "touch_move", "touch_move", "touch_end", "click", "touch_cancel"]
    assert rows.y.tolist()[1:] == [320, 325, 340, 340, 340, 301] and set(rows.device) == {"mobile"}


def test_pages_of_one_recording_are_views_of_their_own(tmp_path):
    steps = [meta(0), snapshot(1), call(2, "page", properties=dict(url="https://shop.example/", width=1280, height=3000)), did(50, 3, id=1, x=0, y=500), click(60, 1, 1),
             call(100, "page", properties=dict(url="https://shop.example/list?sort=new", width=1280, height=2000)), click(110, 1, 1),   # an application's own navigation
             meta(200, "https://shop.example/item"), snapshot(201), click(210, 1, 1)]
    rows = events_of(write(tmp_path, steps))
    clicks = rows[rows.event == "click"]
    assert clicks._url.tolist() == ["https://shop.example/", "https://shop.example/list?sort=new", "https://shop.example/item"]
    assert clicks.y.tolist() == [501, 501, 1] and clicks.page_h.fillna(0).tolist() == [3000, 2000, 0] and rows.pageview_id.nunique() == 3


def test_the_reading_says_what_read_rrweb_says(tmp_path):
    file = write(tmp_path, VISIT)
    one, rejected = read_rrweb(file)
    reading = rrweb_reading([file], shop=SHOP)
    assert not rejected and not reading.refused and not reading.notes
    assert {t: len(rows) for t, rows in one.items()} == {t: len(r.df()) for t, r in reading.tables.items()}
    assert [r["event_id"] for r in one["events"]] == reading.tables["events"].df().event_id.tolist()
    assert set(reading.tables["events"].df()._file) == {str(file)} and reading.tables["events"].df()._line.is_monotonic_increasing


@pytest.mark.parametrize("form", ["array.json", "array.json.gz", "lines.json", "lines.json.gz"])
def test_a_large_file_gives_the_same_rows(tmp_path, form, monkeypatch):
    shuffled = [*VISIT, FRAME, click(2800, 3, 3, node=53), click(2900, "left", 1)]
    random.Random(2).shuffle(shuffled)
    text = json.dumps(shuffled) if form.startswith("array") else "\n".join(map(json.dumps, shuffled))
    (tmp_path/form).write_bytes(gzip.compress(text.encode()) if form.endswith(".gz") else text.encode())
    whole, rejected = read_rrweb(tmp_path/form)
    monkeypatch.setattr(rrweb, "_WHOLE", 8)
    streamed, also = read_rrweb(tmp_path/form)
    assert streamed == whole and also == rejected and len(rejected) == 1 and len(whole["events"]) == 12


@pytest.mark.parametrize("text, complaint", [('{"hello": 1}', "not an rrweb recording"), ("[1, 2]", "not an rrweb recording"), (json.dumps(VISIT)[:-40], "not complete JSON"), (json.dumps(VISIT[1:3]), "no Meta event"),
                                             ('{"events": []}', "over 0 MB must be an array"), ("plain", "not an rrweb recording")])
def test_a_large_file_that_is_none_names_itself(tmp_path, text, complaint, monkeypatch):
    monkeypatch.setattr(rrweb, "_WHOLE", 1)
    with pytest.raises(cl.CrmlabError, match=complaint) as e: read_rrweb(write(tmp_path, text, "bad.json"))
    assert "bad.json" in str(e.value) and "\n" not in str(e.value)


def test_lines_that_end_in_the_middle_are_refused_with_their_number(tmp_path):
    text = "\n".join(map(json.dumps, VISIT))
    with pytest.raises(cl.CrmlabError, match=f"line {len(VISIT)}: not complete JSON"): read_rrweb(write(tmp_path, text[:-20]))


def test_a_long_recording_stays_out_of_memory(tmp_path, monkeypatch):
    import tracemalloc
    page = dict(type=2, id=3, tagName="p", attributes=dict(title="x"*200_000), childNodes=[])
    with open(tmp_path/"long.json", "w", encoding="utf-8") as f:
        f.write(json.dumps([meta(0)])[:-1])
        for n in range(200): f.write("," + json.dumps(snapshot(10*n + 1, page)) + "," + json.dumps(click(10*n + 5, n, n)))
        f.write("]")
    monkeypatch.setattr(rrweb, "_WHOLE", 1 << 20)
    tracemalloc.start()
    reading = rrweb_reading([tmp_path/"long.json"], shop=SHOP)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(reading.tables["events"].df()) == 201 and (tmp_path/"long.json").stat().st_size > 40e6
    assert peak < 25e6, f"{peak/1e6:.0f} MB"


def test_a_folder_of_recordings_is_one_import(tmp_path):
    (tmp_path/"in/deeper").mkdir(parents=True)
    for i in range(6): write(tmp_path/("in" if i % 2 else "in/deeper"), [e for e in VISIT if e["type"] != 5], f"v{i}.json" + (".gz" if i % 3 == 0 else ""))
    shop = cl.import_data("rrweb", tmp_path/"in", into=tmp_path/"s")
    assert set(shop.events.to_pandas().visitor_id) == {f"v{i}" for i in range(6)}


WILD = [None, "", "x"*300, 10**30, -1, 1.5, True, [], {}, {"id": {}}, [[]], float("nan"), float("inf"), 1e300, "\ud800", "'; DROP TABLE x; --", "<script>", -62135596800000, 253402300799000]


def wild(value, pick, depth=0):
    "The value with one thing in it replaced."
    if isinstance(value, dict) and value and depth < 4 and pick.random() < .9:
        key = pick.choice(list(value))
        return value | {key: wild(value[key], pick, depth + 1)}
    if isinstance(value, list) and value and depth < 4 and pick.random() < .9:
        at = pick.randrange(len(value))
        return [*value[:at], wild(value[at], pick, depth + 1), *value[at + 1:]]
    return pick.choice(WILD)


def test_wild_events_are_kept_or_rejected_and_never_a_traceback(tmp_path):
    pick, files = random.Random(7), []
    for n in range(60):
        events = [json.loads(json.dumps(e)) for e in [*VISIT, FRAME, click(2800, 3, 3, node=53), did(2900, 4, width=400, height=800)]]
        for _ in range(4):
            at = pick.randrange(2, len(events))
            odd = wild(events[at], pick)
            events[at] = dict(type=events[at]["type"], timestamp=events[at]["timestamp"]) | (odd if isinstance(odd, dict) else {})
        files.append(write(tmp_path, events, f"w{n}.json"))
    big = write(tmp_path, [*VISIT, call(9000, "track", event="big", properties=dict(text="あ"*3_400_000)), meta(9100, "https://shop.example/" + "y"*1_000_000)], "big.json")
    reading = rrweb_reading([*files, big], shop=SHOP)
    counts = landed(reading, tmp_path/"s")
    assert len(reading.refused) > 30
    for c in counts: assert c["read"] == c["kept"] + c["duplicate"] + c["rejected"]
    assert counts[0]["kept"] > 100
