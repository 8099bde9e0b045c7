"""Every public measure, every argument, odd values: one line that names the argument, or a valid result.

The arguments are read from the signatures, so that a new one is covered by itself; a new measure needs a line in CALLS.
"""
from __future__ import annotations

import inspect
import math
from importlib import import_module

import numpy as np
import pandas as pd
import pytest

import crmlab as cl
from crmlab import _MODULE_OF
from crmlab.arguments import ARGUMENT_KINDS
from crmlab.core import CrmlabError, Result
from crmlab.tables.engine import Table

ODD = [None, 3, "x", [], ["x", "x"], math.nan, -1, 2.5, True, {}, "", pd.NaT, 10**12, "99999999999d", object]


def small_events() -> pd.DataFrame:
    "Forty members with two visits each: they land, look at an item, fill in a form, and some buy."
    rng, rows = np.random.default_rng(3), []
    for m in range(40):
        for v in range(2):
            start = pd.Timestamp("2026-03-01T01:00Z") + pd.Timedelta(days=20*v + m % 9, minutes=m)
            steps = [("page_view", "/"), ("scroll", "/"), ("page_view", "/item"), ("view_item", "/item"), ("input", "/item")] + [("purchase", "/item")]*int(rng.random() < .4)
            rows += [dict(user_id=f"u{m}", visitor_id=f"b{m}", ts=start + pd.Timedelta(seconds=20*k), event=event, page=page, rank=("Bronze", "Royal")[m % 2]) for k, (event, page) in enumerate(steps[:6 if rng.random() < .8 else 1])]
    events = pd.DataFrame(rows)
    return events.assign(event_id=[f"e{i}" for i in range(len(events))], device="desktop", source="google", selector="#name", x=50., y=100., page_w=1000., viewport_w=1000., viewport_h=600., page_h=1200.,
                         scroll_y=np.where(events.event == "scroll", 300., 0.), value=np.where(events.event == "purchase", 1000., np.nan))


def small_orders() -> pd.DataFrame:
    return pd.DataFrame([dict(order_id=f"o{m}{k}", user_id=f"u{m}", ts=pd.Timestamp("2025-12-01T03:00Z") + pd.Timedelta(days=m + 40*k), status="valid", currency="JPY", revenue=1000.*(m + 1)) for m in range(40) for k in range(1 + m % 3)])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    tables = dict(events=small_events().drop(columns="rank"), orders=small_orders(),
                  attributes=pd.DataFrame([dict(user_id=f"u{m}", attribute="rank", value=("Bronze", "Royal")[m % 2], valid_from=pd.Timestamp("2025-01-01T00:00Z")) for m in range(40)]),
                  messages=pd.DataFrame([dict(message_id=f"m{m}", user_id=f"u{m}", campaign="spring", channel="email", landing="/", sent_at=pd.Timestamp("2026-03-01T00:00Z"), clicked_at=pd.Timestamp("2026-03-01T01:00Z") + pd.Timedelta(days=m % 9, minutes=m - 1)) for m in range(40)]))
    for name, frame in tables.items():
        frame.to_parquet(folder/f"{name}.parquet")
        shop = cl.import_data("parquet", folder/f"{name}.parquet", into=folder/"shop", table=name)
    events, shop = small_events(), shop.tag("rank")
    layouts = pd.DataFrame(dict(page="/", device="desktop", selector=["#name"], x=0., y=80., w=200., h=50., page_w=1000., page_h=1200.))
    return dict(events=events, shop=shop, layouts=layouts, cells=cl.rfm(shop), sums=cl.behaviours(events, by="rank"), map=cl.heatmap(events.assign(event=events.event.replace("view_item", "click")), page="/item", by="rank"))


CALLS = dict(   # name → (what of the world comes first, the arguments that must be given)
    sessionize=("events", {}), first_view=("events", dict(page="/")), scroll_reach=("events", dict(page="/")), heatmap=("events", dict(page="/")), zones=("events", dict(page="/", layouts="layouts")),
    pages=("events", {}), funnel=("events", dict(steps=["view_item", "purchase"])), transitions=("events", {}), paths=("events", {}), time_to=("events", dict(start="view_item", end="purchase")),
    onboarding=("events", dict(start="view_item", end="purchase", horizon="7d", within="1d")), forms=("events", dict(page="/item", done="purchase")), profile=("shop", dict(attributes=["rank"])), after_message=("shop", {}),
    phase_behaviours=("events", dict(by="rank")), journey_map=("events", dict(by="rank")), rfm=("shop", {}), purchase_phases=("shop", {}), segment_where=("shop", dict(rules={"cart": {"event": "view_item"}})),
    visit_clusters=("events", dict(clusters=2)), segment_counts=("cells", {}), rfm_moves=("cells", {}), rfm_map=("cells", {}), behaviours=("events", dict(by="rank")), contrast=("sums", dict(b="Royal")), smooth=("map", {}))


def call(world, name, **odd):
    first, given = CALLS[name]
    function = getattr(cl, name)
    head = next(iter(inspect.signature(function).parameters))
    given = {k: world["layouts"] if k == "layouts" else v for k, v in given.items()} | {head: world[first]} | odd
    result = function(**given)
    if isinstance(result, Table): len(result)   # tables are lazy: their rows must be there too
    return result


def measures() -> list:
    "Functions of the layers measure and contrast that `import crmlab` promises."
    modules = {n: m for n, m in _MODULE_OF.items() if m.startswith("measure.") or n == "contrast"}
    return sorted(n for n, m in modules.items() if inspect.isfunction(getattr(import_module(f"crmlab.{m}"), n)))


def test_every_measure_is_called():
    assert measures() == sorted(CALLS)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_odd_arguments_get_one_line(world, name):
    assert isinstance(call(world, name), Result | Table)
    head, *others = inspect.signature(getattr(cl, name)).parameters
    for argument in [head, *others]:
        for value in ODD:
            try: result = call(world, name, **{argument: value})
            except CrmlabError as e: said = str(e)
            else:
                assert isinstance(result, Result | Table), (argument, value)
                continue
            assert "\n" not in said and len(said) < 900, (argument, value, said)
            told = [argument, repr(value), str(value), *([repr(value[0])] if isinstance(value, list) and value else [])]
            assert argument == head or any(t in said for t in told), (argument, value, said)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_an_annotation_that_is_a_kind_is_checked(world, name):
    function = getattr(cl, name)
    for argument, parameter in inspect.signature(function).parameters.items():
        kinds = set(str(parameter.annotation).split("|"))
        if parameter.annotation is parameter.empty or not kinds <= ARGUMENT_KINDS.keys(): continue
        with pytest.raises(CrmlabError, match=f"{argument}="): call(world, name, **{argument: object})
