"""Whether two tools gave the same answer: small results row by row, long ones by a digest that no order of rows changes.

A result is a DuckDB relation, or a pandas or polars frame. Figures of a benchmark are given only for answers that agree
with the floor.
"""
from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd

LONG = ("sessionize", "as_of")   # one row per visit, one per event
KEYS = dict(sessionize=["visitor_id", "visit_no"], heatmap=["segment", "row", "col"], scroll=["segment", "depth"], funnel=["segment", "step"],
            as_of=["user_id", "ts_us", "rank"])
TYPED = {   # what a column of a long result is turned into before it is hashed
    "{0}": ("visitor_id", "user_id", "cluster", "device", "source", "landing", "exit", "rank"),
    "CAST({0} AS BIGINT)": ("visit_no", "depth", "ts_us"), "epoch_us({0})": ("start", "start_local"), "CAST({0} AS DATE)": ("day",),
    "CAST({0} AS BOOLEAN)": ("first_view_exit", "converted"), "round(nullif({0}, 'nan'::DOUBLE), 6)": ("dwell", "first_action"),
    "round(nullif({0}, 'nan'::DOUBLE), 2)": ("revenue",)}


def relation_of(result) -> duckdb.DuckDBPyRelation:
    "A result as a DuckDB relation."
    if isinstance(result, duckdb.DuckDBPyRelation): return result
    con = duckdb.connect()
    con.execute("SET TimeZone='UTC'")
    return con.from_df(result) if isinstance(result, pd.DataFrame) else con.from_arrow(result.to_arrow())


def digest(result) -> dict:
    "Rows and, per column, the sum of the hashes of (key, value); the same for the same rows in any order."
    relation = relation_of(result)
    text = {c: f"coalesce(CAST({kind.format(c)} AS VARCHAR), '(null)')" for kind, names in TYPED.items() for c in names if c in relation.columns}
    key = ", ".join(text[c] for c in ("visitor_id", "visit_no", "user_id", "ts_us") if c in text)
    sums = [f"CAST(sum(CAST(hash({key}, {text[c]}) AS HUGEINT)) AS VARCHAR) AS \"{c}\"" for c in text]
    row = relation.aggregate(", ".join(["count(*) AS rows", *sums])).fetchall()[0]
    return dict(zip(["rows", *text], row, strict=True))


def frame_of(result) -> pd.DataFrame: return result if isinstance(result, pd.DataFrame) else relation_of(result).df()


def answer(query: str, result):
    "What is kept of a result for comparison: a digest, or the rows in order."
    if query in LONG: return digest(result)
    return frame_of(result).sort_values(KEYS[query]).reset_index(drop=True)


def assert_same(query: str, floor, other, *, who: str) -> None:
    "Raise AssertionError with the column that differs; columns that only one of the two has are no matter, the keys must be there."
    if query in LONG:
        wrong = [c for c in floor if floor[c] != other.get(c)]
        assert not wrong, f"{query}: {who} differs from the floor in {', '.join(wrong)}"
        return
    assert len(floor) == len(other), f"{query}: {who} has {len(other):,} rows, the floor {len(floor):,}"
    if query in SUMS and "lo" in other: floor = with_interval(query, floor)
    shared = [c for c in floor.columns if c in other.columns]
    assert set(KEYS[query]) < set(shared) and len(shared) >= 4, f"{query}: {who} shares only {', '.join(shared)} with the floor"
    for c in shared:
        try: pd.testing.assert_series_equal(floor[c], other[c], check_dtype=False, check_exact=False, rtol=1e-9, atol=1e-12)
        except AssertionError as e: raise AssertionError(f"{query}: {who} differs from the floor in {c}: {str(e).splitlines()[-1]}") from e


SUMS = dict(heatmap=("visits", "exposed", "yy", "xy", "xx", "people"), scroll=("y", "n", "yy", "xy", "xx", "people"))   # Σy, Σx, Σy², Σxy, Σx², people


def with_interval(query: str, rows: pd.DataFrame) -> pd.DataFrame:
    "The floor's rows with the interval that its sums give, so that the sums are compared too."
    from crmlab.core import settings
    from crmlab.intervals import ratio_interval
    _, lo, hi, _ = ratio_interval(*(rows[c] for c in SUMS[query]), prob=settings().prob, share=True)
    sure = rows.people >= settings().min_users
    return rows.assign(lo=np.where(sure, lo, np.nan), hi=np.where(sure, hi, np.nan))
