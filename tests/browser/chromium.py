"Chromium by Playwright: found on the machine, never downloaded by Playwright."
from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
PHONE, DESKTOP = dict(width=390, height=844), dict(width=1400, height=1000)


def find_chromium() -> str | None: return next(filter(None, map(shutil.which, NAMES)), None)


def install_chromium() -> str:
    "As root on Debian, install Chromium and a Japanese font; gives the reason when that is not possible."
    if not hasattr(os, "geteuid") or os.geteuid() != 0: return " (and not root, so it cannot be installed here)"
    if shutil.which("apt-get") is None: return " (and no apt-get to install it)"
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "-qq", "update"], ["apt-get", "-qq", "install", "-y", "--no-install-recommends", "chromium", "fonts-ipafont-gothic"]):
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=env, stdin=subprocess.DEVNULL)
        if done.returncode: return f" ({' '.join(command[:3])} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]})"
    return ""


@contextmanager
def chromium():
    "A headless browser."
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        b = p.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        try: yield b
        finally: b.close()


@contextmanager
def opened(browser, url: str, size: dict = DESKTOP, wait: str = "load"):
    "A page with `.outside`, the addresses it asked for beyond this machine, and `.problems`, what its console complained about."
    context = browser.new_context(viewport=size, has_touch=size is PHONE, is_mobile=size is PHONE)
    page = context.new_page()
    page.outside, page.problems = [], []
    local = ("file:", "data:", "blob:", "about:", "http://127.0.0.1:", "ws://127.0.0.1:")
    page.on("request", lambda r: None if r.url.startswith(local) else page.outside.append(r.url))
    page.on("pageerror", lambda e: page.problems.append(str(e)))
    try:
        page.goto(url, wait_until=wait)
        yield page
    finally: context.close()


def overflow(page) -> int:
    "Pixels by which the page is wider than the screen; a phone's window grows with a page that is too wide."
    return page.evaluate("document.documentElement.scrollWidth") - page.viewport_size["width"]


def sticking_out(page) -> list[str]:
    "Elements that reach beyond the screen's right edge and are not inside something that scrolls."
    return page.evaluate("""width => [...document.querySelectorAll('body *')].filter(e => {
        if (e.getBoundingClientRect().right <= width + 1) return false;
        for (let p = e.parentElement; p && p !== document.body; p = p.parentElement)
          if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(p).overflowX)) return false;
        return true;
      }).slice(0, 5).map(e => e.tagName + '.' + e.className + ': ' + (e.textContent || '').slice(0, 40))""", page.viewport_size["width"])


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


@contextmanager
def served(folder: Path):
    "A folder over HTTP on this machine only; gives the address."
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try: yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
