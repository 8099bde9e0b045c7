"""What Retentioneering 5.2 can answer of the five queries: `PLAIN` maps a name to a function of the shop folder.

It runs in its own environment and knows only path, event and time: no member found within a visit, no attribute as of a
moment, no pointer coordinates, no time limit on a funnel. Its two answers are therefore compared with SQL for these
smaller questions. Making the event stream counts: nothing can be asked without it. Its telemetry is off.
"""
from __future__ import annotations

import os

os.environ["RETENTIONEERING_NO_TRACK"] = "1"
import pandas as pd
from retentioneering.eventstream import Eventstream

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
