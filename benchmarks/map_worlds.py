"""Pages and their visitors for the race of map differences: people with favourite elements, and the true rate of every cell.

A visit sees the page down to its depth and tries a Poisson number of clicks; each goes to an element drawn from the person's
own taste (Dirichlet around the page's popularity), or, at BACKGROUND, anywhere. A click on what was not seen does not happen.
So the rate per exposed visit of a cell depends on taste and liveliness alone, whatever the number of visits and their depth.
"""
from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from scipy.special import gammaincinv, ndtr

from crmlab.measure.maps import Heatmap

PAGE_W, PAGE_H, FIRST_SCREEN = 1200, 3000, 800
COLUMNS, ROW = 60, 20              # grid of the maps: cells of 20 × 20 px
ROWS = PAGE_H//ROW
BACKGROUND, TASTE = .08, 4.        # share of clicks beside every element; concentration of tastes (small: one favourite each)
VISITS, DEPTH = 2., 900.           # usual visits per person, usual px below the first screen


@cache
def elements() -> pd.DataFrame:
    "The page's elements as a layout has them, with how popular each is."
    rows = []
    def line(name, count, x, step, y, w, h, popular):
        rows.extend((f"#{name}-{i}", x + step*i, y, w, h, popular*(1 - .08*i)) for i in range(count))
    line("nav", 6, 63, 190, 22, 150, 40, 3)
    line("hero", 1, 0, 0, 84, 1200, 400, 10)
    line("category", 4, 33, 290, 524, 260, 120, 6)
    line("item", 4, 33, 290, 706, 260, 300, 5)
    line("more", 4, 33, 290, 1046, 260, 300, 4)
    line("banner", 1, 31, 0, 1407, 1140, 160, 4)
    line("seen", 4, 33, 290, 1625, 260, 300, 3)
    line("reviews", 1, 31, 0, 1985, 1140, 220, 2)
    line("guide", 3, 33, 390, 2254, 360, 140, 1.5)
    line("footer", 6, 63, 190, 2803, 150, 40, .7)
    made = pd.DataFrame(rows, columns=["selector", "x", "y", "w", "h", "popular"])
    return made.assign(label=made.selector.str[1:], page_w=PAGE_W, page_h=PAGE_H)


def layout() -> pd.DataFrame:
    "Element boxes with the lists and sections around them, as a page has."
    around = pd.DataFrame([("header", 0, 0, 1200, 80), ("#items", 20, 690, 1160, 670), ("footer", 0, 2780, 1200, 220)], columns=["selector", "x", "y", "w", "h"])
    return pd.concat([elements(), around.assign(label=around.selector, page_w=PAGE_W, page_h=PAGE_H)], ignore_index=True)


def popularity(raised: str | None = None, raise_by: float = 0.) -> np.ndarray:
    "Mean share of a person's clicks by element, the background last; raising one lowers the others."
    share = elements().popular.to_numpy(float)
    share = np.append(share*(1 - BACKGROUND)/share.sum(), BACKGROUND)
    if raised is not None: share[elements().selector.tolist().index(raised)] *= 1 + raise_by
    return share/share.sum()


def _tastes(rng, people, share):
    drawn = rng.standard_gamma(np.broadcast_to(TASTE*share, (people, len(share)))) + 1e-12
    return drawn/drawn.sum(1, keepdims=True)


def people(rng, count: int, *, per_visit: float, visits: float = VISITS, depth: float = DEPTH, share=None) -> dict:
    "Visits (person, deepest row) and clicks (visit, element, x, y) of `count` people."
    share = popularity() if share is None else share
    often = 1 + rng.poisson(visits - 1, count)
    person = np.repeat(np.arange(count), often)
    reader = rng.gamma(4, 1/4, count)
    deepest = np.minimum(FIRST_SCREEN + rng.exponential(depth, len(person))*reader[person], PAGE_H - 1)//ROW
    tries = rng.poisson(per_visit*rng.gamma(3, 1/3, count)[person])
    visit = np.repeat(np.arange(len(person)), tries)
    taste = np.cumsum(_tastes(rng, count, share), axis=1)[person[visit]]
    element = np.minimum((taste < rng.random((len(visit), 1))).sum(1), len(share) - 1)
    box = np.vstack([elements()[["x", "y", "w", "h"]].to_numpy(float), [0, 0, PAGE_W, PAGE_H]])[element]
    inside = np.where((element == len(share) - 1)[:, None], rng.random((len(visit), 2)), rng.random((2, len(visit), 2)).mean(0))   # towards the middle of an element
    at = box[:, :2] + inside*box[:, 2:]
    kept = at[:, 1]//ROW <= deepest[visit]
    return dict(person=person, deepest=deepest.astype(int), visit=visit[kept], element=element[kept], x=at[kept, 0], y=at[kept, 1])


def _tables(side, segment):
    "Sparse tables of a map: cells a person clicked, and visits by their deepest row."
    cell = (side["y"]//ROW).astype(int)*COLUMNS + (side["x"]*COLUMNS/PAGE_W).astype(int)
    in_visit, n = np.unique(side["visit"]*(ROWS*COLUMNS) + cell, return_counts=True)
    key = side["person"][in_visit//(ROWS*COLUMNS)]*(ROWS*COLUMNS) + in_visit % (ROWS*COLUMNS)
    pairs, at = np.unique(key, return_inverse=True)
    person, place = np.divmod(pairs, ROWS*COLUMNS)
    deepest = np.bincount(side["person"]*ROWS + side["deepest"], minlength=(side["person"].max() + 1)*ROWS).reshape(-1, ROWS)
    exposed = np.cumsum(deepest[:, ::-1], axis=1)[:, ::-1]
    users = pd.DataFrame(dict(segment=segment, cluster=person, col=place % COLUMNS, row=place//COLUMNS, n=np.bincount(at, n).astype(int), visits=np.bincount(at), exposed=exposed[person, place//COLUMNS]))
    who, row = deepest.nonzero()
    depths = pd.DataFrame(dict(segment=segment, cluster=who, row=row, visits=deepest[who, row]))
    return users, depths


def as_heatmap(a: dict, b: dict, *, boxes=None) -> Heatmap:
    "The map that crmlab would make of two segments' visits; people of b have other names than those of a."
    b = b | dict(person=b["person"] + a["person"].max() + 1)
    users, depths = (pd.concat(t, ignore_index=True) for t in zip(_tables(a, "a"), _tables(b, "b")))
    segments = {"a": a, "b": b}
    meta = dict(arguments=dict(page="/", kind="click", by="rank", device="desktop", grid=(COLUMNS, ROW), of="exposed"), prob=.95, segments=list(segments), few={}, pages={}, seed=None,
                users={k: len(np.unique(v["person"])) for k, v in segments.items()}, visits={k: len(v["person"]) for k, v in segments.items()}, fold=float(FIRST_SCREEN), page_w=float(PAGE_W), page_h=float(PAGE_H))
    made = Heatmap(pd.DataFrame(dict(segment=["a", "b"], row=[ROWS - 1]*2)), meta, layout() if boxes is None else boxes)
    vars(made).update(users=users, depths=depths)   # what the engine would have counted
    return made


@cache
def _shares_in_cells():
    "Per element the share of its clicks in each cell."
    def spread(start, size, edges, peaked):
        t = np.clip((edges - start)/size, 0, 1)
        below = np.where(t < .5, 2*t*t, 1 - 2*(1 - t)**2) if peaked else t   # mean of two uniforms, or one
        return np.diff(below)
    across, down = np.linspace(0, PAGE_W, COLUMNS + 1), np.arange(ROWS + 1)*ROW
    boxes = [*elements()[["x", "y", "w", "h"]].itertuples(index=False), (0, 0, PAGE_W, PAGE_H)]
    return np.array([np.outer(spread(y, h, down, k < len(boxes) - 1), spread(x, w, across, k < len(boxes) - 1)).ravel() for k, (x, y, w, h) in enumerate(boxes)])


@cache
def _crowd(raised: str | None, raise_by: float, people: int = 4000):
    "Liveliness and tastes of imagined people; the same random numbers under every setting, so that ratios are exact to about 1 %."
    rng = np.random.default_rng(12345)
    lively, share = rng.gamma(3, 1/3, people), popularity(raised, raise_by)
    taste = gammaincinv(TASTE*share, rng.random((people, len(share))))
    return lively, taste/taste.sum(1, keepdims=True)


def true_ratios(places: list, *, per_visit: float, raised: str, raise_by: float) -> np.ndarray:
    "Ratio b/a, by place (flat cells), of the share of the visits that see it and click anywhere in it; the element is raised in b."
    spread = np.column_stack([_shares_in_cells()[:, cells].sum(1) for cells in places])
    def rate(lively, taste): return -np.expm1(-per_visit*lively[:, None]*(taste @ spread)).mean(0)
    return rate(*_crowd(raised, raise_by))/rate(*_crowd(None, 0.))


def _as_landed(side):
    "Clicks by the element whose box they fall into, as any tool sees them: those beside every element's favourites included."
    boxes, astray = elements(), np.flatnonzero(side["element"] == len(elements()))
    x, y = side["x"][astray, None], side["y"][astray, None]
    inside = (x >= boxes.x.to_numpy()) & (x < (boxes.x + boxes.w).to_numpy()) & (y >= boxes.y.to_numpy()) & (y < (boxes.y + boxes.h).to_numpy())
    element = side["element"].copy()
    element[astray] = np.where(inside.any(1), inside.argmax(1), len(boxes))
    return side | dict(element=element)


def _expected(counted):
    "Acting people of each element in the segment where fewer are expected, if both acted alike."
    able = [(x > 0).sum(0) for _, x in counted]
    return np.minimum(*able)*sum((y > 0).sum(0) for y, _ in counted)/np.maximum(sum(able), 1)


def element_test(a: dict, b: dict, *, level: float = .05, knowing: bool = False, least: float = 5.):
    """The rival to beat: per element, share of the visits that saw its middle and clicked it, users as clusters, Benjamini-Hochberg. (z, flagged)

    `knowing` counts only clicks meant for the element, which no tool can know: a click that falls into its box by chance is one to everybody else.
    Elements of fewer than `least` expected acting people in a segment are left alone: where three visits saw one and nobody clicked,
    its estimated variance is 0 and every other rate seems certainly different.
    """
    boxes = elements()
    middle, k, counted, sides = ((boxes.y + boxes.h/2)//ROW).to_numpy(int), len(boxes), [], []
    for side in (a, b) if knowing else (_as_landed(a), _as_landed(b)):
        count = side["person"].max() + 1
        on = side["element"] < k
        pairs = np.unique(side["visit"][on]*k + side["element"][on])
        y = np.bincount(side["person"][pairs//k]*k + pairs % k, minlength=count*k).reshape(count, k)
        seen = np.bincount(side["person"]*ROWS + side["deepest"], minlength=count*ROWS).reshape(count, ROWS)
        x = np.cumsum(seen[:, ::-1], axis=1)[:, ::-1][:, middle]
        rate = y.sum(0)/np.maximum(x.sum(0), 1)
        counted.append((y, x))
        sides.append((rate, ((y - rate*x)**2).sum(0)/np.maximum(x.sum(0), 1)**2*count/(count - 1)))
    (ra, va), (rb, vb) = sides
    with np.errstate(invalid="ignore", divide="ignore"): z = np.where(_expected(counted) >= least, np.nan_to_num((rb - ra)/np.sqrt(va + vb)), 0)
    p = 2*ndtr(-np.abs(z))
    order = np.argsort(p)
    ok = np.flatnonzero(p[order] <= level*np.arange(1, len(p) + 1)/len(p))
    flagged = np.zeros(len(p), bool)
    flagged[order[:ok[-1] + 1 if len(ok) else 0]] = True
    return z, flagged
