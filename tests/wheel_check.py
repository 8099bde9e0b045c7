"What must work where only the wheel is installed. The gate runs it in an empty environment, outside the repository."
import csv
import subprocess
import sys
import tempfile
from importlib import metadata, resources
from pathlib import Path

import crmlab as cl


def write_exports(folder: Path) -> None:
    "A tiny shop as CSV: Bronze leaves the first page, Royal goes on to the list."
    def save(name, header, rows):
        with open(folder/name, "w", encoding="utf-8", newline="") as f: csv.writer(f).writerows([header.split(","), *rows])
    events, ranks = [], []
    for m in range(40):
        royal, base = m % 2, [f"v{m}", f"m{m}", "desktop", "google", 1280, 800, 1280, 3000]
        ranks.append([f"m{m}", "rank", "Royal" if royal else "Bronze", "2026-01-01T00:00:00Z"])
        for visit in range(3):
            at = f"2026-02-{1 + m % 20:02}T{3 + visit:02}"
            events.append([f"{m}-{visit}-1", f"{at}:00:00Z", *base, "page_view", "/", "", "", 0])
            if royal or not visit: events += [[f"{m}-{visit}-2", f"{at}:00:09Z", *base, "click", "/", 300 + m, 400 + visit, 0],
                                              [f"{m}-{visit}-3", f"{at}:00:11Z", *base, "page_view", "/list", "", "", 0]]
    save("events.csv", "event_id,ts,visitor_id,user_id,device,source,viewport_w,viewport_h,page_w,page_h,event,page,x,y,scroll_y", events)
    save("attributes.csv", "user_id,attribute,value,valid_from", ranks)


assert "site-packages" in Path(cl.__file__).parts, f"crmlab comes from {cl.__file__}, not from the wheel"
assert cl.__version__ == metadata.version("crmlab"), "the version of the package and of the wheel differ"
heavy = {"matplotlib", "seaborn", "papermill", "anywidget", "nbconvert", "pymc"} & sys.modules.keys()
assert not heavy, f"import crmlab loads {heavy}"
for name in getattr(cl, "__all__", []):
    assert getattr(cl, name) is not None, name
assert resources.files("crmlab").joinpath("assets/words.toml").is_file()

with tempfile.TemporaryDirectory() as tmp:
    write_exports(Path(tmp))
    for table in ("events", "attributes"): shop = cl.import_data("csv", Path(tmp)/f"{table}.csv", into=Path(tmp)/"shop", table=table)
    command = [str(Path(sys.executable).with_name("crmlab")), "report", "behaviour", "--shop", str(shop.path), "--lang", "en", "--out", f"{tmp}/out"]
    subprocess.run(command, check=True, cwd=tmp)
    page = next(Path(tmp, "out").glob("*.html")).read_text(encoding="utf-8")
    assert "Royal" in page and shop.fingerprint in page, "the report lacks its content"

print(f"crmlab {cl.__version__}: {len(getattr(cl, '__all__', []))} public names")
