"Reports from outside: what they hold, what they refuse, what they leave behind. How they look is tests/browser/test_report.py."
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import crmlab as cl
from crmlab.core import word
from crmlab.deliver.report import template_folder, template_parameters

EVIL = "<script>alert('会員')</script>"


class Page(HTMLParser):
    "Tags with their attributes, and the text that a reader sees."
    def __init__(self, html):
        super().__init__()
        self.tags, self.shown, self._hidden = [], "", 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._hidden += tag in ("style", "script")

    def handle_endtag(self, tag): self._hidden -= tag in ("style", "script")
    def handle_data(self, data): self.shown += "" if self._hidden else data


def page(path: Path) -> Page: return Page(path.read_text(encoding="utf-8"))
def cells(path: Path) -> list: return json.loads(path.read_text(encoding="utf-8"))["cells"]


def notebook(path: Path, *sources: str) -> Path:
    "A template: the first source is the cell of parameters, one that starts with # is Markdown."
    made = [dict(cell_type="markdown" if s.startswith("#") else "code", id=f"c{i}", metadata={}, source=s) for i, s in enumerate(sources)]
    made[0]["metadata"] = dict(tags=["parameters"])
    for c in made:
        if c["cell_type"] == "code": c.update(outputs=[], execution_count=None)
    kernel = dict(name="no-such-kernel", display_name="-", language="python")   # whatever a template was saved with
    path.write_text(json.dumps(dict(cells=made, metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)), encoding="utf-8")
    return path


@pytest.fixture
def users(tmp_path) -> Path:
    "A file that a template of our own can report on."
    (tmp_path/"users.csv").write_text("arm,bought\nA,1\nB,0\n", encoding="utf-8")
    return tmp_path/"users.csv"


# --- the behaviour report in both languages

@pytest.mark.parametrize("lang", ["ja", "en"])
class TestBehaviour:
    def test_no_cell_failed_and_no_input_is_shown(self, small_reports, lang):
        done, html = small_reports[lang]
        assert not [o for c in cells(done) for o in c.get("outputs", []) if o["output_type"] == "error"]
        assert "sections." not in page(html).shown and "parts.speak" not in page(html).shown

    def test_it_asks_nobody_for_anything(self, small_reports, lang):
        html = small_reports[lang][1].read_text(encoding="utf-8")
        for tag, attrs in Page(html).tags:
            assert tag not in ("script", "link", "iframe", "object", "embed"), tag
            for name in ("src", "srcset", "data", "poster", "background"):
                assert attrs.get(name, "data:").startswith("data:"), (tag, attrs[name][:80])
            assert not [n for n in attrs if n.startswith("on")], (tag, attrs)
        styles = "".join(re.findall(r"<style>(.*?)</style>", html, flags=re.S))
        assert not re.search(r"@import|url\((?!data:)", styles)
        assert "default-src 'none'" in html

    def test_it_says_in_which_language_it_is(self, small_reports, lang):
        html = page(small_reports[lang][1])
        assert dict(html.tags)["html"] == dict(lang=lang)
        words = re.sub(r"テスト商店", "", html.shown)   # the shop's own name stays as it is
        assert bool(re.search(r"[ぁ-んァ-ヶ]", words)) == (lang == "ja")

    def test_it_holds_what_a_reader_must_know(self, small_reports, small_shop, lang):
        shown = page(small_reports[lang][1]).shown
        about = cl.open_shop(small_shop).describe()
        assert all(line in shown for line in about.text(lang).splitlines())   # share of identified visits, what seems wrong with the data
        assert cl.open_shop(small_shop).fingerprint in shown              # provenance
        for name in ("crmlab", "duckdb", "by = rank", "page = /", "95%", "behaviour"): assert name in shown, name
        assert cl.word("provenance.title", lang) in shown and cl.word("provenance.seed", lang) in shown
        assert cl.word("report.behaviour.definitions", lang) in shown

    def test_every_figure_has_a_sentence_and_a_title(self, small_reports, lang):
        html = small_reports[lang][1].read_text(encoding="utf-8")
        figures = re.findall(r"<figure.*?</figure>", html, flags=re.S)
        assert len(figures) >= 6
        for f in figures:
            assert re.search(r'<figcaption><p class="reading">[^<]{20,}', f), f[-300:]
            assert re.search(r'alt="[^"]{4,}"', f)

    def test_it_comes_from_the_language_of_the_report_not_of_the_machine(self, small_reports, lang):
        assert cl.settings().language == os.environ.get("CRMLAB_LANGUAGE", "ja")   # a report does not change the caller's settings


def test_the_truth_of_a_made_shop_is_no_clients_data(tmp_path):
    from crmlab.deliver.sections import facts_of, quality_section
    shop = cl.simulate("bronze_royal", users=30, seed=1, into=tmp_path/"made").tag("rank")
    shown = "".join(part._repr_html_() for part in quality_section(shop, facts_of(shop, "rank")))
    assert shop.has("truth") and cl.word("report.table.events") in shown and cl.word("report.table.truth") not in shown


def test_both_languages_say_the_same_numbers(small_reports):
    tables = {lang: re.findall(r'<td class="number">(.*?)</td>', files[1].read_text(encoding="utf-8")) for lang, files in small_reports.items()}
    numbers = {lang: [re.findall(r"[\d.]+", t) for t in ts] for lang, ts in tables.items()}
    assert numbers["ja"] == numbers["en"] and len(numbers["ja"]) > 20


# --- what comes from the data is text, never markup

def test_names_from_the_data_are_shown_escaped(tmp_path):
    import conftest
    import pandas as pd
    from crmlab.tables.engine import connection
    events = conftest.small_events()
    events.loc[events.page == "/product", "page"] = f"/product{EVIL}"
    events.loc[events.event == "purchase", "event"] = EVIL
    ranks = pd.DataFrame([dict(user_id=f"u{m}", attribute="rank", value=EVIL if m >= 40 else "Bronze", valid_from="2025-01-01T00:00:00Z") for m in range(80)])
    cl.new_shop(tmp_path/"shop", name=f"商店{EVIL}", ranks=["Bronze", EVIL])
    with (tmp_path/"shop/shop.toml").open("a", encoding="utf-8") as f: f.write(f'\n[pages]\n"/" = "トップ{EVIL}"\n')
    for table, frame in dict(events=events, attributes=ranks).items():
        connection().from_df(frame).to_csv(str(tmp_path/f"{table}.csv"))
        counts = cl.import_data("csv", tmp_path/f"{table}.csv", into=tmp_path/"shop", table=table).counts[table]
        assert counts["read"] == counts["kept"] == len(frame)
    html = cl.report("behaviour", shop=tmp_path/"shop", lang="en", out=tmp_path/"out").html
    assert "script" not in [tag for tag, _ in page(html).tags]
    for shown in (f"商店{EVIL}", f"トップ{EVIL}", f"/product{EVIL}"): assert shown in page(html).shown, shown


# --- templates and their parameters

def test_every_template_describes_its_parameters():
    for path in template_folder().glob("*.ipynb"):
        found = template_parameters(path.stem)
        assert found and all(about for _, about in found.values()), path


@pytest.mark.parametrize("params, message", [(dict(bye="rank"), "has no parameter 'bye'; did you mean by?"), (dict(shop="x"), "is set by the argument shop"),
                                             (dict(lang="ja"), "is set by the argument lang"), (dict(by={1, 2}), "by is a set"), (["by"], "params=['by'] is no mapping"),
                                             (dict(only="funel"), "has no section 'funel'; did you mean funnel?"), (dict(only=[]), "only=[] names no section"), (dict(only=3), "only=3 names no section")])
def test_a_wrong_parameter_is_refused_before_anything_runs(small_shop, tmp_path, monkeypatch, params, message):
    import papermill
    monkeypatch.setattr(papermill, "execute_notebook", lambda *args, **kwargs: pytest.fail("the notebook was run"))
    with pytest.raises(cl.CrmlabError, match=re.escape(message)): cl.report("behaviour", shop=small_shop, params=params, out=tmp_path/"out")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_template_or_source_is_named(small_shop, tmp_path):
    with pytest.raises(cl.CrmlabError, match="no template 'behavior'; did you mean behaviour"): cl.report("behavior", shop=small_shop, out=tmp_path)
    with pytest.raises(cl.CrmlabError, match="no such shop folder, file or data set"): cl.report("behaviour", shop=tmp_path/"nowhere", out=tmp_path)
    with pytest.raises(cl.CrmlabError, match="not a shop folder"): cl.report("behaviour", shop=tmp_path, out=tmp_path/"out")
    for shop in (None, 3, ["data/hana"]):
        with pytest.raises(cl.CrmlabError, match=r"shop=.* is no path"): cl.report("behaviour", shop=shop, out=tmp_path)
        with pytest.raises(cl.CrmlabError, match=r"path=.* is no path"): cl.open_shop(shop)
        with pytest.raises(cl.CrmlabError, match=r"files=.* is no path|cannot be read"): cl.batch(shop)
    with pytest.raises(cl.CrmlabError, match=r"out=3 is no path"): cl.report("behaviour", shop=small_shop, out=3)
    assert list(tmp_path.iterdir()) == []


# --- the run

def test_the_kernel_is_this_interpreter(users, tmp_path):
    template = notebook(tmp_path/"who.ipynb", "by = 'x'  # anything", "import sys; print(sys.executable)")
    done = cl.report(template, shop=users, out=tmp_path/"out").notebook
    assert Path(cells(done)[-2]["outputs"][0]["text"][0].strip()) == Path(sys.executable)


def test_parameters_arrive_as_they_were_given(users, tmp_path):
    template = notebook(tmp_path/"p.ipynb", "shop = ''\nlang = ''\nsteps = None  # list\nname = ''  # text", "print(repr(steps), repr(name), repr(shop), repr(lang))")
    done = cl.report(template, shop=users, lang="en", params=dict(steps=["/", 'a"b'], name="会員's"), out=tmp_path/"out").notebook
    expected = " ".join(map(repr, (["/", 'a"b'], "会員's", str(users), "en")))
    assert cells(done)[-2]["outputs"][0]["text"][0].strip() == expected


def test_another_comparison_takes_no_others_place(users, tmp_path):
    template, out = notebook(tmp_path/"t.ipynb", "by = 'x'  # anything\nsteps = None  # list", "print(by)"), tmp_path/"out"
    run = lambda **params: cl.report(template, shop=users, lang="en", params=params, out=out).html.name
    assert run() == run(by="x") == f"t-{users.stem}-en.html"   # the template's own
    assert run(steps=["/", "/item"], by="y") == f"t-{users.stem}-by_y-steps_~+~item-en.html"
    assert len({run(by=b) for b in ("a:b", "a*b", "a b")}) == 3 and len(list(out.glob("*.html"))) == 5
    assert all(len(f.name) < 200 for f in [cl.report(template, shop=users, params=dict(by="長い名前"*99), out=out).html])


def test_a_failing_cell_leaves_nothing_and_keeps_what_was_there(users, tmp_path):
    out = tmp_path/"out"
    good = notebook(tmp_path/"t.ipynb", "by = 'x'  # anything", "## The middle", "assert by == 'x', 'by is odd'")
    before = {p.name: p.read_bytes() for p in cl.report(good, shop=users, out=out)}
    with pytest.raises(cl.CrmlabError, match="report t, “The middle”: AssertionError: by is odd"): cl.report(good, shop=users, params=dict(by="y"), out=out)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".crmlab")]


def test_a_kernel_that_dies_is_an_error_with_a_remedy(users, tmp_path):
    template = notebook(tmp_path/"dies.ipynb", "by = 'x'  # anything", "import os; os._exit(1)")
    with pytest.raises(cl.CrmlabError, match="its kernel died"): cl.report(template, shop=users, out=tmp_path/"out")
    assert not (tmp_path/"out").exists()


def test_it_runs_where_the_folder_for_temporary_files_has_a_long_path(users, tmp_path):
    deep = tmp_path/("d"*120)   # a socket in there would have too long a name
    deep.mkdir()
    template = notebook(tmp_path/"t.ipynb", "by = 'x'  # anything", "1 + 1")
    code = f"import crmlab as cl; print(cl.report({str(template)!r}, shop={str(users)!r}, out={str(tmp_path/'out')!r}).html)"
    run = subprocess.run([sys.executable, "-c", code], env=os.environ | dict(TMPDIR=str(deep)), capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert Path(run.stdout.strip()).is_file() and list(deep.iterdir()) == []


def test_a_report_shows_the_sections_asked_for_and_a_batch_writes_many(small_shop, tmp_path):
    client = tmp_path/"hana.yaml"
    client.write_text(f"shop: {small_shop}\nlang: en\nout: {tmp_path}/out\nreports:\n  - template: behaviour\n    params: {{only: [funnel]}}\n  - template: behaviour\n    lang: ja\n    params: {{page: /nowhere, only: [scroll]}}\n", encoding="utf-8")
    done = cl.batch(client)
    assert list(done.columns) == ["client", "template", "shop", "lang", "html", "error"] and (done.error != "").tolist() == [False, True] and "/nowhere" in done.error[1]
    page = Path(done.html[0]).read_text(encoding="utf-8")
    assert word("report.behaviour.funnel", "en") in page and word("report.behaviour.definitions", "en") not in page and page.count("<h2") == 2   # the funnel, and where the numbers came from
    assert [f.name for f in sorted((tmp_path/"out").iterdir())] == [Path(done.html[0]).with_suffix(".html").name, Path(done.html[0]).with_suffix(".ipynb").name]
    client.write_text(f"shop: {small_shop}\nout: {tmp_path}/x\nreports: [{{template: behaviour}}, {{template: behaviour, params: {{only: [funel]}}}}]", encoding="utf-8")
    with pytest.raises(cl.CrmlabError, match="hana.yaml: template behaviour has no section 'funel'; did you mean funnel"): cl.batch(client)
    assert not (tmp_path/"x").exists()   # told before the first report runs
