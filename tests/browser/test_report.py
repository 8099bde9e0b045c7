"A client's report as the client opens it: one file, its own font, nothing fetched, readable on a phone."
from __future__ import annotations

import base64
import io
import json
import re
import unicodedata

import pytest

from .chromium import DESKTOP, PHONE, opened, overflow, sticking_out

LANGUAGES = ["ja", "en"]


def _one(paths, suffix): return next(p for p in paths if p.suffix == suffix)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_no_cell_fails_and_no_figure_lacks_a_glyph(small_reports, lang):
    cells = json.loads(_one(small_reports[lang], ".ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [o for c in cells for o in c.get("outputs", [])]
    assert outputs, "the report shows nothing"
    assert not [o for o in outputs if o["output_type"] == "error"]
    warned = [line for o in outputs if o["output_type"] == "stream" for line in "".join(o["text"]).splitlines() if "Glyph" in line or "findfont" in line]
    assert not warned
    assert any("image/png" in o.get("data", {}) or "image/svg+xml" in o.get("data", {}) for o in outputs), "the report has no figure"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_file_carries_every_japanese_glyph_it_shows(small_reports, lang):
    from fontTools.ttLib import TTFont
    html = _one(small_reports[lang], ".html").read_text(encoding="utf-8")
    fonts = re.findall(r"url\([\"']?data:(?:font|application)/[\w.+-]+;base64,([A-Za-z0-9+/=]+)", html)
    have = {c for f in fonts for c in TTFont(io.BytesIO(base64.b64decode(f))).getBestCmap()}
    text = re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", " ", html, flags=re.S)
    shown = {c for c in text if ord(c) > 0x2e7f and unicodedata.category(c)[0] in "LNPS"}
    assert not sorted(c for c in shown if ord(c) not in have), "characters without an embedded glyph"
    if lang == "ja": assert len(shown) > 50


@pytest.mark.browser
@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_opens_without_asking_anyone(small_reports, browser, lang, size):
    with opened(browser, _one(small_reports[lang], ".html").resolve().as_uri(), size) as page:
        page.wait_for_timeout(500)
        assert page.outside == []
        assert page.problems == []
        assert overflow(page) <= 0, sticking_out(page)
        assert page.evaluate("[...document.images].filter(i => !i.complete || i.naturalWidth === 0).length") == 0, "a picture did not load"


@pytest.mark.browser
def test_japanese_text_is_drawn_by_the_embedded_font(small_reports, browser):
    with opened(browser, _one(small_reports["ja"], ".html").resolve().as_uri()) as page:
        page.evaluate("document.fonts.ready")
        client = page.context.new_cdp_session(page)
        for domain in ("DOM", "CSS"): client.send(f"{domain}.enable")
        marked = page.evaluate(r"""() => { let n = 0; for (const e of document.querySelectorAll('body *')) {
            const own = [...e.childNodes].filter(c => c.nodeType === 3).map(c => c.textContent).join('');
            if (/[\u3040-\u30ff\u4e00-\u9fff]/.test(own) && e.checkVisibility() && !e.closest('svg,script,style')) e.setAttribute('data-ja', n++); } return n }""")
        assert marked > 10, "hardly any Japanese text is visible"
        root = client.send("DOM.getDocument", {"depth": 1})["root"]["nodeId"]
        other = []
        for i, node in enumerate(client.send("DOM.querySelectorAll", {"nodeId": root, "selector": "[data-ja]"})["nodeIds"]):
            fonts = client.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
            if not any(f["isCustomFont"] for f in fonts): other.append((page.inner_text(f"[data-ja='{i}']")[:30], [f["familyName"] for f in fonts]))
        assert not other, "Japanese text drawn by a font of this machine"
