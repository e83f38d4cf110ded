# SPDX-License-Identifier: Apache-2.0
"""The page's npm packages, kept in the user's cache, and its bundle."""

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).parent
_BUNDLE = (
    *("--bundle", "--format=esm", "--minify", "--jsx=automatic", "--log-level=warning"),
    *("--loader:.svg=dataurl", "--loader:.png=dataurl", "--loader:.ttf=empty"),
    '--define:process.env.NODE_ENV="production"',
)


PACKAGES_MB = 650
"""Disk space of the installed packages, in MiB; npm's own cache is not included."""
_REPORT_SECONDS = 5.0

Progress = Callable[[str], object]


class RenderError(Exception):
    """A program is missing or fails; the message is one line with the fix."""


def cache_folder() -> Path:
    """Return the folder of the packages, which depends on package-lock.json's content."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:12]
    return base / "hvoscope" / f"render-{lock}"


def installed() -> bool:
    """Tell whether the packages are installed."""
    return (cache_folder() / ".complete").exists()


def install(progress: Progress | None = None) -> Path:
    """Install packages once (a minute) and return their folder. Raises ``RenderError``.

    ``progress`` is called with a line of text every few seconds.
    """
    folder = cache_folder()
    if not installed():
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        with _reporting(folder, progress):
            run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=folder)
        (folder / ".complete").touch()
    return folder


@contextmanager
def _reporting(folder: Path, progress: Progress | None) -> Iterator[None]:
    """Report the size of ``folder`` while the block runs."""
    ended = threading.Event()

    def report() -> None:
        while progress and not ended.wait(_REPORT_SECONDS):
            progress(f"installing: {_megabytes(folder)} of {PACKAGES_MB} MB")

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _megabytes(folder: Path) -> int:
    """Return the disk space of a folder that changes meanwhile."""
    blocks = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                blocks += (Path(path) / name).lstat().st_blocks
    return blocks * 512 >> 20


def build(site: Path, progress: Progress | None = None) -> None:
    """Build the page in the folder ``site``. Raises ``RenderError``."""
    folder = install(progress)
    with_sources(folder)
    site.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "page.html", site / "index.html")
    esbuild = "node_modules/.bin/esbuild"
    run(esbuild, "src/main.tsx", *_BUNDLE, f"--outfile={site / 'bundle.js'}", folder=folder)
    icons = site / "public/build/img/icons"
    icons.parent.mkdir(parents=True, exist_ok=True)
    if not icons.exists():
        icons.symlink_to(folder / "node_modules/@grafana/ui/dist/public/img/icons")


def with_sources(folder: Path) -> None:
    """Copy our sources next to the packages, so that imports resolve."""
    shutil.copytree(HERE / "src", folder / "src", dirs_exist_ok=True)
    shutil.copy(HERE / "tsconfig.json", folder)


def run(program: str, *arguments: str, folder: Path) -> str:
    """Run a program in ``folder``; return its output. Raises ``RenderError`` with its end."""
    found = shutil.which(program) or folder / program
    if not Path(found).exists():
        raise RenderError(f"{program} is not installed: apt-get install nodejs npm")
    done = subprocess.run(
        [str(found), *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        output = (done.stdout + done.stderr).strip()
        raise RenderError(f"{program} {arguments[0]} failed: {output[-2000:]}")
    return done.stdout
