#!/usr/bin/env python3
"""One command for a fresh machine: makes .venv beside this file, installs livecam into it, and runs it.

    python3 start.py                 install, then `livecam run`
    python3 start.py run --help      install, then any livecam verb with its options
    python3 start.py test            install with the test tools, then lint, types, layers and all tests
    python3 start.py test --devices  the same, and the tests on real devices (needs root and Debian packages, which it installs)

Needs Python 3.11 to 3.13 and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
OLDEST, NEWEST = (3, 11), (3, 13)


def fail(text: str) -> None:
    """Ends with one clear line."""
    sys.exit(f"start.py: {text}")


def check_python() -> None:
    """Refuses an interpreter that the dependencies have no builds for."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        found = ".".join(map(str, sys.version_info[:2]))
        fail(f"expected Python 3.11 to 3.13, found {found}; install one of these and start again with it, e.g. python3.12 start.py")


def call(*words: str | Path, env: dict[str, str] | None = None) -> None:
    """Runs a command; its failure ends this script with the command's exit code."""
    code = subprocess.call([str(w) for w in words], cwd=HERE, env=env)
    if code:
        fail(f"{' '.join(str(w) for w in words)!r} ended with exit code {code}; what it printed above says why")


def privileged(*words: str) -> list[str] | None:
    """`words` as root: as they are, or by sudo; None when neither can be had."""
    if os.name == "nt" or not shutil.which(words[0]):
        return None
    if os.geteuid() == 0:
        return list(words)
    return ["sudo", *words] if shutil.which("sudo") else None


def apt_install(*packages: str) -> bool:
    """Installs Debian packages; False where that cannot be done."""
    apt = privileged("apt-get", "install", "-y", "--no-install-recommends", *packages)
    update = privileged("apt-get", "update")
    if apt is None or update is None:
        return False
    print(f"start.py: installing {' '.join(packages)} with apt-get", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.call(update, stdout=subprocess.DEVNULL, env=quiet)
    return subprocess.call(apt, stdout=subprocess.DEVNULL, env=quiet) == 0


def make_venv() -> None:
    """Makes .venv with pip in it. Debian splits that part of Python off into python3-venv, which is then installed."""
    words = [sys.executable, "-m", "venv", str(VENV)]
    if PYTHON.exists() and subprocess.call([str(PYTHON), "-m", "pip", "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
        return
    shutil.rmtree(VENV, ignore_errors=True)
    print("start.py: making .venv", flush=True)
    if subprocess.call(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
        return
    shutil.rmtree(VENV, ignore_errors=True)
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    if not (apt_install(package) or apt_install("python3-venv")) or subprocess.call(words) != 0:
        fail(f"this Python cannot make a virtual environment; install its venv package (sudo apt-get install {package}) and start again")


def install(group: str) -> None:
    """Installs livecam (and a dependency group) when pyproject.toml changed since the last time."""
    mark = VENV / f"installed-{group or 'base'}"
    now = hashlib.sha256((HERE / "pyproject.toml").read_bytes()).hexdigest()
    if mark.exists() and mark.read_text() == now:
        return
    print("start.py: installing livecam and what it needs (some minutes the first time)", flush=True)
    call(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade", "pip>=25.1")
    words = ["--group", group] if group else []
    call(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words, "--editable", ".")
    mark.write_text(now)


def install_optional(*packages: str) -> None:
    """Test tools that the tests can do without (they skip, and say so): tried once for each pyproject.toml, and no failure."""
    mark = VENV / "installed-optional"
    now = hashlib.sha256((HERE / "pyproject.toml").read_bytes()).hexdigest()
    if mark.exists() and mark.read_text() == now:
        return
    words = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    if subprocess.call(words, cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        print(f"start.py: {' '.join(packages)} could not be installed; the tests that need it will be skipped", flush=True)
    mark.write_text(now)


def run_tests(extra: list[str]) -> None:
    """Fetches the model files, then lint, types, layers, tests; device tests when asked for."""
    devices = "--devices" in extra
    extra = [w for w in extra if w != "--devices"]
    install_optional("tensorrt-rtx>=1.3")
    call(PYTHON, "-m", "livecam.cli", "models", "fetch", "--all")
    if devices:
        prepare_devices()
    env = {**os.environ, "LIVECAM_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    call(PYTHON, "-m", "ruff", "check", ".", env=env)
    call(BIN / "lint-imports", env=env)
    call(BIN / "basedpyright", "--level", "error", "--pythonpath", PYTHON, env=env)
    call(PYTHON, "-m", "pytest", *([] if devices else ["-m", "not device"]), *extra, env=env)


def prepare_devices() -> None:
    """Debian packages and the user-mode Linux kernel that the device tests use; what cannot be had is told by the tests that skip."""
    listed = (HERE / "tests/devices/packages.txt").read_text().splitlines()
    packages = [line.split("#")[0].strip() for line in listed]
    if not apt_install(*[p for p in packages if p]):
        print("start.py: the Debian packages of tests/devices/packages.txt could not be installed; their tests will be skipped", flush=True)
    subprocess.call([str(PYTHON), "tests/devices/uml/build.py"], cwd=HERE)


def main(words: list[str]) -> None:
    """Sets up, then runs what is asked for."""
    check_python()
    if words[:1] in (["-h"], ["--help"]):
        print(__doc__)
        return
    make_venv()
    testing = words[:1] == ["test"]
    install("test" if testing else "")
    if testing:
        run_tests(words[1:])
        return
    command = [str(PYTHON), "-m", "livecam.cli", *(words or ["run"])]
    if os.name == "nt":
        sys.exit(subprocess.call(command))
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
