"The widget over the page as a reader uses it: in a saved page without a kernel, and in JupyterLab with one."
from __future__ import annotations

import json
import time

import nbformat
import pytest
from test_explore import map_shop

import crmlab as cl
from crmlab.core import word
from crmlab.deliver.explore import explore

from .chromium import DESKTOP, PHONE, opened, overflow, sticking_out
from .test_lab import ERRORS, lab, run_all

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory): return map_shop(tmp_path_factory.mktemp("shops")/"maps")


@pytest.fixture(scope="module")
def saved(folder, tmp_path_factory):
    "Language → a page with the widget as it is saved."
    out, shop = tmp_path_factory.mktemp("saved"), cl.open_shop(folder)
    for lang in ("ja", "en"):
        page = f'<!DOCTYPE html><html lang="{lang}"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{lang}</title><body>{explore(shop, by="rank", lang=lang).html()}'
        (out/f"{lang}.html").write_text(page, encoding="utf-8")
    return out


def root(page, number=0): return page.locator(".crmlab-explore").nth(number)
def select(widget, choice, value): widget.locator(f"[data-choice={choice}] select").select_option(value)
def picture(widget) -> str: return widget.locator("canvas").last.evaluate("c => c.toDataURL()")
def shown(widget) -> list: return json.loads(widget.get_attribute("data-shown"))
def readout(widget) -> str: return widget.locator(".readout").inner_text()


def at(widget, x, y):
    "Place in the first map: share of its width, px of the page."
    box = widget.locator(".sheet canvas").first.evaluate("c => [c.clientWidth, c.clientHeight]")
    return dict(x=x*box[0], y=y/1200*box[1])


@pytest.mark.parametrize("lang, size", [("ja", DESKTOP), ("en", PHONE)], ids=["ja-desktop", "en-phone"])
def test_saved_page_follows_its_reader(saved, browser, lang, size):
    with opened(browser, (saved/f"{lang}.html").as_uri(), size) as page:
        w = root(page)
        page.wait_for_function("document.querySelector('.crmlab-explore').dataset.state === 'shown'")
        assert shown(w) == ["/", "desktop", "click", "Bronze", "Royal", "maps"]
        seen = [picture(w)]
        for choice, value in [("b", "Bronze"), ("b", "Royal"), ("page", "/mypage"), ("page", "/"), ("device", "mobile"), ("view", "difference")]:
            select(w, choice, value)
            assert w.get_attribute("data-state") == "shown", (choice, w.locator(".message").inner_text())
            seen.append(picture(w))
        assert seen[1] != seen[0] and seen[2] == seen[0] == seen[4] and len(set(seen)) == 5   # back again is the same picture
        select(w, "kind", "scroll")
        assert w.locator(".message").inner_text() == word("explore.bands", lang) and not w.locator(".stage").is_visible()
        select(w, "view", "maps")
        assert w.get_attribute("data-state") == "shown" and w.locator(".stage").is_visible()
        assert overflow(page) <= 0, sticking_out(page)
        assert page.outside == [] and page.problems == []


def test_pointing_reads_the_numbers_that_were_measured(saved, browser, folder):
    frame = cl.heatmap(cl.open_shop(folder).tag("rank"), page="/", by="rank").frame
    cell = frame[frame.segment == "Royal"].nlargest(1, "n").iloc[0]
    bronze = frame[(frame.segment == "Bronze") & (frame.col == cell.col) & (frame.row == cell.row)].iloc[0]
    with opened(browser, (saved/"en.html").as_uri()) as page:
        w = root(page)
        w.locator(".sheet").first.hover(position=at(w, (cell.x0 + cell.x1)/2, (cell.y0 + cell.y1)/2))
        said = readout(w)
        assert "“クーポン”" in said
        for segment, c in (("Bronze", bronze), ("Royal", cell)): assert f"{segment}: {c.n} clicks" in said and f"of {c.exposed} visits" in said
        assert f"{100*cell.rate:.1f}%"[:3] in said and f"{100*cell.hi:.1f}%"[:3] in said
        select(w, "view", "difference")   # the cursor stays
        assert "Here and around: Royal is" in readout(w) and "judged to differ" in readout(w)


def test_keyboard_alone_is_enough(saved, browser):
    with opened(browser, (saved/"en.html").as_uri()) as page:
        w = root(page)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('[data-choice]').dataset.choice") == "page"
        page.keyboard.press("ArrowDown")
        assert shown(w)[0] == "/mypage"
        for _ in range(6): page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.getAttribute('role')") == "application" and "Arrow keys" in page.evaluate("document.activeElement.ariaLabel")
        places = []
        for key in ("ArrowRight", "ArrowDown", "PageDown", "End", "ArrowRight", "Home", "ArrowUp"):
            page.keyboard.press(key)
            places.append(readout(w).splitlines()[0])
        assert places[0].startswith("2% from the left, 10 px") and places[2].startswith("2% from the left, 230 px")
        assert places[3] == places[4] == "99% from the left, 230 px from the top"
        assert places[6] == "1% from the left, 210 px from the top"
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"   # the focus is seen


def test_harmful_names_are_only_text(saved, browser):
    with opened(browser, (saved/"en.html").as_uri()) as page:
        w = root(page)
        w.locator(".sheet").first.hover(position=at(w, .7, 150))
        assert 'onerror="window.harmed=1"' in readout(w)
        page.wait_for_timeout(200)
        assert page.evaluate("window.harmed") is None and page.locator("img[src=x]").count() == 0


def heard(path, key: list, seconds: float = 60) -> bool:
    "Whether the kernel answered that state."
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if path.exists() and json.dumps(key) in path.read_text(encoding="utf-8").splitlines(): return True
        time.sleep(.2)
    return False


def test_jupyterlab_asks_the_kernel_and_the_picture_follows(browser, folder, tmp_path):
    work, home = tmp_path/"work", tmp_path/"home"
    work.mkdir()
    home.mkdir()
    code = [f"""import json, crmlab as cl
from crmlab.deliver.explore import explore
shop = cl.open_shop({str(folder)!r})
def tell(change):
    with open("answers.txt", "a", encoding="utf-8") as file: print(json.dumps(change.owner.answer["key"]), file=file)
def shown(lang):
    w = explore(shop, by="rank", lang=lang)
    w.observe(tell, "answer")
    return w""", "shown('ja')", "shown('en')"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in code], metadata=dict(kernelspec=dict(name="python3", display_name="python3", language="python")))
    nbformat.write(notebook, work/"explore.ipynb")
    with lab(work, home) as (address, token), opened(browser, f"{address}/lab/tree/explore.ipynb?token={token}&reset", dict(width=1500, height=1100)) as page:
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
        page.set_viewport_size(dict(width=1500, height=4000))
        run_all(page, seconds=180)
        assert page.locator(ERRORS).all_inner_texts() == []
        page.wait_for_function("document.querySelectorAll('.crmlab-explore[data-state=shown]').length === 2", timeout=60_000)
        ja, en = root(page, 0), root(page, 1)
        assert ja.locator("[data-choice=page] span").inner_text() == "ページ" and en.locator("[data-choice=page] span").inner_text() == "Page"
        for w in (ja, en):
            seen = [picture(w)]
            for choice, value, key in [("page", "/mypage", ["/mypage", "desktop", "click", "Bronze", "Royal", "maps"]), ("a", "Royal", ["/mypage", "desktop", "click", "Royal", "Royal", "maps"]),
                                       ("page", "/", ["/", "desktop", "click", "Royal", "Royal", "maps"]), ("b", "Bronze", ["/", "desktop", "click", "Royal", "Bronze", "maps"]),
                                       ("view", "difference", ["/", "desktop", "click", "Royal", "Bronze", "difference"])]:
                select(w, choice, value)
                assert heard(work/"answers.txt", key), f"the kernel never answered {key}"
                page.wait_for_function("([e, key]) => e.dataset.state === 'shown' && e.dataset.shown === key", arg=[w.element_handle(), json.dumps(key, separators=(",", ":"))], timeout=30_000)
                seen.append(picture(w))
            assert len(set(seen)) == len(seen), [seen.index(s) for s in seen]
            (work/"answers.txt").unlink()
        assert page.outside == []
