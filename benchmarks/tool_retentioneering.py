"""What Retentioneering 5.2 can answer of the five queries: `PLAIN` maps a name to a function of the shop folder.

It runs in its own environment and knows only path, event and time: no member found within a visit, no attribute as of a
moment, no pointer coordinates, no time limit on a funnel. Its two answers are therefore compared with SQL for these
smaller questions. Making the event stream counts: nothing can be asked without it. Its telemetry is off.

`JOURNEYS` are sessions, funnel and transitions of the events' Parquet files, each with what brings the answer to a common form.
"""
from __future__ import annotations

import os
from functools import cache

os.environ["RETENTIONEERING_NO_TRACK"] = "1"
import pandas as pd
from retentioneering.eventstream import Eventstream

POINTER = ["mouse_move", "scroll", "touch_move", "click", "page_leave"]   # what the world's visitors do beside pages and the shop's own events
STEPS = ["view_item", "add_to_cart", "begin_checkout", "purchase"]


def _stream(shop, **filters):
    "All events, or those of some names, as an event stream of visitors."
    events = pd.read_parquet(shop/"events", columns=["visitor_id", "ts", "event"], **filters)
    return Eventstream(events, schema=dict(path_cols=["visitor_id"], event_col="event", timestamp_col="ts"))


def sessionize(shop):
    n = _stream(shop).split_sessions(timeout="30m").df.session_id.value_counts()
    return pd.DataFrame([dict(sessions=len(n), events=n.sum(), squares=(n*n).sum())])


def funnel(shop):
    found = _stream(shop, filters=[("event", "in", STEPS)]).funnel_data(steps=STEPS)
    return pd.DataFrame([{s["step"]: s["unique_paths"] for s in found["steps"]}])


PLAIN = dict(sessionize=sessionize, funnel=funnel)


@cache
def _whole(shop):
    "The event stream with its sessions: made once, as an analyst does."
    events = pd.read_parquet(shop/"events", columns=["visitor_id", "ts", "event"])
    return Eventstream(events, schema=dict(path_cols=["visitor_id"], event_col="event", timestamp_col="ts")).split_sessions(timeout="30m")


def _by_session(shop): return _whole(shop).df.groupby("session_id", sort=False).agg(visitor_id=("visitor_id", "first"), start=("ts", "min"), events=("event", "size"))


def _funnel(shop): return pd.DataFrame(_whole(shop).funnel_data(steps=STEPS)["steps"])


def _transitions(shop): return _whole(shop).filter_events(drop=dict(event=POINTER)).transition_graph_data(edge_weight="count", path_col="session_id")


def plain_sessions(f): return f.assign(start=pd.to_datetime(f.start, utc=True).astype("datetime64[us, UTC]"))[["visitor_id", "start"]].sort_values(["visitor_id", "start"], ignore_index=True)


def plain_transitions(f):
    long = f.rename_axis(index="source", columns="target").stack().rename("n").reset_index().astype(dict(source=str, target=str))
    real = ~long.source.isin(["path_start", "path_end"]) & ~long.target.isin(["path_start", "path_end"]) & (long.n > 0)
    return long[real].astype(dict(n=int)).sort_values(["source", "target"], ignore_index=True)


JOURNEYS = dict(sessions=(_by_session, plain_sessions), funnel=(_funnel, lambda f: f[["step", "unique_paths"]].set_axis(["step", "n"], axis=1)), transitions=(_transitions, plain_transitions))
