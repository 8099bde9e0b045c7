"The widget over the page, seen from the kernel: what is sent equals what was measured, and untrusted names stay text."
from __future__ import annotations

import base64
import json
import re

import numpy as np
import pandas as pd
import pytest

import crmlab as cl
from crmlab.core import CrmlabError
from crmlab.deliver import explore as module
from crmlab.deliver.explore import explore
from crmlab.infer.heatmap_diff import heatmap_diff
from crmlab.tables.commit import commit
from crmlab.tables.folder import new_shop
from crmlab.tables.engine import connection


def unpacked(text, kind="<f4"): return np.frombuffer(base64.b64decode(text), kind)


def inside(html: str) -> dict:
    "The data that a saved page carries, as a browser takes it out: up to the first end of the element."
    return json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.S)[1])


def rebuilt(sent, column, columns):
    values = np.repeat(unpacked(sent["quiet"][column]), columns)
    values[unpacked(sent["at"], "<i4")] = unpacked(sent[column])
    return values


HARM = '</script><img src=x onerror="window.harmed=1">'


def map_shop(folder):
    "Two pages with layouts; Royal members click the coupon three times as often; one element has a harmful name."
    rng, rows = np.random.default_rng(5), []
    for member in range(80):
        for visit in range(4):
            device, width, page = ("mobile", 390, "/") if visit == 3 else ("desktop", 1280, "/mypage" if visit == 0 else "/")
            base = dict(event_id=f"{member}-{visit}", visitor_id=f"v{member}", user_id=f"u{member}", page=page, device=device, source="(direct)", viewport_w=width, viewport_h=800,
                        page_w=width, page_h=1200, scroll_y=0, ts=pd.Timestamp("2026-01-05T01:00:00Z") + pd.Timedelta(hours=24*visit, minutes=7*member))
            rows.append(base | dict(event="page_view"))
            def act(event, seconds, rows=rows, base=base, **more): rows.append(base | dict(event=event, event_id=f"{base['event_id']}-{seconds}", ts=base["ts"] + pd.Timedelta(seconds=seconds)) | more)
            act("mouse_move", 2, x=width*.5, y=300.)
            if page == "/mypage": act("click", 4, x=width*.8, y=90.)
            elif rng.random() < (.6 if member % 2 else .15): act("click", 5, x=width*(.15 + .2*rng.random()), y=620 + 60*rng.random())
    boxes = [dict(page=p, device=d, version="1", valid_from=pd.Timestamp("2025-12-01T00:00:00Z"), selector=s, label=label, x=x*w, y=y, w=.3*w, h=100., page_w=float(w), page_h=1200.)
             for d, w in (("desktop", 1280), ("mobile", 390)) for p, s, label, x, y in [("/", "#coupon", "クーポン", .1, 600.), ("/", "#x", HARM, .6, 100.), ("/mypage", "#points", "ポイント", .65, 50.)]]
    ranks = [dict(user_id=f"u{m}", attribute="rank", value=("Bronze", "Royal")[m % 2], valid_from=pd.Timestamp("2025-01-01T00:00:00Z")) for m in range(80)]
    new_shop(folder, name="テスト商店", ranks=["Bronze", "Royal"])
    commit(folder, {name: connection().from_df(pd.DataFrame(table)) for name, table in dict(events=rows, layouts=boxes, attributes=ranks).items()}, kind="test")
    return folder


@pytest.fixture(scope="module")
def shop(tmp_path_factory): return cl.open_shop(map_shop(tmp_path_factory.mktemp("shops")/"maps"))


@pytest.fixture(scope="module")
def widget(shop): return explore(shop, by="rank", lang="en", pages=["/", "/mypage"])


@pytest.mark.parametrize("kind", module.OPTIONS["kind"])
def test_every_number_of_every_cell_arrives(shop, widget, kind):
    widget.page, widget.device, widget.kind, widget.view = "/", "desktop", kind, "maps"
    assert widget.answer["error"] == "" and widget.answer["key"] == ["/", "desktop", kind, "Bronze", "Royal", "maps"]
    result = cl.heatmap(shop.tag("rank"), page="/", device="desktop", kind=kind, by="rank")
    lo, hi = module.limits(kind)
    for segment in ("Bronze", "Royal"):
        frame, sent = result.frame[result.frame.segment == segment], widget.answer["maps"][segment]
        assert sent["visits"] == result.meta["visits"][segment]
        for name, measured in dict(n="n", visits="visits", exposed="exposed", value=module.SHOWN[kind], lo=lo, hi=hi).items():
            np.testing.assert_array_equal(rebuilt(sent["cells"], name, widget.sheet["columns"]), frame[measured].astype("float32"))


def test_only_cells_that_differ_from_their_row_are_sent(widget):
    widget.page, widget.device, widget.kind, widget.view = "/", "desktop", "click", "maps"
    cells = widget.answer["maps"]["Royal"]["cells"]
    assert (unpacked(cells["n"]) > 0).all()
    assert 0 < len(unpacked(cells["at"], "<i4")) < .1*widget.sheet["columns"]*widget.sheet["rows"]


def test_difference_is_sent_when_it_is_looked_at(shop, widget):
    widget.page, widget.device, widget.kind, widget.view = "/", "desktop", "click", "maps"
    assert widget.answer["difference"] is None
    widget.view = "difference"
    sent = widget.answer["difference"]
    found = heatmap_diff(cl.heatmap(shop.tag("rank"), page="/", by="rank"), a="Bronze", b="Royal")
    frame = found.frame.set_index(found.frame.row*widget.sheet["columns"] + found.frame.col)
    at, which = (unpacked(sent[k], "<i4") for k in ("at", "which"))
    assert len(at) and set(at) == set(frame.index[frame.est.notna()])
    for name in ("est", "lo", "hi", "flagged"): np.testing.assert_array_equal(unpacked(sent[name])[which], frame.loc[at, name].astype("float32"))
    assert len(sent["regions"]) == len(found.regions) > 0
    assert sent["regions"][0][0] == "クーポン" and frame.flagged[sent["regions"][0][1]]


def test_bands_have_no_difference_and_say_so(widget):
    widget.page, widget.device, widget.kind, widget.view = "/", "desktop", "scroll", "difference"
    assert widget.answer["difference"] is None and "No difference is judged" in widget.answer["error"]
    widget.kind, widget.view = "click", "maps"


def test_a_segment_with_itself_has_no_difference(shop):
    w = explore(shop, by="rank", a="Royal", b="Royal", pages=["/"])
    w.view = "difference"
    assert w.answer["error"] == "" and w.answer["difference"] is None


def test_errors_are_one_line_and_the_widget_goes_on(widget):
    widget.page = "/gone\n<b>"
    assert "/gone" in widget.answer["error"] and "\n" not in widget.answer["error"] and "Traceback" not in widget.answer["error"]
    widget.page, widget.a = "/", "Platinum"   # unknown segments are maps without visits
    assert widget.answer["maps"]["Platinum"] == dict(visits=0, few=False, cells=None)
    widget.a = "Bronze"
    assert widget.answer["error"] == ""


def test_what_fails_inside_is_told_in_one_line(shop, monkeypatch):
    w = explore(shop, by="rank", lang="en", pages=["/"])
    def broken(*args, **kwargs): raise ZeroDivisionError("first\nsecond")
    monkeypatch.setattr(module, "heatmap", broken)
    w.page = "/mypage"
    assert w.answer["error"] == "This cannot be shown (ZeroDivisionError: first second)."


@pytest.mark.parametrize("given, says", [(dict(by="rnak"), "rank"), (dict(by="rank", pages=["/mypag"]), "did you mean /mypage"), (dict(by="rank", a="Bronz"), "did you mean Bronze"),
                                         (dict(by="rank", lang="fr"), "is not ja or en")])
def test_wrong_arguments_are_named(shop, given, says):
    with pytest.raises(CrmlabError, match=says): explore(shop, **given)


def test_without_segments_there_is_one_map(shop):
    w = explore(shop, pages=["/"], lang="ja")
    assert list(w.answer["maps"]) == ["(all)"] and [c["label"] for c in w.choices["segments"]] == ["全体"]


def test_saved_page_holds_the_maps_it_names_and_fits_its_budget(shop, widget):
    widget.page, widget.device, widget.kind, widget.view = "/", "desktop", "click", "maps"
    whole = inside(widget.html())
    assert whole["maps"][0]["which"] == ["/", "desktop", "click"] and len(whole["maps"]) > 1
    assert whole["state"]["note"].startswith("Saved in this page: /, desktop, Clicks; ")
    frame = cl.heatmap(shop.tag("rank"), page="/", by="rank").frame
    np.testing.assert_array_equal(rebuilt(whole["maps"][0]["maps"]["Royal"]["cells"], "hi", 64), frame.hi[frame.segment == "Royal"].astype("float32"))
    one = len(json.dumps(whole["maps"][0]))
    small = inside(widget.html(budget=one + 100))
    assert [m["which"] for m in small["maps"]] == [["/", "desktop", "click"]]
    assert small["state"]["choices"]["pages"] == [dict(name="/", label="/", devices=["desktop"])]
    w = explore(shop, by="rank", lang="en", pages=["/"])
    w.saved_bytes = one + 100
    assert len(inside(w._repr_mimebundle_()["text/html"])["maps"]) < len(inside(w.html(budget=10**7))["maps"])


def test_untrusted_names_cannot_leave_their_element():
    name = '</script><script>alert(1)</script><!--<script>\u2028'
    html = module._twin(dict(name=name), "en")
    assert inside(html)["name"] == name
    assert html.lower().count("<script") == html.lower().count("</script") == 2 and "<!--" not in html and "\u2028" not in html


def test_saved_page_asks_nobody(widget):
    html = re.sub(r'(<script type="application/json"[^>]*>).*?</script>', r"\1</script>", widget.html(), flags=re.S)   # names in the data may say anything
    assert not re.findall(r"https?://|@import|url\(|\bsrc=|\bfetch\(|XMLHttpRequest|\bimport\(", html)
    assert "innerHTML" not in html and "insertAdjacentHTML" not in html and "document.write" not in html


def test_live_view_only_where_somebody_shows_it(shop, monkeypatch):
    for name in module._FRONTENDS: monkeypatch.delenv(name, raising=False)
    view = "application/vnd.jupyter.widget-view+json"
    shown = explore(shop, by="rank", pages=["/"])._repr_mimebundle_()
    assert view not in shown and "crmlab-explore" in shown["text/html"]
    monkeypatch.setenv("JPY_SESSION_NAME", "notebook.ipynb")
    live = explore(shop, by="rank", pages=["/"])._repr_mimebundle_()
    assert view in live and "crmlab-explore" in live["text/html"]


def test_labels_are_in_both_languages(shop):
    ja, en = (explore(shop, by="rank", lang=lang, pages=["/"]) for lang in ("ja", "en"))
    assert ja.look["words"].keys() == en.look["words"].keys()
    assert [k["label"] for k in ja.choices["kinds"]][0] == "クリック" and [d["label"] for d in en.choices["devices"]] == ["desktop", "mobile"]
    for key, text in ja.look["words"].items(): assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", en.look["words"][key])), key
