"Who is one person, what personal data becomes, what revenue means, and what a page is: the rules of shop.toml seen from outside."
from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pandas as pd
import pytest

import crmlab as cl
from crmlab.tables.commit import commit
from crmlab.tables.folder import new_shop
from crmlab.tables.engine import connection

PRIVATE = ("mika@shop.example", "Mika@Shop.example", "090-1234-5678", "09012345678", "美香", "203.0.113.7")


def everything(folder: Path) -> str:
    "All that a shop folder says, as text: tables unpacked, names of files too."
    parts = []
    for path in (p for p in folder.rglob("*") if p.is_file()):
        parts.append(str(path.relative_to(folder)))
        parts.append(pd.read_parquet(path).to_json(force_ascii=False, date_format="iso") if path.suffix == ".parquet" else path.read_text(encoding="utf-8", errors="replace"))
    return "\n".join(parts)


def call(kind, ms, **more): return json.dumps(dict(type=kind, messageId=f"{kind}{ms}", anonymousId="a1", timestamp=f"2026-10-01T03:00:{ms:02}.000Z",
    context=dict(ip="203.0.113.7", userAgent="Mozilla/5.0 (iPhone)", page=dict(url="https://shop.example/?utm_source=line&mail=mika%40shop.example"))) | more, ensure_ascii=False)


CALLS = [call("page", 1, properties=dict(url="https://shop.example/?utm_source=line&mail=mika%40shop.example", path="/")),
         call("identify", 2, userId="m1", traits=dict(email="Mika@Shop.example", phone="090-1234-5678", firstName="美香", rank="Gold")),
         call("track", 3, userId="m1", event="Products Searched", properties=dict(query="連絡先 090-1234-5678 mika@shop.example")),
         call("track", 4, userId="m1", event="Order Completed", properties=dict(order_id="o1", total=7100, shipping=500, email="mika@shop.example", products=[dict(product_id="p", price=6600, quantity=1)])),
         call("track", 5, event="Order Completed", properties=dict(order_id="o2", total="many mika@shop.example", shipping=500)),
         '{"broken": "mika@shop.example']


@pytest.fixture(scope="module")
def protected_shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("privacy")
    (folder/"calls.ndjson").write_text("\n".join(CALLS), encoding="utf-8")
    (folder/"orders.csv").write_text("番号,日時,金額,メール,電話,名前,備考\ng1,2026-09-01 10:00:00,\"3,300\",Mika@shop.example ,,美香,留守は09012345678へ\ng2,2026-09-02 10:00:00,abc,mika@shop.example,,美香,\ng3,2026-09-03 10:00:00,500,,０９０（１２３４）５６７８,,\n", encoding="cp932")
    columns = dict(order_id="番号", ts="日時", revenue="金額", _email="メール", _phone="電話", _name="名前", status="状態", currency="通貨")
    text = (folder/"orders.csv").read_text(encoding="cp932").replace("備考\n", "備考,状態,通貨\n")
    (folder/"orders.csv").write_text("\n".join([text.splitlines()[0], *[line + ",valid,JPY" for line in text.splitlines()[1:]]]) + "\n", encoding="cp932")
    shop = cl.import_data("segment", folder/"calls.ndjson", into=folder/"shop")
    assert shop.counts["events"]["kept"] >= 3
    return cl.import_data("csv", folder/"orders.csv", into=folder/"shop", table="orders", columns=columns, encoding="cp932")


def test_nothing_personal_reaches_the_folder(protected_shop):
    said = everything(protected_shop.path)
    for text in PRIVATE: assert text not in said, text
    assert "<email:" in said and "<phone:" in said   # what was found in free text is marked


def test_a_guest_and_the_member_behind_one_address_are_one_person(protected_shop):
    orders = protected_shop.orders.to_pandas().set_index("order_id")
    assert orders.user_id.to_dict() == {"o1": "m1", "g1": "m1", "g3": "m1"}   # by address, and by telephone
    assert set(protected_shop.merges.person) == {"m1"} and len(protected_shop.merges) == 2
    stored = pd.concat([pd.read_parquet(protected_shop.path/f["file"]) for f in protected_shop.manifest["tables"]["orders"]])
    assert sorted(u.partition(":")[0] for u in stored.user_id) == ["email", "m1", "phone"]   # the files keep who it was


def test_a_merge_can_be_undone(protected_shop, tmp_path):
    import shutil
    folder = shutil.copytree(protected_shop.path, tmp_path/"shop")
    guest = protected_shop.merges.user_id.iloc[0]
    with (folder/"shop.toml").open("a", encoding="utf-8") as f: f.write(f'[identity]\napart = [["m1", "{guest}"]]\n')
    assert guest in set(cl.open_shop(folder).orders.to_pandas().user_id) and len(cl.open_shop(folder).merges) == 1
    (folder/"shop.toml").write_text((folder/"shop.toml").read_text(encoding="utf-8").replace("apart", "match = []\napart"), encoding="utf-8")
    assert len(cl.open_shop(folder).merges) == 0


def test_the_key_is_private_and_another_key_gives_other_pseudonyms(tmp_path, monkeypatch):
    (tmp_path/"o.csv").write_text("order_id,ts,status,revenue,currency,_email\n1,2026-10-01,valid,5,JPY,mika@shop.example\n", encoding="utf-8")
    users = []
    for name in ("one", "two", "one"):
        monkeypatch.setenv("CRMLAB_KEY_FILE", str(tmp_path/f"keys/{name}.key"))
        shop = cl.import_data("csv", tmp_path/"o.csv", into=tmp_path/f"shop{len(users)}", table="orders")
        users.append(shop.orders.to_pandas().user_id[0])
    assert users[0] == users[2] != users[1]
    if os.name == "posix": assert stat.S_IMODE((tmp_path/"keys/one.key").stat().st_mode) == 0o600
    monkeypatch.setenv("CRMLAB_KEY_FILE", str(tmp_path/"shop0/pseudonym.key"))
    with pytest.raises(cl.CrmlabError, match="lies in the shop folder"): cl.import_data("csv", tmp_path/"o.csv", into=tmp_path/"shop0", table="orders")


def test_keeping_personal_data_must_be_asked_for_and_is_noted(tmp_path):
    (tmp_path/"o.csv").write_text("order_id,ts,status,revenue,currency,_email\n1,2026-10-01,valid,5,JPY,mika@shop.example\n", encoding="utf-8")
    shop = cl.import_data("csv", tmp_path/"o.csv", into=tmp_path/"s", table="orders", pii="keep")
    assert "mika@shop.example" in everything(tmp_path/"s") and shop.manifest["imports"][-1]["options"]["pii"] == "keep"
    with pytest.raises(cl.CrmlabError, match="pii='no' is not one of hash, keep"): cl.import_data("csv", tmp_path/"o.csv", into=tmp_path/"t", table="orders", pii="no")


@pytest.mark.parametrize("number", ["20260105-0123", "4901234567894", "a0b1c2d3-0123-4567-8901-abcdef012345", "0123"])
def test_numbers_that_are_no_telephone_survive(tmp_path, number):
    (tmp_path/"o.csv").write_text(f"order_id,ts,status,revenue,currency,memo\n{number},2026-10-01,valid,5,JPY,see {number}.\n", encoding="utf-8")
    order = cl.import_data("csv", tmp_path/"o.csv", into=tmp_path/"s", table="orders").orders.to_pandas().iloc[0]
    assert order.order_id == number and json.loads(order.props)["memo"] == f"see {number}."


# --- pages by the shop's rules

def test_pages_follow_the_rules_of_the_shop(tmp_path):
    new_shop(tmp_path/"s")
    with (tmp_path/"s/shop.toml").open("a", encoding="utf-8") as f: f.write('[page_rules]\nids = ["/item/{item_id}", "/mypage/orders/{id}"]\nquery = ["category"]\nlower = true\n')
    urls = {"https://a.example/Item/T-1?utm_source=line&utm_medium=message": "/item/{item_id}", "https://a.example/mypage/orders/99/": "/mypage/orders/{id}", "https://a.example/list/?category=tea&sort=new": "/list?category=tea",
            "https://a.example/index.php": "/", "https://a.example/item/": "/item"}
    frame = pd.DataFrame(dict(_url=list(urls), event="page_view", ts=pd.date_range("2026-10-01", periods=len(urls), freq="h", tz="UTC"), visitor_id=[f"v{i}" for i in range(len(urls))], viewport_w=390.))
    connection().from_df(frame).to_parquet(str(tmp_path/"e.parquet"))
    events = cl.import_data("parquet", tmp_path/"e.parquet", into=tmp_path/"s", table="events").events.to_pandas().sort_values("ts")
    assert events.page.tolist() == list(urls.values())
    assert events.item_id.iloc[0] == "t-1" and events.source.tolist() == ["line"] + ["(direct)"]*4 and set(events.device) == {"mobile"}


def test_a_rule_without_a_changing_part_is_refused(tmp_path):
    new_shop(tmp_path/"s")
    with (tmp_path/"s/shop.toml").open("a", encoding="utf-8") as f: f.write('[page_rules]\nids = ["/item"]\n')
    connection().from_df(pd.DataFrame(dict(_url=["/"], event="page_view", ts="2026-10-01T00:00Z", visitor_id="v", viewport_w=390.))).to_parquet(str(tmp_path/"e.parquet"))
    with pytest.raises(cl.CrmlabError, match="'/item' has no changing part"): cl.import_data("parquet", tmp_path/"e.parquet", into=tmp_path/"s", table="events")


# --- what revenue means

def order(**more): return dict(order_id="1", ts="2026-01-31T15:30Z", status="valid", revenue=10000., gross=11000., discount=1000., tax=909., shipping=600., points_used=500., currency="JPY") | more


@pytest.mark.parametrize("rule, revenue", [("", 10000.), ('tax = "excluded"', 9091.), ("shipping = true", 10600.), ('points = "discount"', 9500.), ('tax = "excluded"\nshipping = true\npoints = "discount"', 9191.)])
def test_revenue_follows_the_rule_of_the_shop_and_says_so(tmp_path, rule, revenue):
    new_shop(tmp_path/"s")
    with (tmp_path/"s/shop.toml").open("a", encoding="utf-8") as f: f.write(f"[money]\n{rule}\n")
    commit(tmp_path/"s", dict(orders=connection().from_df(pd.DataFrame([order()]))), kind="csv")
    shop = cl.open_shop(tmp_path/"s")
    assert shop.orders.to_pandas().revenue[0] == revenue
    assert ("税抜" in shop.basis("ja")) == ("excluded" in rule) and ("with shipping" in shop.basis("en")) == ("shipping = true" in rule)


def test_a_return_may_count_on_the_day_it_is_processed(tmp_path):
    new_shop(tmp_path/"s")
    rows = [order(), order(order_id="2", status="cancelled", revenue=0., cancelled_at="2026-03-01T00:00Z"), order(order_id="3", revenue=7000., refund=3000., cancelled_at="2026-03-02T00:00Z")]
    commit(tmp_path/"s", dict(orders=connection().from_df(pd.DataFrame(rows))), kind="csv")
    by_month = lambda: cl.open_shop(tmp_path/"s").orders.to_pandas().assign(month=lambda f: f.ts_local.dt.month).query("status != 'cancelled'").groupby("month").revenue.sum().to_dict()
    assert by_month() == {2: 17000.}   # half past midnight on 1 February in Tokyo
    with (tmp_path/"s/shop.toml").open("a", encoding="utf-8") as f: f.write('[money]\nreturns = "processing"\n')
    assert by_month() == {2: 30000., 3: -13000.}


# --- whose visits

def test_anonymous_visits_of_a_browser_belong_to_the_member_only_on_request(tmp_path):
    at = lambda d: pd.Timestamp(f"2026-10-{d:02}T03:00Z")
    rows = [dict(event_id=str(i), ts=at(d), visitor_id=v, user_id=u, event="page_view", page="/", device="mobile") for i,(d,v,u) in enumerate(
        [(1, "a", None), (5, "a", "m1"), (9, "a", None), (1, "shared", "m2"), (3, "shared", None), (5, "shared", "m3")])]
    commit(tmp_path/"s", dict(events=connection().from_df(pd.DataFrame(rows))), kind="csv")
    users = lambda **how: cl.open_shop(tmp_path/"s", **how).events.to_pandas().sort_values("event_id").user_id.fillna("").tolist()
    assert users() == ["", "m1", "", "m2", "", "m3"]
    assert users(stitch="visitor") == ["m1", "m1", "m1", "m2", "", "m3"]   # two members used the shared browser
    with (tmp_path/"s/shop.toml").open("a", encoding="utf-8") as f: f.write('[identity]\nstitch = "visitor"\n')
    assert users() == ["m1", "m1", "m1", "m2", "", "m3"] and users(stitch="visit") == ["", "m1", "", "m2", "", "m3"]
    with pytest.raises(cl.CrmlabError, match="stitch='person' is not one of"): cl.open_shop(tmp_path/"s", stitch="person")
