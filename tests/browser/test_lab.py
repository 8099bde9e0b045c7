"JupyterLab in a browser, as an analyst uses it: open the first tutorial, run all cells, see every one finish."
from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from .chromium import opened

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.browser


def first_tutorial() -> Path:
    "The first Japanese tutorial in reading order, else the first one."
    found = sorted((ROOT/"nbs/tutorials").glob("*.ipynb"))
    assert found, "nbs/tutorials/ has no notebook"
    return next((p for p in found if p.stem.endswith("_ja")), found[0])


@contextmanager
def lab(folder: Path, home: Path):
    "JupyterLab on this machine only, with settings of its own; gives the address and the token."
    def setting(extension, name, **values):
        at = home/"settings/@jupyterlab"/extension
        at.mkdir(parents=True)
        (at/f"{name}.jupyterlab-settings").write_text(json.dumps(values), encoding="utf-8")
    setting("apputils-extension", "notification", fetchNews="false", checkForUpdates=False)
    setting("translation-extension", "plugin", locale="ja_JP")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    token = secrets.token_hex(16)
    env = {**os.environ, "JUPYTER_CONFIG_DIR": str(home/"config"), "JUPYTERLAB_SETTINGS_DIR": str(home/"settings"), "JUPYTERLAB_WORKSPACES_DIR": str(home/"workspaces"),
           "JUPYTER_RUNTIME_DIR": str(home/"runtime"), "IPYTHONDIR": str(home/"ipython"), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    env.pop("MPLBACKEND", None)   # the kernel draws inline
    with open(home/"log", "w") as log:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
                                   f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"], env=env, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            assert server.poll() is None, (home/"log").read_text()[-2000:]
            try:
                urllib.request.urlopen(f"{address}/api/status?token={token}")
                break
            except OSError: time.sleep(.25)
        yield address, token
    finally:
        server.terminate()
        try: server.wait(20)
        except subprocess.TimeoutExpired: server.kill()


ERRORS = '[data-mime-type="application/vnd.jupyter.stderr"]'   # Lab shows tracebacks and warnings as this type
FINISHED = r"""() => { if (document.querySelector('[data-mime-type="application/vnd.jupyter.stderr"]')) return true;   // what follows may never run
    const p = [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')].map(e => e.textContent.trim());
    return p.length > 0 && p.every(t => /^\[\d+\]:$/.test(t)) }"""


BEGUN = r"""() => /^\[\d+\]:$/.test(document.querySelector('.jp-CodeCell .jp-InputArea-prompt').textContent.trim())"""


def run_all(page, seconds: float) -> None:
    "Restart the kernel and run all cells; on a busy machine what is sent during the restart can get lost, so it is sent again."
    from playwright.sync_api import TimeoutError
    page.wait_for_selector('.jp-NotebookPanel-toolbar .jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=90_000)
    for _ in range(3):
        page.click(".jp-Notebook .jp-Cell >> nth=0")
        page.keyboard.press("Escape")
        page.click('[data-jp-item-name="restart-and-run"]')   # plain run-all just after opening is dropped silently
        page.click(".jp-Dialog .jp-mod-accept")
        try: page.wait_for_function(BEGUN, timeout=45_000)
        except TimeoutError: continue
        break
    page.wait_for_function(FINISHED, timeout=1000*seconds)


def test_first_tutorial_runs_to_its_last_cell(browser, tmp_path):
    source = first_tutorial()
    shutil.copytree(ROOT/"nbs/tutorials", tmp_path/"work/nbs/tutorials")   # Lab saves what it runs
    for name in ("data/demo", "settings.ini"):
        if (ROOT/name).exists():
            (tmp_path/"work"/name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path/"work"/name).symlink_to(ROOT/name)
    notebook = source.relative_to(ROOT).as_posix()
    code = [c for c in json.loads(source.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code" and "".join(c["source"]).strip()]
    home = tmp_path/"home"
    home.mkdir()
    with lab(tmp_path/"work", home) as (address, token), opened(browser, f"{address}/lab/tree/{notebook}?token={token}&reset", dict(width=1500, height=1100)) as page:
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=90_000)
        # all cells in the page at once: Lab else draws only those near the window
        page.set_viewport_size(dict(width=1500, height=30_000))
        run_all(page, seconds=180)
        assert page.locator(ERRORS).all_inner_texts() == []
        prompts = page.locator(".jp-CodeCell .jp-InputArea-prompt").all_inner_texts()
        assert len(prompts) == len(code), (len(prompts), len(code))
        assert page.locator(".jp-OutputArea-output").count() > 0
        assert page.outside == []
