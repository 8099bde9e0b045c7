"""The few ratios that say whether crmlab keeps its promises, made from the committed results; nothing is typed by hand.

results/ratios.json holds one record per promise: what, the value, the bound, and whether it was kept in that run.
"""
from __future__ import annotations

import json
from pathlib import Path


def results(folder: Path) -> dict:
    "All results by name, without their wrapping."
    return {p.stem: json.loads(p.read_text(encoding="utf-8"))["result"] for p in sorted(folder.glob("*.json")) if p.stem != "ratios"}


def of_gains(r: dict) -> list[dict]:
    "The promises on the gain of personalisation, per setting and block of seeds."
    by = {}
    for b in r["calibration"]: by.setdefault(b["setting"], []).append(b)
    gained = lambda b: b["gain_covered_95_where_rule_differs"]/b["rule_differs"] if b["setting"].startswith("prior") else b["gain_covered_95"]/b["worlds"]
    made = [dict(what=f"gains of uplift inside their 95 % interval, {setting}, the worse of two blocks", value=min(map(gained, blocks)), bound=.933 if setting.startswith("prior") else .9, least=True) for setting, blocks in by.items()]
    made += [dict(what=f"gains claimed where there is none, {setting}, the worse of two blocks", value=max(b["lower_end_above_0"]/b["worlds"] for b in blocks), bound=.035) for setting, blocks in by.items() if setting in ("null", "common", "common_arms")]
    made += [dict(what="effects of cells inside their 90 % interval, truth from the prior", value=value, bound=bound, least=least) for least, pick, bound in ((True, min, .88), (False, max, .92))
             for value in [pick((b["cells_covered_90"] for b in r["calibration"] if b["setting"].startswith("prior")), default=None)] if value is not None]
    if by: made.append(dict(what="cross-fitted 95 % intervals that hold the mean true gain of their rules, worst setting", value=min(b["cross_fitted_covered_95"]/b["worlds"] for b in r["calibration"]), bound=.9, least=True))
    for size, a in r.get("agreement", {}).items():
        made += [dict(what=f"largest difference of uplift to long NUTS over {a['seeds']} seeds, {what}, {size} cells", value=max(a[key]), bound=bound) for key, what, bound in (("p_positive", "chance of a positive effect", .02), ("mean_in_sd", "mean in sd", .05))]
    return made


def of_peers(r: dict) -> list[dict]:
    "The promises on exact rates, over all pairs of counts."
    pairs, alone = r["rates"]["pairs"], r["rates"]["tools"]["crmlab: P and loss alone"]
    error = lambda key: max(abs(found["answer"][key] - pair["reference"][key]) for pair, found in zip(pairs, alone))
    lifts = [found["answer"]["lift_lo"] for found in r["rates"]["tools"]["crmlab: ab_test"] if found["answer"]["lift_lo"] is not None]
    return [dict(what=f"largest error of P(B > A), {len(pairs)} pairs of counts", value=error("p_better"), bound=1e-8), dict(what=f"largest error of the expected loss, {len(pairs)} pairs of counts", value=error("loss"), bound=1e-8),
            dict(what="CPU milliseconds of P(B > A) and loss, slowest pair", value=max(found["cpu_ms"] for found in alone), bound=5), dict(what="lowest end of a lift interval", value=min(lifts), bound=-1, least=True)]


def of_calibration(name: str, r: dict) -> list[dict]:
    "The promises on error rates, from worlds whose truth is known."
    made = []
    if name == "map_race":
        made += [dict(what="CPU seconds of heatmap_diff, 64 × 600 cells, 20,000 people", value=r["grid_64x600_20000_users_cpu_s"], bound=2),
                 dict(what="power of heatmap_diff less that of the element test, worst setting", value=r["against"]["elements"]["worst"], bound=-.02, least=True),
                 dict(what="wrong cells among those heatmap_diff flags", value=r["wrong_cells"], bound=.1),
                 dict(what="regions of heatmap_diff whose interval holds the truth", value=r["regions_covered"], bound=.9, least=True)]
    if name == "peers": made += of_peers(r)
    if name == "contrast":
        made += [dict(what=f"worlds with any flag, {b['kind']} ({b['worlds']:,} worlds, {b['size']}, seeds from {b['first_seed']:,})", value=b[r["winner"]]["any"], bound=.067)
                 for b in r["blocks"] if b["kind"] != "planted" and b["worlds"] >= 1000]
        made += [dict(what=f"false or wrong-signed among flagged behaviours ({b['worlds']:,} worlds, {b['size']}, seeds from {b['first_seed']:,})", value=b[r["winner"]]["false"], bound=.06) for b in r["blocks"] if b["kind"] == "planted"]
    if name == "uplift":
        made += [dict(what=f"CPU of uplift against {what}, times less", value=r["speed"][f"{key}_times"]["cpu"], bound=bound, least=True)
                 for key, what, bound in (("pm_sample_warm", "a warm pm.sample", 50), ("nutpie_reused", "a reused compiled nutpie", 3))]
        made += of_gains(r)
    return made


def promises(found: dict) -> list[dict]:
    "One record per promise whose figures are there."
    sized = {name.removeprefix("queries-"): r for name, r in found.items() if name.startswith("queries-")}
    made = []
    for size, r in sized.items():
        cpu, row = r["cpu_sum"], r["in_a_row"]
        made.append(dict(what=f"CPU of the five queries in a row, crmlab / floor, {size} events", value=row["crmlab"]["cpu_s"]/row["floor"]["cpu_s"], bound=1.10 if size == "10M" else None))
        made += [dict(what=f"CPU of the five queries, a process each, crmlab / {t}, {size} events", value=cpu["crmlab"]/cpu[t], bound=None) for t in ("floor", "sorting", "polars", "pandas") if t in cpu]
    if {"10M", "100M"} <= sized.keys():
        made.append(dict(what="CPU of crmlab, 100M / 10M events", value=sized["100M"]["in_a_row"]["crmlab"]["cpu_s"]/sized["10M"]["in_a_row"]["crmlab"]["cpu_s"], bound=12))
    for size in sorted(sized.keys() & {"100M"}):
        made.append(dict(what=f"peak memory of crmlab in GB, {size} events, memory_limit {sized[size]['memory_limit']}", value=max(sized[size]["in_a_row"]["crmlab"]["peak_mb"], *(q["crmlab"]["peak_mb"] for q in sized[size]["queries"].values()))/1000, bound=5))
    for name, r in found.items():
        if name.startswith("import_formats"):
            made += [dict(what=f"rows a second, import of {k}", value=f["rows_per_s"], bound=200_000, least=True) for k, f in r["formats"].items() if "rows_per_s" in f]
            made += [dict(what=f"peak memory in GB, import of {k}", value=f["peak_mb"]/1000, bound=2) for k, f in r["formats"].items() if "peak_mb" in f]
        for kind, what, bound in (("maps-", "click maps of every page and device, crmlab / floor", 1.15), ("attention-", "attention bands, crmlab / floor", 1.5)):
            if name.startswith(kind): made.append(dict(what=f"CPU of {what}, {r['size']} events", value=r["crmlab"]["cpu_s"]/r["floor"]["cpu_s"], bound=bound if r["size"] == "10M" else None))
        if name.startswith("journeys-"):
            for key, what, bound in (("cpu_s", "CPU", 1), ("wall_s", "time", 1), ("peak_mb", "peak memory", .333)):
                made.append(dict(what=f"{what} of sessions, funnel and transitions, crmlab / retentioneering, {r['size']} events", value=r["crmlab"][key]/r["retentioneering"][key], bound=bound))
        if name.startswith("behaviours-"):
            made.append(dict(what=f"CPU of behaviours and contrast of five segments, crmlab / hand-written SQL, {r['size']} events", value=r["cpu_ratio"], bound=1.3 if r["size"] == "10M" else None))
        if name.startswith("segments"):
            made += [dict(what=f"seconds of {what}, a million customers", value=f["wall_s"], bound=3) for what, f in r.items() if isinstance(f, dict)]
        made += of_calibration(name, r)
        if name.startswith("simulate"):
            made += [dict(what=f"events a second, simulate, {r['size']} events", value=r["events_per_s"], bound=500_000 if r["rows"]["events"] > 5*10**5 else None, least=True),
                     dict(what=f"peak memory in GB, simulate, {r['size']} events", value=r["peak_mb"]/1000, bound=2)]
    for m in made:
        m["kept"] = None if m["bound"] is None else bool(m["value"] >= m["bound"] if m.get("least") else m["value"] <= m["bound"])
        m["value"] = float(f"{m['value']:.2g}") if abs(m["value"]) < .001 else round(m["value"], 3 if m["value"] < 1000 else None)
    return made


def write(folder: Path) -> list[str]:
    "Store the promises; gives them as lines to print."
    made = promises(results(folder))
    (folder/"ratios.json").write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    bound = lambda m: "" if m["bound"] is None else f"  ({'at least' if m.get('least') else 'at most'} {m['bound']:,}: {'kept' if m['kept'] else 'MISSED'})"
    return [f"{m['what']}: {m['value']:,}{bound(m)}" for m in made]
