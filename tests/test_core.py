"Settings, words, refusals and the cost of an import, from outside the package."
from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

import crmlab as cl
from crmlab.core import known_word, microseconds, need, settings, show, show_interval, word

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def no_settings_in_environment(monkeypatch):
    for name in ("CRMLAB_LANGUAGE", "CRMLAB_PROB", "CRMLAB_DATA_CACHE"): monkeypatch.delenv(name, raising=False)


def ini(folder, text): (folder/"settings.ini").write_text(text, encoding="utf-8")


def test_settings_file_of_the_repository_is_read_and_complete():
    assert settings(ROOT) == settings(ROOT/"nbs"/"core")
    keys = re.findall(r"^(?:# )?(\w+) *=", (ROOT/"settings.ini").read_text(encoding="utf-8"), re.M)
    assert set(keys) == set(settings.__globals__["Settings"].__dataclass_fields__)


def test_nearest_file_with_a_section_counts_and_the_environment_overrides_it(tmp_path, monkeypatch):
    (tmp_path/"client").mkdir()
    ini(tmp_path, "[crmlab]\nprob = 0.9\nlanguage = en\n")
    ini(tmp_path/"client", "[crmlab]\nprob = 0.8\n")
    assert (settings(tmp_path/"client").prob, settings(tmp_path/"client").language) == (.8, "ja")
    monkeypatch.setenv("CRMLAB_PROB", "0.5")
    assert settings(tmp_path/"client").prob == .5


@pytest.mark.parametrize("text, complaint", [
    ("[crmlab]\nlangauge = ja\n", "unknown setting 'langauge'; did you mean language?"),
    ("[crmlab]\nprob = 95\n", "prob = '95' is not a number between 0 and 1"),
    ("[crmlab]\ntimezone = Tokyo\n", "timezone = 'Tokyo' is not an IANA time zone"),
    ("[crmlab\n", "settings.ini")])
def test_bad_settings_are_refused_by_name(tmp_path, text, complaint):
    ini(tmp_path, text)
    with pytest.raises(cl.CrmlabError, match=re.escape(complaint)) as e: settings(tmp_path)
    assert "\n" not in str(e.value) and "settings.ini" in str(e.value)


def test_misspelt_environment_variable_is_refused(monkeypatch):
    monkeypatch.setenv("CRMLAB_LANGAUGE", "en")
    with pytest.raises(cl.CrmlabError, match="CRMLAB_LANGAUGE"): settings()


def test_settings_really_reach_the_numbers(monkeypatch):
    monkeypatch.setenv("CRMLAB_LANGUAGE", "en")
    assert word("segment.unknown") == "(unknown)"
    monkeypatch.setenv("CRMLAB_LANGUAGE", "ja")
    assert word("segment.unknown") == "(不明)"


def _leaves(tree, path=()):
    for key, value in tree.items():
        if isinstance(value, dict) and not {"ja", "en"} & value.keys(): yield from _leaves(value, (*path, key))
        else: yield ".".join((*path, key)), value


WORDS = dict(_leaves(tomllib.loads((ROOT/"crmlab/assets/words.toml").read_text(encoding="utf-8"))))


DATES = {"report.day", "report.moment", "segments.day"}   # 9月20日(日) against 20 September: the parts of a date differ, its day and year do not


@pytest.mark.parametrize("key", WORDS)
def test_every_word_exists_in_both_languages_with_the_same_blanks(key):
    entry = WORDS[key]
    assert set(entry) == {"ja", "en"} and all(isinstance(v, str) for v in entry.values())
    assert all(v.strip() for v in entry.values()) or key.endswith((".space", ".separator"))   # Japanese sentences stand without a blank between them
    blanks = {lang: set(re.findall(r"{(\w*)", text)) for lang, text in entry.items()}
    if key in DATES: assert {"year", "day"} <= blanks["ja"] & blanks["en"]
    else: assert blanks["ja"] == blanks["en"]


@pytest.mark.parametrize("key", WORDS)
def test_japanese_words_follow_the_wording_rules(key):
    text = WORDS[key]["ja"].replace("差がないという意味ではありません", "")   # the one sentence that says what is not meant
    assert not re.search("[０-９Ａ-Ｚａ-ｚ]", text), "digits and Latin letters are half-width"
    assert not re.search("[\uff66-\uff9f]", text), "katakana are full-width"
    for forbidden in ("差がない", "差はない", "有意", "カゴ落ち", "鉄板"): assert forbidden not in text


def test_a_missing_word_is_an_error_and_a_name_from_the_data_is_not():
    with pytest.raises(cl.CrmlabError, match="no ja text for 'no.such'"): word("no.such", "ja")
    with pytest.raises(cl.CrmlabError, match="language 'fr'"): word("segment.unknown", "fr")
    assert known_word("behaviour.no such", "contract_changed", "ja") == "contract_changed"


def test_numbers_read_as_a_client_expects():
    assert show(-.018, "share", "ja", signed=True) == "−1.8pt"
    assert show(1234567, "JPY", "ja") == "1,234,567円"
    assert show(float("nan"), "share", "ja") == "–"
    assert show_interval(.31, .27, .35, "share", "ja") == "31.0%(95%信頼区間 27.0%〜35.0%)"
    assert show_interval(-.2, -.486, .00004, "share", "en", signed=True).endswith("−48.6 pt to +0.004 pt)")   # an end never loses its side of 0
    assert show_interval(-900., -1800., -.3, "JPY", "ja", signed=True).count("−0.3") == 1


@pytest.mark.parametrize("text", ["30", "m", "1.5h", "-1d", "", "30 minutes", None])
def test_a_duration_needs_a_whole_number_and_a_unit(text):
    with pytest.raises(cl.CrmlabError, match="such as 30m, 24h or 90d"): microseconds(text)


def test_need_names_asker_column_and_what_is_there():
    with pytest.raises(cl.CrmlabError, match=r"funnel needs column 'event'; did you mean evnt\?"): need(["evnt"], "event", who="funnel")


def test_every_public_name_is_there_and_documented():
    assert {"open_shop", "import_data", "heatmap", "contrast", "ab_test", "report", "datasets"} <= set(dir(cl))
    for name in set(dir(cl)) - {"__version__", "datasets"}: assert getattr(cl, name).__doc__, name
    with pytest.raises(AttributeError, match="no 'heatmaps'"): cl.heatmaps  # noqa: B018


def test_import_loads_nothing_heavy():
    code = "import sys, crmlab, json; print(json.dumps(sorted(m for m in sys.modules if '.' not in m)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert not {"seaborn", "papermill", "anywidget", "nbconvert", "pymc", "matplotlib", "scipy"} & set(loaded)


def test_import_cost_above_its_engine():
    def seconds(code):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start
    engine = "import pandas, duckdb, narwhals"   # in turns, so that other work on the machine falls on both
    runs = [(seconds(engine), seconds(f"{engine}; import crmlab; crmlab.open_shop")) for _ in range(3)]
    alone, whole = (min(each) for each in zip(*runs, strict=True))
    assert whole - alone <= .5
