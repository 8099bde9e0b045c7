"Broken rows for importers: one value of a good row at a time becomes something it should not be."
from __future__ import annotations

import copy
import json
import random

NOT_VALUES = [None, "", " ", "x", "\ud800", "ﾃｽﾄ\u0000", True, 0, -1, 1e300, 10**40, float("nan"), float("inf"), [], {}, [[]], {"a": {"b": [None]}}, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
              "1970-01-01", "infinity", "'; DROP TABLE events; --", '{"a":', "１２，３４５", "NaN", "someone@shop.example", "https://[", "http://a.example/%zz?q=%ff", "-99999999999999999999"]


def places(value, path=()):
    "Paths of all values within a row."
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path]*bool(path) + [p for key, v in inside for p in places(v, (*path, key))]


NO_LISTS = ["", " ", "serum", "¥1,000", '[{"product_id": "p", "price": 1}]', '{"a": 1}', "[", 5, True, {"a": "b"}, [None], ["serum"], [["a"]], ['{"a": 1}'], [{"a": ["b"]}]]   # where a list or an object is expected


def without_structure(rows):
    "Each row once for every list and object in it, with something in its place that has another shape."
    for row in rows:
        shapes = {tuple("*" if isinstance(step, int) else step for step in path): path for path in places(row)}   # the elements of one list count once
        for *way, last in shapes.values():
            for value in NO_LISTS:
                spoilt = spot = copy.deepcopy(row)
                for step in way: spot = spot[step]
                if not isinstance(spot[last], (dict, list)): break
                spot[last] = value
                yield spoilt


def broken(rows, *, seed, n):
    "`n` JSON lines, each a good row with one or two values that are wrong, gone, or far too large, and every list and object of the rows replaced by what is none."
    rng, lines = random.Random(seed), []
    for i in range(n):
        row = copy.deepcopy(rng.choice(rows))
        for _ in range(rng.choice((1, 1, 2))):
            *way, last = rng.choice(places(row))
            spot = row
            for step in way: spot = spot[step] if isinstance(spot, (dict, list)) and (step in spot if isinstance(spot, dict) else step < len(spot)) else {}
            if not isinstance(spot, (dict, list)) or isinstance(spot, list) and last >= len(spot): continue
            if isinstance(spot, dict) and rng.random() < .1: spot.pop(last, None)
            else: spot[last] = "長"*3_500_000 if i == n//2 else rng.choice(NOT_VALUES)   # one of about ten megabytes
        lines.append(json.dumps(row, ensure_ascii=rng.random() < .5))
    lines += [json.dumps(row, ensure_ascii=False) for row in without_structure(rows)]
    lines += ["", "null", "[]", "{", "5", '"x"', "{}", '{"a": 1}', "\x00\x01", "[" * 5000, json.dumps(rows[0])[:-5], '{"a":' * 3000 + "1" + "}" * 3000]
    rng.shuffle(lines)
    return "\n".join(lines).encode("utf-8", "surrogatepass") + b'\n{"a": "\xff\xfe"}\n'


def assert_adds_up(shop):
    "Every row read by a shop's first import is stored, a duplicate, or rejected: as counted, and as found in its files."
    for table, c in shop.counts.items():
        stored = len(getattr(shop, table).to_pandas()) if table in shop.tables else 0
        assert c["read"] == c["kept"] + c["duplicate"] + c["rejected"] and stored == c["kept"], (table, c, stored)
    told = [line for f in (shop.path/"_rejected").glob("*.jsonl") for line in f.read_text(encoding="utf-8").splitlines()]
    assert len(told) == sum(c["rejected"] for c in shop.counts.values())
