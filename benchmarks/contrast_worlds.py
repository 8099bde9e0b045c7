"""Worlds for the calibration of `contrast`: two segments, forty behaviours that go together, and the true difference of each.

A member has habits: every behaviour leans on one of a few traits and on a whim of its own, so behaviours of one trait go
together within a person. Visits fall on four strata (two devices by two sources) with levels of their own; some members
change their segment between visits. Behaviours are shares of visits (rare to common), shares of visits that could show them
at all, seconds and pages per visit, and seconds per page view. Only sums over members leave this module, in the form that
`cl.behaviours` gives; no shop is made, so a world takes milliseconds.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from scipy.special import expit, logit

STRATA = pd.DataFrame([("mobile", "line"), ("mobile", "search"), ("desktop", "line"), ("desktop", "search")], columns=["device", "source"])
EVEN, LIGHT, HEAVY = (np.array(m) for m in ((.35, .3, .15, .2), (.55, .25, .1, .1), (.15, .2, .25, .4)))   # mixes of the strata
SHARES, PARTS, TIMES, COUNTS, PER_VIEW = 24, 4, 6, 3, 3
BEHAVIOURS = SHARES + PARTS + TIMES + COUNTS + PER_VIEW
TRAITS, HABIT, WHIM = 4, .8, .6            # traits; spread of habits on the logit or log scale; of single visits on the log scale
MOVES, PLANTED = .05, BEHAVIOURS//4        # visits of a member made in the other segment; behaviours planted


@dataclass(frozen=True)
class World:
    "The settings of one kind of world: per segment (a, b) the usual visits of a member and the mix of strata."
    visits: tuple = (2.5, 2.5)
    mixes: tuple = (EVEN, EVEN)
    planted: bool = False


KINDS = dict(identical=World(), mix=World(mixes=(LIGHT, HEAVY)), visits=World(visits=(1.5, 3.)),
             planted=World(visits=(2., 3.), mixes=(EVEN, .5*(EVEN + HEAVY)), planted=True))


@cache
def levels() -> tuple:
    "Usual level of each behaviour on its own scale, and how the strata move it: the same shop in all worlds."
    rng = np.random.default_rng(0)
    base = np.concatenate([logit(np.geomspace(.03, .6, SHARES)), logit(np.linspace(.2, .7, PARTS)), np.full(TIMES, 4.), np.full(COUNTS, 1.), np.full(PER_VIEW, 3.)])
    return base, rng.normal(0, .5, (BEHAVIOURS, len(STRATA)))


KIND = np.repeat(["share", "part", "time", "count", "view"], [SHARES, PARTS, TIMES, COUNTS, PER_VIEW])
UNITS = dict(share="share", part="share", time="s", count="page", view="s")


def mean(at: np.ndarray) -> np.ndarray:
    "Mean over people of each behaviour whose usual level is `at` (behaviours × strata)."
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    chance = expit(at[:, :, None] + HABIT*nodes) @ (weights/weights.sum())
    amount = np.exp(at + HABIT**2/2 + np.where(KIND == "count", 0, WHIM**2/2)[:, None])
    return np.where(np.isin(KIND, ("share", "part"))[:, None], chance, amount)


def true_differences(world: World, members: tuple, effect: np.ndarray) -> np.ndarray:
    "Difference b − a at the pooled mix of the visits."
    base, strata = levels()
    at = base[:, None] + strata
    visits = [m*v for m, v in zip(members, world.visits)]
    here = [visits[s]*(1 - MOVES) + visits[1 - s]*MOVES for s in (0, 1)]   # visits made in a segment, wherever the member is at home
    weight = sum(h*m for h, m in zip(here, world.mixes))
    weight = weight/weight.sum()
    return (mean(at + effect[:, None]) - mean(at)) @ weight


def _effects(rng, world):
    effect = np.zeros(BEHAVIOURS)
    if world.planted: effect[rng.choice(BEHAVIOURS, PLANTED, replace=False)] = rng.choice([-1, 1], PLANTED)*rng.uniform(.25, 1.2, PLANTED)
    return effect


def _visits(rng, world, members):
    "Member, segment and stratum of each visit."
    home, usual = np.repeat([0, 1], members), np.repeat(world.visits, members)
    member = np.repeat(np.arange(len(home)), 1 + rng.poisson(usual - 1))
    segment = np.where(rng.random(len(member)) < MOVES, 1 - home[member], home[member])
    edges = np.cumsum(world.mixes, axis=1)[segment]
    return member, segment, (rng.random((len(member), 1)) > edges).sum(1).clip(max=len(STRATA) - 1)


def _acts(rng, member, at):
    "y and x of every visit and behaviour whose level is `at` (visits × behaviours)."
    people, visits = member.max() + 1, len(member)
    trait = np.arange(BEHAVIOURS) % TRAITS
    habit = HABIT*(np.sqrt(.6)*rng.normal(size=(people, TRAITS))[:, trait] + np.sqrt(.4)*rng.normal(size=(people, BEHAVIOURS)))
    at, x = at + habit[member], np.ones((visits, BEHAVIOURS))
    chance, amount = rng.random((visits, BEHAVIOURS)) < expit(at), np.exp(np.minimum(at, 12) + WHIM*rng.normal(size=(visits, BEHAVIOURS)))
    part, view, count = (KIND == k for k in ("part", "view", "count"))
    occasion = expit(rng.normal(0, 1, (people, PARTS)))
    x[:, part] = rng.random((visits, PARTS)) < occasion[member]
    x[:, view] = 1 + rng.poisson(1.5, (visits, PER_VIEW))
    y = np.where(np.isin(KIND, ("share", "part")), chance, amount)*x
    y[:, count] = rng.poisson(np.exp(at[:, count]))
    return y, x


def pair_sums(member, cell, y, x, segments: int = 2) -> pd.DataFrame:
    "Sums and cross-products of all pairs of cells, one row per behaviour and pair, as `cl.behaviours` has them."
    people, strata = member.max() + 1, len(STRATA)
    cells, place = segments*strata, member*segments*strata + cell
    by_cell = lambda v: np.stack([np.bincount(place, v[:, k], people*cells) for k in range(v.shape[1])]).reshape(-1, people, cells)
    Y, X = by_cell(y), by_cell(x)
    inside = (X.reshape(len(X), people, segments, strata).sum(3) > 0).astype(float)
    products = dict(n=((X > 0)*1., (X > 0)*1.), yy=(Y, Y), xy=(X, Y), yx=(Y, X), xx=(X, X))
    sums = {k: u.transpose(0, 2, 1) @ v for k, (u, v) in products.items()}
    sums["people"] = np.repeat(np.repeat(inside.transpose(0, 2, 1) @ inside, strata, 1), strata, 2)
    sums |= {k: np.repeat(v.sum(1)[:, :, None], cells, 2) for k, v in dict(y=Y, x=X).items()}
    behaviour, i, j = np.nonzero((sums["n"] > 0) | np.eye(cells, dtype=bool))
    names = np.array([f"{k}:{n}" for n, k in enumerate(KIND)], object)
    rows = dict(behaviour=names[behaviour], unit=np.array([UNITS[k] for k in KIND], object)[behaviour])
    for end, at in (("", i), ("_2", j)):
        rows |= {f"segment{end}": np.array([*"abcdefgh"], object)[at//strata]} | {f"{c}{end}": STRATA[c].to_numpy(object)[at % strata] for c in STRATA}
    return pd.DataFrame(rows | {k: sums[k][behaviour, i, j] for k in ("n", "people", "y", "x", "yy", "xy", "yx", "xx")})


def world_of(kind: str, seed: int, sizes: tuple = (60, 200)) -> tuple:
    "The pair table of one world and the true difference of each behaviour; members per segment drawn between `sizes`."
    rng, world = np.random.default_rng([seed, sorted(KINDS).index(kind), *sizes]), KINDS[kind]
    members = tuple(rng.integers(sizes[0], sizes[1] + 1, 2))
    effect, (base, strata) = _effects(rng, world), levels()
    member, segment, stratum = _visits(rng, world, members)
    y, x = _acts(rng, member, base + strata.T[stratum] + np.outer(segment, effect))
    truth = pd.DataFrame(dict(behaviour=[f"{k}:{n}" for n, k in enumerate(KIND)], truth=true_differences(world, members, effect)))
    return pair_sums(member, segment*len(STRATA) + stratum, y, x), truth
