"The gate must fail where something is wrong, and say so in a line that helps: each step is shown a tree broken on purpose."
from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import checks
import gate
import pytest

NB = dict(nbformat=4, nbformat_minor=5, metadata={"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}})
PROSE = "Why this is here, in words that take their time. " * 30
PYPROJECT = '[project]\nname = "crmlab"\ndynamic = ["version"]\ndescription = "small"\nrequires-python = ">=3.12"\n\n[tool.nbdev]\nnbs_path = "nbs"\nlib_path = "crmlab"\nallowed_cell_metadata_keys = ["tags"]\n\n[tool.ruff.lint]\nselect = ["F", "B", "UP"]\n'
PREPARE = [sys.executable, "-c", "from nbdev.doclinks import nbdev_export; nbdev_export.__wrapped__()"]


def write(root: Path, name: str, *sources: str, tags: dict | None = None):
    "A notebook: a source that starts with `md:` is a Markdown cell."
    cells = []
    for i, s in enumerate(sources):
        md = s.startswith("md:")
        cell = dict(cell_type="markdown" if md else "code", id=f"cell{i:04}", metadata=(tags or {}).get(i, {}), source=s.removeprefix("md:").splitlines(keepends=True))
        cells.append(cell if md else cell | dict(execution_count=None, outputs=[]))
    path = root/name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(NB | dict(cells=cells), indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def literate(root: Path, name: str, module: str, *code: str):
    write(root, name, f"md:# {module}\n\n> One line.", f"#| default_exp {module}", f"md:{PROSE}", *[f"#| export\n{c}" for c in code])


def export(root: Path): subprocess.run(PREPARE, cwd=root, check=True, env={**gate.os.environ, "PYTHONPATH": str(root)})


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    "A small project in which everything holds."
    root = tmp_path_factory.mktemp("gate")/"sound"
    root.mkdir()
    (root/"pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    literate(root, "nbs/core/00_core.ipynb", "core", "def need(\n    x:int,  # a number\n) -> int:\n    \"The number.\"\n    return x")
    literate(root, "nbs/measure/30_visits.ipynb", "measure.visits", "from crmlab.core import need", "def visits(\n    x:int,  # a number\n) -> int:\n    \"Twice the number.\"\n    return 2*need(x)")
    literate(root, "nbs/measure/31_heatmap.ipynb", "measure.heatmap", "from crmlab.measure.visits import visits", "def heatmap(\n    x:int,  # a number\n) -> int:\n    \"Four times.\"\n    return 2*visits(x)")
    write(root, "nbs/60_names.ipynb", "md:# Names\n\n> One line.", "#| default_exp __init__", "#| export\n__version__ = \"0.1.0\"\n_all_ = ['heatmap', 'visits']")
    for folder in ("docs", "scripts"): (root/folder).mkdir()
    export(root)
    return root


@pytest.fixture
def tree(sound, tmp_path) -> Path: return Path(shutil.copytree(sound, tmp_path/"tree"))


def fails(step, root: Path, *lines: str):
    "The step fails, and one of its lines matches each pattern."
    with pytest.raises(gate.Problems) as caught: step(root)
    text = "\n".join(caught.value.problems)
    for line in lines: assert re.search(line, text), text


def test_a_sound_tree_passes(sound):
    for step in (gate.clean, gate.export, gate.ruff, gate.layers, gate.budgets, gate.documented, gate.stored): step(sound)


def test_dirty_notebook(tree):
    path = tree/"nbs/core/00_core.ipynb"
    nb = json.loads(path.read_text(encoding="utf-8"))
    nb["cells"][1]["execution_count"] = 7
    path.write_text(json.dumps(nb, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    fails(gate.clean, tree, "nbs/core/00_core.ipynb differs: .*execution_count.*7")


def test_hand_edit_in_the_package(tree):
    module = tree/"crmlab/measure/visits.py"
    module.write_text(module.read_text(encoding="utf-8").replace("2*need", "3*need"), encoding="utf-8")
    fails(gate.export, tree, r"crmlab/measure/visits.py differs: -    return 3\*need")


def test_deleted_notebook_leaves_a_module_behind(tree):
    (tree/"nbs/measure/31_heatmap.ipynb").unlink()
    fails(gate.export, tree, "crmlab/measure/heatmap.py: no notebook makes it; delete it")


def test_notebook_changed_but_not_exported(tree):
    literate(tree, "nbs/measure/32_zones.ipynb", "measure.zones", "def zones() -> int:\n    \"One.\"\n    return 1")
    fails(gate.export, tree, "crmlab/measure/zones.py: not exported yet")


def test_name_that_only_the_notebook_knows(tree):
    "nbdev-test runs the notebook's own definitions, so it would pass there."
    literate(tree, "nbs/core/00_core.ipynb", "core", "def need(\n    x:int,  # a number\n) -> int:\n    \"The number.\"\n    return np.abs(x)")
    export(tree)
    fails(gate.ruff, tree, "crmlab/core.py:.*F821 Undefined name `np`")


def test_import_to_the_right(tree):
    literate(tree, "nbs/core/00_core.ipynb", "core", "def need(\n    x:int,  # a number\n) -> int:\n    \"The number.\"\n    from crmlab.measure.visits import visits\n    return visits(x)")
    export(tree)
    fails(gate.layers, tree, r"crmlab/core.py:\d+ \(nbs/core/00_core.ipynb\) imports crmlab.measure.visits: layer measure lies right of core")


def test_import_from_a_later_notebook_of_the_same_layer(tree):
    literate(tree, "nbs/measure/30_visits.ipynb", "measure.visits", "import crmlab.measure.heatmap", "def visits() -> int:\n    \"One.\"\n    return crmlab.measure.heatmap.heatmap(1)")
    export(tree)
    fails(gate.layers, tree, "imports crmlab.measure.heatmap: 31_heatmap.ipynb is not an earlier notebook")


def test_import_from_the_package_itself(tree):
    literate(tree, "nbs/measure/31_heatmap.ipynb", "measure.heatmap", "from crmlab import visits", "def heatmap() -> int:\n    \"One.\"\n    return visits(1)")
    export(tree)
    fails(gate.layers, tree, "imports visits from the package itself")


def test_public_name_with_two_homes(tree):
    literate(tree, "nbs/infer/40_more.ipynb", "infer.more", "def visits() -> int:\n    \"One.\"\n    return 1")
    export(tree)
    fails(gate.layers, tree, "public name 'visits' is defined in crmlab.infer.more and crmlab.measure.visits")


def test_a_tutorial_on_public_data_is_left_out_only_where_these_are_missing(tree, monkeypatch):
    path = tree/"nbs/tutorials/90_mail_en.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(cells=[dict(cell_type="code", source=['users = cl.datasets.load("hillstrom")'])])), encoding="utf-8")
    monkeypatch.delenv("CRMLAB_REQUIRE", raising=False)
    monkeypatch.setattr("crmlab.sources.datasets.available", lambda name: False)
    assert gate.lacking_data(tree) == {"90_mail_en.ipynb": "hillstrom"}
    monkeypatch.setattr("crmlab.sources.datasets.available", lambda name: True)
    assert gate.lacking_data(tree) == {}
    monkeypatch.setattr("crmlab.sources.datasets.available", lambda name: False)
    monkeypatch.setenv("CRMLAB_REQUIRE", "data,browser")
    assert gate.lacking_data(tree) == {}


def test_promised_name_without_documentation(tree):
    literate(tree, "nbs/measure/31_heatmap.ipynb", "measure.heatmap", "def heatmap(\n    x:int,  # a number\n    *,\n    by:str=None,\n) -> int:\n    return x")
    export(tree)
    fails(gate.documented, tree, "heatmap has no docstring", "heatmap: no comment beside by")


def test_promised_name_that_is_nowhere(tree):
    write(tree, "nbs/60_names.ipynb", "md:# Names\n\n> One line.", "#| default_exp __init__", "#| export\n__version__ = \"0.1.0\"\n_all_ = ['heatmap', 'heetmap']")
    export(tree)
    fails(gate.documented, tree, "promises 'heetmap', which no notebook defines")


def test_budgets(tree):
    write(tree, "nbs/measure/33_long.ipynb", "md:# Long", "#| default_exp measure.long", "#| export\n" + "\n".join(f"a{i} = {i}" for i in range(41)), "#| hide\n1", "#| hide\n2", "#| hide\n3")
    fails(gate.budgets, tree, "an exported cell of 41 lines, at most 40", "words of prose, at least 250", "3 of 6 cells are hidden")
    write(tree, "nbs/measure/33_long.ipynb", f"md:# Long\n{PROSE}", "#| default_exp measure.long", *["#| export\n" + "\n".join(f"a{i} = {i}" for i in range(40))]*11)
    fails(gate.budgets, tree, "440 exported lines, at most 400")
    write(tree, "nbs/measure/33_long.ipynb", "md:" + "x"*310_000)
    fails(gate.budgets, tree, "310 kB, at most 300")


def test_tutorials_in_two_languages(tree):
    write(tree, "nbs/tutorials/71_first_ja.ipynb", "md:# 日本語", "1", "2")
    fails(gate.budgets, tree, "first exists in ja only")
    write(tree, "nbs/tutorials/72_first_en.ipynb", "md:# English", "1", "3")
    fails(gate.budgets, tree, "71_first_ja.ipynb and 72_first_en.ipynb differ in code cell 2")


def test_failing_notebook_is_named_with_its_line(tree):
    write(tree, "nbs/tutorials/01_first.ipynb", "md:# First", "x = 1", "assert x == 2, 'planted'")
    fails(gate.notebooks, tree, r"nbs/tutorials/01_first.ipynb cell 3: AssertionError: planted \(at: assert x == 2")


def test_stored_outputs(tree):
    path = tree/"nbs/tutorials/01_first.ipynb"
    write(tree, "nbs/tutorials/01_first.ipynb", "md:# First", "1", "2", "3", "4")
    fails(gate.stored, tree, "01_first.ipynb: no stored outputs")
    nb = json.loads(path.read_text(encoding="utf-8"))
    nb["cells"][1]["outputs"] = [dict(output_type="error", ename="ValueError", evalue="no", traceback=[])]
    path.write_text(json.dumps(nb), encoding="utf-8")
    fails(gate.stored, tree, "holds a stored error")
    nb["cells"][1]["outputs"] = [dict(output_type="stream", name="stderr", text=["UserWarning: Glyph 26085 missing from font(s) DejaVu Sans.\n"])]
    path.write_text(json.dumps(nb), encoding="utf-8")
    fails(gate.stored, tree, "a stored figure lacks glyphs")


def test_templates_without_outputs(tree):
    write(tree, "reports/templates/behaviour.ipynb", "by = None", tags={})
    fails(gate.stored, tree, "needs exactly one cell tagged `parameters`")


@pytest.mark.parametrize("text, what", [
    ("see {root}/data/x.csv", "a path of this machine"), ("/home/" + "somebody/shop", "a path of this machine"), ("wrote /tmp/" + "tmpab12cd34/shop", "a path of this machine"),
    ("\"resolved\": \"https://registry" + ".npmjs.example/x.tgz\"", "a registry host")])
def test_leaks(tree, text, what):
    (tree/"note.md").write_text(f"first line\n{text.format(root=tree)}\n", encoding="utf-8")
    fails(gate.stored, tree, f"note.md:2 holds {what}")


def test_ordinary_addresses_are_no_leaks(tree):
    (tree/"note.md").write_text("https://keepachangelog.com/ and /mypage and https://example.com/packages/list and C: and ~/.cache\n", encoding="utf-8")
    assert checks.leaks(tree) == []


def test_the_lock_covers_what_the_wheel_needs():
    lock = gate.runtime_lock()
    assert re.search(r"^pandas==", lock, flags=re.M) and re.search(r"^fonttools==", lock, flags=re.M)
    assert not re.search(r"^(pytest|nbdev|sphinx|pyspark)==", lock, flags=re.M)
    assert "://" not in gate.ROOT.joinpath("requirements.lock").read_text(encoding="utf-8")


def test_failing_steps_are_all_reported(monkeypatch, capsys):
    def bad(): raise gate.Problems(["a is wrong"], "mend a")
    def worse(): raise RuntimeError("no such thing")
    bad.__doc__ = worse.__doc__ = "a step"
    monkeypatch.setattr(gate, "STEPS", dict(bad=bad, worse=worse, fine=lambda: ["slow"]))
    assert gate.main([]) == 1
    out = capsys.readouterr().out
    assert "a is wrong" in out and "remedy: mend a" in out and "RuntimeError: no such thing" in out and "note: slow" in out
    assert out.splitlines()[-1] == "1 passed, 2 failed, 0 skipped"


def test_unknown_step_is_refused():
    with pytest.raises(SystemExit, match="no step nonsense; steps are clean"): gate.main(["nonsense"])
