"Layouts from recordings: the boxes of known pages, hostile pages that reach nothing, mutations, frames, refusals that leave the folder as it was."
from __future__ import annotations

import asyncio
import http.server
import json
import threading
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

import crmlab as cl
from crmlab.core import CrmlabError
from crmlab.sources import replay
from crmlab.sources.replay import layout_from_rrweb
from crmlab.sources.rrweb import read_rrweb

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT/"data/demo"
T0 = 1_760_000_000_000

pytestmark = pytest.mark.browser


def meta(t, href="https://shop.example/", width=1200, height=700): return dict(type=4, timestamp=T0 + t, data=dict(href=href, width=width, height=height))
def did(t, source, **data): return dict(type=3, timestamp=T0 + t, data=dict(source=source, **data))
def snapshot(t, *body, css=""): return dict(type=2, timestamp=T0 + t, data=dict(node=dict(type=0, id=1, childNodes=[el(2, "html", el(3, "head", el(4, "style", css)), el(6, "body", *body))]), initialOffset=dict(left=0, top=0)))
def el(number, tag, *children, **attributes):
    return dict(type=2, id=number, tagName=tag, attributes=attributes, childNodes=[dict(type=3, id=number*1000, textContent=c) if isinstance(c, str) else c for c in children])


def write(folder, *events, name="visit.json"):
    (folder/name).write_text(json.dumps(events), encoding="utf-8")
    return folder/name


def boxes(shop): return shop.layouts.to_pandas().set_index("selector")


def contents(folder): return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def picture(shop):
    from matplotlib.image import imread
    return imread(shop.path/shop.layouts.to_pandas().screenshot.iloc[0])


@pytest.fixture
def outside():
    "A server on this machine that writes down who asks for what."
    asked = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
        do_POST = do_GET
        def log_message(self, *args): pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


# --- known pages

def visit_with(path, width):
    "First recording of the demo shop that begins on a page in a window of this width."
    for file in sorted((DEMO/"recordings").glob("*.json.gz")):
        first = next(e for e in replay.read_recording(file) if e["type"] == 4)["data"]
        if first["width"] == width and first["href"].split("?")[0] == f"https://shop.example{path}": return file
    raise AssertionError(f"no recording begins on {path} at {width} px")


@pytest.mark.parametrize("path, device, width", [("/", "desktop", 1440), ("/", "mobile", 390)])
def test_boxes_of_the_demo_shop_are_those_measured_in_its_pages(tmp_path, path, device, width):
    shop = layout_from_rrweb(visit_with(path, width), into=tmp_path/"s", page=path, device=device)
    known = pd.read_csv(DEMO/"layouts.csv").query("page == @path and device == @device and version == 'A'").set_index("selector")
    both = boxes(shop).join(known, suffixes=("", "_known"), how="inner")
    assert set(known.index) - set(both.index) <= {"#nav-login"}   # a member who is signed in does not see it
    assert (both.page_w == both.page_w_known).all() and (both.page_h == both.page_h_known).all()
    away = pd.DataFrame({c: (both[c] - both[f"{c}_known"]).abs() for c in "xywh"})
    in_rows = ["#nav-list", "#nav-trial", "#search", "#nav-login", "#nav-mypage", "#nav-cart"]   # their width is that of their letters, and the shop's own font is not here
    assert away.drop(in_rows, errors="ignore").max().max() <= 2
    assert away[["y", "h"]].max().max() <= 2


@pytest.mark.data("rrweb")
def test_the_real_recording_has_its_page_and_its_clicks_fall_on_named_elements(data, tmp_path):
    file = data/"rrweb/rrweb_player_demo_events.json"
    shop = layout_from_rrweb(file, into=tmp_path/"s")
    found = boxes(shop)
    assert set(found.page_w) == {1166} and set(found.page_h) == {705} and picture(shop).shape[:2] == (705, 1166)
    assert found.label["#output > section > button"] == "click to count"   # drawn by a change after the snapshot
    clicks = [e for e in read_rrweb(file)[0]["events"] if e["event"] == "click"]
    within = [((found.x <= e["x"]) & (e["x"] < found.x + found.w) & (found.y <= e["y"]) & (e["y"] < found.y + found.h)).any() for e in clicks]
    assert len(clicks) == 3 and all(within)
    assert clicks[0]["selector"] in found.index or clicks[-1]["selector"] in found.index


def test_most_clicks_of_the_demo_shop_fall_on_an_element_by_name_or_place(tmp_path):
    files = sorted((DEMO/"recordings").glob("v00[1-5].json.gz"))
    shop = layout_from_rrweb(files, into=tmp_path/"s")
    cl.import_data("rrweb", files, into=tmp_path/"s")
    clicks = cl.open_shop(tmp_path/"s").events.to_pandas().query("event == 'click'")
    layouts = shop.layouts.to_pandas()
    pairs = clicks.reset_index().merge(layouts, on=["page", "device"], suffixes=("", "_box"))
    named = pairs[pairs.selector == pairs.selector_box]["index"].nunique()
    inside = pairs[(pairs.x_box <= pairs.x) & (pairs.x < pairs.x_box + pairs.w) & (pairs.y_box <= pairs.y) & (pairs.y < pairs.y_box + pairs.h)]["index"].nunique()
    assert len(clicks) > 5 and named/len(clicks) > .4 and inside/len(clicks) > .9


def test_a_recording_alone_is_enough_for_a_map(tmp_path):
    file = visit_with("/", 1440)
    cl.import_data("rrweb", file, into=tmp_path/"s")
    shop = layout_from_rrweb(file, into=tmp_path/"s", page="/")
    result = cl.heatmap(shop, page="/", kind="click")
    assert result.picture is not None and result.picture.is_file() and len(result.boxes) == len(boxes(shop))


# --- pages written to do harm

HARM = ["<script>document.title='hit'</script>", "</style><script>document.title='hit'</script>", "]]><script/>"]


def hostile(url):
    css = f"@import url({url}/import.css); @font-face {{ font-family: a; src: url({url}/font) }} body {{ margin: 0; font-family: a; background: url({url}/bg.png) }} p::after {{ content: url(file:///etc/hostname) }} {HARM[1]}"
    return snapshot(1,
        el(10, "script", "document.title = 'hit'", src=f"{url}/s.js"), el(11, "img", src=f"{url}/i.png", srcset=f"{url}/i2.png 2x", onerror="document.title='hit'", width="50", height="40"),
        el(12, "a", "link", href="javascript:document.title='hit'", ping=f"{url}/ping", id="link", onclick="document.title='hit'", autofocus="", onfocus="document.title='hit'"),
        el(13, "iframe", src=f"{url}/frame", srcdoc=HARM[0]), el(14, "object", data=f"{url}/o"), el(15, "embed", src=f"{url}/e"), el(16, "video", poster=f"{url}/p.png", src=f"{url}/v"),
        el(17, "link", rel="stylesheet", href=f"{url}/style.css"), el(18, "link", rel="preconnect dns-prefetch prefetch", href=url), el(19, "meta", **{"http-equiv": "refresh", "content": f"0;url={url}/refresh"}),
        el(20, "base", href=f"{url}/base/"), el(21, "form", el(22, "input", type="image", src=f"{url}/input.png", id="matches", name="querySelector"), action=f"{url}/form"), el(23, "p", *HARM, style=f"background: url({url}/inline.png)"),
        el(24, "img", src="file:///etc/passwd"), el(25, "p><script>document.title='hit'</script", "x"), el(26, "svg", el(27, "image", href=f"{url}/svg.png", **{"xlink:href": f"{url}/xlink.png"}), el(28, "set", attributeName="href", to="javascript:alert(1)")),
        el(29, "noscript", el(30, "img", src=f"{url}/noscript.png")), el(31, "img", src="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'%3E%3Cscript%3Ealert(1)%3C/script%3E%3Cimage href='" + url + "/inner.png'/%3E%3C/svg%3E", id="drawing", width="30", height="30"),
        el(32, "input", **{"data-crmlab-node": "6\" onload=\"x", "id": "n"}), el(33, "body", onload="document.title='hit'"), css=css)


def test_a_hostile_page_runs_nothing_and_asks_for_nothing(tmp_path, outside, monkeypatch):
    url, asked = outside
    documents, answer = [], replay._answer
    monkeypatch.setattr(replay, "_answer", lambda route, document: documents.append((route.request.url, document)) or answer(route, document))
    shop = layout_from_rrweb(write(tmp_path, meta(0), hostile(url)), into=tmp_path/"s")
    assert asked == [] and [address for address, _ in documents] == [replay._WHERE]
    elements = list(ElementTree.fromstring(documents[0][1]).iter())
    assert not {e.tag.split("}")[1] for e in elements} & {"script", "noscript", "meta", "base", "object", "embed", "set", "link"}
    values = {k: v for e in elements for k, v in e.attrib.items() if k != "style" and not v.startswith("data:image/")}
    assert not [k for k in values if k.startswith("on")] and not [v for v in values.values() if url in v or "javascript" in v or "file:" in v]
    assert "#link" in boxes(shop).index and shop.notes["frames left empty"] == 3


def test_the_browser_refuses_what_the_document_asks_for(outside):
    "The walls behind the first one: a document with everything in it still reaches nothing and runs nothing."
    from playwright.sync_api import sync_playwright
    url, asked = outside
    harm = f"""<html xmlns="http://www.w3.org/1999/xhtml"><head><title>calm</title><script>document.title = 'hit'</script><script src="{url}/s.js"/><link rel="stylesheet" href="{url}/c.css"/><link rel="preconnect" href="{url}"/>
        <style>body {{ background: url({url}/bg.png) }}</style></head><body onload="document.title='hit'"><img src="{url}/i.png" onerror="document.title='hit'"/><iframe src="{url}/f"/><img src="file:///etc/hostname"/><object data="{url}/o"/></body></html>"""

    def tried():
        with sync_playwright() as p:
            browser = replay._launched(p, None)
            context = browser.new_context(java_script_enabled=False, offline=True, service_workers="block")
            context.route("**/*", lambda route: replay._answer(route, harm))
            page = context.new_page()
            page.goto(replay._WHERE)
            page.wait_for_timeout(300)
            return page.evaluate("[document.title, document.images[0].naturalWidth, document.images[1].naturalWidth, location.href]")

    with replay.ThreadPoolExecutor(1) as pool: assert pool.submit(tried).result() == ["calm", 0, 0, replay._WHERE]
    assert asked == []


# --- what the recorder tells

def test_changes_until_the_first_action_count(tmp_path):
    add = lambda t, number: did(t, 0, adds=[dict(parentId=6, nextId=None, node=el(number, "button", f"button {number}"))])
    events = [meta(0), snapshot(1, el(10, "h1", "見出し", id="a")), add(100, 20), did(150, 0, attributes=[dict(id=20, attributes=dict(id="first"))], removes=[dict(id=10, parentId=6)]), did(200, 2, type=2, id=20, x=1, y=1), add(250, 30), add(5000, 40)]
    found = boxes(layout_from_rrweb(write(tmp_path, *events), into=tmp_path/"s"))
    assert found.label.tolist() == ["button 20"]
    found = boxes(layout_from_rrweb(write(tmp_path, *events[:4], add(2900, 30), add(3100, 40)), into=tmp_path/"t"))
    assert found.label.tolist() == ["button 20", "button 30"]


def test_frames_and_shadow_roots_are_counted(tmp_path):
    inner = dict(el(42, "div", el(43, "button", "深い")), isShadow=True)
    outer, beside = dict(el(41, "div", inner, el(44, "button", "without a slot: not shown")), isShadow=True), dict(el(45, "button", "浅い"), isShadow=True)
    frame = did(10, 0, adds=[dict(parentId=50, nextId=None, node=dict(type=0, id=51, childNodes=[el(52, "html", el(53, "body", el(54, "button", "inside")))]))])
    shop = layout_from_rrweb(write(tmp_path, meta(0), snapshot(1, el(40, "div", outer, beside, id="host"), el(50, "iframe", id="frame")), frame), into=tmp_path/"s")
    assert shop.notes == {"shadow roots": 2, "frames left empty": 1}
    assert set(boxes(shop).label.dropna()) == {"深い", "浅い"} and "#frame" in boxes(shop).index


def test_boxes_bear_the_names_of_the_events(tmp_path):
    row = [el(20 + i, "li", el(30 + i, "b", f"{i}"), **{"class": "card wide"}) for i in range(3)]
    file = write(tmp_path, meta(0), snapshot(1, el(10, "ul", *row, id="list"), el(11, "p", "words", **{"class": "lead"})), did(100, 2, type=2, id=11, x=5, y=5), did(200, 2, type=2, id=31, x=5, y=5))
    events = [e["selector"] for e in read_rrweb(file)[0]["events"] if e["event"] == "click"]
    found = boxes(layout_from_rrweb(file, into=tmp_path/"s"))
    assert events[0] in found.index and events[1] not in found.index   # three are called so
    assert [s for s in found.index if s.endswith(" > b:nth-child(1)")] == [f"#list > li.card:nth-child({i}) > b:nth-child(1)" for i in (1, 2, 3)]


def test_japanese_has_glyphs(tmp_path):
    "Twenty different letters give twenty different pictures; letters without a font are all the same box."
    letters = "定期便をはじめる化粧水美容液送料無料会員限"
    css = "body { margin: 0; font: 40px sans-serif } p { position: absolute; margin: 0; width: 40px; height: 60px }"
    shop = layout_from_rrweb(write(tmp_path, meta(0), snapshot(1, *[el(10 + i, "p", c, id=f"c{i}", style=f"left: {50*i}px; top: 0") for i, c in enumerate(letters)], css=css)), into=tmp_path/"s")
    seen = picture(shop)
    assert len({seen[:60, 50*i:50*i + 40].tobytes() for i in range(len(letters))}) == len(set(letters))


def test_words_that_tell_who_the_visitor_is_become_dots(tmp_path):
    page = [el(10, "a", "tanaka@example.com へ", href="#"), el(11, "input", type="email", value="tanaka@example.com", id="mail"), el(12, "h2", "田中様", id="who"), el(13, "button", "お電話 090-1234-5678")]
    recording = write(tmp_path, meta(0), snapshot(1, *page))
    for mask, message in (("#whoever", "matches nothing on"), ("#who >", "is no CSS selector")):
        with pytest.raises(cl.CrmlabError, match=message): layout_from_rrweb(recording, into=tmp_path/"s", mask=mask)
    with pytest.raises(cl.CrmlabError, match="a dict of selector"): layout_from_rrweb(recording, into=tmp_path/"s", labels=["a"])
    shop = layout_from_rrweb(recording, into=tmp_path/"s", mask=["#who"])
    stored = str(shop.layouts.to_pandas().to_dict())
    assert "tanaka" not in stored and "田中" not in stored and "1234" not in stored and "•••••••••••••••••• へ" in stored


def test_a_second_page_and_device_are_layouts_of_their_own(tmp_path):
    one = write(tmp_path, meta(0), snapshot(1, el(10, "h1", "top")), meta(5000, "https://shop.example/item/P1?x=1"), snapshot(5001, el(10, "h1", "item")), meta(9000), snapshot(9001, el(10, "h1", "again")))
    two = write(tmp_path, meta(-500, width=390), snapshot(-499, el(10, "h1", "phone")), meta(700, width=1200), snapshot(701, el(10, "h1", "later")), name="two.json")
    (tmp_path/"s").mkdir()
    (tmp_path/"s/shop.toml").write_text('name = "a"\ntimezone = "Asia/Tokyo"\ncurrency = "JPY"\nlanguage = "ja"\nranks = []\n[page_rules]\nids = ["/item/{item_id}"]\n', encoding="utf-8")
    found = layout_from_rrweb([one, two], into=tmp_path/"s").layouts.to_pandas()
    assert sorted(zip(found.page, found.device, found.label)) == [("/", "desktop", "top"), ("/", "mobile", "phone"), ("/item/{item_id}", "desktop", "item")]
    assert layout_from_rrweb(one, into=tmp_path/"t", page="/").layouts.to_pandas().label.tolist() == ["top"]


def test_the_same_recording_again_replaces_its_layout_and_leaves_others(tmp_path):
    first = write(tmp_path, meta(0), snapshot(1, el(10, "h1", "top", id="a"), el(11, "h2", "gone soon", id="b")), did(1500, 0, removes=[dict(id=11, parentId=6)]))
    other = write(tmp_path, meta(0, "https://shop.example/list"), snapshot(1, el(10, "h1", "list")), name="list.json")
    layout_from_rrweb(first, into=tmp_path/"s", settle="1s")
    layout_from_rrweb(other, into=tmp_path/"s")
    same = layout_from_rrweb(first, into=tmp_path/"s", settle="1s")
    assert same.counts["layouts"] == dict(read=2, kept=0, duplicate=2, rejected=0)
    again = layout_from_rrweb(first, into=tmp_path/"s", settle="2s")
    assert sorted(again.layouts.to_pandas().label) == ["list", "top"] and again.counts["layouts"]["read"] == 1


def test_tall_pages_are_cut_and_wide_ones_kept(tmp_path):
    shop = layout_from_rrweb(write(tmp_path, meta(0), snapshot(1, el(10, "h1", "top"), el(11, "div", style="height: 90000px; width: 1500px"), el(12, "h2", "never seen"))), into=tmp_path/"s")
    found = boxes(shop)
    assert set(found.page_h) == {20_000} and found.page_w.min() >= 1500 and found.label.tolist() == ["top"] and shop.notes == {"pages cut off below": 1}
    seen = picture(shop)
    assert seen.shape[:2] == (20_000, int(found.page_w.iloc[0])) and seen[19_000:].min() > .99 and seen[:200].min() < .5   # the top is not drawn again further down


# --- refusals

@pytest.fixture(scope="module")
def good(tmp_path_factory):
    "A folder that holds a layout already."
    folder = tmp_path_factory.mktemp("good")
    return layout_from_rrweb(write(folder, meta(0), snapshot(1, el(10, "h1", "a"))), into=folder/"s").path


@pytest.mark.parametrize("events, complaint", [
    ([meta(0)], "recorded are none"),
    ([meta(0), dict(type=2, timestamp=T0 + 1, data={})], "cannot be rebuilt"),
    ([meta(0), dict(type=2, timestamp=T0 + 1, data=dict(node=dict(type=0, id=1, childNodes=[el(2, "div")])))], "no <html>"),
    ([meta(0), dict(type=2, timestamp=T0 + 1, data=dict(node=dict(type=0, id=1, childNodes=[el(2, "html", dict(type=2, tagName="p"))])))], "cannot be rebuilt"),
    ([meta(0), snapshot(1)], "no element of the page can be seen"),
    ([meta(0, width="wide"), snapshot(1, el(10, "h1", "a"))], "a window of 'wide'"),
    ([dict(type=4, timestamp="soon", data=dict(href="/", width=1200, height=700)), snapshot(1, el(10, "h1", "a"))], "is no time")])
def test_a_broken_recording_is_refused_in_one_line(good, tmp_path, events, complaint):
    was = contents(good)
    with pytest.raises(CrmlabError) as error: layout_from_rrweb(write(tmp_path, *events, name="broken.json"), into=good)
    assert complaint in str(error.value) and "\n" not in str(error.value) and contents(good) == was


def test_a_commit_that_fails_leaves_no_picture(good, tmp_path, monkeypatch):
    was = contents(good)
    monkeypatch.setattr(replay, "commit", lambda *args, **kwargs: (_ for _ in ()).throw(CrmlabError("the disk is full")))
    with pytest.raises(CrmlabError, match="disk is full"): layout_from_rrweb(write(tmp_path, meta(0), snapshot(1, el(10, "h1", "b")), name="b.json"), into=good)
    assert contents(good) == was


def test_without_a_browser_one_line_says_what_to_do(tmp_path, monkeypatch):
    file = write(tmp_path, meta(0), snapshot(1, el(10, "h1", "a")))
    monkeypatch.setattr(replay, "find_chromium", lambda: None)
    with pytest.raises(CrmlabError, match="no Chromium could be started.*apt-get install chromium"): layout_from_rrweb(file, into=tmp_path/"s")
    monkeypatch.setitem(__import__("sys").modules, "playwright.sync_api", None)
    with pytest.raises(CrmlabError, match=r"pip install 'crmlab\[browser\]'"): layout_from_rrweb(file, into=tmp_path/"s")
    assert not (tmp_path/"s/manifest.json").exists()


def test_what_makes_no_sense_between_good_events_is_passed_over(tmp_path):
    odd = [dict(type=3, timestamp="soon", data=dict(source=0)), did(20, 0, adds=[dict(parentId=6)]), did(30, 0, texts=5), dict(type=3, timestamp=T0 + 40, data="packed"), did(50, 15, id=99, styleIds=[1]), did(60, 2, type=2, id=[1], x=1, y=1),
           did(25, 0, adds=[dict(parentId=777, nextId=None, node=el(70, "p", "lost"))])]
    shop = layout_from_rrweb(write(tmp_path, meta(0), snapshot(1, el(10, "h1", "a")), *odd), into=tmp_path/"s")
    assert boxes(shop).label.tolist() == ["a"] and shop.notes["changes without a place"] >= 3


def test_it_works_beside_an_event_loop(tmp_path):
    "As in JupyterLab, where the notebook's thread runs one."
    def rebuilt(): return layout_from_rrweb(write(tmp_path, meta(0), snapshot(1, el(10, "h1", "a"))), into=tmp_path/"s")
    async def cell(): return rebuilt()
    try: asyncio.get_running_loop()
    except RuntimeError: shop = asyncio.run(cell())
    else: shop = rebuilt()   # a browser of an earlier test keeps a loop running here
    assert boxes(shop).label.tolist() == ["a"]
