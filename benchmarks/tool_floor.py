"The five queries by hand-written SQL: `QUERIES` maps a name to a function of the shop folder."
from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache, partial

import pandas  # noqa: F401  so that its import is over before the clock starts

import floor


@cache
def connection():
    "One connection as crmlab makes its own: the same memory limit, the same spill rule."
    spill = tempfile.mkdtemp(prefix="crmlab-bench-")
    atexit.register(shutil.rmtree, spill, ignore_errors=True)
    return floor.connect(os.environ.get("CRMLAB_MEMORY_LIMIT", "4GB"), spill)


def _run(sql, shop, **how): return connection().sql(sql(shop, **how))


QUERIES = {name: partial(_run, sql) for name, sql in floor.QUERIES.items()}
PLAIN = {name: partial(_run, sql) for name, sql in floor.PLAIN.items()}   # the smaller questions
