# SPDX-License-Identifier: Apache-2.0
"""The container image, built by ``make image`` on a base of Debian's packages.

No registry is asked. Base and images are kept in the cache of the test kernels. The storage of
buildah is a temporary folder, so that the machine's own stays as it is.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.guests import tools
from tests.guests.apt import mirror
from tests.guests.cache import Cache, digest
from tests.guests.progress import CommandError, run, say

ROOT = Path(__file__).parents[2]
NAME, NAME_WITH_BCC = "localhost/hvoscope", "localhost/hvoscope-bcc"

_BASE, _SUITE = "localhost/hvoscope-base", "trixie"
_SOURCES = ("probes", "exporter", "sim_backend", "pyproject.toml", "packaging/container")
_SLIM = (
    *("path-exclude=/usr/share/doc/*", "path-include=/usr/share/doc/*/copyright"),
    *("path-exclude=/usr/share/locale/*", "path-exclude=/usr/share/man/*", "force-unsafe-io"),
)
"""As in Debian's slim images."""


@dataclass(frozen=True)
class Image:
    """A built image."""

    name: str
    folder: Path

    @property
    def root(self) -> Path:
        """Its root file system."""
        return self.folder / "root"

    @property
    def archive(self) -> str:
        """It as buildah reads it."""
        return f"oci-archive:{self.folder / 'image.tar'}:{self.name}"

    @property
    def config(self) -> dict[str, Any]:
        """User, entry point, command and so on, by OCI's names."""
        found: dict[str, Any] = json.loads((self.folder / "config.json").read_text())["config"]
        return found


def provide() -> tuple[Image, Image]:
    """The image, and the one with BCC; built if the sources have changed.

    Raises ``UnavailableError`` or ``CommandError``.
    """
    tools.require_all(("buildah", "make", "mmdebstrap"))
    cache = Cache()
    sources = {str(path.relative_to(ROOT)): path.read_text() for path in _files()}
    entry = cache.entry(f"image-{digest(sources=sources)}", lambda into: _build(cache, into))
    return Image(NAME, entry / "default"), Image(NAME_WITH_BCC, entry / "bcc")


@contextmanager
def storage() -> Iterator[dict[str, str]]:
    """An environment in which buildah needs neither overlayfs nor namespaces, and keeps nothing."""
    with tempfile.TemporaryDirectory(prefix="hvo-storage-") as name:
        config = Path(name, "storage.conf")
        folders = f'graphroot = "{name}/graph"\nrunroot = "{name}/run"\n'
        config.write_text(f'[storage]\ndriver = "vfs"\n{folders}')
        own = {"CONTAINERS_STORAGE_CONF": str(config), "BUILDAH_ISOLATION": "chroot"}
        yield {**os.environ, **own}


@contextmanager
def container(image: str, env: dict[str, str]) -> Iterator[str]:
    """The name of a container of an image."""
    name = buildah(env, "from", "--quiet", "--pull-never", image)
    try:
        yield name
    finally:
        buildah(env, "rm", name)


def buildah(env: dict[str, str], *arguments: str | Path) -> str:
    """What a command of buildah prints. Raises ``CalledProcessError``."""
    command = ["buildah", *map(str, arguments)]
    done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def _files() -> Iterator[Path]:
    for source in map(ROOT.joinpath, _SOURCES):
        found = sorted(source.rglob("*")) if source.is_dir() else [source]
        yield from (path for path in found if path.is_file() and path.suffix != ".pyc")


def _build(cache: Cache, into: Path) -> None:
    base = cache.entry(f"base-{_SUITE}", _make_base) / "base.tar"
    with storage() as env:
        with container("scratch", env) as name:
            buildah(env, "add", "--quiet", name, base, "/")
            buildah(env, "commit", "--quiet", name, _BASE)
        _make(env, Image(NAME, into / "default"))
        _make(env, Image(NAME_WITH_BCC, into / "bcc"), "BCC=1")


def _make(env: dict[str, str], image: Image, *options: str) -> None:
    say(f"building the container image {image.name}")
    image.folder.mkdir()
    log = image.folder / "build.log"
    with log.open("wb") as output:
        command = ["make", "image", "BUILDER=buildah", f"BASE={_BASE}", *options]
        built = subprocess.run(
            command, cwd=ROOT, env=env, stdout=output, stderr=output, check=False
        )
    if built.returncode:
        raise CommandError(log.read_text(errors="replace"))
    inspected = json.loads(buildah(env, "inspect", "--type", "image", image.name))
    (image.folder / "config.json").write_text(json.dumps(inspected["OCIv1"]))
    buildah(env, "push", "--quiet", image.name, image.archive)
    with container(image.name, env) as name:
        run("cp", ["cp", "-a", buildah(env, "mount", name), str(image.root)])


def _make_base(into: Path) -> None:
    options = [f"--dpkgopt={option}" for option in _SLIM]
    made = (_SUITE, str(into / "base.tar"), mirror("debian", "HVOSCOPE_DEBIAN_MIRROR"))
    run("mmdebstrap", ["mmdebstrap", "--quiet", "--variant=minbase", *options, *made])
