"What an import may do to a shop folder: all or nothing, under kill -9, beside readers, beside another import, with broken rows."
from __future__ import annotations

import ast
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import crmlab as cl
from crmlab.tables.commit import commit, staged
from crmlab.tables.folder import new_shop, rejected_folder
from crmlab.tables.engine import connection
from crmlab.tables.schema import TABLES
from crmlab.tables.shop import read_manifest

ROWS = 3000   # of one file


def orders_file(folder: Path, number: int) -> Path:
    "One export: orders and, in the same commit, as many keys of persons."
    path = folder/f"orders-{number}.csv"
    rows = pd.DataFrame(dict(order_id=[f"{number}-{i}" for i in range(ROWS)], user_id=[f"u{i}" for i in range(ROWS)], ts="2026-02-01 00:30:00", status="valid", revenue=1000., currency="JPY",
                             mail=[f"u{number}-{i}@shop.example" for i in range(ROWS)]))
    rows.to_csv(path, index=False)
    return path


COLUMNS = {c: c for c in ("order_id", "user_id", "ts", "status", "revenue", "currency")} | {"_email": "mail"}

CHILD = """
import sys, json
import crmlab as cl
into, columns = sys.argv[1], json.loads(sys.argv[2])
print("ready", flush=True)
for file in sys.argv[3:]:
    cl.import_data("csv", file, into=into, table="orders", columns=columns)
    print(file, flush=True)
"""


READER = """
import sys
import crmlab as cl
seen = set()
print("ready", flush=True)
for line in sys.stdin:   # one look for every line that arrives, and a last one that says what was seen
    shop = cl.open_shop(sys.argv[1])
    seen.add(tuple(len(shop.table(t)) for t in ("orders", "identities")))
print(sorted(seen), flush=True)
"""


def importer(into: Path, files) -> subprocess.Popen:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(into), json.dumps(COLUMNS), *map(str, files)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout.readline().strip() == "ready", child.stderr.read()
    return child


def sizes(into: Path) -> tuple[int, int]:
    "Rows of both tables, as a reader sees them who opens the shop now."
    shop = cl.open_shop(into)
    return tuple(len(shop.table(t)) if shop.has(t) else 0 for t in ("orders", "identities"))


def test_kill_9_leaves_the_old_shop_or_the_new_one(tmp_path):
    into, moments = tmp_path/"shop", random.Random(1)
    files = [orders_file(tmp_path, n) for n in range(4)]
    cl.import_data("csv", files[0], into=into, table="orders", columns=COLUMNS)
    reader = subprocess.Popen([sys.executable, "-c", READER, str(into)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert reader.stdout.readline().strip() == "ready"
    for _ in range(20):
        before = sizes(into)
        child = importer(into, files)
        end = time.monotonic() + moments.uniform(0, .5)
        while time.monotonic() < end:
            reader.stdin.write("look\n")
            reader.stdin.flush()
            time.sleep(.02)
        child.kill()
        child.wait()
        after = sizes(into)
        assert after[0] == after[1] and after >= before
        for entry in (f for t in read_manifest(into)["tables"].values() for f in t): assert pd.read_parquet(into/entry["file"]).shape[0] == entry["rows"]
    seen = ast.literal_eval(reader.communicate()[0].strip())
    assert seen and all(a == b and a % ROWS == 0 for a,b in seen)   # the reader saw whole imports only
    for f in files: cl.import_data("csv", f, into=into, table="orders", columns=COLUMNS)
    assert sizes(into) == (4*ROWS, 4*ROWS)
    live = {e["file"] for t in read_manifest(into)["tables"].values() for e in t}
    assert {p.relative_to(into).as_posix() for p in into.glob("*/*.parquet") if p.parent.name in TABLES} == live   # nothing is left behind


def test_two_imports_at_once_both_arrive(tmp_path):
    files = [orders_file(tmp_path, n) for n in range(6)]
    children = [importer(tmp_path/"shop", part) for part in (files[:3], files[3:])]
    for child in children: assert child.wait(120) == 0, child.stderr.read()
    assert sizes(tmp_path/"shop") == (6*ROWS, 6*ROWS)


def test_a_second_import_gives_up_with_one_line(tmp_path):
    from filelock import FileLock
    cl.import_data("csv", orders_file(tmp_path, 0), into=tmp_path/"shop", table="orders", columns=COLUMNS)
    with FileLock(tmp_path/"shop/.lock"):
        with pytest.raises(cl.CrmlabError, match="another import"): commit(tmp_path/"shop", {}, kind="test", wait=.1)


def test_a_full_disk_changes_nothing(tmp_path, monkeypatch):
    cl.import_data("csv", orders_file(tmp_path, 0), into=tmp_path/"shop", table="orders", columns=COLUMNS)
    before = (tmp_path/"shop/manifest.json").read_bytes()

    def full(*args): raise OSError(28, "No space left on device")
    monkeypatch.setattr("crmlab.tables.commit.os.replace", full)
    with pytest.raises(cl.CrmlabError, match="No space left on device"): cl.import_data("csv", orders_file(tmp_path, 1), into=tmp_path/"shop", table="orders", columns=COLUMNS)
    monkeypatch.undo()
    assert (tmp_path/"shop/manifest.json").read_bytes() == before and sizes(tmp_path/"shop") == (ROWS, ROWS)
    cl.import_data("csv", orders_file(tmp_path, 1), into=tmp_path/"shop", table="orders", columns=COLUMNS)
    assert sizes(tmp_path/"shop") == (2*ROWS, 2*ROWS)


# --- corrections and retractions

def orders(*rows): return dict(orders=connection().from_df(pd.DataFrame([dict(order_id=i, ts=ts, status=status, revenue=revenue, currency="JPY") for i,ts,status,revenue in rows])))


JANUARY = [("1", "2026-01-05T00:00Z", "pending", 100.), ("2", "2026-01-06T00:00Z", "valid", 200.)]
FEBRUARY = [("3", "2026-02-05T00:00Z", "valid", 300.)]


def revenue(folder): return cl.open_shop(folder).orders.to_pandas().set_index("order_id").revenue.sort_index().to_dict()


def test_a_corrected_order_replaces_the_old_one_once(tmp_path):
    commit(tmp_path/"s", orders(*JANUARY), kind="makeshop")
    counts, = commit(tmp_path/"s", orders(("1", "2026-01-05T00:00Z", "valid", 150.), JANUARY[1]), kind="makeshop")
    assert counts == dict(table="orders", read=2, kept=1, duplicate=1, rejected=0, corrected=1)
    assert revenue(tmp_path/"s") == {"1": 150., "2": 200.}


def test_of_two_versions_in_one_export_the_last_counts(tmp_path):
    frame = pd.DataFrame([dict(order_id="1", ts="2026-01-05T00:00Z", status="valid", revenue=r, currency="JPY", _file="a.csv", _line=i) for i,r in ((2, 100.), (10, 90.), (3, 80.))])
    counts, = commit(tmp_path/"s", dict(orders=connection().from_df(frame)), kind="csv")
    assert counts["kept"] == 1 and counts["duplicate"] == 2 and revenue(tmp_path/"s") == {"1": 90.}


@pytest.mark.parametrize("retract, left", [(None, {"1": 100., "2": 200., "3": 300.}), ("period", {"2": 200., "3": 300.}), ("all", {"2": 200.})])
def test_what_a_later_export_no_longer_holds_is_taken_back_when_asked(tmp_path, retract, left):
    commit(tmp_path/"s", orders(*JANUARY), kind="makeshop")
    commit(tmp_path/"s", orders(*FEBRUARY), kind="makeshop")
    again = [("2", "2026-01-06T00:00Z", "valid", 200.)]
    if retract == "period": again = [("2", "2026-01-06T00:00Z", "valid", 200.), ("2b", "2026-01-01T00:00Z", "valid", 1.)]   # covers the first week
    commit(tmp_path/"s", orders(*again), kind="makeshop", retract=retract)
    assert {k: v for k,v in revenue(tmp_path/"s").items() if k != "2b"} == left


def test_rows_of_another_importer_are_never_taken_back(tmp_path):
    commit(tmp_path/"s", orders(*JANUARY), kind="shopify")
    commit(tmp_path/"s", orders(*FEBRUARY), kind="makeshop", retract="all")
    assert revenue(tmp_path/"s") == {"1": 100., "2": 200., "3": 300.}


def test_lines_of_an_order_are_replaced_together_and_equal_lines_stay(tmp_path):
    def lines(*rows): return dict(order_items=connection().from_df(pd.DataFrame([dict(order_id=o, line=n, item_id=i, quantity=1., price=p) for o,n,i,p in rows])))
    commit(tmp_path/"s", lines(("1", 1, "tea", 500.), ("1", 2, "tea", 500.), ("2", 1, "cup", 900.)), kind="csv")
    commit(tmp_path/"s", lines(("1", 1, "tea", 500.), ("1", 2, "pot", 3000.)), kind="csv")
    items = cl.open_shop(tmp_path/"s").order_items.to_pandas()
    assert sorted(zip(items.order_id, items.item_id)) == [("1", "pot"), ("1", "tea"), ("2", "cup")]


def test_lines_are_taken_back_with_their_order_and_not_before(tmp_path):
    def month(*rows): return orders(*rows) | dict(order_items=connection().from_df(pd.DataFrame([dict(order_id=r[0], line=1, item_id="tea", quantity=1., price=5.) for r in rows])))
    commit(tmp_path/"s", month(*JANUARY), kind="makeshop", retract="period")
    commit(tmp_path/"s", month(*FEBRUARY), kind="makeshop", retract="period")
    assert sorted(cl.open_shop(tmp_path/"s").order_items.to_pandas().order_id) == ["1", "2", "3"]   # another month takes nothing back
    commit(tmp_path/"s", month(JANUARY[1], ("0", "2026-01-01T00:00Z", "valid", 1.)), kind="makeshop", retract="period")
    assert sorted(cl.open_shop(tmp_path/"s").order_items.to_pandas().order_id) == ["0", "2", "3"]


def test_a_reader_of_yesterday_still_finds_its_files(tmp_path):
    commit(tmp_path/"s", orders(*JANUARY), kind="makeshop")
    old = cl.open_shop(tmp_path/"s")
    commit(tmp_path/"s", orders(*FEBRUARY), kind="makeshop", retract="all")
    commit(tmp_path/"s", orders(("9", "2026-03-01T00:00Z", "valid", 1.)), kind="makeshop")
    assert sorted(old.orders.to_pandas().order_id) == ["1", "2"]


def test_a_made_shop_is_there_whole_or_not_at_all(tmp_path):
    frame = pd.DataFrame(dict(order_id=["1"], ts=pd.to_datetime(["2026-01-05T00:00Z"]), status="valid", revenue=[1.], currency="JPY"))
    with pytest.raises(RuntimeError):
        with staged(tmp_path/"s", kind="simulate") as writer:
            writer.add("orders", frame)
            raise RuntimeError("out of ideas")
    assert cl.open_shop(tmp_path/"s").tables == []
    with pytest.raises(cl.CrmlabError, match="has no column 'colour'"):
        with staged(tmp_path/"s", kind="simulate") as writer: writer.add("orders", frame.assign(colour="red"))
    with staged(tmp_path/"s", kind="simulate") as writer: writer.add("orders", frame)
    assert revenue(tmp_path/"s") == {"1": 1.}


# --- broken rows

NASTY = ["", "NaN", "inf", "-1e308", "1e400", "0001-01-01 00:00:00", "9999-12-31 23:59:59", "infinity", "null", "x"*100_000, "\x00".replace("\x00", "\u200b"), "=1+1", "<script>", "'; DROP TABLE x", "💥", "\u202e", "2026-02-30", "-1", "१२"]


def fuzzed(seed: int, rows: int = 400) -> pd.DataFrame:
    "Events in which every cell may be nonsense."
    rng = random.Random(seed)
    good = dict(event_id=lambda i: f"e{i}", ts=lambda i: "2026-02-01 10:00:00", visitor_id=lambda i: f"v{i % 7}", user_id=lambda i: "m1", event=lambda i: "click", page=lambda i: "/", device=lambda i: "mobile",
                x=lambda i: "10", y=lambda i: "20", viewport_w=lambda i: "390", viewport_h=lambda i: "844", scroll_y=lambda i: "0", value=lambda i: "1000", currency=lambda i: "JPY", props=lambda i: '{"a": 1}')
    return pd.DataFrame([{c: rng.choice(NASTY) if rng.random() < .06 else make(i) for c,make in good.items()} for i in range(rows)])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_fuzzed_rows_are_counted_and_never_a_traceback(tmp_path, kind, seed):
    frame = fuzzed(seed)
    if kind == "csv": frame.to_csv(tmp_path/"e.csv", index=False)
    else: frame.to_parquet(tmp_path/"e.parquet")
    shop = cl.import_data(kind, tmp_path/f"e.{kind}", into=tmp_path/"s", table="events")
    c = shop.counts["events"]
    assert c["read"] == len(frame) == c["kept"] + c["duplicate"] + c["rejected"] and 0 < c["rejected"] < .8*len(frame)
    told = [json.loads(line) for f in (tmp_path/"s/_rejected").iterdir() for line in f.read_text(encoding="utf-8").splitlines()]
    assert len(told) == c["rejected"] and all(t["reason"] and t["file"] and t["line"] for t in told)
    cl.sessionize(shop).to_pandas()
    cl.heatmap(shop, page="/", device="mobile")
    again = cl.import_data(kind, tmp_path/f"e.{kind}", into=tmp_path/"s", table="events")
    assert again.counts["events"]["kept"] == 0 and again.fingerprint == shop.fingerprint


def test_a_cell_of_ten_megabytes_is_a_cell(tmp_path):
    text = "order_id,ts,status,revenue,currency,memo\n1,2026-02-01 00:30:00,valid,5400,JPY,"
    (tmp_path/"o.csv").write_text(text + "長"*3_500_000 + "\n2,2026-02-01 00:30:00,valid,5400,JPY,\n", encoding="utf-8")
    shop = cl.import_data("csv", tmp_path/"o.csv", into=tmp_path/"s", table="orders")
    assert shop.counts["orders"]["kept"] == 2 and len(json.loads(shop.orders.to_pandas().set_index("order_id").props["1"])["memo"]) == 3_500_000


def test_lines_with_too_many_and_too_few_cells_are_refused_by_number(tmp_path):
    (tmp_path/"o.csv").write_text("order_id,ts,status,revenue,currency\n1,2026-02-01,valid,5,JPY\n2,2026-02-01,valid\n3,2026-02-01,valid,5,JPY,EUR\n4,2026-02-01,valid,6,JPY\n", encoding="utf-8")
    shop = cl.import_data("csv", tmp_path/"o.csv", into=tmp_path/"s", table="orders")
    assert shop.counts["orders"] == dict(read=4, kept=2, duplicate=0, rejected=2)
    told = pd.read_json(next((tmp_path/"s/_rejected").iterdir()), lines=True)
    assert sorted(told.line) == [3, 4] and told.reason.str.contains("Columns").all()


# --- what must never be lost or brought back

def test_an_order_whose_new_row_is_broken_is_not_taken_back(tmp_path):
    commit(tmp_path/"s", orders(*JANUARY), kind="makeshop")
    counts, = commit(tmp_path/"s", orders(JANUARY[0], ("2", "2026-01-06T00:00Z", "valid", "unknown")), kind="makeshop", retract="all")
    assert counts["rejected"] == 1 and "retracted" not in counts and revenue(tmp_path/"s") == {"1": 100., "2": 200.}


def test_an_export_without_rows_takes_nothing_back(tmp_path):
    head = "order_id,ts,status,revenue,currency\n"
    (tmp_path/"o.csv").write_text(head + "1,2026-01-05,valid,100,JPY\n", encoding="utf-8")
    (tmp_path/"empty.csv").write_text(head, encoding="utf-8")
    cl.import_data("csv", tmp_path/"o.csv", into=tmp_path/"s", table="orders")
    with pytest.raises(cl.CrmlabError, match="the export holds no good row"): cl.import_data("csv", tmp_path/"empty.csv", into=tmp_path/"s", table="orders", retract="all")
    assert revenue(tmp_path/"s") == {"1": 100.}


def test_another_export_of_the_same_kind_takes_nothing_back(tmp_path):
    commit(tmp_path/"s", orders(*JANUARY), kind="csv", label="web")
    commit(tmp_path/"s", orders(*FEBRUARY), kind="csv", label="shop", retract="all")
    assert len(revenue(tmp_path/"s")) == 3


def test_a_tracker_does_not_overrule_the_cart_in_either_order(tmp_path):
    cart, tracker = orders(("1", "2026-01-05T00:00Z", "cancelled", 0.), JANUARY[1]), orders(("1", "2026-01-05T00:00Z", "valid", 999.), ("7", "2026-01-07T00:00Z", "valid", 70.))
    for name, first, second in (("a", ("eccube", cart), ("ga4", tracker)), ("b", ("ga4", tracker), ("eccube", cart))):
        for kind, tables in (first, second): commit(tmp_path/name, tables, kind=kind)
        assert revenue(tmp_path/name) == {"1": 0., "2": 200., "7": 70.}


def test_an_old_file_does_not_undo_a_correction(tmp_path):
    def export(name, status, amount):
        (tmp_path/name).write_text(f"order_id,ts,status,revenue,currency\n1,2026-02-01,{status},{amount},JPY\n", encoding="utf-8")
        return cl.import_data("csv", tmp_path/name, into=tmp_path/"s", table="orders")
    export("v1.csv", "valid", 100)
    export("v2.csv", "cancelled", 0)
    again = export("v1.csv", "valid", 100)
    assert again.counts["orders"] == dict(read=1, kept=0, duplicate=1, rejected=0) and revenue(tmp_path/"s") == {"1": 0.}


def test_an_import_of_broken_rows_only_is_on_record(tmp_path):
    new_shop(tmp_path/"s")
    (tmp_path/"o.csv").write_text("order_id,ts,status,revenue,currency\n1,yesterday,valid,5,JPY\n", encoding="utf-8")
    for _ in range(2): cl.import_data("csv", tmp_path/"o.csv", into=tmp_path/"s", table="orders")
    assert [i["counts"][0]["rejected"] for i in read_manifest(tmp_path/"s")["imports"]] == [1]


def test_broken_rows_alone_make_no_shop_and_are_kept_beside_its_place(tmp_path):
    (tmp_path/"o.csv").write_text("order_id,ts,status,revenue,currency\n1,yesterday,valid,5,JPY\n", encoding="utf-8")
    shop = cl.import_data("csv", tmp_path/"o.csv", into=tmp_path/"s", table="orders")
    assert shop.counts["orders"] == dict(read=1, kept=0, duplicate=0, rejected=1) and not (tmp_path/"s").exists() and shop.tables == []
    told = [json.loads(line) for f in rejected_folder(tmp_path/"s").iterdir() for line in f.read_text(encoding="utf-8").splitlines()]
    assert [(r["line"], r["reason"]) for r in told] == [(2, "not a time: ts")] and rejected_folder(tmp_path/"s") == tmp_path/"s_rejected"
    (tmp_path/"o.csv").write_text("order_id,ts,status,revenue,currency\n1,2026-02-01,valid,5,JPY\n2,yesterday,valid,5,JPY\n", encoding="utf-8")
    assert cl.import_data("csv", tmp_path/"o.csv", into=tmp_path/"s", table="orders").tables == ["orders"] and len(list((tmp_path/"s/_rejected").iterdir())) == 1


def test_lines_of_a_refused_order_are_refused_with_it(tmp_path):
    lines = connection().from_df(pd.DataFrame([dict(order_id=o, line=1, item_id="tea", quantity=1., price=5., _file="o.csv", _line=n) for n,o in ((2, "1"), (3, "2"))]))
    both = orders(JANUARY[0], ("2", "someday", "valid", 5.)) | dict(order_items=lines)
    counts = {c["table"]: c for c in commit(tmp_path/"s", both, kind="csv")}
    assert counts["order_items"] == dict(table="order_items", read=2, kept=1, duplicate=0, rejected=1)
    assert cl.open_shop(tmp_path/"s").order_items.to_pandas().order_id.tolist() == ["1"]
    told = pd.read_json(next((tmp_path/"s/_rejected").iterdir()), lines=True)
    assert "its order was refused" in set(told.reason)


def test_a_totals_line_without_an_order_takes_no_other_lines_with_it(tmp_path):
    lines = connection().from_df(pd.DataFrame([dict(order_id=o, line=1, item_id="tea", quantity=1., price=5., _file="o.csv", _line=n) for n,o in ((2, "1"), (3, "2"), (4, None))]))
    both = orders(JANUARY[0], ("2", "someday", "valid", 5.), (None, "2026-01-31", "valid", 900.)) | dict(order_items=lines)
    counts = {c["table"]: c for c in commit(tmp_path/"s", both, kind="csv")}
    assert counts["order_items"] == dict(table="order_items", read=3, kept=1, duplicate=0, rejected=2)
    assert cl.open_shop(tmp_path/"s").order_items.to_pandas().order_id.tolist() == ["1"]


def test_orders_of_another_source_are_told_when_they_are_replaced(tmp_path):
    def put(name, revenue, channel): pd.DataFrame(dict(order_id=["1", "2", "9"], ts="2026-03-01 10:00:00", revenue=revenue, status="valid", channel=channel)).iloc[:2 if channel == "store" else 3].to_csv(tmp_path/name, index=False)
    put("web.csv", 100, "web"), put("till.csv", 70, "store"), put("late.csv", 90, "store")
    maps = {k: dict(order_id="order_id", ts="ts", revenue="revenue", status="status", channel="channel") | extra for k, extra in dict(web={}, till=dict(currency=dict(constant="JPY"))).items()}
    load = lambda name, which: cl.import_data("csv", tmp_path/name, into=tmp_path/"s", table="orders", columns=maps[which]).counts["orders"]
    assert "overwritten" not in load("web.csv", "web")
    till = load("till.csv", "till")
    assert [till[k] for k in ("kept", "corrected", "overwritten")] == [2, 2, 2]
    assert "overwritten" not in load("late.csv", "till")   # its own
