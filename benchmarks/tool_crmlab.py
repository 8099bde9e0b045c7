"The five queries as a user of crmlab writes them: `QUERIES` maps a name to a function of the shop folder."
from __future__ import annotations

from functools import cache

import narwhals.stable.v2 as nw
import pyarrow  # noqa: F401  these are loaded when first needed: over before the clock starts
import scipy.special  # noqa: F401

import crmlab as cl
import crmlab.measure.heatmap
import crmlab.measure.journey
import crmlab.measure.visits
from crmlab.tables.engine import as_of as value_as_of
from crmlab.tables.engine import scan
from floor import STEPS


def _lazy(frame): return nw.to_native(frame)


@cache
def _opened(shop): return cl.open_shop(shop)   # once, as an analyst does


def sessionize(shop): return _lazy(cl.sessionize(_opened(shop)).lazy())


def heatmap(shop): return cl.heatmap(_opened(shop).tag("rank"), page="/", by="rank", device="desktop", anchor="none").frame


def scroll(shop): return cl.scroll_reach(_opened(shop).tag("rank"), page="/", by="rank", device="desktop").frame


def funnel(shop): return cl.funnel(_opened(shop).tag("rank"), steps=list(STEPS), by="rank", within="24h").frame


def as_of(shop):
    ranks = _opened(shop).attributes.lazy().filter(nw.col("attribute") == "rank").select("user_id", "valid_from_us", rank="value")
    return _lazy(value_as_of(scan(shop/"events").select("user_id", "ts_us"), ranks, value="rank"))


QUERIES = dict(sessionize=sessionize, heatmap=heatmap, scroll=scroll, funnel=funnel, as_of=as_of)
