"""What tests may need from the machine, and a small shop.

`@pytest.mark.data("hillstrom")`, `@pytest.mark.browser` and `@pytest.mark.spark` say that a test needs a folder of public
data, Chromium, or Spark. What is missing skips the test with one line that says how to get it; where CRMLAB_REQUIRE names
the need (`.ci/run` does), the test fails instead.
"""
from __future__ import annotations

import importlib.util
import os
import sys
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("fixed", derandomize=True)   # the same examples on every machine and in every run
settings.load_profile("fixed")

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT/"scripts"), str(ROOT/"tests")]

NEEDS = dict(
    data="data(*folders): needs these folders of public data sets",
    browser="browser: needs Chromium and the Python package playwright",
    spark="spark: needs the Python package pyspark and a Java runtime")


def pytest_configure(config):
    for line in NEEDS.values(): config.addinivalue_line("markers", line)
    unknown = _required() - NEEDS.keys()
    if unknown: raise pytest.UsageError(f"CRMLAB_REQUIRE names {', '.join(sorted(unknown))}; it knows {', '.join(NEEDS)}")
    if not hasattr(config, "workerinput"):   # before workers start: two of them must not install the same thing at once
        for need in ("browser", "spark"):
            if need in _required(): MISSING[need]()


def _required() -> set: return {n.strip() for n in os.environ.get("CRMLAB_REQUIRE", "").split(",") if n.strip()}


def data_root() -> Path | None:
    "Folder of the public data sets."
    places = [os.environ.get("CRMLAB_DATA_CACHE"), ROOT.parent/"shared/data"]
    return next((Path(p).resolve() for p in places if p and Path(p).is_dir()), None)


def _missing_data(*folders) -> str:
    root = data_root()
    if root is None: return "no folder of public data sets; set CRMLAB_DATA_CACHE to one (data/README.md says what belongs there)"
    lacking = [f for f in folders if not (root/f).exists()]
    return f"the data folder has no {', '.join(lacking)}; data/README.md says where to get it" if lacking else ""


@cache
def _missing_browser(*_) -> str:
    if importlib.util.find_spec("playwright") is None: return "the package playwright is not installed; run `make test`, or pip install 'crmlab[browser]'"
    from browser.chromium import find_chromium, install_chromium
    if find_chromium(): return ""
    why = install_chromium()   # as root on Debian, once
    return "" if find_chromium() else f"no Chromium found{why}; install it: apt-get install chromium fonts-ipafont-gothic (or Google Chrome)"


@cache
def _missing_spark(*_) -> str:
    if importlib.util.find_spec("pyspark") is None: return "the package pyspark is not installed; run `make test`, or pip install 'crmlab[spark]'"
    from java import find_java, install_java
    if find_java(): return ""
    why = install_java() if "spark" in _required() else ""   # some 200 MB, so only where asked for
    return "" if find_java() else f"no Java runtime for Spark{why}; install it: apt-get install default-jre-headless"


MISSING = dict(data=_missing_data, browser=_missing_browser, spark=_missing_spark)


def pytest_runtest_setup(item):
    for need in NEEDS:
        mark = item.get_closest_marker(need)
        if mark is None: continue
        why = MISSING[need](*mark.args)
        if why and need in _required(): pytest.fail(f"CRMLAB_REQUIRE asks for {need}: {why}", pytrace=False)
        if why: pytest.skip(why)


@pytest.fixture(scope="session", autouse=True)
def key_of_pseudonyms(tmp_path_factory):
    "A key of this run's own, so that tests neither need nor touch the user's."
    os.environ["CRMLAB_KEY_FILE"] = str(tmp_path_factory.mktemp("key")/"pseudonym.key")


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    "Figures of one test are closed before the next; otherwise it depends on the order of files whether matplotlib warns."
    yield
    if "matplotlib.pyplot" in sys.modules: sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def data() -> Path:
    "Folder of the public data sets; mark the test with `@pytest.mark.data(…)` too."
    root = data_root()
    assert root is not None, "mark the test with @pytest.mark.data"
    return root


@pytest.fixture(scope="session")
def spark(tmp_path_factory):
    "A Spark session on two threads of this machine; mark the test with `@pytest.mark.spark` too."
    from java import start_spark
    session = start_spark(tmp_path_factory.mktemp("spark"))
    yield session
    session.stop()


@pytest.fixture(scope="session")
def browser():
    "A headless Chromium, driven by Playwright; mark the test with `@pytest.mark.browser` too."
    from browser.chromium import chromium
    with chromium() as b: yield b


# --- a small shop, written by hand: two ranks that behave differently

def small_events():
    "Events of 240 visits of 80 members, half of them Bronze: these leave the top page early, Royal members go to my page."
    import pandas as pd
    rows, start = [], pd.Timestamp("2026-01-05T01:00:00Z")
    for visit in range(240):
        member = visit % 80
        royal, at = member >= 40, start + pd.Timedelta(hours=7*visit)
        device = "mobile" if member % 4 == 0 else "desktop"
        width, height = (390, 844) if device == "mobile" else (1280, 800)
        base = dict(visitor_id=f"v{member}", user_id=f"u{member}" if visit % 6 else None, session_id=f"s{visit}", device=device,
                    viewport_w=width, viewport_h=height, page_w=width, page_h=3000, source="(direct)" if visit % 3 else "google")
        def add(seconds, event, page, base=base, at=at, visit=visit, **more):
            rows.append(base | dict(event_id=f"{visit}-{len(rows)}", ts=at + pd.Timedelta(seconds=seconds), pageview_id=f"{visit}{page}", event=event, page=page) | more)
        landing = "/mypage" if royal and visit % 3 else "/"
        add(0, "page_view", landing, scroll_y=0)
        add(3, "click", landing, x=.3*width + visit % 50, y=200 + visit % 90, scroll_y=0)
        if royal or visit % 5 == 0:
            add(8, "scroll", landing, scroll_y=900)
            add(12, "click", landing, x=.6*width, y=1100 + visit % 70, scroll_y=900)
            add(15, "page_view", "/product", scroll_y=0)
            add(20, "add_to_cart", "/product", scroll_y=0, item_id="serum", value=4800.0, currency="JPY")
            if visit % 2: add(40, "purchase", "/thanks", value=4800.0, currency="JPY")
            add(45, "page_leave", "/product", scroll_y=400)
        else: add(30, "page_leave", landing, scroll_y=0)
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def small_shop(tmp_path_factory) -> Path:
    "The folder of that shop."
    import pandas as pd

    from crmlab.tables.commit import commit
    from crmlab.tables.folder import new_shop
    from crmlab.tables.engine import connection
    folder = tmp_path_factory.mktemp("shops")/"small"
    new_shop(folder, name="テスト商店", ranks=["Bronze", "Royal"])
    ranks = pd.DataFrame([dict(user_id=f"u{m}", attribute="rank", value="Royal" if m >= 40 else "Bronze", valid_from=pd.Timestamp("2025-01-01T00:00:00Z")) for m in range(80)])
    relation = connection().from_df
    commit(folder, dict(events=relation(small_events()), attributes=relation(ranks)), kind="test")
    return folder


@pytest.fixture(scope="session")
def small_reports(small_shop, tmp_path_factory) -> dict[str, list[Path]]:
    "The behaviour report of that shop in each language: language → the files that were written."
    import crmlab as cl
    out = tmp_path_factory.mktemp("reports")
    return {lang: [Path(p) for p in cl.report("behaviour", shop=str(small_shop), lang=lang, out=out/lang) if p] for lang in ("ja", "en")}
