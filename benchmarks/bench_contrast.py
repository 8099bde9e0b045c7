"""How often `contrast` is wrong, and which rule flags: s-values raced against Benjamini-Hochberg on the same worlds.

Segments that are alike, that differ in the mix of devices and sources only, or in the number of visits only: nothing may be
flagged. Worlds with a quarter of forty behaviours planted: few flags may be false, intervals must hold the truth, much must
be found. Seeds are 0, 1, … and then a second block. Shops of the simulator follow, with thousands of members each.
Usage beside `run.py`: python benchmarks/bench_contrast.py [worlds per block] [shops per block] [members of a shop]
"""
from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor

import contrast_worlds as w
import numpy as np
import pandas as pd
from scipy.stats import binom

import crmlab as cl
from crmlab.infer.shrink import FALSE_FLAGS

RULES = dict(bh="flagged", s_value="by_s_value")
SIZES = dict(small=(60, 200), large=(800, 1200))   # members per segment
SECOND = 10_000                                    # first seed of the unseen block
FEWER = dict(small=1, large=4)                     # large worlds are the easier ones for approximations: fewer of them
WRONG = .06                                        # most false flags
STORY = ("landing:/", "landing:/mypage", "view:/mypage", "first_view_exit", "first_action", "depth:/", "event:Promotion Clicked", "event:Coupon Applied")   # what the scenario sets by rank


def joined(result, truth: pd.DataFrame) -> pd.DataFrame:
    "The contrast's rows with what stands behind, the truth, and both rules' flags."
    frame = pd.concat([result.frame, result.details[["p", "s_value"]]], axis=1).merge(truth, on="behaviour")
    return frame.assign(by_s_value=frame.s_value <= FALSE_FLAGS)


def one(kind: str, seed: int, sizes: tuple) -> dict:
    "Counts of one world."
    pairs, truth = w.world_of(kind, seed, sizes)
    start = time.process_time()
    result = cl.contrast(pairs, b="b", a="a")
    spent = time.process_time() - start
    f = joined(result, truth)
    known, held = f.raw.notna(), (f.raw_lo <= f.truth) & (f.truth <= f.raw_hi)
    counts = dict(estimated=known.sum(), held=(held & known).sum(), **{f"held {name}": h for name, h in (held & known).groupby(f.behaviour).sum().items()}, planted=(f.truth != 0).sum(), cpu_s=spent)
    for name, column in RULES.items():
        own = f[f[column]]
        false = np.sign(own.truth) != np.sign(own.raw)
        shrunken = (own.lo <= own.truth) & (own.truth <= own.hi)
        counts |= {f"{name} any": len(own) > 0, f"{name} flags": len(own), f"{name} false share": false.mean() if len(own) else 0, f"{name} found": (~false).sum(), f"{name} shrunken held": shrunken.sum()}
    return counts


def _block(kind: str, size: str, first: int, worlds: int) -> dict:
    "One block of worlds of one kind, summed up."
    made = pd.DataFrame([one(kind, seed, SIZES[size]) for seed in range(first, first + worlds)]).astype(float)
    by_behaviour, exact = made.filter(regex="^held .").mean(), lambda v: round(float(v), 4)
    row = dict(kind=kind, size=size, first_seed=first, worlds=worlds, covered=exact(made.held.sum()/made.estimated.sum()), least_covered=exact(by_behaviour.min()), most_covered=exact(by_behaviour.max()))
    for name in RULES:
        total = lambda key: made[f"{name} {key}"].sum()   # noqa: B023 (used at once)
        own = dict(any=total("any")/worlds, false=total("false share")/worlds)
        if made.planted.sum(): own |= dict(power=total("found")/made.planted.sum(), shrunken_covered=total("shrunken held")/max(total("flags"), 1))
        row[name] = {k: exact(v) for k, v in own.items()}
    return row | dict(cpu_ms=round(1000*float(made.cpu_s.mean()), 1))


def _shop(users: int, seed: int) -> pd.DataFrame:
    "One shop of the simulator: Bronze against Royal, counted against its truth."
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        shop = cl.simulate("bronze_royal", users=users, seed=seed, into=folder)
        truth = shop.truth.to_pandas().query("kind == 'adjusted' and a == 'Bronze' and b == 'Royal'").rename(columns=dict(key="behaviour", value="truth"))
        found = joined(cl.contrast(cl.behaviours(shop.tag("rank"), by="rank"), a="Bronze", b="Royal"), truth[["behaviour", "truth", "se", "is_null"]])
    return found[["behaviour", "flagged", "raw", "raw_lo", "raw_hi", "truth", "is_null"]].assign(seed=seed, cpu_s=time.process_time() - start)


def shops_summed(found: pd.DataFrame, users: int) -> dict:
    "Planted behaviours found, and flags of behaviours that are equal by construction."
    different, flags = found[~found.is_null], found[found.flagged]
    story, held = found[found.behaviour.isin(STORY)], (found.raw_lo <= found.truth) & (found.truth <= found.raw_hi)
    return dict(users=users, first_seed=int(found.seed.min()), shops=int(found.seed.nunique()), planted_flagged=round(float(story.flagged.mean()), 4), different_flagged=round(float(different.flagged.mean()), 4),
                flags=len(flags), null_flags=int(flags.is_null.sum()), wrong_sign=int((flags.truth*flags.raw < 0).sum()), null_share=round(float(flags.is_null.mean()), 4),
                covered=round(float(held.mean()), 4), cpu_s=round(float(found.groupby("seed").cpu_s.first().mean()), 1),
                least_found={k: round(float(v), 3) for k, v in different.groupby("behaviour").flagged.mean().nsmallest(6).items()})


def shops(count: int, users: int) -> list[dict]:
    "Both blocks of shops."
    blocks = []
    for first in (0, SECOND):
        with ProcessPoolExecutor(2) as pool: blocks.append(shops_summed(pd.concat(pool.map(_shop, [users]*count, range(first, first + count))), users))
    return blocks


def _within_band(row: dict, rule: str) -> bool:
    "Whether the worlds with any flag stay inside the 99 % band of 5 % (67 of 1,000 at most)."
    return round(row[rule]["any"]*row["worlds"]) <= binom.ppf(.99, row["worlds"], FALSE_FLAGS)


def verdict(rows: list[dict]) -> dict:
    "Which rule keeps both promises, and which of those finds most; less than a point apart, the one with fewer false flags."
    nulls, planted = [r for r in rows if r["kind"] != "planted"], [r for r in rows if r["kind"] == "planted"]
    sizes = {s: [r for r in planted if r["size"] == s] for s in {r["size"] for r in planted}}
    def pooled(name, key): return [round(float(np.average([r[name][key] for r in of], weights=[r["worlds"] for r in of])), 4) for of in sizes.values()]
    def of(name): return dict(most_any_flag=max(r[name]["any"] for r in nulls), in_band=all(_within_band(r, name) for r in nulls), most_false=max(pooled(name, "false")),
                              power=round(float(np.mean(pooled(name, "power"))), 4), least_shrunken_covered=min(pooled(name, "shrunken_covered")))
    rules = {name: of(name) for name in RULES}
    honest = [n for n, r in rules.items() if r["in_band"] and r["most_false"] <= WRONG]
    best = max((rules[n]["power"] for n in honest), default=0)
    close = [n for n in honest if rules[n]["power"] > best - .01]
    return dict(rules=rules, honest=honest, winner=min(close, key=lambda n: rules[n]["most_false"]) if close else None)


def measure(worlds: int = 1000, shop_count: int = 20, users: int = 20_000) -> dict:
    "Both blocks of every kind and size, the verdict, and the shops."
    jobs = [(kind, size, first, worlds//FEWER[size]) for size in SIZES for first in (0, SECOND) for kind in w.KINDS]
    with ProcessPoolExecutor(2) as pool: rows = list(pool.map(_block, *zip(*jobs)))
    return dict(level=FALSE_FLAGS, behaviours=w.BEHAVIOURS, members=SIZES, **verdict(rows), blocks=rows, shops=shops(shop_count, users) if shop_count else [])


if __name__ == "__main__":
    import run
    run.keep("contrast", measure(*(int(n) for n in sys.argv[1:])))
