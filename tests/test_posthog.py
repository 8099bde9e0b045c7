"PostHog from outside: the cases of its own tests, both tables in every form, depth, identity, and what is broken."
from __future__ import annotations

import gzip
import json

import pandas as pd
import pytest
from fuzzed import assert_adds_up, broken

import crmlab as cl

FRONT, ITEM = "https://shop.example/?utm_source=line", "https://shop.example/item/1"


def event(name, second, *, user=None, uuid=None, rank="Royal", **properties):
    frame = {"$session_id": "s1", "$device_id": "d1", "$viewport_width": 1280, "$viewport_height": 800, "$device_type": "Desktop", "$ip": "203.0.113.9", "$lib": "web", "$geoip_city_name": "x"}
    if user: frame["$user_id"] = user
    return dict(uuid=uuid or f"e{second}", event=name, distinct_id=user or "d1", timestamp=f"2026-03-01 03:{second//60:02}:{second % 60:02}.000000+00:00", properties=frame | properties,
                person_properties=dict(rank=rank, email="someone@shop.example", **{"$initial_os": "Linux"}) if user else {}, team_id=1, elements_chain="")


def left(id, path, scroll, content, share, **more):
    return {"$prev_pageview_id": id, "$prev_pageview_pathname": path, "$prev_pageview_max_scroll": scroll, "$prev_pageview_last_scroll": scroll//2, "$prev_pageview_max_content": content,
            "$prev_pageview_max_content_percentage": share, "$prev_pageview_duration": 20.5} | more


VISIT = [event("$pageview", 0, **{"$current_url": FRONT, "$pageview_id": "p1", "$referrer": "$direct"}),
         event("$pageview", 20, **{"$current_url": ITEM, "$pageview_id": "p2", "$referrer": FRONT} | left("p1", "/", 400, 1200, .4)),
         event("$identify", 25, user="u1", **{"$current_url": ITEM, "$pageview_id": "p2", "$anon_distinct_id": "d1", "$set": dict(rank="Royal")}),
         event("Product Added", 30, user="u1", **{"$current_url": ITEM, "$pageview_id": "p2", "product_id": "serum", "price": 4800, "currency": "JPY", "color": "red"}),
         event("$autocapture", 35, user="u1", **{"$current_url": ITEM, "$pageview_id": "p2", "$event_type": "click"}) | dict(elements_chain='a.btn.wide:attr_id="buy"href="/cart"nth-child="1";div:nth-child="2"'),
         event("$pageleave", 40, user="u1", **{"$current_url": ITEM, "$pageview_id": "p2"} | left("p2", "/item/1", 300, 1100, .55))]


def point(kind, x, y, *, fixed=False, width=1280, height=800, session="s1", who="d1", second=10, url=FRONT):
    cells = dict(x=x, y=y, viewport_width=width, viewport_height=height)
    return dict(session_id=session, team_id=1, distinct_id=who, timestamp=f"2026-03-01 03:00:{second:02}.000000", scale_factor=16, pointer_target_fixed=fixed, current_url=url, type=kind,
                **{k: round(v/16) for k, v in cells.items()})


def write(folder, rows, name="day.jsonl"):
    text = rows if isinstance(rows, bytes) else "\n".join(json.dumps(r, ensure_ascii=False) for r in rows).encode()
    (folder/name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return folder/name


def load(folder, rows, name="day.jsonl", into="shop"): return cl.import_data("posthog", write(folder, rows, name), into=folder/into)


@pytest.fixture(scope="module")
def cases(data): return json.loads((data/"posthog_heatmap/heatmap_expected.json").read_text(encoding="utf-8"))


def buckets(events, by="event_id"):
    "PostHog's scroll map: rows or people by 100 px of the deepest pixel seen, and how many came at least so far."
    at = ((events.scroll_y + events.viewport_h)//100*100).astype(int)
    n = events.groupby(at)[by].nunique()
    return [dict(scroll_depth_bucket=int(b), bucket_count=int(c), cumulative_count=int(n[n.index >= b].sum())) for b, c in n.items()]


@pytest.mark.data("posthog_heatmap")
def test_scroll_buckets(cases, tmp_path):
    case = cases["scrolldepth"]
    shop = load(tmp_path, [point("scrolldepth", 0, y, height=case["viewport_height"], session=f"s{i}") for i, y in enumerate(case["events_y"])])
    assert buckets(shop.events.to_pandas()) == case["expected"] and set(shop.events.to_pandas().event) == {"scroll"}


@pytest.mark.data("posthog_heatmap")
def test_scroll_buckets_of_people(cases, tmp_path):
    case = cases["scrolldepth_unique_visitors"]
    shop = load(tmp_path, [point("scrolldepth", 0, e["y"], height=case["viewport_height"], session=f"s{i}", who=e["visitor"]) for i, e in enumerate(case["events"])])
    assert buckets(shop.events.to_pandas(), by="visitor_id") == case["expected"]


@pytest.mark.data("posthog_heatmap")
def test_relative_x_of_windows(cases, tmp_path):
    case = cases["clicks_by_viewport"]
    sessions = {150: ("session_1", 0), 151: ("session_2", 0)}   # as in PostHog's test; 152 and 161 are one cell at one moment of one session, and count once
    where = lambda w: dict(zip(("session", "second"), sessions.get(w, ("session_3", 1)), strict=True))
    shop = load(tmp_path, [point("click", case["x"], case["y"], width=w, fixed=case["pointer_target_fixed"], **where(w)) for w in case["events_viewport_width"]])
    events = shop.events.to_pandas()
    assert events.y.isna().all() and {json.loads(p)["window_y"] for p in events.props} == {case["pointer_y"]}
    for c in case["cases"]:
        # PostHog compares stored cells: a window of at least 150 px is one of at least round(150/16)
        within = events[(events.viewport_w >= 16*round(c["viewport_width_min"]/16)) & (events.viewport_w <= 16*round(c.get("viewport_width_max", 10**6)/16))]
        found = (within.x/within.viewport_w).round(2).value_counts().sort_index()
        assert [dict(pointer_relative_x=x, count=n) for x, n in found.items()] == c["expected"]


@pytest.mark.data("posthog_heatmap")
def test_counts_people_and_kinds(cases, tmp_path):
    case = cases["count_by_aggregation"]
    events = load(tmp_path, [point("click", 10, 20, session=c["session"], who=c["visitor"]) for c in case["clicks"]]).events.to_pandas()
    assert (len(events), events.visitor_id.nunique()) == (case["total_count"], case["unique_visitors"])
    kinds = load(tmp_path, [point(kind, 10, 20, second=i) for i, kind in enumerate(cases["type_filter"]["events"])], into="kinds").events.to_pandas().event.value_counts()
    assert kinds.to_dict() == dict(click=1, rageclick=2)


def test_a_visit(tmp_path):
    shop = load(tmp_path, VISIT)
    events = shop.events.to_pandas().sort_values("ts")
    assert events.event.tolist() == ["page_view", "scroll", "page_view", "identify", "add_to_cart", "click", "scroll", "page_leave"]
    assert events.page.tolist() == ["/", "/"] + ["/item/1"]*6 and set(events.device) == {"desktop"} and events.source.iloc[0] == "line" and set(events.user_id) == {"u1"}
    depth = events[events.event == "scroll"]
    assert depth[["pageview_id", "scroll_y", "page_h"]].values.tolist() == [["p1", 400., 3000.], ["p2", 300., 2000.]] and json.loads(depth.props.iloc[0]) == dict(seconds=20.5)
    assert events.iloc[4][["item_id", "value", "currency"]].tolist() == ["serum", 4800., "JPY"] and json.loads(events.iloc[4].props) == dict(price=4800, color="red")
    assert events.iloc[5].selector == "#buy" and events.iloc[7].scroll_y == 150
    everything = "".join(shop.table(t).to_pandas().to_csv() for t in shop.tables)
    for personal in ("someone@", "203.0.113.9", "geoip"): assert personal not in everything
    reach = cl.scroll_reach(shop, page="/").frame
    assert reach[reach.est == 1].depth.max() == pytest.approx(.4)   # 1,200 of 3,000 px


def as_parquet(folder, rows, name):
    frame = pd.DataFrame(rows)
    for c in ("properties", "person_properties"):
        if c in frame: frame[c] = frame[c].map(json.dumps)
    frame.assign(timestamp=pd.to_datetime(frame.timestamp, utc=True)).to_parquet(folder/name)
    return folder/name


def test_every_form_of_the_tables_gives_the_same_rows(tmp_path):
    points = [point("click", 640, 950), point("click", 640, 950), point("scrolldepth", 0, 400), point("click", 30, 30, fixed=True)]
    pd.DataFrame(points).to_csv(tmp_path/"heat.csv", index=False)
    forms = dict(lines=[write(tmp_path, VISIT, "e.jsonl"), write(tmp_path, points, "h.jsonl.gz")], parquet=[as_parquet(tmp_path, VISIT, "e.parquet"), as_parquet(tmp_path, points, "h.parquet")],
                 csv=[write(tmp_path, VISIT, "e2.jsonl"), tmp_path/"heat.csv"], mixed=[write(tmp_path, [*VISIT, *points], "both.jsonl")])
    found = {}
    for name, files in forms.items():
        shop = cl.import_data("posthog", files, into=tmp_path/name)
        found[name] = shop.events.to_pandas().drop(columns="event_id").sort_values(["ts", "event", "x", "y"]).reset_index(drop=True)
        assert shop.attributes.to_pandas()[["user_id", "attribute", "value"]].values.tolist() == [["u1", "rank", "Royal"]]
    for frame in found.values(): pd.testing.assert_frame_equal(frame, found["lines"])
    clicks = found["lines"].query("event == 'click'")
    assert clicks[["x", "y"]].fillna(-1).values.tolist() == [[32., -1.], [640., 944.]] and set(clicks.visitor_id) == {"d1"} and set(clicks.user_id) == {"u1"}


def test_points_find_the_browser_of_their_session(tmp_path):
    files = [write(tmp_path, VISIT, "e.jsonl"), write(tmp_path, [point("click", 100, 100, who="u1", second=30), point("click", 100, 100, who="u9", session="elsewhere")], "h.jsonl")]
    clicks = cl.import_data("posthog", files, into=tmp_path/"shop").events.to_pandas().query("event == 'click'")
    assert sorted(clicks.visitor_id) == ["d1", "u9"]


def test_twice_is_once(tmp_path):
    points = [point("click", 640, 950), point("click", 640, 950), point("click", 640, 950, second=11)]
    assert load(tmp_path, points).counts["events"] == dict(read=3, kept=2, duplicate=1, rejected=0)
    assert load(tmp_path, points, "again.jsonl").counts["events"] == dict(read=3, kept=0, duplicate=3, rejected=0)
    both = cl.import_data("posthog", [write(tmp_path, VISIT, "a.jsonl"), write(tmp_path, VISIT[1:], "b.jsonl")], into=tmp_path/"both")
    assert both.counts["events"]["kept"] == 8 and both.counts["events"]["duplicate"] == 7


def test_a_value_that_comes_back_is_a_change(tmp_path):
    told = [event("$pageview", s, user="u1", rank=r, **{"$current_url": ITEM}) for s, r in ((0, "Bronze"), (1, "Bronze"), (2, "Royal"), (3, "Bronze"))]
    ranks = load(tmp_path, told).attributes.to_pandas().sort_values("valid_from")
    assert ranks.value.tolist() == ["Bronze", "Royal", "Bronze"] and set(ranks.attribute) == {"rank"}


def test_exposures_are_flags_with_variants(tmp_path):
    called = lambda second, response: event("$feature_flag_called", second, **{"$current_url": ITEM, "$feature_flag": "cart", "$feature_flag_response": response})
    shop = load(tmp_path, [called(5, "B"), called(1, "B"), called(2, True)])
    assert [(e.experiment, e.variant, str(e.ts)[17:19]) for e in shop.exposures.to_pandas().itertuples()] == [("cart", "B", "01")]


def test_a_server_has_no_pages(tmp_path):
    server = event("Order Completed", 9, user="u1", **{"$device_id": None})
    shop = load(tmp_path, [*VISIT, server, event("$$heatmap", 10, **{"$current_url": ITEM})])
    assert shop.notes == dict(outside_pages=1, heatmap_events=1) and shop.counts["events"]["read"] == 8


@pytest.mark.parametrize("name, lines, complaint", [("a.jsonl", b"", "empty file"), ("a.jsonl", b"{}\n{\n", "no row of PostHog"), ("a.csv", b"a,b\n1,2\n", "neither PostHog events"), ("a.parquet", b"PAR1", "not readable as Parquet"),
                                                    ("a.jsonl", b'{"event": "x", "properties": 5}\n', "no row of PostHog")])
def test_a_file_that_is_none_is_refused_by_name(tmp_path, name, lines, complaint):
    with pytest.raises(cl.CrmlabError, match=complaint) as e: load(tmp_path, lines, name)
    assert name in str(e.value) and "\n" not in str(e.value)


def test_broken_rows_are_kept_aside_with_their_place(tmp_path):
    odd = [VISIT[0], VISIT[1] | dict(timestamp="yesterday"), VISIT[3] | dict(properties=[1]), point("click", 16, 16) | dict(x="left"), dict(uuid="x")]
    shop = load(tmp_path, odd)
    told = [json.loads(line) for f in (tmp_path/"shop/_rejected").iterdir() for line in f.read_text(encoding="utf-8").splitlines()]
    assert sorted((r["line"], r["reason"]) for r in told) == [(2, "not a time: ts"), (2, "not a time: ts"), (3, "properties are no JSON object"), (4, "not a finite number: x"), (5, "neither an event nor a heatmap row")]
    assert shop.counts["events"] == dict(read=6, kept=1, duplicate=0, rejected=5)


@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_wrong_with_a_row_the_counts_add_up(tmp_path, seed):
    rows = [*VISIT, point("click", 640, 950), point("scrolldepth", 0, 400), point("click", 16, 16, fixed=True)]
    shop = load(tmp_path, json.dumps(VISIT[0]).encode() + b"\n" + broken(rows, seed=seed, n=300))
    assert_adds_up(shop)
    assert shop.counts["events"]["kept"] > 5 and shop.counts["events"]["rejected"] > 10
    events = shop.events.to_pandas()
    assert events[["x", "y", "scroll_y", "viewport_w"]].abs().max().max() < float("inf")


def test_of_two_values_at_one_moment_the_last_told_counts_in_every_import(tmp_path):
    told = [event("$pageview", second, user=f"u{u}", uuid=f"e{u}-{i}", rank=rank) for u in range(150) for i, (second, rank) in enumerate([(0, "A"), (5, "B"), (5, "A"), (9, "A"), (12, "A"), (12, "C"), (12, "B")])]
    rows = []
    for i in range(10):
        shop = load(tmp_path, told, into=f"shop{i}")
        ranks = shop.attributes.to_pandas().query("attribute == 'rank'").sort_values(["user_id", "valid_from"])
        rows.append(ranks[["user_id", "value", "valid_from"]].astype(str).values.tolist())
    assert all(r == rows[0] for r in rows) and [r[1] for r in rows[0]] == ["A", "B"]*150
    assert load(tmp_path, told, into="shop0").counts["attributes"]["kept"] == 0
