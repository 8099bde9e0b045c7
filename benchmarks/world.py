"""The shop that the benchmarks read: made once per size by `cl.simulate`, kept in a cache folder outside the repository.

The folder is `BENCH_CACHE`, by default below the system's cache folder. Nothing in it is ever committed.
"""
from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path


def cache_folder() -> Path:
    "Where shops, environments and intermediate results lie."
    own = os.environ.get("BENCH_CACHE")
    if own: return Path(own).expanduser()
    home = Path.home()
    system = {"darwin": home/"Library/Caches", "win32": Path(os.environ.get("LOCALAPPDATA", home))}.get(sys.platform, Path(os.environ.get("XDG_CACHE_HOME", home/".cache")))
    return system/"crmlab-bench"


def count_of(text: str | int) -> int:
    "1M, 250k or 100000 as a number."
    m = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)", str(text))
    if not m: raise SystemExit(f"{text!r} is no number of events; write 20000, 250k, 1M, 10M or 100M")
    return int(float(m[1])*{"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[m[2]])


EVENTS_PER_MEMBER = 124   # of the scenario, strangers' events included; only decides how near the shop comes to the size asked for


def shop_of(events: str | int) -> Path:
    "The cached shop with about that many events; made on first use, in a process of its own."
    from crmlab.sources.scenarios import read_scenario
    from crmlab.sources.truth import MODEL, VALUES
    users = max(1, round(count_of(events)/EVENTS_PER_MEMBER))
    path = cache_folder()/"shops"/f"bronze_royal-{read_scenario('bronze_royal').key[:8]}-{MODEL}.{VALUES}-{users}"   # another simulator makes another shop
    if not (path/"manifest.json").exists():
        half = path.with_name(path.name + ".part")   # a broken run leaves no half shop under the final name
        shutil.rmtree(half, ignore_errors=True)
        made = subprocess.run([sys.executable, str(Path(__file__).with_name("one_import.py")), "simulate", str(users), str(half)], check=True, stdout=subprocess.PIPE, text=True)
        figures_of(path).write_text(made.stdout.strip().splitlines()[-1] + "\n", encoding="utf-8")
        half.rename(path)
    return path


def file_of(folder: str, name: str, make: str, memory_limit: str) -> Path:
    "The cached Parquet file that this SQL makes, with the place of its path as `{file}`; made on first use."
    import duckdb
    file = cache_folder()/folder/f"{name}.parquet"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        half = file.with_suffix(".part")
        con = duckdb.connect(config=dict(memory_limit=memory_limit, temp_directory=str(file.parent/"spill")))
        con.execute("SET TimeZone='UTC'")
        con.execute(make.format(file=half))
        half.rename(file)
    return file


def run(script: str | Path, *args, memory_limit: str) -> dict:
    "What a script measures in a process of its own: the JSON of its last line."
    done = subprocess.run([sys.executable, str(Path(script).resolve()), *map(str, args)], capture_output=True, text=True, env=os.environ | dict(CRMLAB_MEMORY_LIMIT=memory_limit))
    if done.returncode: raise SystemExit(f"{Path(script).stem} {args[0]}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def figures_of(shop: Path) -> Path:
    "File beside a cached shop that says what making it cost."
    return shop.with_name(shop.name + ".json")
