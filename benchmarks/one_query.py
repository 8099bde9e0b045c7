"""One query of one tool in a process of its own: CPU seconds, wall seconds and peak memory from open folder to last row.

Called by bench_queries: `python one_query.py TOOL QUERY SHOP ANSWER GROUP MODE`; GROUP is QUERIES, or PLAIN for the smaller
questions. Prints one line of JSON. Imports are over before the clock starts. A short result is left in ANSWER; a long one
is only drawn, and in MODE `digest` it is reduced to its digest instead of being timed. QUERY may be `all`: the queries of
the group one after another.
"""
from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from pathlib import Path


def cpu() -> float:
    "CPU seconds of this process and of children that have ended."
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def peak_mb() -> float:
    "Peak resident memory of this program. ru_maxrss alone would still know the parent's size from before exec."
    status = Path("/proc/self/status")
    if status.exists(): return next(int(line.split()[1])/1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/(1024**2 if sys.platform == "darwin" else 1024)


def drain(result) -> int:
    "Take every row of a result, batch by batch where it comes in batches; gives their number."
    if hasattr(result, "to_arrow_reader"): return sum(batch.num_rows for batch in result.to_arrow_reader())
    return len(result)


def timed(run, shop: Path, *, small: bool) -> tuple:
    "Result and figures of a query."
    base, before, start = peak_mb(), cpu(), time.perf_counter()
    result = run(shop)
    if small and hasattr(result, "to_arrow_table"): result = result.df()   # a few rows
    rows = drain(result)
    return result, dict(cpu_s=round(cpu() - before, 3), wall_s=round(time.perf_counter() - start, 3), peak_mb=round(peak_mb()), imports_mb=round(base), rows=rows)


def main(tool: str, query: str, shop: str, answer: str, group: str = "QUERIES", mode: str = "time") -> dict:
    queries = getattr(importlib.import_module(f"tool_{tool}"), group)
    is_small = lambda query: group == "PLAIN" or query not in ("sessionize", "as_of")
    if mode == "digest":
        import agree
        Path(answer).write_text(json.dumps(agree.digest(queries[query](Path(shop)))))
        return {}
    if query == "all": return {q: timed(run, Path(shop), small=is_small(q))[1] for q, run in queries.items()}
    result, figures = timed(queries[query], Path(shop), small=is_small(query))
    if is_small(query): (result if hasattr(result, "to_parquet") else result.to_pandas()).to_parquet(answer)
    return figures


if __name__ == "__main__": print(json.dumps(main(*sys.argv[1:])), flush=True)
