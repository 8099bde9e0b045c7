"Waiting times from outside: against a plain count of who was watched, with orders of a shop, and landmarks that nobody reaches too late."
from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import Phase, given, settings as hypothesis_settings
from hypothesis import strategies as st

import crmlab as cl
from crmlab.measure.time_to import followed_until, kaplan_meier, onboarding, time_to

START = pd.Timestamp("2026-03-31T15:00:00Z")    # midnight in Tokyo
few = hypothesis_settings(max_examples=4, deadline=None, phases=[Phase.generate])
person = st.tuples(st.integers(0, 480), st.one_of(st.none(), st.integers(1, 720)))    # hours


def events_of(people, last=40.):
    rows = [(f"p{i:02}", s, "sign_up") for i, (s, _) in enumerate(people)] + [(f"p{i:02}", s + d, "purchase") for i, (s, d) in enumerate(people) if d is not None and s + d < last] + [("watch", last, "click")]
    e = pd.DataFrame(rows, columns=["user_id", "day", "event"])
    return e.assign(visitor_id="b" + e.user_id, page="/", device="mobile", ts=START + pd.to_timedelta((e.day*86400).round(), unit="s"), rank=np.where(e.user_id.str[-1] < "5", "Bronze", "Royal"))


@pytest.mark.parametrize("engine", ["duckdb", "polars"])
@few
@given(people=st.lists(person, min_size=12, max_size=40))
def test_the_curve_is_the_product_over_days(engine, people):
    people = [(0, 1), *people]    # somebody buys
    e = events_of([(s/24, None if d is None else d/24) for s, d in people])
    got = time_to(e if engine == "duckdb" else pl.from_pandas(e).lazy(), "sign_up", "purchase", until="2026-05-10").frame
    keep = [(-(-d//24) if d is not None and s + d < 960 else 10**6, (960 - s)//24) for s, d in people]    # day of the purchase, days watched
    stays = 1.
    for t in range(1, int(got.days.max()) + 1):
        risk = [min(d, w) >= t for d, w in keep]
        done = [d == t and w >= t for d, w in keep]
        assert got.n[t - 1] == sum(risk) and got.happened[t - 1] == sum(done)
        if sum(risk): stays *= 1 - sum(done)/sum(risk)
        if sum(risk) >= 10: assert got.est[t - 1] == pytest.approx(1 - stays)


def test_without_losses_it_is_the_share_and_the_band_narrows_with_people():
    k = kaplan_meier([3, 9], [True, False], [30, 70], prob=.95, last=9)
    assert k.est.iloc[-1] == pytest.approx(.3) and (k.lo.iloc[-1], k.hi.iloc[-1]) == pytest.approx((.2189, .3958), abs=1e-3)
    wide = kaplan_meier([3, 9], [True, False], [6, 14], prob=.95, last=9)
    assert wide.hi.iloc[-1] - wide.lo.iloc[-1] > k.hi.iloc[-1] - k.lo.iloc[-1]
    assert kaplan_meier([3], [True], [5], prob=.95, last=3).est.isna().all()     # five people: no estimate


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    home = tmp_path_factory.mktemp("waiting")
    people = [f"u{i:02}" for i in range(30)]
    orders = pd.DataFrame([(f"{u}-{k}", u, START + pd.Timedelta(days=i % 10 + 20*k + (i % 3)), "cancelled" if k == 1 and i % 5 == 0 else "valid", 1000., "JPY") for i, u in enumerate(people) for k in range(1 + (i % 2))] + [("last", "u00", START + pd.Timedelta(days=60), "cancelled", 0., "JPY")],
                          columns=["order_id", "user_id", "ts", "status", "revenue", "currency"])
    events = pd.DataFrame([(f"e{i}", START + pd.Timedelta(days=i % 10, hours=-1), f"b{i}", u, "sign_up", "/", "mobile") for i, u in enumerate(people)] + [("e-anon", START, "anon", None, "sign_up", "/", "mobile"), ("e-last", START + pd.Timedelta(days=60), "b0", "u00", "click", "/", "mobile")],
                          columns=["event_id", "ts", "visitor_id", "user_id", "event", "page", "device"])
    for name, frame in dict(orders=orders, events=events).items():
        pl.from_pandas(frame).write_parquet(home/f"{name}.parquet")
        cl.import_data("parquet", home/f"{name}.parquet", into=home/"shop", table=name)
    return cl.open_shop(home/"shop")


def test_orders_of_a_shop(shop):
    second = time_to(shop, "order", "order:2")
    assert second.frame.n[0] == 30 and second.frame.happened.sum() == sum(i % 2 and i % 5 != 0 for i in range(30))   # a cancelled order is no second one
    first = time_to(shop, "sign_up", "order")
    assert first.meta["rows"] == dict(people=30, unknown=1) and first.frame.happened.sum() == 30    # the anonymous one cannot be joined
    assert first.medians.happened[0] == 30
    with pytest.raises(cl.CrmlabError, match="order:2 for the second"): time_to(shop, "order", "order:second")


def test_follow_up_ends_with_the_table_that_ends_first(shop):
    assert followed_until(shop, None, {"orders"}, who="time_to") == int((START + pd.Timedelta(days=60)).timestamp()*10**6)
    assert followed_until(shop, "2026-05-31", {"orders"}, who="time_to") > followed_until(shop, "2026-05-30", {"orders"}, who="time_to")


def test_nobody_is_counted_who_could_not_reach_the_landmark():
    people = [(d, .5 if i % 2 else None) for i, d in enumerate(np.linspace(0, 39, 80))]
    first = onboarding(events_of(people), within="7d", horizon="5d", end="purchase", behaviours=["purchase"], until="2026-05-10").frame.iloc[0]
    assert first.n_with + first.n_without == sum(d + 7 + 1 <= 40 for d, _ in people)     # watched for at least a day after the landmark
    assert first.a == first.b == 0     # all purchases lie before the landmark


def test_bad_input():
    e = events_of([(1., 2.)]*15)
    for call, message in [(lambda: time_to(e, "signup", "purchase"), "did you mean sign_up"), (lambda: time_to(e, "sign_up", "order"), "needs a Shop"), (lambda: time_to(e, "sign_up", "purchase", by="gender"), "needs column 'gender'"),
                          (lambda: time_to(e, "sign_up", "purchase", until="soon"), "2026-06-30"), (lambda: onboarding(e, behaviours=["favorite"]), "never occurs"), (lambda: time_to(e, "sign_up", "purchase", unit="day"), "such as 30m")]:
        with pytest.raises(cl.CrmlabError, match=message): call()


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_sentences_and_plots(lang, monkeypatch):
    import warnings

    import matplotlib.pyplot as plt
    monkeypatch.setenv("CRMLAB_LANGUAGE", lang)
    e = events_of([(i/4, 1 + i % 7 if i % 3 else None) for i in range(60)])
    for result in (time_to(e, "sign_up", "purchase", by="rank"), onboarding(e, within="3d", end="purchase", horizon="5d", by="rank", behaviours=["purchase"])):
        assert "{" not in result.text(lang) and result.text(lang)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result.plot().figure.canvas.draw()
        plt.close("all")


def test_nobody_is_watched_beyond_the_data(shop):
    with pytest.raises(cl.CrmlabError, match="nobody was watched until 2090-01-01"): cl.time_to(shop, "order", "order:2", until="2090-01-01")
