# SPDX-License-Identifier: Apache-2.0
"""The npm packages of the page, kept in the user's cache, and the page's script made with them."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
_BUNDLE = (
    *("--bundle", "--format=esm", "--minify", "--jsx=automatic", "--log-level=warning"),
    *("--loader:.svg=dataurl", "--loader:.png=dataurl", "--loader:.ttf=empty"),
    '--define:process.env.NODE_ENV="production"',
)


class RenderError(Exception):
    """Something is missing or does not work; one line that names the fix."""


def cache_folder() -> Path:
    """Where packages live, by what package-lock.json says: outside of any repository."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:12]
    return base / "hvoscope" / f"render-{lock}"


def installed() -> bool:
    """Whether ``install`` has nothing to do."""
    return (cache_folder() / ".complete").exists()


def install() -> Path:
    """Install packages once (a minute, 650 MB) and return their folder. Raises ``RenderError``."""
    folder = cache_folder()
    if not installed():
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=folder)
        (folder / ".complete").touch()
    return folder


def build(site: Path) -> None:
    """Make the page in ``site``. Raises ``RenderError``."""
    folder = install()
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
    """Put our sources beside the packages, where they find them."""
    shutil.copytree(HERE / "src", folder / "src", dirs_exist_ok=True)
    shutil.copy(HERE / "tsconfig.json", folder)


def run(program: str, *arguments: str, folder: Path) -> str:
    """Run a program there and return what it said. Raises ``RenderError`` with its last words."""
    found = shutil.which(program) or folder / program
    if not Path(found).exists():
        raise RenderError(f"there is no {program} here: apt-get install nodejs npm")
    done = subprocess.run(
        [str(found), *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        raise RenderError(f"{program} {arguments[0]} failed: {said[-2000:]}")
    return done.stdout
