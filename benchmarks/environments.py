"""Environments of tools that pin what crmlab does not: made with uv in the benchmark cache on first use, never committed."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import world

ROOT = Path(__file__).resolve().parent.parent


def python_of(name: str, *packages: str, alone: tuple = ()) -> Path:
    "Python of an environment with these packages; those of `alone` are installed without what they ask for. Raises CalledProcessError when they cannot be had."
    env = world.cache_folder()/"envs"/name
    python = env/("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not (env/".made").exists():
        uv = subprocess.run(["bash", str(ROOT/"scripts/setup.sh"), "--uv"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
        call = lambda *a: subprocess.run([uv, *a], cwd=ROOT, check=True, capture_output=True, text=True)
        env.parent.mkdir(parents=True, exist_ok=True)
        call("venv", "-q", "--clear", "--python", sys.executable, str(env))
        call("pip", "install", "-q", "--python", str(python), *packages)
        if alone: call("pip", "install", "-q", "--no-deps", "--python", str(python), *alone)
        (env/".made").touch()
    return python
