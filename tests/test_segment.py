"Segment from outside: a day of calls through the whole import, money, identity, and what is broken."
from __future__ import annotations

import gzip
import json

import pytest
from fuzzed import assert_adds_up, broken

import crmlab as cl


def at(second): return f"2026-03-01T{3 + second//3600:02}:{second//60 % 60:02}:{second % 60:02}.000Z"


def call(kind, second, *, page="/", user=None, anonymous="a1", id=None, agent="Mozilla/5.0 (iPhone)", **own):
    where = dict(page=dict(url=f"https://shop.example{page}", referrer="https://www.google.com/"), userAgent=agent, ip="203.0.113.9") if page else {}
    return dict(type=kind, messageId=id or f"m{second}", anonymousId=anonymous, userId=user, context=where, timestamp=at(second), **own)


def order(second, name, id="o1", *, user="u1", message=None, **properties):
    return call("track", second, page="/thanks", user=user, id=message, event=name, properties=dict(order_id=id, currency="JPY") | properties)


LINES = [dict(product_id="serum", name="美容液", category="skin", price=4800, quantity=1), dict(sku="soap", name="石けん", price=900, quantity=2)]
DAY = [call("page", 0, page="/item/1?utm_source=line&utm_medium=message&utm_campaign=spring", properties=dict(path="/item/1", title="美容液", referrer="", member="gold")),
       call("track", 10, page="/item/1", event="Product Viewed", properties=dict(product_id="serum", price=4800, currency="JPY", color="red")),
       call("identify", 20, page="/login", user="u1", traits=dict(rank="Royal", email="Someone@shop.example", phone="090-1234-5678", createdAt="2025-04-01", home=dict(city="x"))),
       call("track", 30, page="/cart", user="u1", event="Experiment Viewed", properties=dict(experiment_id="cart", variation_id="B")),
       call("track", 40, page="/cart", user="u1", event="Experiment Viewed", properties=dict(experiment_id="cart", variation_id="B")),
       order(60, "Order Completed", total=7100, shipping=500, tax=600, discount=300, products=LINES), call("group", 70, user="u1")]


def write(folder, calls, name="day.jsonl"):
    text = calls if isinstance(calls, bytes) else "\n".join(json.dumps(c, ensure_ascii=False) for c in calls).encode()
    (folder/name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return folder/name


def load(folder, calls, name="day.jsonl"): return cl.import_data("segment", write(folder, calls, name), into=folder/"shop")


def test_a_day_of_calls(tmp_path):
    shop = load(tmp_path, DAY)
    events = shop.events.to_pandas().sort_values("ts")
    assert events.event.tolist() == ["page_view", "view_item", "identify", "Experiment Viewed", "Experiment Viewed", "purchase"]
    assert events.page.tolist() == ["/item/1", "/item/1", "/login", "/cart", "/cart", "/thanks"] and set(events.device) == {"mobile"}
    assert events.iloc[0][["source", "medium", "campaign"]].tolist() == ["line", "message", "spring"] and json.loads(events.props.iloc[0])["member"] == "gold"
    assert events.iloc[1][["item_id", "value", "currency"]].tolist() == ["serum", 4800., "JPY"] and json.loads(events.props.iloc[1])["color"] == "red"
    assert shop.exposures.to_pandas()[["experiment", "variant", "visitor_id"]].values.tolist() == [["cart", "B", "a1"]]
    assert str(shop.exposures.to_pandas().ts[0]).startswith("2026-03-01 03:00:30") and shop.notes == dict(group=1)
    assert set(shop.events.to_pandas().user_id) == {"u1"}   # the visit belongs to its member from the start


def test_traits_hold_from_the_call_on_and_personal_ones_are_nowhere(tmp_path):
    shop = load(tmp_path, [*DAY, call("identify", 3000, user="u1", traits=dict(rank="Bronze"))])
    rank = shop.attributes.to_pandas().query("attribute == 'rank'").sort_values("valid_from")
    assert rank.value.tolist() == ["Royal", "Bronze"] and str(rank.valid_from.iloc[1]) == "2026-03-01 03:50:00+00:00"
    assert set(shop.attributes.to_pandas().attribute) == {"rank", "createdAt"}
    assert {"email_hash", "phone_hash"} <= set(shop.identities.to_pandas().kind)
    everything = "".join(shop.table(t).to_pandas().to_csv() for t in shop.tables)
    for personal in ("omeone@", "1234-5678", "203.0.113.9"): assert personal not in everything


def money(shop, *columns):
    frame = shop.orders.to_pandas()
    return frame.set_index("order_id")[list(columns)].astype(object).where(lambda f: f.notna(), None).T.to_dict("list")


def test_refunds_corrections_and_cancellations_are_netted(tmp_path):
    shop = load(tmp_path, [
        order(60, "Order Completed", total=7100, shipping=500, tax=600, discount=300, products=LINES),
        order(90, "Order Updated", total=6200, shipping=500, tax=500, discount=300, products=LINES[:1]), order(91, "Order Updated", "never", total=1),
        order(200, "Order Refunded", total=1000), order(200, "Order Refunded", total=1000), order(300, "Order Refunded", total=700),
        order(61, "Order Completed", "o2", revenue=1000, tax=100, message="b"), order(400, "Order Refunded", "o2"),
        order(62, "Order Completed", "o3", total=2000, message="c"), order(401, "Order Cancelled", "o3"),
        order(63, "Order Completed", "o4", total=3000, message="d", products=LINES), order(402, "Order Refunded", "o4", products=[LINES[1] | dict(quantity=1)]),
        order(403, "Order Refunded", "old", total=500), order(404, "Order Cancelled", "older", total=900)])
    found = money(shop, "status", "revenue", "gross", "refund")
    assert found == dict(o1=["valid", 4000., 6000., 1700.], o2=["cancelled", 0., 1100., 1100.], o3=["cancelled", 0., 2000., None], o4=["valid", 2100., 3000., 900.],
                         older=["cancelled", 0., 900., None]) | {"old/return/m403": ["return", -500., None, 500.]}
    items = shop.order_items.to_pandas()
    assert items.query("order_id == 'o1'").item_id.tolist() == ["serum"] and sorted(items.query("order_id == 'o4'").quantity) == [1., 2.]
    assert str(shop.orders.to_pandas().set_index("order_id").ts["o1"]) == "2026-03-01 03:01:00+00:00"
    assert shop.notes["updates_alone"] == 1   # of an order that never was


def test_equal_lines_of_one_order_are_pieces(tmp_path):
    shop = load(tmp_path, [order(60, "Order Completed", total=3000, products=[LINES[1], LINES[1], LINES[1] | dict(quantity=1)])])
    assert sorted(shop.order_items.to_pandas().quantity) == [1., 4.]


def test_a_refund_that_cannot_be_worked_out_is_no_zero(tmp_path):
    shop = load(tmp_path, [*DAY, order(100, "Order Refunded", products=[dict(product_id="soap")])])
    assert shop.counts["orders"] == dict(read=1, kept=0, duplicate=0, rejected=1)


def test_amounts_with_signs_are_numbers_and_what_is_none_is_shown_as_it_was(tmp_path):
    shop = load(tmp_path, [call("track", 10, event="Product Viewed", properties=dict(price="¥1,200")), call("track", 11, event="Product Viewed", properties=dict(price="on request")),
                           order(60, "Order Completed", total="¥7,100", shipping="500", products=[dict(sku="a", price="￥6,600")]), order(61, "Order Completed", id="o2", total="about 5000"),
                           order(62, "Order Completed", id="o3", total=900, products=[dict(sku="a", price="cheap")])])
    views = shop.events.to_pandas().query("event == 'view_item'").sort_values("event_id")
    assert views.value.astype(object).where(views.value.notna(), None).tolist() == [1200, None] and "on request" in views.props.iloc[1]
    assert shop.orders.to_pandas().set_index("order_id").revenue.to_dict() == dict(o1=6600, o3=900)
    assert shop.order_items.to_pandas().price.tolist() == [6600]
    told = "".join(f.read_text(encoding="utf-8") for f in (tmp_path/"shop/_rejected").iterdir())
    assert "about 5000" in told and "cheap" in told and "nan" not in told.lower()


@pytest.mark.parametrize("clocks, moment", [
    (dict(originalTimestamp="2026-03-01T02:00:00Z", sentAt="2026-03-01T02:00:05Z", receivedAt="2026-03-01T03:00:05Z", timestamp="2020-01-01"), "2026-03-01 03:00:00+00:00"),
    (dict(timestamp="2026-03-01T12:00:00.250+09:00", sentAt="2026-03-01T02:00:05Z"), "2026-03-01 03:00:00.250000+00:00"),
    (dict(timestamp=None, receivedAt="2026-03-01T03:00:05Z"), "2026-03-01 03:00:05+00:00")])
def test_the_moment_of_a_call(tmp_path, clocks, moment):
    assert str(load(tmp_path, [DAY[0] | clocks]).events.to_pandas().ts[0]) == moment


def test_twice_is_once_and_zipped_is_the_same(tmp_path):
    first = load(tmp_path, [*DAY, DAY[1]])
    assert first.counts["events"] == dict(read=7, kept=6, duplicate=1, rejected=0)
    again = load(tmp_path, DAY, "again.jsonl.gz")
    assert all(c["kept"] == 0 for c in again.counts.values()) and len(again.orders.to_pandas()) == 1


def test_a_server_has_no_pages_but_orders_and_traits(tmp_path):
    server = dict(page=None, anonymous=None)
    shop = load(tmp_path, [DAY[0], call("track", 60, user="u2", event="Order Completed", properties=dict(order_id="s1", total=100), **server), call("identify", 61, user="u2", traits=dict(rank="Gold"), **server),
                           call("identify", 62, traits=dict(rank="Gold"), **server)])
    assert shop.notes == dict(outside_pages=1, traits_of_nobody=1) and shop.counts["events"]["read"] == 1
    assert shop.orders.to_pandas().user_id.tolist() == ["u2"] and shop.attributes.to_pandas().value.tolist() == ["Gold"]


def test_a_guest_is_known_by_her_address(tmp_path):
    shop = load(tmp_path, [order(60, "Order Completed", user=None, total=100, email="guest@shop.example"), call("track", 61, user="guest@shop.example", event="Order Completed", properties=dict(order_id="o2", total=200))])
    users = set(shop.orders.to_pandas().user_id)
    assert len(users) == 1 and users.pop().startswith("email:")


def test_an_address_as_number_of_the_user_is_a_pseudonym_everywhere(tmp_path):
    shop = load(tmp_path, [DAY[0] | dict(anonymousId=None, userId="Guest@shop.example"), DAY[3] | dict(anonymousId=None, userId="guest@shop.example")])
    events, exposures = shop.events.to_pandas(), shop.exposures.to_pandas()
    assert len(events) == 2 and set(events.user_id) == set(exposures.user_id) and events.user_id[0].startswith("email:")
    assert "uest@" not in events.to_csv() + exposures.to_csv()


def test_a_byte_order_mark_hides_no_line_and_another_encoding_is_named(tmp_path):
    text = "\n".join(json.dumps(c, ensure_ascii=False) for c in DAY[:2])
    assert load(tmp_path, b"\xef\xbb\xbf" + text.encode()).counts["events"]["kept"] == 2
    with pytest.raises(cl.CrmlabError, match="other.jsonl: not UTF-8"): load(tmp_path, (json.dumps(DAY[0], ensure_ascii=False) + "\n").encode("cp932"), "other.jsonl")


@pytest.mark.parametrize("lines, complaint", [(b"", "empty file"), (b"{}\n{}\n", "no Segment call"), (b"[\n", "no Segment call"), (b'{"type": "page"}\n', "no Segment call"), (b"a,b\n1,2\n", "no Segment call")])
def test_a_file_that_is_none_is_refused_by_name(tmp_path, lines, complaint):
    with pytest.raises(cl.CrmlabError, match=complaint) as e: load(tmp_path, lines)
    assert "day.jsonl" in str(e.value) and "\n" not in str(e.value) and not (tmp_path/"shop/manifest.json").exists()


def test_broken_lines_are_kept_aside_with_their_place(tmp_path):
    lines = [json.dumps(DAY[0]), '{"type": "page"', json.dumps(DAY[1] | dict(timestamp="yesterday")), json.dumps(DAY[2] | dict(type="telepathy"))]
    shop = load(tmp_path, "\n".join(lines).encode())
    assert shop.counts["events"] == dict(read=4, kept=1, duplicate=0, rejected=3)
    told = [json.loads(line) for f in (tmp_path/"shop/_rejected").iterdir() for line in f.read_text(encoding="utf-8").splitlines()]
    assert sorted((r["line"], r["reason"]) for r in told) == [(2, "not a JSON object with the fields of this format"), (3, "not a time: ts"), (4, "not a type of call: telepathy")]


@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_wrong_with_a_call_the_counts_add_up(tmp_path, seed):
    rows = [*DAY, order(200, "Order Refunded", total=1000, products=LINES), order(300, "Order Cancelled", total=7100), order(90, "Order Updated", total=1)]
    shop = load(tmp_path, json.dumps(DAY[0]).encode() + b"\n" + broken(rows, seed=seed, n=300))
    assert_adds_up(shop)
    assert shop.counts["events"]["kept"] > 5 and shop.counts["events"]["rejected"] > 10
    orders = shop.orders.to_pandas()
    assert orders.revenue.notna().all() and orders.ts.dt.year.between(1970, 2100).all()


def test_of_two_traits_at_one_moment_the_last_told_counts(tmp_path):
    told = [call("identify", 20, user=f"u{u}", id=f"i{u}-{i}", traits=dict(rank=rank)) for u in range(150) for i, rank in enumerate(["A", "C", "B"])]
    shop = load(tmp_path, [*DAY, *told])
    ranks = shop.attributes.to_pandas().query("attribute == 'rank'")
    assert set(ranks[ranks.user_id != "u1"].value) == {"B"} and len(ranks) == 150   # u1 told Royal on an earlier line
    assert load(tmp_path, [*DAY, *told]).counts["attributes"]["kept"] == 0


@pytest.mark.parametrize("products, lines, why", [("serum", 0, "products are no list"), ("¥1,000", 0, "products are no list"), ("", 0, None), (5, 0, "products are no list"), (dict(product_id="p"), 0, "products are no list"),
                                                  (["serum"], 0, "no item_id (product)"), (json.dumps(LINES), 2, None)], ids=["text", "amount", "empty", "number", "object", "texts", "list as text"])
def test_products_that_are_no_list_cost_their_lines_and_nothing_else(tmp_path, products, lines, why):
    shop = load(tmp_path, [*DAY, order(90, "Order Completed", id="o2", total=10, products=products), order(95, "Order Refunded", id="x9", message="r1", products=products)])   # a refund of nothing known
    orders, items = shop.orders.to_pandas().set_index("order_id"), shop.order_items.to_pandas()
    assert orders.revenue.o2 == 10 and (items.order_id == "o2").sum() == lines
    told = [json.loads(line) for f in (tmp_path/"shop").glob("_rejected/*") for line in f.read_text(encoding="utf-8").splitlines()]
    assert [r["reason"] for r in told if r["table"] == "order_items" and r["line"] == len(DAY) + 1] == [why]*bool(why)
    assert_adds_up(shop)


def test_calls_of_a_server_count_without_a_device(tmp_path):
    server = call("track", 100, page="/thanks", user="u9", anonymous=None, event="Order Completed", agent=None, properties=dict(order_id="s1", total=500, currency="JPY"))
    known = call("track", 110, page="/cart", user="u1", event="Product Added", agent=None, properties=dict(product_id="soap"))   # of the browser a1, whose other calls tell
    shop = load(tmp_path, [*DAY, server, known])
    devices = shop.events.to_pandas().set_index("event_id").device
    assert devices.isna().sum() == 1 and devices[known["messageId"]] == "mobile" and shop.notes["no_device"] == 1 and shop.counts["events"]["rejected"] == 0
    assert shop.orders.to_pandas().set_index("order_id").revenue.s1 == 500
    assert len(cl.sessionize(shop).to_pandas()) == 2 and "no_device" not in load(tmp_path, DAY).notes
    (tmp_path/"e.csv").write_text("event_id,ts,visitor_id,event,page,x,y\ne1,2026-03-01 10:00:00,v,click,/,5,5\ne2,2026-03-01 10:00:00,v,page_view,/,,\n", encoding="utf-8")
    told = cl.import_data("csv", tmp_path/"e.csv", into=tmp_path/"placed", table="events")
    assert told.counts["events"] == dict(read=2, kept=1, duplicate=0, rejected=1)   # a place without a device would mix maps


SALE, OFF = order(60, "Order Completed", total=7100, shipping=500, discount=300, products=LINES), order(400, "Order Cancelled", total=7100)
SAME = ("user_id", "ts", "status", "revenue", "gross", "discount", "shipping", "cancelled_at")


def test_a_cancellation_in_a_later_file_leaves_the_sale_where_it_was(tmp_path):
    load(tmp_path, [*DAY, SALE])
    later = load(tmp_path, [OFF], "next.jsonl")
    together = cl.import_data("segment", write(tmp_path, [*DAY, SALE, OFF], "whole.jsonl"), into=tmp_path/"whole")
    assert money(later, *SAME) == money(together, *SAME) and money(later, "status", "revenue")["o1"] == ["cancelled", 0]
    assert later.counts["orders"] == dict(read=1, kept=1, duplicate=0, rejected=0, corrected=1) and len(later.order_items.to_pandas()) == 2
    again = load(tmp_path, [OFF], "next.jsonl")
    assert again.counts["orders"]["kept"] == 0 and money(again, *SAME) == money(together, *SAME)


@pytest.mark.parametrize("files", [[[OFF], [SALE]], [[SALE], [OFF], [SALE, order(70, "Order Completed", "o2", total=900)]], [[SALE], [OFF], [order(500, "Order Cancelled", message="again")]]], ids=["before", "sale again", "twice"])
def test_an_order_is_cancelled_whichever_file_says_so(tmp_path, files):
    for i, calls in enumerate(files): shop = load(tmp_path, [DAY[0], *calls], f"{i}.jsonl")
    whole = cl.import_data("segment", write(tmp_path, [DAY[0], SALE, OFF], "whole.jsonl"), into=tmp_path/"whole")
    assert money(shop, *SAME)["o1"] == money(whole, *SAME)["o1"]


def test_a_cancellation_at_the_moment_of_its_sale_keeps_the_sale(tmp_path):
    load(tmp_path, [DAY[0], SALE])
    shop = load(tmp_path, [DAY[0], order(60, "Order Cancelled", user=None, message="off")], "off.jsonl")
    assert money(shop, "user_id", "status", "revenue", "gross")["o1"] == ["u1", "cancelled", 0, 6900]


def test_a_cancellation_does_not_widen_the_period_that_is_taken_back(tmp_path):
    january = [order(60 + i, "Order Completed", f"o{i}", total=1000) for i in range(5)]
    load(tmp_path, [DAY[0], *january])
    shop = cl.import_data("segment", write(tmp_path, [order(500, "Order Cancelled", "o0"), order(600, "Order Completed", "o9", total=1)], "next.jsonl"), into=tmp_path/"shop", retract="period")
    assert sorted(money(shop, "status")) == ["o0", "o1", "o2", "o3", "o4", "o9"]


def test_a_refund_of_everything_in_a_later_file_cancels_the_order(tmp_path):
    load(tmp_path, [DAY[0], SALE])
    shop = load(tmp_path, [order(300, "Order Refunded", message="r")], "later.jsonl")
    assert money(shop, "status", "revenue", "gross")["o1"] == ["cancelled", 0, 6900]


def test_an_empty_number_is_no_order(tmp_path):
    shop = load(tmp_path, [*DAY, *(order(90 + i, "Order Completed", number, user=f"u{i}", total=1000) for i, number in enumerate(["", " ", ""]))])
    assert set(money(shop, "revenue")) == {"o1"} and shop.counts["orders"] == dict(read=4, kept=1, duplicate=0, rejected=3)


def test_a_cancellation_of_an_unknown_order_stays_one(tmp_path):
    shop = load(tmp_path, [*DAY, order(400, "Order Cancelled", "o9", total=900)])
    assert money(shop, "status", "revenue")["o9"] == ["cancelled", 0]
    assert load(tmp_path, [order(60, "Order Completed", "o9", total=900)], "late.jsonl").counts["orders"]["corrected"] == 1
