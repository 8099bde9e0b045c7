"The five queries by hand-written SQL: `QUERIES` maps a name to a function of the shop folder."
from __future__ import annotations

from functools import partial

import floor


def _run(name, shop): return floor.connect().sql(floor.QUERIES[name](shop))


QUERIES = {name: partial(_run, name) for name in floor.QUERIES}
