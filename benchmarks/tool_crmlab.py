"""The five queries as a user of crmlab writes them: `QUERIES` maps a name to a function of the shop folder.

`JOURNEYS` are sessions, funnel and transitions of the events' Parquet files, each with what brings the answer to a common form.
"""
from __future__ import annotations

from functools import cache

import narwhals.stable.v2 as nw
import pyarrow  # noqa: F401  these are loaded when first needed: over before the clock starts
import scipy.special  # noqa: F401

import crmlab as cl
import crmlab.measure.heatmap
import crmlab.measure.journey
import crmlab.measure.transitions
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


def _plain(shop): return scan(shop/"events").select("visitor_id", "ts", "ts_us", "ts_local", "event", "page", "device")   # no members, no sessions of the tracker


def _by_session(shop): return cl.sessionize(_plain(shop)).to_pandas()


def _funnel(shop): return cl.funnel(_plain(shop), steps=list(STEPS), within="36500d").frame


def _transitions(shop): return crmlab.measure.transitions.transitions(_plain(shop), steps="event").frame


def plain_sessions(f): return f.assign(start=f.start.astype("datetime64[us, UTC]"))[["visitor_id", "start"]].sort_values(["visitor_id", "start"], ignore_index=True)


def plain_transitions(f): return f[~f.source.str.startswith("(") & ~f.target.str.startswith("(") & (f.n > 0)][["source", "target", "n"]].sort_values(["source", "target"], ignore_index=True)


JOURNEYS = dict(sessions=(_by_session, plain_sessions), funnel=(_funnel, lambda f: f[["step", "n"]]), transitions=(_transitions, plain_transitions))
