"Nothing that tells who a person is survives an import: in no table, no manifest, no rejected row."
from __future__ import annotations

import json

import duckdb
import pandas as pd
import pytest

import crmlab as cl

SECRETS = ("長谷川", "桜子", "神宮前", "Taro", "Jingumae", "4111111111111111", "203.0.113.9", "0312345678", "090-1234-5678", "hana@shop.example")


def stored(folder) -> str:
    "All that a shop folder holds, as one text."
    texts = [f.read_text(encoding="utf-8") for f in folder.rglob("*") if f.suffix in (".json", ".jsonl", ".toml")]
    tables = [str(duckdb.sql(f"SELECT CAST(to_json(t) AS VARCHAR) FROM read_parquet('{f}') AS t").fetchall()) for f in folder.rglob("*.parquet")]
    return "\n".join(texts + tables)


def assert_nobody(folder, kept=()):
    text = stored(folder)
    assert [s for s in SECRETS if s in text] == []
    for k in kept: assert k in text


TRAITS = {"氏名": "長谷川 桜子", "住所": "神宮前1-2-3", "customer_name": "Taro Yamada", "カード番号": "4111111111111111", "user_ip": "203.0.113.9", "Recipient": "桜子", "rank": "Gold"}


def test_traits_about_a_person_are_no_attributes(tmp_path):
    (tmp_path/"s.jsonl").write_text(json.dumps(dict(type="identify", messageId="m1", userId="u1", timestamp="2026-03-01T00:00:00Z", traits=TRAITS), ensure_ascii=False), encoding="utf-8")
    (tmp_path/"p.jsonl").write_text(json.dumps({"event": "$identify", "distinct_id": "u2", "uuid": "e1", "timestamp": "2026-03-01T00:00:00Z", "properties": {"$set": TRAITS, "$current_url": "https://s.jp/"}}, ensure_ascii=False), encoding="utf-8")
    told = [dict(key=k, value=dict(string_value=v, set_timestamp_micros="1772323200000000")) for k, v in TRAITS.items()]
    (tmp_path/"g.json").write_text(json.dumps(dict(event_name="page_view", event_timestamp="1772323200000000", user_id="u3", user_pseudo_id="v", user_properties=told, event_params=[dict(key="page_location", value=dict(string_value="https://s.jp/"))]), ensure_ascii=False), encoding="utf-8")
    for kind, file in (("segment", "s.jsonl"), ("posthog", "p.jsonl"), ("ga4", "g.json")):
        shop = cl.import_data(kind, tmp_path/file, into=tmp_path/kind)
        assert_nobody(tmp_path/kind)
        assert shop.attributes.to_pandas().attribute.tolist() == ["rank"], kind


def test_an_address_of_a_page_is_no_name_of_an_event(tmp_path):
    action = dict(type="action", url="https://s.jp/confirm?sei=長谷川&name=Taro+Yamada&tel=0312345678&addr=Jingumae", timestamp=1738337400, pageTitle="確認")
    (tmp_path/"m.json").write_text(json.dumps([dict(idVisit=5, idSite=1, visitorId="v", deviceType="Desktop", actionDetails=[action])], ensure_ascii=False), encoding="utf-8")
    shop = cl.import_data("matomo", tmp_path/"m.json", into=tmp_path/"s")
    assert_nobody(tmp_path/"s")
    assert shop.events.to_pandas().page.tolist() == ["/confirm"]
    assert cl.import_data("matomo", tmp_path/"m.json", into=tmp_path/"s").counts["events"]["duplicate"] == 1


HEADERS = ["氏(請求先)", "名(請求先)", "請求先名", "LINE表示名", "buyer-name", "recipient-name", "Contact Name", "BillName", "最終ログインIP", "住所1", "birth"]


def test_columns_about_a_person_are_left_out_and_counted(tmp_path):
    good = dict(order_id="1", ts="2026-03-01 10:00:00", revenue="100", status="valid", channel="web", currency="JPY", gift_wrap="赤")
    row = good | dict.fromkeys(HEADERS, "長谷川 203.0.113.9")
    pd.DataFrame([row]).to_csv(tmp_path/"o.csv", index=False)
    typed = pd.DataFrame([row]).assign(ts=pd.Timestamp("2026-03-01 10:00:00", tz="UTC"), revenue=100., 電話番号=312345678, buyer=[dict(ip="203.0.113.9", first_name="桜子", tier="A")])
    typed.to_parquet(tmp_path/"o.parquet")
    for kind, file in (("csv", "o.csv"), ("parquet", "o.parquet")):
        shop = cl.import_data(kind, tmp_path/file, into=tmp_path/kind, table="orders")
        assert_nobody(tmp_path/kind, kept=["gift_wrap", "赤"])
        assert shop.counts["orders"]["kept"] == 1 and shop.notes["personal columns"] >= len(HEADERS)
    assert "312345678" not in stored(tmp_path/"parquet") and "tier" in stored(tmp_path/"parquet")
    cl.import_data("parquet", tmp_path/"o.parquet", into=tmp_path/"keep", table="orders", pii="keep")
    assert "長谷川" in stored(tmp_path/"keep")   # asked for


def test_what_people_write_is_searched(tmp_path):
    text = "IPは203.0.113.9です。hana@shop.example か 090-1234-5678 へ"
    pd.DataFrame([dict(feedback_id="f1", ts="2026-03-01 10:00:00", user_id="u1", topic="電話 090-1234-5678", text=text, kind="survey", source="form", score=3)]).to_csv(tmp_path/"f.csv", index=False)
    cl.import_data("csv", tmp_path/"f.csv", into=tmp_path/"s", table="feedback")
    assert_nobody(tmp_path/"s", kept=["<ip>", "<phone:", "<email:"])


def test_wide_letters_are_the_same_person(tmp_path):
    rows = [dict(order_id=str(i), ts=f"2026-03-0{i} 10:00:00", revenue="100", status="valid", channel="web", _email=e) for i, e in enumerate(["hana@shop.example", "ｈａｎａ＠ｓｈｏｐ．ｅｘａｍｐｌｅ", "Ｈana@shop.example"], 1)]
    pd.DataFrame(rows).to_csv(tmp_path/"o.csv", index=False)
    shop = cl.import_data("csv", tmp_path/"o.csv", into=tmp_path/"s", table="orders")
    assert shop.orders.to_pandas().user_id.nunique() == 1


@pytest.mark.parametrize("ends", [lambda lines: "\r\n".join(lines) + "\n", lambda lines: "\r\n".join(lines[:3]) + "\n" + "\n".join(lines[3:]) + "\n"])
def test_line_ends_of_two_systems_in_one_file(tmp_path, ends):
    lines = ["order_id,ts,revenue,status,channel", *(f"{i},2026-03-01 10:00:0{i},{i}00,valid,web" for i in range(1, 6)), "6,short"]
    (tmp_path/"o.csv").write_bytes(ends(lines).encode())
    counts = cl.import_data("csv", tmp_path/"o.csv", into=tmp_path/"s", table="orders").counts["orders"]
    assert (counts["read"], counts["kept"], counts["rejected"]) == (6, 5, 1)
    assert json.loads(next((tmp_path/"s/_rejected").glob("*.jsonl")).read_text())["line"] == 7


def test_a_time_with_more_than_a_zone_behind_it_is_refused(tmp_path):
    times = ["2026-02-01 3:05 PM", "2026-02-01 15:05:06 banana", "2026/02/01 12:05 AM", "2026-02-01 15:05 America/New_York", "2026-02-01 15:05", "2026/2/1 15:05:00 +09:00"]
    pd.DataFrame(dict(order_id=range(6), ts=times, revenue=1, status="valid", channel="web")).to_csv(tmp_path/"o.csv", index=False)
    shop = cl.import_data("csv", tmp_path/"o.csv", into=tmp_path/"s", table="orders")
    assert shop.counts["orders"]["rejected"] == 3
    assert [str(t) for t in shop.orders.to_pandas().sort_values("order_id").ts] == ["2026-02-01 20:05:00+00:00", "2026-02-01 06:05:00+00:00", "2026-02-01 06:05:00+00:00"]


def test_a_map_may_be_named_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path/"map.yaml").write_text("table: orders\ncolumns: {order_id: no, ts: at, revenue: sum, status: {constant: valid}, channel: {constant: web}}\n")
    write = lambda n: pd.DataFrame(dict(no=range(n), at=[f"2026-03-0{i + 1} 10:00:00" for i in range(n)], sum=100)).iloc[[0, n - 1] if n == 3 else slice(None)].to_csv(tmp_path/f"{n}.csv", index=False)
    write(4), write(3)
    cl.import_data("csv", "4.csv", into="s", columns="map.yaml")
    counts = cl.import_data("csv", "3.csv", into="s", columns=tmp_path/"map.yaml", retract="period").counts["orders"]
    assert counts["retracted"] == 1   # order 1 lies between 0 and 2
