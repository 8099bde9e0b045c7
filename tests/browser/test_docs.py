"The documentation as a reader sees it: built here, nothing fetched from outside, Japanese words are found."
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .chromium import DESKTOP, PHONE, opened, overflow, served, sticking_out

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "Address of the site: the one the gate has just built, or one built here."
    built = Path(os.environ.get("DOCS_SITE", "-"))
    if not (built/"index.html").exists():
        work = tmp_path_factory.mktemp("docs")
        built = work/"html"
        subprocess.run([sys.executable, "scripts/docsrc.py", str(work/"src")], cwd=ROOT, check=True)
        subprocess.run([Path(sys.executable).with_name("sphinx-build"), "-q", "-b", "html", "-c", "docs", str(work/"src"), str(built)], cwd=ROOT, check=True)
    with served(built) as address: yield address


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("path", ["index.html", "measure/heatmap.html", "api.html"])
def test_page_opens_without_outside_requests(site, browser, path, size):
    with opened(browser, f"{site}/{path}", size) as page:
        page.wait_for_timeout(300)
        assert page.locator(".bd-article h1").count() == 1
        assert page.outside == []
        assert page.problems == []
        assert overflow(page) <= 0, sticking_out(page)
        assert page.evaluate("[...document.images].filter(i => !i.complete || i.naturalWidth === 0).length") == 0, "a picture did not load"


def test_no_page_is_wider_than_a_phone(site, browser):
    with opened(browser, f"{site}/genindex.html", PHONE) as page:
        links = set(page.evaluate("[...document.querySelectorAll('nav a')].map(a => a.href.split('#')[0])"))
        pages, wide = sorted(a for a in links if a.startswith(site) and a.endswith(".html")), {}
        for address in pages:
            page.goto(address)
            if overflow(page) > 0: wide[address.removeprefix(site)] = sticking_out(page)
        assert len(pages) > 50 and not wide, wide


@pytest.mark.parametrize("query", ["会員ランク", "heatmap"])
def test_search_finds(site, browser, query):
    with opened(browser, f"{site}/search.html?q={query}") as page:
        page.wait_for_selector("#search-results .search li a", timeout=20_000)
        assert page.outside == []
        first = page.locator("#search-results .search li a").first
        with page.expect_navigation(): first.click()
        assert query in page.content()


def test_search_finds_nothing_where_there_is_nothing(site, browser):
    with opened(browser, f"{site}/search.html?q=蜃気楼観測所") as page:
        page.wait_for_function("document.querySelector('#search-results .search-summary')?.textContent.length > 10", timeout=20_000)
        page.wait_for_timeout(500)
        assert page.locator("#search-results .search li a").count() == 0
