"Events and attributes without code: what matches, what is written once, what is taken back, and what is refused."
from __future__ import annotations

import json
import re

import pandas as pd
import pytest
from hypothesis import given, settings as hypothesis_settings
from hypothesis import strategies as st

import crmlab as cl
from crmlab.core import word
from crmlab.sources.define import (TEXT_KEYS, apply_definitions, defined_attributes, defined_rows, preview_definitions,
                                   read_definitions)
from crmlab.tables.commit import commit
from crmlab.tables.folder import new_shop
from crmlab.tables.engine import connection

few = hypothesis_settings(max_examples=25, deadline=None, derandomize=True)
START = pd.Timestamp("2025-03-01T00:00Z")


def events(*rows, **columns):
    "Rows of (minute, visitor, user, event, page, selector, props)."
    f = pd.DataFrame(list(rows), columns=["minute", "visitor_id", "user_id", "event", "page", "selector", "props"])
    f = f.assign(event_id=[f"e{i}" for i in range(len(f))], ts=START + pd.to_timedelta(f.minute.astype(float), unit="m"), device="mobile", **columns)
    return f.drop(columns="minute").astype(dict.fromkeys(["visitor_id", "user_id", "selector", "props"], "str"))


def made(frame, **given):
    "(event, base id) of the rows that definitions give."
    rows = defined_rows(connection().from_df(frame), read_definitions(given)).df()
    return {(r.event, json.loads(r.props)["from"]) for r in rows.itertuples()}


def clicks(*selectors): return events(*[(i, "v", None, "click", "/", s, None) for i, s in enumerate(selectors)])
def views(*pages): return events(*[(i, "v", None, "page_view", p, None, None) for i, p in enumerate(pages)])
def labelled(*texts, key="text"): return events(*[(i, "v", None, "click", "/", "button", json.dumps({key: t}, ensure_ascii=False)) for i, t in enumerate(texts)])
def hits(frame, **condition): return [int(i[1:]) for _, i in sorted(made(frame, events=[dict(name="x", **condition)]), key=lambda m: int(m[1][1:]))]


names = st.sampled_from(["a", "b1", "c-c", "cta", "cta2"])
element = st.tuples(st.sampled_from(["div", "a", "ul", "span"]), st.one_of(st.none(), names), st.lists(names, max_size=3, unique=True))


def written(e): return e[0] + (f"#{e[1]}" if e[1] else "") + "".join(f".{c}" for c in e[2])


def part(draw_tag, e): return (e[0] if draw_tag else "") + (f"#{e[1]}" if e[1] else "") + "".join(f".{c}" for c in reversed(e[2]))


def fits(wanted, tag, e): return (not tag or wanted[0] == e[0]) and (wanted[1] is None or wanted[1] == e[1]) and set(wanted[2]) <= set(e[2])


@few
@given(path=st.lists(element, min_size=1, max_size=5), wanted=element, tag=st.booleans(), below=st.one_of(st.none(), element), child=st.booleans())
def test_a_selector_means_what_css_means_on_the_stored_path(path, wanted, tag, below, child):
    tag = tag or not (wanted[1] or wanted[2])
    text, truth = part(tag, wanted), any(fits(wanted, tag, e) for e in path)
    if below is not None:
        text += (" > " if child else " ") + part(True, below)
        pairs = [(i, j) for i in range(len(path)) for j in range(i + 1, len(path)) if not child or j == i + 1]
        truth = any(fits(wanted, tag, path[i]) and fits(below, True, path[j]) for i, j in pairs)
    assert (hits(clicks(" > ".join(map(written, path))), selector=text) == [0]) == truth, text


def test_selectors_with_brackets_lists_and_positions():
    frame = clicks('form > input[name="email"]', "li:nth-child(2) > a", "#buy", "#buyer", "main #buy.big")
    assert hits(frame, selector='[name="email"]') == [0]
    assert hits(frame, selector="li:nth-child(2)") == [1]
    assert hits(frame, selector="#buy") == [2, 4]
    assert hits(frame, selector="li, #buyer") == [1, 3]


@few
@given(page=st.text("ab/-.", min_size=1, max_size=8).map(lambda t: "/" + t), cut=st.integers(0, 8))
def test_a_star_stands_for_any_text(page, cut):
    prefix = page[:max(cut, 1)]
    pages = [page, "/zzz" + page, page + "x"]
    assert hits(views(*pages), url=prefix + "*") == [i for i, p in enumerate(pages) if p.startswith(prefix)]
    exact = page.rstrip("/") or "/"
    assert hits(views(*pages), url=page) == [i for i, p in enumerate(pages) if p == exact]


def test_pages_in_japanese_and_regular_expressions():
    frame = views("/特集/春", "/特集", "/item/12", "/item/ab", "/a.b", "/axb")
    assert hits(frame, url="/特集/*") == [0]
    assert hits(frame, url="/%E7%89%B9%E9%9B%86/*") == [0]
    assert hits(frame, url=r"re:^/item/\d+$") == [2]
    assert hits(frame, url="/a.b") == [4]


@pytest.mark.parametrize("key", TEXT_KEYS)
def test_text_of_every_tracker_in_every_width(key):
    frame = labelled("カートに入れる", "ｶｰﾄに入れる", "今すぐ買う", "ＡＤＤ to cart", "Add To Cart now", "ガイド", "ｶﾞｲﾄﾞ", key=key)
    assert hits(frame, text="カート") == [0, 1]
    assert hits(frame, text="ｶｰﾄに入れる") == [0, 1]
    assert hits(frame, text="add to cart") == [3, 4]
    assert hits(frame, text="add*cart") == [3]
    assert hits(frame, text="ガイド") == [5, 6]


def test_broken_props_and_missing_columns_match_nothing():
    frame = events((0, "v", None, "click", "/", None, "{broken"), (1, "v", None, "click", "/", None, None), (2, "v", None, "click", "/", None, '{"text": "買う"}'), (3, "v", None, "click", "/", None, '["買う"]'))
    assert hits(frame, text="買う") == [2]
    assert made(frame.drop(columns=["props", "selector"]), events=[dict(name="x", selector="#a")]) == set()


def test_the_recorded_event_follows_from_the_conditions():
    frame = events((0, "v", None, "page_view", "/entry", None, None), (1, "v", None, "input", "/entry", "#email", None), (2, "v", None, "click", "/entry", "#email", None), (3, "v", None, "focus", "/entry", "form > input[name=email]", None),
                   (4, "v", None, "input", "/entry", 'form > input[name="email"]', None), (5, "v", None, "add_to_cart", "/entry", None, None))
    assert hits(frame, url="/entry") == [0]
    assert hits(frame, field="#email") == [1]
    assert hits(frame, field="email") == [1, 4]
    assert hits(frame, selector="#email") == [2]
    assert hits(frame, field="email", on="focus") == [3]
    assert hits(frame, url="/entry", on="add_to_cart") == [5]


def test_all_conditions_of_one_definition_and_any_definition_of_one_name():
    frame = events((0, "v", None, "click", "/a", "#buy", None), (1, "v", None, "click", "/b", "#buy", None), (2, "v", None, "click", "/b", "#sell", None))
    assert hits(frame, url="/b", selector="#buy") == [1]
    assert made(frame, events=[dict(name="x", selector="#buy"), dict(name="x", url="/b", on="click"), dict(name="y", selector="#buy")]) == {
        ("x", "e0"), ("x", "e1"), ("x", "e2"), ("y", "e0"), ("y", "e1")}


def test_texts_cannot_break_out_of_the_query():
    nasty = "'); DROP TABLE x; --"
    frame = labelled(nasty, "fine")
    assert hits(frame, text=nasty) == [0]
    assert made(frame, events=[dict(name=nasty, text="fine")]) == {(nasty, "e1")}
    a = defined_attributes(connection().from_df(frame.assign(user_id="m")), read_definitions(dict(attributes=[dict(attribute=nasty, value="it's", text="fine")]))).df()
    assert list(a.attribute) == [nasty] and list(a.value) == ["it's"]


@few
@given(order=st.permutations(range(8)))
def test_rows_do_not_depend_on_the_order_of_the_events(order):
    frame = events(*[(i, f"v{i % 3}", f"m{i % 2}", "page_view", f"/list/{'ab'[i % 2]}", None, None) for i in range(8)])
    given_ = read_definitions(dict(events=[dict(name="x", url="/list/*")], attributes=[dict(attribute="k", value="{1}", url="/list/*"), dict(attribute="j", value="{1}", url="/list/*", keep="each")]))
    for function, by in ((defined_rows, "event_id"), (defined_attributes, ["attribute", "user_id", "valid_from"])):
        one, other = (function(connection().from_df(f), given_).df().sort_values(by, ignore_index=True) for f in (frame, frame.iloc[list(order)]))
        pd.testing.assert_frame_equal(one, other)


def test_an_attribute_holds_from_the_first_moment_or_from_each_change():
    rows = [(0, "a"), (1, "a"), (2, "b"), (3, "b"), (4, "a")]
    frame = events(*[(m, "v", "mika", "page_view", f"/list/{x}", None, None) for m, x in rows], (9, "w", None, "page_view", "/list/c", None, None))
    def values(**more):
        d = defined_attributes(connection().from_df(frame), read_definitions(dict(attributes=[dict(attribute="k", value="likes {1}", url="/list/*", **more)]))).order("valid_from").df()
        return [(int((r.valid_from - START).total_seconds()//60), r.value) for r in d.itertuples()]
    assert values() == [(0, "likes a")]
    assert values(keep="each") == [(0, "likes a"), (2, "likes b"), (4, "likes a")]


@pytest.mark.parametrize("definition, complaint", [
    (dict(name="x", ulr="/a"), "number 1: unknown key 'ulr'; did you mean url?"),
    (dict(name="x"), "x has no condition and would match everything"),
    (dict(url="/a"), "has no name"),
    (dict(name="page_view", url="/a"), "the name 'page_view' already stands for what trackers record"),
    (dict(name="mouse_move", url="/a"), "already stands"),
    (dict(name="x", on="x", url="/a"), "defined on itself"),
    (dict(name="x", url=["/a"]), "is not a text"),
    (dict(name="x", url=""), "is not a text"),
    (dict(name="x", url="https://hana.example/guide/?utm=1"), "write '/guide/'"),
    (dict(name="x", url="/a?b=1"), "write '/a'"),
    (dict(name="x", url="guide"), "write '/guide'"),
    (dict(name="x", url="re:["), "is not a regular expression"),
    (dict(name="x", url="re:(?=a)"), "is not a regular expression"),
    (dict(name="x", text="re:("), "is not a regular expression"),
    (dict(name="x", selector="a + b"), "not understood as an element"),
    (dict(name="x", selector="> a"), "not understood as an element"),
    (dict(name="x", selector=".a.b.c.d.e"), "more than four"),
    (dict(name="x", value="1", url="/a"), "unknown key 'value'")])
def test_a_wrong_event_is_refused_in_one_line(definition, complaint):
    with pytest.raises(cl.CrmlabError, match=re.escape(complaint)) as e: read_definitions(dict(events=[definition]))
    assert "\n" not in str(e.value) and "[[events]]" in str(e.value)


@pytest.mark.parametrize("definition, complaint", [
    (dict(attribute="k", url="/a"), "k has no value"),
    (dict(attribute="k", value="{1}", url="/a"), "more than the 0 parts"),
    (dict(attribute="k", value="{1}", selector="#a"), "more than the 0 parts"),
    (dict(attribute="k", value="{0}", url="/a*"), "more than the 1 parts"),
    (dict(attribute="k", value="y", url="/a", keep="last"), "keep = 'last' is not one of first, each"),
    (dict(name="k", value="y", url="/a"), "unknown key 'name'")])
def test_a_wrong_attribute_is_refused_in_one_line(definition, complaint):
    with pytest.raises(cl.CrmlabError, match=re.escape(complaint)): read_definitions(dict(attributes=[definition]))


def test_unknown_kinds_and_mixed_keeps_are_refused():
    with pytest.raises(cl.CrmlabError, match="did you mean events"): read_definitions(dict(evnets=[]))
    two = [dict(attribute="k", value="y", url="/a"), dict(attribute="k", value="z", url="/b", keep="each")]
    with pytest.raises(cl.CrmlabError, match="two different keep"): read_definitions(dict(attributes=two))


@pytest.fixture
def shop(tmp_path):
    "A shop with recorded events; ken logs in late in his visit."
    folder = tmp_path/"shop"
    new_shop(folder, name="花と水")
    frame = events((0, "a", "mika", "page_view", "/list/skincare", None, None), (1, "a", "mika", "click", "/item/1", "#main > a.size-guide > span", None), (3, "b", None, "page_view", "/list/haircare", None, None),
                   (4, "b", "ken", "click", "/", "#buy", '{"text":"買う"}'), (9, "c", None, "page_view", "/list/skincare", None, None), (5000, "a", "mika", "page_view", "/list/haircare", None, None))
    commit(folder, dict(events=connection().from_df(frame)), kind="t")
    return folder


TOML = '''
[[events]]
name = "size_guide"
selector = ".size-guide"

[[events]]
name = "買うボタン"
text = "買う"

[[attributes]]
attribute = "interest"
value = "{1}"
url = "/list/*"
'''


def define(folder, text): (folder/"shop.toml").write_text('name = "花と水"\n' + text, encoding="utf-8")


def test_shop_toml_is_previewed_applied_once_and_taken_back(shop):
    before = cl.open_shop(shop)
    visits = before.events.to_pandas().groupby(["visitor_id", "visit_no"]).ngroups
    define(shop, TOML)
    preview = preview_definitions(shop)
    assert list(preview.frame.columns) == ["kind", "name", "events", "visits", "users", "pages", "stored", "note"]
    assert preview.frame.set_index("name").events.to_dict() == {"size_guide": 1, "買うボタン": 1, "interest": 4} and (preview.frame.stored == 0).all()
    assert cl.open_shop(shop).fingerprint == before.fingerprint   # a preview writes nothing

    after = apply_definitions(shop)
    e, a = after.events.to_pandas(), after.attributes.to_pandas()
    assert after.counts["events"] == dict(read=2, kept=2, duplicate=0, rejected=0) and len(e) == 8
    assert e.groupby(["visitor_id", "visit_no"]).ngroups == visits   # an event under another name starts no visit
    guide = e[e.event == "size_guide"].iloc[0]
    base = e[e.event_id == "e1"].iloc[0]
    assert (guide.ts, guide.page, guide.user_id, guide.selector) == (base.ts, base.page, base.user_id, base.selector)
    assert {(r.user_id, r.value) for r in a.itertuples()} == {("mika", "skincare"), ("ken", "haircare")}   # ken was known one click later
    assert [i["kind"] for i in after.manifest["imports"]] == ["t", "define"]

    again = apply_definitions(shop)
    assert again.fingerprint == after.fingerprint and again.counts["events"]["kept"] == 0
    assert (preview_definitions(shop).frame.set_index("name").stored.to_dict()) == {"size_guide": 1, "買うボタン": 1, "interest": 2}

    define(shop, TOML.replace(".size-guide", ".other").replace("/list/*", "/list/hair*"))
    p = preview_definitions(shop).frame.set_index("name")
    assert (p.events["size_guide"], p.stored["size_guide"], p.note["size_guide"]) == (0, 1, "selector click")
    changed = apply_definitions(shop)
    assert changed.counts["events"]["retracted"] == 1 and "size_guide" not in set(changed.events.to_pandas().event)
    assert {(r.user_id, r.value) for r in changed.attributes.to_pandas().itertuples()} == {("mika", "care"), ("ken", "care")}

    define(shop, "")
    assert set(preview_definitions(shop).frame.note) == {"gone"}
    bare = apply_definitions(shop)
    assert sorted(bare.events.to_pandas().event_id) == [f"e{i}" for i in range(6)] and not bare.has("attributes")


def test_events_that_come_later_are_defined_on_the_next_run(shop):
    define(shop, TOML)
    apply_definitions(shop)
    more = events((6000, "d", None, "click", "/", "#x > a.size-guide", None)).assign(event_id="late")
    commit(shop, dict(events=connection().from_df(more)), kind="t")
    after = apply_definitions(shop)
    assert after.counts["events"]["kept"] == 1 and (after.events.to_pandas().event == "size_guide").sum() == 2


def test_a_tag_uses_the_defined_attribute_as_of_each_visit(shop):
    define(shop, TOML)
    e = apply_definitions(shop).tag("interest").events.to_pandas().set_index("event_id")
    assert (e.interest["e0"], e.interest["e5"]) == ("skincare", "skincare")   # known from the first event of her first visit on
    assert (e.interest["e2"], e.interest["e4"]) == ("haircare", "(unknown)")  # ken's visit, and one without a member


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_the_preview_reads_in_both_languages(shop, lang):
    given_ = dict(events=[dict(name="a", selector=".size-guide"), dict(name="b", selector=".nowhere"), dict(name="c", url="/nowhere"), dict(name="d", text="どこにもない"), dict(name="e", field="#none"), dict(name="f", url="/", on="search"),
                          dict(name="g", url="/", selector=".size-guide")], attributes=[dict(attribute="h", value="y", url="/list/*")])
    p = preview_definitions(shop, definitions=given_)
    notes = dict(zip(p.frame.name, p.frame.note))
    assert notes == dict(a="", b="selector click", c="url page_view", d="text click", e="on input", f="on search", g="together click", h="")
    text = p.text(lang)
    assert text.count("\n") == len(p.frame) - 1 and not re.search(r"[{}]", text)
    assert word("define.why.together", lang) in text and word("define.why.text", lang) in text
    assert preview_definitions(shop).text(lang) == word("define.empty", lang)


def test_a_wrong_definition_changes_nothing(shop):
    before = cl.open_shop(shop).fingerprint
    define(shop, '[[events]]\nname = "x"\nulr = "/a"\n')
    for function in (preview_definitions, apply_definitions):
        with pytest.raises(cl.CrmlabError, match="did you mean url"): function(shop)
    assert cl.open_shop(shop).fingerprint == before


def test_without_events_there_is_nothing_to_define(tmp_path):
    new_shop(tmp_path/"empty")
    with pytest.raises(cl.CrmlabError, match="no events to define anything on"): apply_definitions(tmp_path/"empty")
    with pytest.raises(cl.CrmlabError, match="no such shop folder"): apply_definitions(tmp_path/"nowhere")
