"The people of a test from outside: who counts, what they did, and that nothing known of them comes from after the exposure."
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings as hypothesis_settings
from hypothesis import strategies as st

import crmlab as cl
from crmlab.tables.commit import commit
from crmlab.tables.engine import connection

START = pd.Timestamp("2026-03-01T00:00:00Z")
visit = st.tuples(st.sampled_from(["v0", "v1", "v2", "v3", "v4"]), st.integers(0, 29), st.sampled_from([None, None, "u0", "u1", "u2"]), st.sampled_from([None, "A", "A", "B"]), st.booleans())


def by_definition(visits, within, end):
    "Units from the same visits, in plain Python; every visit is one day apart from the others of its browser."
    members = {}
    for v, _, user, _, _ in visits: members.setdefault(v, set()).update([user] if user else [])
    unit = lambda v, user: user or (next(iter(members[v])) if len(members[v]) == 1 else v)
    seen = {}
    for v, day, user, arm, _ in visits:
        if arm: seen.setdefault(unit(v, user), []).append((day, arm))
    bought = [(unit(v, user), day) for v, day, user, _, buys in visits if buys]
    arms = {u: {a for _, a in e} for u,e in seen.items()}
    first = {u: min(e)[0] for u,e in seen.items()}
    kept = {u for u in seen if len(arms[u]) == 1 and first[u] + within <= end}
    return dict(exposed=len(seen), two_arms=sum(len(a) > 1 for a in arms.values())), {u: (*arms[u], int(any(b == u and first[u] <= d < first[u] + within for b,d in bought))) for u in kept}


@hypothesis_settings(max_examples=10, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])   # an example takes a second: no shrinking
@given(st.lists(visit, min_size=3, max_size=20, unique_by=lambda v: v[:2]))
def test_people_are_those_of_the_definition(visits):
    import tempfile

    visits, shown = sorted([*visits, ("x", 0, None, "A", False)], key=lambda v: v[1]), set()   # at least one person is always kept
    visits = [(v, d, u, a if a and (v, a) not in shown and not shown.add((v, a)) else None, b) for v,d,u,a,b in visits]   # the table holds first exposures
    at = lambda day, minutes=0: START + pd.Timedelta(days=day, hours=3, minutes=minutes)
    rows = [dict(event_id=f"{v}{d}", visitor_id=v, user_id=u, ts=at(d), event="page_view", page="/", device="mobile") for v,d,u,_,_ in visits]
    rows += [dict(event_id=f"{v}{d}p", visitor_id=v, user_id=u, ts=at(d, 2), event="purchase", page="/", device="mobile") for v,d,u,_,buys in visits if buys]
    rows.append(dict(event_id="last", visitor_id="w", user_id=None, ts=at(40), event="page_view", page="/", device="mobile"))
    exposures = pd.DataFrame([dict(experiment="top", variant=a, visitor_id=v, ts=at(d, 1)) for v,d,_,a,_ in visits if a])
    with tempfile.TemporaryDirectory() as folder:
        commit(folder, dict(events=connection().from_df(pd.DataFrame(rows)), exposures=connection().from_df(exposures)), kind="test")
        users = cl.experiment_users(cl.open_shop(folder), experiment="top", metrics=["purchase", "first_view_exit"], within="20d")
        counts, expected = by_definition(visits, 20, 39.75)   # Tokyo's last midnight is 15:00 UTC of day 39: 12 hours after an exposure of day 39
        got = users.to_pandas()
    assert {k: users.meta["rows"][k] for k in counts} == counts
    assert {r.unit: (r.arm, r.purchase) for r in got.itertuples()} == expected and len(got) == users.meta["rows"]["people"]
    assert got.first_view_exit.isin([0, 1]).all()


def shop_of(folder, **tables):
    "A shop folder with these tables."
    commit(folder, {name: connection().from_df(pd.DataFrame(rows)) for name, rows in tables.items()}, kind="test")
    return cl.open_shop(folder)


# --- what is known of a person comes from before her exposure

COVARIATES = ["revenue:30d", "orders:60d", "visits:30d", "search:30d", "count:click:30d", "page:/cart:30d"]


def a_past(seed, n=60):
    "Browsers exposed on day 40: a third told their member before, a third will tell it later, a third never; rows of 60 days, some at the very moment of the exposure."
    rng = np.random.default_rng(seed)
    member = [f"u{k}" if k < 2*n//3 else None for k in range(n)]
    told_from = [0 if k < n//3 else 41 for k in range(n)]
    exposed_at = [START + pd.Timedelta(days=40, minutes=int(rng.integers(0, 600))) for _ in range(n)]
    events, orders = [], []
    for k in range(n):
        for j in range(rng.integers(3, 25)):
            ts = exposed_at[k] if j == 0 else START + pd.Timedelta(seconds=int(rng.integers(0, 60*86400)))
            known = member[k] if ts >= START + pd.Timedelta(days=told_from[k]) else None
            event = rng.choice(["page_view", "click", "search", "purchase"])
            events.append(dict(event_id=f"e{k}-{j}", visitor_id=f"v{k}", user_id=known, ts=ts, event=event, page=rng.choice(["/", "/cart"]), device="mobile"))
        for j in range(rng.integers(0, 6)):
            orders.append(dict(order_id=f"o{k}-{j}", user_id=f"u{k}", ts=exposed_at[k] if j == 0 else START + pd.Timedelta(seconds=int(rng.integers(0, 60*86400))), status=rng.choice(["valid", "valid", "cancelled"]), revenue=float(rng.integers(1, 90)*100), currency="JPY"))
    exposures = [dict(experiment="top", variant="AB"[k % 2], user_id=None, visitor_id=f"v{k}", ts=exposed_at[k]) for k in range(n)]
    ranks = [dict(user_id=f"u{k}", attribute="rank", value=r, valid_from=START + pd.Timedelta(days=d)) for k in range(n) for r,d in (("Bronze", -9), ("Royal", 41))]
    last = dict(event_id="last", visitor_id="w", user_id=None, ts=START + pd.Timedelta(days=70), event="page_view", page="/", device="mobile")
    return pd.DataFrame([*events, last]), pd.DataFrame([*orders, dict(orders[0], order_id="last", user_id="w", ts=last["ts"])]), pd.DataFrame(exposures), pd.DataFrame(ranks)


def past_of(folder, tables):
    "Covariates and segment by browser."
    events, orders, exposures, ranks = tables
    shop = shop_of(folder, events=events, orders=orders, exposures=exposures, attributes=ranks).tag("rank")
    users = cl.experiment_users(shop, experiment="top", metrics="purchase", covariates=COVARIATES).to_pandas()
    return users.assign(browser=users.unit.str.replace("u", "v")).set_index("browser")[["rank", *COVARIATES]].sort_index()


def changed_after(tables, seed):
    "The same shop with another future: all rows from the exposure on are other ones, everybody logs in, and every rank changes."
    events, orders, exposures, ranks = tables
    rng, at = np.random.default_rng(seed), exposures.set_index("visitor_id").ts
    before = events[events.visitor_id.map(at).isna() | (events.ts < events.visitor_id.map(at))]
    future = pd.DataFrame([dict(event_id=f"f{v}{j}", visitor_id=v, user_id=v.replace("v", "u"), ts=t + pd.Timedelta(minutes=1 + 7*j), event=e, page="/cart", device="mobile") for v,t in at.items() for j,e in enumerate(["click", "search", "page_view"])])
    owner = orders.user_id.str.replace("u", "v").map(at)
    later = pd.DataFrame([dict(order_id=f"n{v}", user_id=v.replace("v", "u"), ts=t + pd.Timedelta(days=int(rng.integers(0, 9))), status="valid", revenue=99_000., currency="JPY") for v,t in at.items()])
    return pd.concat([before, future]), pd.concat([orders[owner.isna() | (orders.ts < owner)], later]), exposures, ranks.assign(value=ranks.value.where(ranks.valid_from < START + pd.Timedelta(days=40), "Platinum"))


@pytest.mark.parametrize("seed", [1, 2])
def test_another_future_leaves_the_past_as_it_was(tmp_path, seed):
    world = a_past(seed)
    # who is known at the exposure is part of the world, told by the event at that moment: it stays
    known = world[0][world[0].event_id.str.endswith("-0")]
    other = changed_after(world, seed)
    other = (pd.concat([other[0], known.assign(event="login", page="/")]), *other[1:])
    first, second = past_of(tmp_path/"one", world), past_of(tmp_path/"two", other)
    pd.testing.assert_frame_equal(first, second)
    assert set(first["rank"]) == {"Bronze", "(unknown)"} and (first[COVARIATES].sum() > 0).all() and len(first) == 60


def test_covariates_are_those_of_the_definition(tmp_path):
    events, orders, exposures, _ = world = a_past(3)
    got, at = past_of(tmp_path/"shop", world), exposures.set_index("visitor_id").ts
    for v, t in at.items():
        k = int(v[1:])
        back = lambda rows, days: rows[(rows.ts < t) & (rows.ts >= t - pd.Timedelta(days=days))]   # noqa: B023
        e, o = events[events.visitor_id == v], orders[(orders.user_id == f"u{k}") & (orders.status == "valid")] if k < 20 else orders.head(0)
        expected = {"revenue:30d": back(o, 30).revenue.sum(), "orders:60d": len(back(o, 60)), "search:30d": int((back(e, 30).event == "search").any()), "count:click:30d": int((back(e, 30).event == "click").sum()),
                    "page:/cart:30d": int(((back(e, 30).event == "page_view") & (back(e, 30).page == "/cart")).any())}
        assert got.loc[v, list(expected)].to_dict() == expected, v


# --- outcomes

def two_arms(n=40, both=0, **more):
    "n people half in A and half in B, all known members, exposed on one day; `both` of them see the other arm later."
    at = lambda k, days: START + pd.Timedelta(days=days, minutes=k)
    exposures = [dict(experiment="mail", variant="AB"[k % 2], user_id=f"u{k}", ts=at(k, 10), propensity=.5) for k in range(n)]
    exposures += [dict(exposures[k], variant="BA"[k % 2], ts=at(k, 12)) for k in range(both)]
    orders = [dict(order_id=f"o{k}-{d}", user_id=f"u{k}", ts=at(k, d), status=s, revenue=r, currency="JPY") for k in range(n) for d,s,r in ((5, "valid", 700.), (11, "valid", 1000.), (13, "cancelled", 0.), (14, "return", -300.), (25, "valid", 9000.))]
    return exposures, [*orders, dict(order_id="last", user_id="z", ts=at(0, 60), status="valid", revenue=1., currency="JPY")]


def test_a_mail_test_needs_orders_only(tmp_path):
    exposures, orders = two_arms()
    shop = shop_of(tmp_path, exposures=exposures, orders=orders)
    users = cl.experiment_users(shop, experiment="mail", metrics=["revenue", "orders"], within="14d", covariates=["revenue:5d", "orders:5d"])
    f = users.to_pandas()
    assert users.meta["rows"] == dict(exposed=40, two_arms=0, early=0, censored=0, people=40) and f.arm.value_counts().to_dict() == dict(A=20, B=20)
    assert set(f.revenue) == {700.} and set(f.orders) == {1} and set(f["revenue:5d"]) == {700.} and set(f["orders:5d"]) == {1}   # the return counts on its day, the 25th lies outside
    assert set(f.propensity) == {.5} and users.meta["sample_ratio"]["p"] == 1 and users.meta["notes"] == []
    with pytest.raises(cl.CrmlabError, match="'visits' is counted from events"): cl.experiment_users(shop, experiment="mail", metrics="visits")


@pytest.mark.parametrize("both, said", [(0, False), (4, True)])
def test_many_people_in_both_arms_are_a_warning(tmp_path, both, said):
    exposures, orders = two_arms(both=both)
    users = cl.experiment_users(shop_of(tmp_path, exposures=exposures, orders=orders), experiment="mail", metrics="orders")
    assert users.meta["rows"]["two_arms"] == both and any(f"{both}人" in n for n in users.meta["notes"]) == said


def test_a_change_that_brings_people_to_itself_shows_in_the_split(tmp_path):
    exposures, orders = two_arms(n=400)
    seen = [dict(event_id=f"e{k}", visitor_id=f"v{k}", user_id=f"u{k}", ts=START + pd.Timedelta(days=10, hours=9), event="seen", page="/", device="mobile") for k in range(400) if k % 2 or k < 130]
    seen.append(dict(seen[0], event_id="last", user_id=None, visitor_id="w", ts=START + pd.Timedelta(days=60)))
    shop = shop_of(tmp_path, exposures=exposures, orders=orders, events=seen)
    users = cl.experiment_users(shop, experiment="mail", metrics="orders", trigger="seen")
    f, p = users.to_pandas(), users.meta["sample_ratio_triggered"]["p"]
    assert f.groupby("arm").triggered.sum().to_dict() == dict(A=65, B=200) and p < 1e-6 and users.meta["sample_ratio"]["p"] == 1
    assert len(users.meta["notes"]) == 1 and f"p = {p:.2g}" in users.meta["notes"][0]


def test_the_arms_of_a_simulated_shop_come_near_their_truth(tmp_path):
    shop = cl.simulate("bronze_royal", users=3000, seed=6, into=tmp_path/"shop")
    f = cl.experiment_users(shop.tag("rank"), experiment="top_first_view", metrics=["bought", "orders", "revenue"]).to_pandas().query("rank != '(unknown)'")   # the truth is that of members
    truth = shop.truth.to_pandas().query("kind == 'experiment' and segment == '(all)' and a != a").assign(metric=lambda t: t.key.str.partition(":")[2].replace("purchase", "bought")).set_index(["metric", "b"]).value
    for metric in ("bought", "orders", "revenue"):
        found = f.groupby("arm")[metric].agg(["mean", "sem"])
        for arm in "AB": assert abs(found.loc[arm, "mean"] - truth[metric, arm]) < 4*found.loc[arm, "sem"], (metric, arm)


# --- what is refused

BAD = dict(no_experiment=(dict(experiment=None), "experiment=None is not a name"), number=(dict(experiment=3), "experiment=3 is not a name"), other=(dict(experiment="mial"), "did you mean mail"),
           no_metric=(dict(metrics=[]), "metrics is empty"), none=(dict(metrics=None), "metrics=None is no list"), twice=(dict(metrics=["orders", "orders"]), "'orders' is given twice"), nan=(dict(metrics=[float("nan")]), "metric nan is not a name"),
           word=(dict(within="x"), "duration 'x'"), missing=(dict(within=None), "duration None"), bare=(dict(within=14), "duration 14"), nothing=(dict(within="0d"), "leaves no time"), long=(dict(within="900d"), "nobody was watched for 900d"),
           trigger=(dict(trigger=3), "trigger 3 is not a name"), money=(dict(trigger="revenue"), "is no event"), unknown=(dict(trigger="sen"), "did you mean seen"), page=(dict(metrics="page:/x"), "neither an event nor a page"),
           window=(dict(covariates=["revenue"]), "write revenue:90d"), span=(dict(covariates="revenue:x"), "does not say how far"), zero=(dict(covariates="orders:0d"), "nothing from before"), exit=(dict(covariates="first_view_exit:28d"), "nothing from before"),
           frame=(dict(covariates={"revenue:90d": 1}), "is no list of names"), clash=(dict(metrics=["unit"]), "neither an event"), shop=(dict(shop=pd.DataFrame(dict(a=[1]))), "DataFrame is no shop"))


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    exposures, orders = two_arms()
    event = dict(event_id="e", visitor_id="v", user_id="u1", ts=START + pd.Timedelta(days=60), event="seen", page="/", device="mobile")
    return shop_of(tmp_path_factory.mktemp("tested"), exposures=exposures, orders=orders, events=[event])


@pytest.mark.parametrize("change, says", BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_in_one_line(tested, change, says):
    arguments = dict(shop=tested, experiment="mail", metrics="orders") | change
    with pytest.raises(cl.CrmlabError) as error: cl.experiment_users(arguments.pop("shop"), **arguments)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_shop_without_exposures_says_so(small_shop):
    with pytest.raises(cl.CrmlabError, match="no table 'exposures'"): cl.experiment_users(cl.open_shop(small_shop), experiment="x", metrics="purchase")


def test_who_came_before_the_data_of_a_metric_begin_is_no_person_without_it(tmp_path):
    "Members of this scenario are written to for a year; their orders are on record, their visits of the last weeks only."
    shop = cl.simulate("dormant_150", users=2000, seed=5, into=tmp_path/"shop")
    began = shop.events.to_pandas().ts.min().tz_convert("Asia/Tokyo").normalize()
    exposed = shop.exposures.to_pandas()
    of_visits, of_orders = (cl.experiment_users(shop, experiment="dormant_150", metrics=m, within="30d") for m in ("event:page_view", "orders"))
    assert of_visits.meta["rows"]["early"] == (exposed.ts < began).sum() > 500 and of_visits.to_pandas().exposed_at.min() >= began
    assert any("before the data" in n or "データが始まる前" in n for n in of_visits.meta["notes"])
    assert of_orders.meta["rows"]["early"] == 0 and of_orders.meta["rows"]["people"] == len(exposed)
