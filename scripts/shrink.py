"""Make the figures stored in notebooks smaller: 128 colours are enough for a plot and take a third of the space.
Usage: python scripts/shrink.py [NOTEBOOK or FOLDER …]   (nbs/ when none is given; running it twice changes nothing)
"""
from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path


def smaller(png: bytes) -> bytes:
    "The picture with at most 128 colours, when that saves space; transparent and already reduced ones stay as they are."
    from PIL import Image
    image = Image.open(io.BytesIO(png))
    if image.mode == "P" or ("A" in image.mode and image.getextrema()[-1][0] < 255): return png
    out = io.BytesIO()
    image.convert("RGB").quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return min(png, out.getvalue(), key=len)


def shrink(path: Path) -> bool:
    "Reduce all stored figures of a notebook; True when it changed."
    text = path.read_text(encoding="utf-8")
    nb = json.loads(text)
    for output in (o for c in nb["cells"] for o in c.get("outputs", []) if "image/png" in o.get("data", {})):
        png = base64.b64decode("".join(output["data"]["image/png"]))
        output["data"]["image/png"] = base64.b64encode(smaller(png)).decode()
    new = json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    if new != text: path.write_text(new, encoding="utf-8")
    return new != text


if __name__ == "__main__":
    where = [Path(a) for a in sys.argv[1:]] or [Path(__file__).resolve().parent.parent/"nbs"]
    for path in sorted(p for w in where for p in (w.rglob("*.ipynb") if w.is_dir() else [w])): shrink(path)
