# SPDX-License-Identifier: Apache-2.0
"""``python -m dashboards.render``: render the dashboards of the simulated day to PNG files."""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dashboards.boards.build import dashboards
from dashboards.prove.history import END, EVERY, WINDOW, day
from dashboards.prove.prometheus import PrometheusError
from dashboards.render.packages import RenderError, build
from dashboards.render.pictures import NARROW, WIDTH, height_of, picture
from dashboards.render.site import Settings, serving

PICTURES = Path(__file__).parents[1] / "pictures"
SHOWN = "edge-1:10917"
"""The host of the Host dashboard's picture: the one with problems."""


def main() -> int:
    """Return the exit code: 2 if a required program is missing."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.render", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=PICTURES, help="output folder")
    parser.add_argument(
        "--narrow", type=Path, metavar="FOLDER", help="also draw pictures 1024 pixels wide"
    )
    chosen = parser.parse_args()
    folders = {WIDTH: chosen.folder, **({NARROW: chosen.narrow} if chosen.narrow else {})}
    try:
        with tempfile.TemporaryDirectory(prefix="hvoscope-render-") as work:
            draw(folders, Path(work))
    except (OSError, RenderError, PrometheusError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def draw(folders: Mapping[int, Path], work: Path) -> None:
    """Render all dashboards into folders by width; ``work`` is for temporary files."""
    build(work / "site")
    with day(work / "day") as history:
        settings = Settings(history.prometheus.url, END - 4 * EVERY, WINDOW.shown, EVERY)
        with serving(work / "site", settings) as url:
            for width, folder in folders.items():
                folder.mkdir(parents=True, exist_ok=True)
                for model in dashboards().values():
                    path = folder / f"{model['uid']}.png"
                    address = f"{url}?d={model['uid']}&var-instance={SHOWN}"
                    picture(address, height_of(model), path, width)
                    make_smaller(path)
                    print(path)


def make_smaller(path: Path) -> None:
    """Shrink the file to a third, if pngquant is installed (apt-get install pngquant)."""
    if program := shutil.which("pngquant"):
        command = [program, "--speed", "1", "--force", "--output", str(path), "64", str(path)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
