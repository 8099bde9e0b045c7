"""nbs/index.ipynb -> README.md, with the stored outputs; figures go to docs/readme/.
Usage: python scripts/readme.py [--check]
"""
from __future__ import annotations

import base64
import re
import sys
from pathlib import Path

import nbformat as nf
from docsrc import directives, without_directives

ROOT = Path(__file__).resolve().parent.parent
NOTE = "<!-- Made from nbs/index.ipynb by `make prepare`: edit the notebook, not this file. -->\n\n"


def _links(text: str) -> str:
    "Relative links of nbs/ as seen from the root of the repository."
    def one(m):
        url = m[2]
        if re.match(r"[a-z]+:|#|/", url): return m[0]
        parts = []
        for part in ("nbs/" + url).split("/"):
            if part == ".." and parts: parts.pop()
            elif part != ".": parts.append(part)
        return f"{m[1]}({'/'.join(parts)})"
    return re.sub(r"(!?\[[^\]]*\])\(([^)\s]+)\)", one, text)


def _output(o, name: str, figures: dict) -> str:
    "One stored output as Markdown; a figure is put into `figures`."
    if o.output_type == "stream": return "" if o.name == "stderr" else f"```\n{o.text.rstrip()}\n```"
    data = o.get("data", {})
    if "text/markdown" in data: return data["text/markdown"]
    if "image/png" in data:
        figures[f"docs/readme/{name}.png"] = base64.b64decode(data["image/png"])
        return f"![]({f'docs/readme/{name}.png'})"
    return f"```\n{data['text/plain'].rstrip()}\n```" if "text/plain" in data else ""


def readme(root: Path) -> tuple[str, dict]:
    "The text of README.md and its figures by path."
    parts, figures = [], {}
    for i, cell in enumerate(nf.read(root/"nbs/index.ipynb", 4).cells):
        d = directives(cell) if cell.source.startswith("#|") else {}
        source = without_directives(cell.source) if d else cell.source
        if "hide" in d or "default_exp" in d or cell.cell_type == "raw" or not source.strip(): continue
        if cell.cell_type == "markdown": parts.append(_links(source)); continue
        if d.get("echo") != "false": parts.append(f"```python\n{source}\n```")
        if d.get("output") != "false": parts += [_output(o, f"{i}_{j}", figures) for j, o in enumerate(cell.outputs)]
    return NOTE + "\n\n".join(p for p in parts if p).strip() + "\n", figures


def main(root: Path = ROOT, check: bool = False) -> list[str]:
    "Write README.md and its figures, or name the files that differ."
    text, figures = readme(root)
    wanted = {"README.md": text.encode(), **figures}
    stale = [f.relative_to(root).as_posix() for f in (root/"docs/readme").glob("*.png") if f.relative_to(root).as_posix() not in figures]
    differ = [f for f, body in wanted.items() if not (root/f).exists() or (root/f).read_bytes() != body]
    if check: return sorted(differ + stale)
    for f in differ:
        (root/f).parent.mkdir(parents=True, exist_ok=True)
        (root/f).write_bytes(wanted[f])
    for f in stale: (root/f).unlink()
    return sorted(differ + stale)


if __name__ == "__main__":
    changed = main(check="--check" in sys.argv)
    if "--check" in sys.argv and changed: sys.exit(f"README differs from nbs/index.ipynb in {', '.join(changed)}; run `make prepare` and commit")
