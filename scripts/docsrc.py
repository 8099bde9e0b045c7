"""nbs/**/*.ipynb -> docs/_src/**/*.ipynb: plain notebooks for Sphinx.

A definition becomes its documentation (signature, parameters from the comments beside them) with the source folded
beneath; backticked names become links; figures keep their size; nothing is executed, outputs are the stored ones.
Usage: python scripts/docsrc.py DEST
"""
from __future__ import annotations

import ast
import inspect
import re
import shutil
import sys
from importlib import import_module
from pathlib import Path

import nbformat as nf

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))   # the package beside this script, also in a copy of the tree
# page sections in reading order: folder in nbs/ -> caption in the navigation
SECTIONS = {"": "About", "tutorials": "Tutorials", "core": "Core", "tables": "Tables", "sources": "Sources",
            "measure": "Measures", "infer": "Inference", "deliver": "Deliverables"}
# Markdown files of the repository that are pages too: file -> (page, caption)
PAGES = {"data/README.md": ("data", "Tutorials"), "CHANGELOG.md": ("changelog", "About")}
FIRST = ["architecture", "contributing"]   # of the section About
NOT_FOR_PAGES = ("application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json", "application/javascript")


def notebooks(root: Path) -> list[Path]:
    "All notebooks below nbs/ in reading order."
    found = (p for p in (root/"nbs").rglob("*.ipynb") if not any(part.startswith((".", "_")) for part in p.relative_to(root).parts))
    order = list(SECTIONS)
    rank = lambda p: order.index(p.parent.relative_to(root/"nbs").as_posix().strip(".")) if p.parent.relative_to(root/"nbs").as_posix().strip(".") in order else 99
    return sorted(found, key=lambda p: (rank(p), p.name))


def page_of(path: Path, root: Path) -> str:
    "Page name of a notebook: its path in nbs/ without number and ending."
    rel = path.relative_to(root/"nbs").with_suffix("")
    return rel.with_name(re.sub(r"^\d+[a-z]*_", "", rel.name.lower())).as_posix()


def directives(cell) -> dict:
    "The `#| name: value` lines of a cell."
    return {k: v.strip() for k, v in re.findall(r"^#\|\s*([\w-]+):?[ \t]*(.*)$", cell.source, flags=re.M)}


def without_directives(source: str) -> str: return re.sub(r"^#\|.*\n?", "", source, flags=re.M).strip("\n")


def definitions(source: str) -> list:
    "Top-level functions and classes of a cell."
    return [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]


def patched_class(node) -> str | None:
    "Class that a `@patch`ed function becomes a method of."
    if isinstance(node, ast.ClassDef) or not any(getattr(d, "id", getattr(getattr(d, "func", None), "id", "")).startswith("patch") for d in node.decorator_list): return None
    return ast.unparse(node.args.args[0].annotation)


def target(module: str, name: str, is_class: bool) -> str:
    "Link target of a symbol. Targets ignore case, so classes carry a prefix: Heatmap and heatmap are two things."
    return f"{'class-' if is_class else ''}{module}.{name}".lower()


class Index:
    "Every public symbol of the notebooks: where it is documented, and how a backticked name finds it."
    def __init__(self, root: Path):
        self.root, self.links, self.symbols = root, {}, {}
        for path in notebooks(root):
            module, nb = None, nf.read(path, 4)
            for cell in (c for c in nb.cells if c.cell_type == "code"):
                d = directives(cell)
                if "default_exp" in d: module = f"crmlab.{d['default_exp']}" if d["default_exp"] != "__init__" else "crmlab"
                if not {"export", "exports"} & d.keys() or module is None: continue
                for node in definitions(cell.source):
                    owner = patched_class(node)
                    name = f"{owner}.{node.name}" if owner else node.name
                    if node.name.startswith("_"): continue
                    where = target(module, name, isinstance(node, ast.ClassDef))
                    self.symbols.setdefault(module, {})[name] = where
                    methods = [f"{name}.{n.name}" for n in node.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")] if isinstance(node, ast.ClassDef) else []
                    for key in (name, *methods): self.links |= {k: where for k in (key, f"cl.{key}", f"{module}.{key}") if k not in self.links}
        self.pages = {path.resolve(): page_of(path, root) for path in notebooks(root)} | {
            (root/f).resolve(): page for f, (page, _) in PAGES.items() if (root/f).exists()}

    def link_symbols(self, text: str) -> str:
        "`name`, `name()` and `cl.name(…)` outside code blocks become links; a heading stays as it is."
        def one(m):
            where = self.links.get(re.sub(r"\(.*\)$", "", m[1], flags=re.S))
            return f"[{m[0]}](#{where})" if where else m[0]
        out, fenced = [], False
        for line in text.split("\n"):
            if line.lstrip().startswith(("```", "~~~")): fenced = not fenced
            plain = fenced or line.startswith(("    ", "#"))
            out.append(line if plain else re.sub(r"(?<![\[`])`([^`\n]+)`(?![`\]])", one, line))
        return "\n".join(out)

    def link_files(self, text: str, folder: Path) -> str:
        "Links between notebooks become links between pages; other files of the repository have no page, so only their name stays."
        def one(m):
            label, url, anchor = m[1], m[2], m[3] or ""
            if re.match(r"[a-z]+:|#|$", url): return m[0]
            page = self.pages.get((folder/url).resolve())
            if page: return f"[{label}](/{page}.{'md' if url.endswith('.md') else 'ipynb'}{anchor})"
            if url.endswith(".ipynb"): raise SystemExit(f"{folder.relative_to(self.root)}: link to {url}, which is no notebook; links are relative to the notebook that holds them")
            return label
        return re.sub(r"(?<!!)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)", one, text)

    def markdown(self, text: str, folder: Path) -> str: return self.link_files(self.link_symbols(text), folder)


def _row(name: str, doc) -> str:
    "One line of a parameter table: name, type and default as written, then what it is."
    empty, clean = inspect.Parameter.empty, lambda s: str(s or "").replace("|", r"\|").replace("\n", " ")
    kind = "" if doc.anno in (empty, None) else f": {doc.anno if isinstance(doc.anno, str) else getattr(doc.anno, '__name__', doc.anno)}"
    default = "" if doc.default is empty else f" = {doc.default!r}"
    return f"| `{clean(name + kind + default)}` | {clean(doc.docment)} |"


def _signature(node) -> str:
    "`name(a, *, b=1) -> C` as written, without types and comments."
    if isinstance(node, ast.ClassDef): return ""
    bare = ast.parse(ast.unparse(node)).body[0]
    for a in [*bare.args.posonlyargs, *bare.args.args, *bare.args.kwonlyargs, *filter(None, [bare.args.vararg, bare.args.kwarg])]: a.annotation = None
    call = f"{node.name}({ast.unparse(bare.args)})" + (f" -> {ast.unparse(node.returns).strip(chr(39))}" if node.returns else "")
    if len(call) > 88: call = call.replace(", ", ",\n" + " "*(len(node.name) + 1))
    return f"```python\n{call}\n```\n\n"


def api(node, module: str, index: Index, folder: Path) -> str:
    "Markdown of one definition: target, heading, signature, first line, parameters."
    from fastcore.docments import docments
    owner, is_class = patched_class(node), isinstance(node, ast.ClassDef)
    name = f"{owner}.{node.name}" if owner else node.name
    obj = import_module(module)
    for part in name.split("."): obj = inspect.getattr_static(obj, part) if inspect.isclass(obj) else getattr(obj, part)
    obj = getattr(obj, "__wrapped__", obj) if not is_class else obj
    docs = {k: v for k, v in docments(obj, full=True).items() if k not in ("self", "cls")} if not isinstance(obj, property) else {}
    doc = index.markdown((inspect.getdoc(obj) or "").strip(), folder)
    if is_class: docs = {k: v for k, v in docs.items() if k in _own_fields(node)}
    returns = docs.pop("return", None)
    rows = [_row(k, v) for k, v in docs.items()]
    if returns is not None and returns.docment: rows.append(_row("returns", returns))
    table = "| | |\n|---|---|\n" + "\n".join(rows) if any(v.docment for v in docs.values()) or (returns is not None and returns.docment) else ""
    return f"({index.symbols[module][name]})=\n### {'class ' if is_class else ''}{name}\n\n{_signature(node)}{doc}\n\n{table}\n"


def _own_fields(node: ast.ClassDef) -> set:
    "Fields and constructor arguments that this class itself declares: inherited ones are documented where they stand."
    own = {n.target.id for n in node.body if isinstance(n, ast.AnnAssign)}
    for n in node.body:
        if isinstance(n, ast.FunctionDef) and n.name == "__init__": own |= {a.arg for a in [*n.args.args, *n.args.kwonlyargs]}
    return own


def _folded(cell, names: list[str]):
    "The source of a definition, folded under its documentation."
    cell.metadata = nf.NotebookNode(tags=["hide-input"], mystnb=dict(code_prompt_show=f"Source of {', '.join(names)}", code_prompt_hide="Hide the source"))
    cell.outputs = []
    return cell


def _is_imports(source: str) -> bool: return all(isinstance(n, ast.Import | ast.ImportFrom) for n in ast.parse(source).body)


def _outputs(cell) -> None:
    "Figures at their intended size; nothing that only a live kernel or the network could show."
    for o in cell.outputs:
        for mime in NOT_FOR_PAGES: o.get("data", {}).pop(mime, None)
    width = next((o.metadata["image/png"]["width"] for o in cell.outputs if "width" in o.get("metadata", {}).get("image/png", {})), None)
    if width: cell.metadata["mystnb"] = {"image": {"width": f"{width}px"}}


def convert(path: Path, index: Index) -> nf.NotebookNode:
    "One notebook as a page."
    nb, out, module, folder = nf.read(path, 4), [], None, path.parent
    for cell in nb.cells:
        d = directives(cell) if cell.cell_type == "code" or cell.source.startswith("#|") else {}
        cell.source = without_directives(cell.source) if d else cell.source
        cell.metadata = nf.NotebookNode({k: v for k, v in cell.metadata.items() if k == "tags"})
        if "default_exp" in d: module = f"crmlab.{d['default_exp']}" if d["default_exp"] != "__init__" else "crmlab"
        if "hide" in d or "default_exp" in d or not cell.source.strip() or cell.cell_type == "raw": continue
        if cell.cell_type == "markdown":
            cell.source = index.markdown(cell.source, folder)
            out.append(cell)
            continue
        _outputs(cell)
        if d.keys() & {"export", "exports", "exporti"}:
            if _is_imports(cell.source): continue
            nodes = definitions(cell.source)
            public = [n for n in nodes if not n.name.startswith("_") and "exporti" not in d]
            out += [nf.v4.new_markdown_cell(api(n, module, index, folder), id=f"api-{module}-{n.name}".replace(".", "-")[-64:]) for n in public]
            if nodes: out.append(_folded(cell, [n.name for n in nodes]))
            else: out.append(cell)   # a constant is its own documentation
            continue
        if d.get("echo") == "false": cell.metadata.setdefault("tags", []).append("remove-input")
        if d.get("output") == "false": cell.outputs = []
        out.append(cell)
    nb.cells = out
    nb.metadata = nf.NotebookNode(kernelspec=dict(name="python3", display_name="python3", language="python"), language_info=dict(name="python"))
    return nb


def api_page(index: Index) -> str:
    "Every public symbol with its first line: first the promised names of `import crmlab as cl`, then the rest by module."
    import crmlab
    first_line = lambda o: index.link_symbols(((inspect.getdoc(o) or "").splitlines() or [""])[0]).replace("|", r"\|")
    row = lambda shown, o, where: f"| [`{shown}`](#{where}) | {first_line(o)} |"
    md = "# API reference\n\n"
    promised = [n for n in getattr(crmlab, "__all__", []) if n in index.links]
    if promised:
        md += "## `import crmlab as cl`\n\n| | |\n|---|---|\n" + "\n".join(row(f"cl.{n}", getattr(crmlab, n), index.links[n]) for n in promised) + "\n\n"
    for module, names in index.symbols.items():
        m = import_module(module)
        rows = [row(n, getattr(m, n), where) for n, where in names.items() if "." not in n and hasattr(m, n)]
        if rows: md += f"## {module}\n\n{((m.__doc__ or '').splitlines() or [''])[0]}\n\n| | |\n|---|---|\n" + "\n".join(rows) + "\n\n"
    return md


def navigation(pages: dict[str, str], root: Path) -> str:
    "The table of contents: one caption a section, pages in reading order."
    by = {caption: [] for caption in SECTIONS.values()}
    for page, section in pages.items(): by[section].append(page)
    by["About"].sort(key=lambda p: FIRST.index(p) if p in FIRST else len(FIRST))
    tree = lambda caption, names: "```{toctree}\n:hidden:\n:caption: " + caption + "\n\n" + "\n".join(names) + "\n```\n"
    return "\n".join(tree(c, names) for c, names in by.items() if names)


def main(dest: Path, root: Path = ROOT) -> list[str]:
    "Write all pages; gives their names."
    index, pages = Index(root), {}
    if dest.exists(): shutil.rmtree(dest)
    home = None
    for path in notebooks(root):
        page, section = page_of(path, root), SECTIONS.get(path.parent.relative_to(root/"nbs").as_posix().strip("."))
        if section is None: raise SystemExit(f"{path.relative_to(root)}: no section for its folder; add the folder to SECTIONS in scripts/docsrc.py")
        nb = convert(path, index)
        if page == "index": home = nb; continue
        (dest/page).parent.mkdir(parents=True, exist_ok=True)
        nf.write(nb, dest/f"{page}.ipynb")
        pages[page] = section
    for image in (p for p in (root/"nbs").rglob("*") if p.suffix in (".png", ".svg", ".jpg", ".gif")):
        (dest/image.relative_to(root/"nbs")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(image, dest/image.relative_to(root/"nbs"))
    for file, (page, section) in PAGES.items():
        if not (root/file).exists(): continue
        text = (root/file).read_text(encoding="utf-8")
        (dest/f"{page}.md").write_text(index.markdown(text, (root/file).parent), encoding="utf-8")
        pages[page] = section
    (dest/"api.md").write_text(api_page(index), encoding="utf-8")
    pages["api"] = "About"
    if home is None: home = nf.v4.new_notebook(cells=[nf.v4.new_markdown_cell("# crmlab")])
    home.cells.append(nf.v4.new_markdown_cell(navigation(pages, root)))
    nf.write(home, dest/"index.ipynb")
    return [*pages, "index"]


if __name__ == "__main__":
    if len(sys.argv) != 2: sys.exit("usage: python scripts/docsrc.py DEST")
    print(f"docs: {len(main(Path(sys.argv[1])))} pages in {sys.argv[1]}")
