"""From a fresh clone to client reports: import the recorded demo shop, write its reports, say where they lie.

The experiment report uses the public Hillstrom test when it is in the data cache or can be downloaded, else the demo
shop's own experiment.
"""
from __future__ import annotations

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tqdm import tqdm

import crmlab as cl

ROOT = Path(__file__).resolve().parent.parent
DEMO, SHOP, OUT = ROOT/"data/demo", ROOT/"data/cache/demo", ROOT/"reports/out"


def import_demo() -> list[str]:
    "Recordings, layouts and known truth into the shop folder; what is there already stays."
    SHOP.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(DEMO/"shop.toml", SHOP/"shop.toml")
    shops = [cl.import_data("rrweb", DEMO/"recordings", into=SHOP, progress=sys.stderr.isatty()),
             cl.import_data("csv", DEMO/"layouts.csv", into=SHOP, table="layouts"),
             cl.import_data("csv", DEMO/"truth.csv", into=SHOP, table="truth")]
    return [f"{table}: {c['read']:,} read = {c['kept']:,} kept + {c['duplicate']:,} duplicate + {c['rejected']:,} rejected"
            for shop in shops for table, c in shop.counts.items()]


def experiment() -> dict:
    "Arguments of the experiment report: the public test when it can be had, else the shop's own."
    if cl.datasets.available("hillstrom"):
        return dict(shop="hillstrom", params=dict(arm="segment", metric="visit", control="No E-Mail"))
    return dict(shop=SHOP, params=dict(experiment="top_first_view", metric="first_view_exit", control="A"))


def main() -> None:
    trial = experiment()
    jobs = [("behaviour", lang, dict(shop=SHOP)) for lang in ("ja", "en")] + [("experiment", lang, trial) for lang in ("ja", "en")]
    written = {}
    with tqdm(total=len(jobs) + 1, desc="importing the demo shop", file=sys.stdout, bar_format="{desc:32}|{bar:24}| {n}/{total} [{elapsed}]") as bar:
        counts = import_demo()
        bar.update()
        bar.set_description("writing reports")
        with ThreadPoolExecutor(2) as pool:   # each report runs in a kernel of its own
            runs = {pool.submit(cl.report, template, lang=lang, out=OUT, progress=False, **arguments): (template, lang) for template, lang, arguments in jobs}
            for run in as_completed(runs):
                written[runs[run]] = run.result().html
                bar.update()
        bar.set_description("done")
    print("\n".join(["", f"Shop folder: {SHOP}", *(f"  {line}" for line in counts), "Reports (open in a browser):",
                     *(f"  {template:10} {lang}  {written[template, lang]}" for template, lang, _ in jobs)]))


if __name__ == "__main__":
    try: main()
    except cl.CrmlabError as e: sys.exit(f"crmlab: {e}")
