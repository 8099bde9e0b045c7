"""A shop of random events that holds what a made shop of good manners does not: a second member within a visit, sessions that
change or are missing, unknown windows, clicks outside the page, members without a rank.
"""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from crmlab.tables.commit import commit
from crmlab.tables.engine import connection

PAGES = ["/", "/list", "/item/1", "/item/2", "/item/3", "/cart", "/thanks"]
HEIGHTS = dict(zip(PAGES, [3200, 4200, 2800, 2600, 3000, 1400, 900]))


def random_events(n: int, seed: int = 1) -> pd.DataFrame:
    "Events of about n/60 visitors: several visits each, log-ins within a visit, now and then a second member, a tracker's own sessions."
    rng = np.random.default_rng(seed)
    visits = max(1, n//20)
    visitor = rng.integers(0, max(1, visits//3), visits)
    begin = rng.integers(0, 90*86400*10**6, visits)
    of = np.sort(rng.integers(0, visits, n))
    within = rng.exponential(25e6, n).astype(np.int64)
    first = np.searchsorted(of, of)
    total = np.cumsum(within)
    us = begin[of] + total - total[first]
    member = np.where(rng.random(n) < .06, visitor[of]//2 + (rng.random(n) < .01), -1)
    page = np.array(PAGES)[rng.choice(len(PAGES), n, p=[.25, .25, .15, .12, .1, .09, .04])]
    kind = rng.choice(["page_view", "click", "scroll", "mouse_move", "view_item", "add_to_cart", "begin_checkout", "purchase"], n, p=[.16, .15, .3, .28, .06, .025, .015, .01])
    phone = visitor[of] % 5 < 3
    width = np.where(phone, 390., 1280.)
    height = pd.Series(page).map(HEIGHTS).to_numpy(float)
    view = np.where(phone, 780., 900.)
    pointed = np.isin(kind, ["click", "mouse_move"])
    scroll = np.where(kind == "page_view", 0, rng.beta(1, 2, n)*np.maximum(height - view, 0)).round()
    place = lambda values: np.where(pointed, values, np.nan)
    return pd.DataFrame(dict(
        event_id=pd.Series(rng.permutation(n)).map("e{:09d}".format), ts=pd.Timestamp("2026-06-01T00:00:00Z") + pd.to_timedelta(us, unit="us"),
        visitor_id=pd.Series(visitor[of]).map("v{:07d}".format), user_id=pd.Series(member).map("u{:07d}".format).where(member >= 0),
        session_id=pd.Series(of).map("s{:08d}".format).where(visitor[of] % 4 == 0), event=kind, page=page, device=np.where(phone, "mobile", "desktop"),
        source=np.array(["google", "line", "(direct)", "mail"])[of % 4], viewport_w=width, viewport_h=np.where(rng.random(n) < .9, view, np.nan), page_w=width, page_h=height,
        x=place(rng.beta(2, 2, n)*width*1.01), y=place(scroll + rng.random(n)*view*1.02), scroll_y=scroll, value=np.where(kind == "purchase", rng.integers(10, 300, n)*100., np.nan)))


def random_ranks(users, seed: int = 2) -> pd.DataFrame:
    "Ranks of the given users over time: one to three values each, a few users without any."
    rng = np.random.default_rng(seed)
    users = np.array([u for u in users if rng.random() < .95])
    of = np.repeat(users, rng.integers(1, 4, len(users)))
    days = rng.integers(-30, 90, len(of))
    return pd.DataFrame(dict(user_id=of, attribute="rank", value=rng.choice(["Bronze", "Silver", "Gold", "Royal"], len(of), p=[.5, .25, .15, .1]),
                             valid_from=pd.Timestamp("2026-06-01T00:00:00Z") + pd.to_timedelta(days, unit="D"))).drop_duplicates(["user_id", "valid_from"])


def random_shop(path: Path, n: int, seed: int = 1) -> Path:
    "A shop folder of random events."
    events = random_events(n, seed)
    tables = dict(events=events, attributes=random_ranks(sorted(events.user_id.dropna().unique())))
    commit(path, {name: connection().from_df(frame) for name, frame in tables.items()}, kind="benchmark")
    return path
