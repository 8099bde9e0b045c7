"""CPU seconds, wall seconds and peak memory of five queries by crmlab and its peers.

Each query of each tool runs in a process of its own; crmlab and the floor also answer all five in a row on one opened shop,
as an analyst asks them, since crmlab finds a shop's visits once and not once a query.

No figure is given for an answer that differs from the floor's. What a tool cannot answer is null, with the reason. Tools
take turns within a round, so that a busy machine slows all of them; the median of the rounds counts.
"""
from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import agree
import environments
import pandas as pd
import world

HERE = Path(__file__).resolve().parent
QUERIES = ("sessionize", "heatmap", "scroll", "funnel", "as_of")
RETENTIONEERING = "retentioneering==5.2.4"
MEMORY_LIMIT = "4GB"
SECONDS = 3600   # after which a run is given up
PLAIN = {   # query -> what the smaller question is; only these can be put to a tool that knows path, event and time
    "sessionize": "sessions by 30 minutes of silence, without members",
    "funnel": "visitors who took four steps in order, without members, ranks and time limit"}
LACKS = {   # why Retentioneering has no answer
    "sessionize": "knows no member found within a visit; see the smaller question", "heatmap": "has no pointer coordinates",
    "scroll": "has no scroll positions", "funnel": "knows no rank as of the visit and no time limit; see the smaller question", "as_of": "joins no attribute as of a moment"}
SMALL_ONLY = "holds the whole table in memory; not run at this size"
SLOW = "sorts every event; not run at this size"


def rounds(events: int, tool: str) -> int:
    "How often a query is run: the fewer, the longer it takes."
    if events > 3*10**7: return 1
    return 3 if tool in ("crmlab", "floor") or events <= 3*10**6 else 1


def left_out(events: int, tool: str) -> str | None:
    "Why a tool is not run at a size."
    if events <= 3*10**7: return None
    return {"sorting": SLOW, "pandas": SMALL_ONLY, "polars": SMALL_ONLY}.get(tool)


def retentioneering_python() -> Path:
    "Python of Retentioneering's own environment, made with uv on first use."
    return environments.python_of(RETENTIONEERING.replace("==", "-"), RETENTIONEERING, "pyarrow")


def run(tool: str, query: str, shop: Path, answer: Path, *, group: str = "QUERIES", mode: str = "time") -> dict:
    "One run in a fresh process: its figures, or the reason why there are none."
    python = retentioneering_python() if tool == "retentioneering" else Path(sys.executable)
    env = os.environ | dict(CRMLAB_MEMORY_LIMIT=MEMORY_LIMIT, RETENTIONEERING_NO_TRACK="1")
    command = [str(python), str(HERE/"one_query.py"), tool, query, str(shop), str(answer), group, mode]
    try: done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired: return dict(reason=f"gave up after {SECONDS} s")
    if done.returncode: return dict(reason=f"ended with {done.returncode}: {(done.stderr.strip().splitlines() or ['no message'])[-1][:200]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def turns(query: str, tools: dict, shop: Path, folder: Path, events: int, group: str = "QUERIES") -> dict:
    "Figures of all tools for one query, answers left in `folder`."
    runs = {t: [] for t in tools}
    for i in range(max(rounds(events, t) for t in tools)):
        for t in tools:
            failed = runs[t] and "reason" in runs[t][-1]
            if i < rounds(events, t) and not failed: runs[t].append(run(t, query, shop, folder/f"{t}-{query}", group=group))
    return {t: summed(r) for t, r in runs.items()}


def summed(runs: list) -> dict:
    "Median times and the largest memory of some runs."
    broken = next((r for r in runs if "reason" in r), None)
    if broken: return broken
    middle = lambda key: round(statistics.median(r[key] for r in runs), 3)
    return dict(cpu_s=middle("cpu_s"), wall_s=middle("wall_s"), peak_mb=max(r["peak_mb"] for r in runs), imports_mb=runs[0]["imports_mb"], rows=runs[0]["rows"], runs=len(runs))


def in_a_row(shop: Path, folder: Path, events: int) -> dict:
    "All five by crmlab and by the floor, each in one process: median CPU seconds of the sum and of each, and the largest memory."
    runs = {t: [] for t in ("floor", "crmlab")}
    for _ in range(rounds(events, "crmlab")):
        for t in runs: runs[t].append(run(t, "all", shop, folder/f"{t}-all"))
    for t, made in runs.items():
        if any("reason" in r for r in made): raise SystemExit(f"{t}, all queries in a row: {made}")
    middle = lambda values: round(statistics.median(values), 3)
    return {t: dict(cpu_s=middle(sum(r[q]["cpu_s"] for q in QUERIES) for r in made), peak_mb=max(r[q]["peak_mb"] for r in made for q in QUERIES),
                    queries={q: middle(r[q]["cpu_s"] for r in made) for q in QUERIES}) for t, made in runs.items()}


def answer_of(tool: str, query: str, shop: Path, folder: Path):
    "The answer for comparison: rows as they were stored by the timed run, or a digest made in another one."
    if query not in agree.LONG: return agree.answer(query, pd.read_parquet(folder/f"{tool}-{query}"))
    made = run(tool, query, shop, folder/f"{tool}-{query}-digest", mode="digest")
    if "reason" in made: raise SystemExit(f"{tool} {query}: no digest, {made['reason']}")
    return json.loads((folder/f"{tool}-{query}-digest").read_text())


def hold(query: str, figures: dict, shop: Path, folder: Path) -> None:
    "Stop unless every answer agrees with the floor's."
    for must in ("floor", "crmlab"):
        if "reason" in figures[must]: raise SystemExit(f"{must} {query}: {figures[must]['reason']}")
    floor = answer_of("floor", query, shop, folder)
    for tool in (t for t in figures if t != "floor" and "reason" not in figures[t]):
        agree.assert_same(query, floor, answer_of(tool, query, shop, folder), who=tool)
        figures[tool]["same_as_floor"] = True


def measure(size: str) -> dict:
    shop = world.shop_of(size)
    events = sum(f["rows"] for f in json.loads((shop/"manifest.json").read_text(encoding="utf-8"))["tables"]["events"])
    load, found, plain = os.getloadavg()[0] if hasattr(os, "getloadavg") else None, {}, {}
    with tempfile.TemporaryDirectory(dir=world.cache_folder()) as temporary:
        folder = Path(temporary)
        for query in QUERIES:
            tools = [t for t in ("floor", "crmlab", "sorting", "polars", "pandas") if not left_out(events, t) and (t, query) != ("sorting", "as_of")]
            found[query] = turns(query, tools, shop, folder, events)
            hold(query, found[query], shop, folder)
            found[query] |= {t: dict(reason=left_out(events, t)) for t in ("sorting", "polars", "pandas") if left_out(events, t)}
            if query == "as_of": found[query]["sorting"] = dict(found[query]["floor"]) if not left_out(events, "sorting") else dict(reason=SLOW)
            found[query]["retentioneering"] = dict(reason=LACKS[query])
            print(f"  {query}:", {t: f.get("cpu_s") for t, f in found[query].items()}, flush=True)
        for query, question in PLAIN.items() if not left_out(events, "pandas") else ():
            figures = turns(query, ["floor", "retentioneering"], shop, folder, events, group="PLAIN")
            if "reason" not in figures["retentioneering"]:
                ours, theirs = (pd.read_parquet(folder/f"{t}-{query}").astype("int64") for t in ("floor", "retentioneering"))
                assert ours.equals(theirs), f"{query}, smaller question: Retentioneering says {theirs.to_dict('records')}, SQL {ours.to_dict('records')}"
                figures["retentioneering"]["same_as_floor"] = True
            plain[query] = dict(question=question, **figures)
            print(f"  smaller {query}:", {t: f.get("cpu_s") for t, f in figures.items()}, flush=True)
        together = in_a_row(shop, folder, events)
        print("  in a row:", {t: f["cpu_s"] for t, f in together.items()}, flush=True)
    return dict(size=size, events=events, memory_limit=MEMORY_LIMIT, load_at_start=load and round(load, 2), queries=found, in_a_row=together, plain=plain,
                cpu_sum={t: round(sum(found[q][t]["cpu_s"] for q in QUERIES), 3) for t in ("floor", "crmlab", "sorting", "polars", "pandas") if all("cpu_s" in found[q][t] for q in QUERIES)})
