"The same SQL with every visitor walked event by event, as one writes it first: `QUERIES` maps a name to a function of the shop folder."
from __future__ import annotations

from functools import partial

import tool_floor

QUERIES = {name: run if name == "as_of" else partial(run, sort=True) for name, run in tool_floor.QUERIES.items()}
