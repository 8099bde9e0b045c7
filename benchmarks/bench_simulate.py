"""Events a second and peak memory of `cl.simulate`, from nothing to the committed shop folder, in a process of its own.

Above thirty million events the figures are those of making the shop that the queries read: a second one would cost minutes.
"""
from __future__ import annotations

import json

import world
from bench_import_formats import run, summary


def measure(size: str) -> dict:
    users = max(1, round(world.count_of(size)/world.EVENTS_PER_MEMBER))
    if world.count_of(size) > 3*10**7: made = json.loads(world.figures_of(world.shop_of(size)).read_text(encoding="utf-8")) | dict(runs=1)
    else: made = summary([run("simulate", users) for _ in range(2)])
    if "reason" in made: raise SystemExit(f"simulate: {made['reason']}")
    return dict(size=size, members=users, events_per_s=round(made["rows"]["events"]/made["wall_s"]), rows_per_s=round(sum(made["rows"].values())/made["wall_s"]), **made)
