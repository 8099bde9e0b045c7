"The command line from outside: exit codes, one line for what is refused, nothing changed by it."
from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

RECORDING = [dict(type=4, data=dict(href="https://shop.example/", width=1280, height=800), timestamp=1_790_000_000_000),
             dict(type=5, data=dict(tag="session", payload=dict(visitorId="v1", sessionId="s1")), timestamp=1_790_000_000_001),
             dict(type=5, data=dict(tag="identify", payload=dict(userId="u1", traits=dict(rank="Bronze"))), timestamp=1_790_000_000_002),
             dict(type=3, data=dict(source=2, type=2, id=1, x=100, y=200), timestamp=1_790_000_001_000)]


def crmlab(*argv, cwd=None):
    "One command in a process of its own: exit code, standard output, lines of standard error."
    code = "import sys; from crmlab.deliver.cli import main; sys.exit(main())"
    run = subprocess.run([sys.executable, "-c", code, *map(str, argv)], capture_output=True, text=True, encoding="utf-8", cwd=cwd,
                         env=os.environ | dict(CRMLAB_LANGUAGE="en", PYTHONIOENCODING="utf-8"), stdin=subprocess.DEVNULL, timeout=120)
    return run.returncode, run.stdout, run.stderr.splitlines()


def contents(folder: Path) -> dict:
    "Every file of a folder by its hash."
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    "A shop made by the command line: new, import; an older import is in it."
    folder = tmp_path_factory.mktemp("cli")
    (folder/"one.json").write_text(json.dumps(RECORDING), encoding="utf-8")
    code, out, err = crmlab("new", folder/"shop", "--name", "花と水", "--ranks", "Bronze", "Royal")
    assert (code, err) == (0, [])
    code, out, err = crmlab("import", "rrweb", folder/"one.json", "--into", folder/"shop")
    assert (code, err) == (0, [])
    assert "events: read " in out and "+ duplicate 0 + rejected 0" in out
    return folder/"shop"


def test_the_console_script_is_this_function():
    entry = next(e for e in metadata.entry_points(group="console_scripts") if e.name == "crmlab")
    assert entry.value == "crmlab.deliver.cli:main"


def test_counts_add_up_and_a_second_import_brings_nothing(shop):
    before = (shop/"manifest.json").read_bytes()
    code, out, err = crmlab("import", "rrweb", shop.parent/"one.json", "--into", shop)
    assert (code, err) == (0, [])
    for line in out.splitlines():
        table, _, numbers = line.partition(": read ")
        read, _, rest = numbers.partition(" = ")
        assert int(read) == sum(int(part.split()[1]) for part in rest.split(" + ")), line
        assert " kept 0 " in f" {rest} ", line
    assert (shop/"manifest.json").read_bytes() == before


def test_rejected_rows_are_counted_with_their_reason_and_place(shop, tmp_path):
    rows = ["o1,2026-02-01 09:00:00,valid,1千円,JPY", "o2,いつか,valid,900,JPY", "o3,2026-02-03 09:00:00,valid,2千円,JPY"]
    (tmp_path/"orders.csv").write_text("\n".join(["order_id,ts,status,revenue,currency", *rows]) + "\n", encoding="utf-8")
    code, out, err = crmlab("import", "csv", tmp_path/"orders.csv", "--into", tmp_path/"shop", "--table", "orders")
    assert "orders: read 3 = kept 0 + duplicate 0 + rejected 3 (most often not a number: revenue: 2)" in out
    named = next(line for line in out.splitlines() if line.startswith("rejected rows")).partition(": ")[2]
    assert not (tmp_path/"shop").exists() and Path(named).parent == tmp_path/"shop_rejected"   # a refused file changes nothing
    assert "not a number: revenue" in Path(named).read_text(encoding="utf-8")
    assert code == 1 and len(err) == 1 and "no row was taken, mostly for “not a number: revenue”" in err[0] and named in err[0]   # a schedule must not take this for done
    (tmp_path/"orders.csv").write_text("\n".join(["order_id,ts,status,revenue,currency", *rows, "o4,2026-02-04 09:00:00,valid,500,JPY"]) + "\n", encoding="utf-8")
    code, out, err = crmlab("import", "csv", tmp_path/"orders.csv", "--into", tmp_path/"shop", "--table", "orders", "--lang", "ja")
    assert (code, err) == (0, []) and "注文: 読込 4 = 採用 1 + 重複 0 + 除外 3 (除外の主な理由: revenue が数値ではない、2行)" in out
    code, out, err = crmlab("import", "csv", tmp_path/"orders.csv", "--into", tmp_path/"shop", "--table", "orders")
    assert (code, err) == (0, []) and "duplicate 1" in out   # nothing new is no refusal


def test_orders_in_another_currency_than_the_shops_are_told_at_import(tmp_path):
    (tmp_path/"orders.csv").write_text("order_id,user_id,ts,status,revenue,currency\n" + "".join(f"o{i},u{i},2026-02-0{i} 09:00:00,valid,10,GBP\n" for i in (1, 2, 3)), encoding="utf-8")
    told = lambda out: [line for line in out.splitlines() if "currency" in line]
    code, out, err = crmlab("import", "csv", tmp_path/"orders.csv", "--into", tmp_path/"shop", "--table", "orders")
    assert (code, err) == (0, []) and 'If the shop sells in GBP, write currency = "GBP" there' in told(out)[0] and "3 orders are in GBP" in out
    assert 'write currency = "GBP"' in crmlab("doctor", tmp_path/"shop")[1]
    toml = tmp_path/"shop/shop.toml"
    toml.write_text(toml.read_text(encoding="utf-8").replace("JPY", "GBP"), encoding="utf-8")
    assert "currency other than" not in crmlab("doctor", tmp_path/"shop")[1]
    assert not told(crmlab("import", "csv", tmp_path/"orders.csv", "--into", tmp_path/"shop", "--table", "orders")[1])


def test_an_order_that_two_files_tell_differently_is_said(tmp_path):
    (tmp_path/"map.yaml").write_text("tables:\n  orders:\n    one_row_per: order\n    columns: {order_id: order, ts: day, status: {constant: valid}, revenue: {times: [price, 1], lines: sum}}\n", encoding="utf-8")
    for name, lines in (("1", ["o1,2026-10-01,100", "o2,2026-10-02,100"]), ("2", ["o2,2026-10-02,300", "o3,2026-10-03,100"]), ("3", ["o1,2026-10-01,100"])):
        (tmp_path/f"{name}.csv").write_text("\n".join(["order,day,price", *lines]) + "\n", encoding="utf-8")
    run = lambda into, *names: crmlab("import", "csv", *(tmp_path/f"{n}.csv" for n in names), "--into", tmp_path/into, "--columns", tmp_path/"map.yaml")
    code, out, err = run("a", "1", "2")
    assert (code, err) == (0, []) and "(1 told differently by two files, of which the last counts" in out
    assert "told differently" not in run("b", "1", "3")[1]   # o1 says the same in both


def test_doctor_says_what_is_there(shop):
    code, out, err = crmlab("doctor", shop)
    assert (code, err) == (0, [])
    assert "花と水" in out and "events" in out and "1 of 1 visits (100.0%)" in out


FAULTS = {
    "truncated.json": (json.dumps(RECORDING)[:-40], "rrweb", [], "not complete JSON"),
    "other.json": ('{"name": "not a recording"}', "rrweb", [], "not an rrweb recording"),
    "empty.json": ("", "rrweb", [], "empty file"),
    "empty.csv": ("", "csv", ["--table", "orders"], "empty file"),
    "no_id.csv": ("ts,status,revenue,currency\n2026-02-01,valid,1,JPY\n", "csv", ["--table", "orders"], "no column for orders.order_id"),
    "cp932.csv": ("注文番号\n1\n".encode("cp932"), "csv", ["--table", "orders"], "say which encoding"),
    "no_table.csv": ("order_id\n1\n", "csv", [], "csv needs table="),
    "tables.csv": ("order_id\n1\n", "csv", ["--table", "ordres"], "orders"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_is_refused_changes_nothing(shop, tmp_path, name):
    content, kind, options, message = FAULTS[name]
    (tmp_path/name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path/"good.json").write_text(json.dumps(RECORDING).replace("v1", "v2"), encoding="utf-8")
    files = [tmp_path/"good.json", tmp_path/name] if kind == "rrweb" else [tmp_path/name]   # a broken file after a good one
    before = contents(shop)
    code, out, err = crmlab("import", kind, *files, "--into", shop, *options)
    assert (code, out, len(err)) == (1, "", 1), (out, err)
    assert err[0].startswith("crmlab: ") and message in err[0]
    if "table" not in name: assert name in err[0]
    assert contents(shop) == before


@pytest.mark.parametrize("argv, message", [
    (["report", "behavior", "--shop", "{shop}", "--out", "{out}"], "did you mean behaviour?"),
    (["report", "behaviour", "--shop", "{shop}", "--out", "{out}", "-p", "pgae=/"], "did you mean page?"),
    (["report", "behaviour", "--shop", "{shop}", "--out", "{out}", "-p", "page"], "write name=value"),
    (["report", "behaviour", "--shop", "{shop}/nowhere", "--out", "{out}"], "no such shop folder"),
    (["report", "behaviour", "--shop", "{shop}", "--out", "{shop}/shop.toml/out"], "cannot write there"),
    (["import", "rrweb", "{shop}/../one.json", "--into", "{shop}/shop.toml/sub"], "cannot write there"),
    (["new", "{shop}/shop.toml/sub"], "cannot write there"),
    (["import", "csv", "{shop}/../one.json", "--into", "{shop}", "--table", "orders", "-o", "table=events"], "option table is given twice"),
    (["import", "rrweb", "{shop}/../one.json", "--into", "{shop}", "-o", "into={out}"], "option into is set by --into"),
    (["import", "rrweb", "{shop}/../one.json", "--into", "{shop}", "-o", "paths=x"], "option paths is set by"),
    (["import", "rrweb", "{shop}/../one.json", "--into", "{shop}", "-o", " kind = csv"], "option kind is set by"),
    (["doctor", "{shop}/nowhere"], "no such shop folder")])
def test_a_command_that_is_refused_says_so_in_one_line(shop, tmp_path, argv, message):
    out, before = tmp_path/"reports", contents(shop)
    code, printed, err = crmlab(*(a.format(shop=shop, out=out) for a in argv))
    assert (code, printed, len(err)) == (1, "", 1), (printed, err)
    assert err[0].startswith("crmlab: ") and message in err[0]
    assert contents(shop) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere; run as another user to test permissions")
def test_a_folder_without_permission_is_named(shop, tmp_path):
    (tmp_path/"closed").mkdir(mode=0o500)
    for argv in (["new", tmp_path/"closed/shop"], ["import", "rrweb", shop.parent/"one.json", "--into", tmp_path/"closed/shop"]):
        code, _, err = crmlab(*argv)
        assert (code, len(err)) == (1, 1) and "cannot write there" in err[0]


def test_a_report_that_fails_leaves_nothing(shop, tmp_path):
    code, out, err = crmlab("report", "behaviour", "--shop", shop, "--out", tmp_path/"reports", "-p", "by=rank")
    assert (code, out, len(err)) == (1, "", 1), (out, err)   # one visit: there are no two segments
    assert "a comparison needs two segments" in err[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argv", [[], ["dance"], ["import", "rrweb"], ["report", "behaviour"], ["report", "behaviour", "--shop", "x", "--lang", "fr"]])
def test_a_command_that_is_not_understood_exits_with_2(argv, capsys):
    from crmlab.deliver.cli import main
    assert main(argv) == 2
    assert "usage: crmlab" in capsys.readouterr().err


def test_help_shows_examples_and_the_parameters_of_templates(capsys):
    from crmlab.deliver.cli import main
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "examples:" in out and "crmlab report behaviour" in out
    assert main(["report", "--help"]) == 0
    out = capsys.readouterr().out
    assert "segment to compare with" in out and "control" in out


def test_an_interruption_exits_with_130(monkeypatch):
    from crmlab.deliver import cli
    def interrupted(*args): raise KeyboardInterrupt
    monkeypatch.setattr(cli, "_doctor", interrupted)
    assert cli.main(["doctor", "anything"]) == 130


def test_a_bug_of_ours_shows_itself(monkeypatch):
    from crmlab.deliver import cli
    def broken(*args): raise RuntimeError("ours")
    monkeypatch.setattr(cli, "_doctor", broken)
    with pytest.raises(RuntimeError, match="ours"): cli.main(["doctor", "anything"])
