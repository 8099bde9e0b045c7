"""Which way of comparing two maps finds most and claims least that is not so: methods raced on the same worlds.

Nulls: the segments behave alike, and nothing, the number of visits, or the scroll depth differs. Raises: one element is more
popular in b, and all others less so. Five elements take turns. The method was developed on seeds from 0; these worlds begin at
FIRST and were not looked at before. Rivals: the element test with Benjamini-Hochberg on clicks by the box they fall into (elements),
the same without a least number of people and knowing which element a click was meant for, which no tool can know (knowing), equal
attention to all places (scan), windows alone as without a layout (windows).
Usage beside `run.py`: python benchmarks/bench_map_race.py [worlds per setting]
"""
from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor

import map_worlds as w
import numpy as np
import pandas as pd

from crmlab.infer import heatmap_diff as module
from crmlab.infer.heatmap_diff import heatmap_diff

CLICKS = {3: 1.5, 12: 6.}   # clicks per user, and per visit
RAISED = ("#nav-1", "#category-1", "#item-2", "#banner-0", "#reviews-0")
NULLS = dict(alike=({}, {}), visits=(dict(visits=1.5), dict(visits=3.)), depth=(dict(depth=300.), dict(depth=1500.)))
LEVEL, FIRST = .05, 10_000
METHODS = ("crmlab", "elements", "knowing", "scan", "windows")


def settings() -> list[dict]:
    "Every setting of the race: nulls at 500 users a segment, raises at three sizes."
    nulls = [dict(null=n, users=500, clicks=c) for n in NULLS for c in CLICKS]
    return nulls + [dict(raise_by=r, users=u, clicks=c) for u in (200, 500, 2000) for c in CLICKS for r in (.25, .5, 1.)]


def world(setting: dict, seed: int):
    "Visits and clicks of both segments, and the raised element."
    rng = np.random.default_rng([seed, setting["users"], setting["clicks"], round(100*setting.get("raise_by", 0)), len(setting.get("null", ""))])
    per_visit, element = CLICKS[setting["clicks"]], RAISED[seed % len(RAISED)] if "raise_by" in setting else None
    of_a, of_b = NULLS[setting["null"]] if element is None else ({}, dict(share=w.popularity(element, setting["raise_by"])))
    return *(w.people(rng, setting["users"], per_visit=per_visit, **more) for more in (of_a, of_b)), element


def flags(heatmap) -> dict:
    "By method the flagged places: cells and whether b is higher."
    sides = [module._side(heatmap, s, w.ROWS, w.COLUMNS) for s in "ab"]
    places, element = module._candidates(*sides, heatmap.boxes, w.ROWS, w.COLUMNS, w.ROW)
    if not places.shape[1]: return dict(scan=[], windows=[])
    c = module._compare(*sides, places, w.COLUMNS)
    p, even = c.p.to_numpy(), lambda at: at/max(at.sum(), 1)
    found = dict(scan=p <= LEVEL*even(np.ones(len(p))), windows=module._adjusted(p, even((~element).astype(float))) <= LEVEL)
    return {name: [(places.indices[places.indptr[k]:places.indptr[k + 1]], c.z[k] > 0) for k in np.flatnonzero(at)] for name, at in found.items()}


def one(setting: dict, seed: int) -> dict:
    "What every method says about one world."
    a, b, raised = world(setting, seed)
    heatmap = w.as_heatmap(a, b)
    start = time.process_time()
    result = heatmap_diff(heatmap, a="a", b="b", level=LEVEL)
    spent = time.process_time() - start
    flagged, f = flags(heatmap), result.frame
    by_element = dict(elements=w.element_test(a, b, level=LEVEL), knowing=w.element_test(a, b, level=LEVEL, knowing=True, least=0))
    if raised is None: return dict(crmlab=f.flagged.any(), **{k: v.any() for k, (_, v) in by_element.items()}, **{k: bool(v) for k, v in flagged.items()}, cpu_s=spent)
    at = w.elements().selector.tolist().index(raised)
    (inside,) = module._element_cells(w.elements().iloc[[at]], w.ROWS, w.COLUMNS, w.ROW)
    hit = lambda cells, up: up and np.isin(cells, inside).mean() >= .5
    found = dict(crmlab=(f.flagged & (f.est > 1))[inside].any(), **{k: v[at] and z[at] > 0 for k, (z, v) in by_element.items()}, **{k: any(hit(*place) for place in v) for k, v in flagged.items()})
    return found | _against_truth(result, setting, raised) | dict(cpu_s=spent)


def _against_truth(result, setting, raised):
    "Flagged cells on the wrong side of 1, and regions whose interval holds the true ratio."
    f, about = result.frame, dict(per_visit=CLICKS[setting["clicks"]], raised=raised, raise_by=setting["raise_by"])
    cells = np.flatnonzero(f.flagged)
    if not len(cells): return dict(cells=0, wrong=0, regions=0, covered=0)
    true = w.true_ratios([[c] for c in cells], **about)
    of_region = w.true_ratios([np.flatnonzero(f.region == r) for r in result.regions.region], **about)
    covered = (result.regions.lo <= of_region) & (of_region <= result.regions.hi)
    return dict(cells=len(cells), wrong=int(((true > 1) != (f.est[cells] > 1)).sum()), regions=len(covered), covered=int(covered.sum()))


def counted(setting: dict, worlds: list[dict]) -> dict:
    "One line of the results."
    made = pd.DataFrame(worlds).astype(float)
    return setting | dict(worlds=len(made)) | made.drop(columns="cpu_s").sum().astype(int).to_dict() | dict(cpu_ms=round(1000*made.cpu_s.mean(), 1))


def _run(setting: dict, worlds: int) -> dict: return counted(setting, [one(setting, FIRST + k) for k in range(worlds)])


def large(users: int = 20_000) -> float:
    "CPU seconds of one comparison on a 64 × 600 grid."
    rng, (rows, columns) = np.random.default_rng(0), (600, 64)
    n, often = 6*users, 1 + rng.poisson(1, users)
    who, row, segment = rng.integers(0, users, n), np.minimum(rng.exponential(120, n).astype(int), rows - 1), np.array(["a", "b"])
    clicks = pd.DataFrame(dict(cluster=who, col=rng.integers(0, columns, n), row=row)).drop_duplicates()
    clicks = clicks.assign(segment=segment[clicks.cluster % 2], n=1, visits=1, exposed=often[clicks.cluster])
    depths = pd.DataFrame(dict(cluster=np.arange(users), segment=segment[np.arange(users) % 2], row=rows - 1, visits=often))
    heatmap = w.as_heatmap(*(w.people(rng, 20, per_visit=1.) for _ in "ab"))
    vars(heatmap).update(users=clicks, depths=depths)
    heatmap.meta["arguments"] = heatmap.meta["arguments"] | dict(grid=(columns, w.ROW))
    heatmap.frame.loc[:, "row"] = rows - 1
    start = time.process_time()
    heatmap_diff(heatmap, a="a", b="b")
    return round(time.process_time() - start, 2)


def verdict(rows: list[dict]) -> dict:
    "The promises, counted."
    nulls, raises = [r for r in rows if "null" in r], [r for r in rows if "raise_by" in r]
    power = lambda r, name: r[name]/r["worlds"]
    total = lambda key: sum(r[key] for r in raises)
    def against(rival):
        open_ = [r for r in raises if power(r, rival) < .95]
        return dict(worst=round(min(power(r, "crmlab") - power(r, rival) for r in raises), 4), higher_in=sum(r["crmlab"] > r[rival] for r in open_), open_settings=len(open_))
    return dict(most_false_alarms={m: max(power(r, m) for r in nulls) for m in METHODS}, mean_power={m: round(np.mean([power(r, m) for r in raises]), 4) for m in METHODS},
                against={rival: against(rival) for rival in ("elements", "knowing")},
                wrong_cells=round(total("wrong")/max(total("cells"), 1), 4), regions_covered=round(total("covered")/max(total("regions"), 1), 4))


def measure(worlds: int = 500) -> dict:
    with ProcessPoolExecutor(2) as pool: rows = list(pool.map(_run, settings(), [worlds]*len(settings())))
    return dict(level=LEVEL, first_seed=FIRST, grid_64x600_20000_users_cpu_s=large(), **verdict(rows), settings=rows)


if __name__ == "__main__":
    import run
    run.keep("map_race", measure(int(sys.argv[1]) if len(sys.argv) > 1 else 500))
