# SPDX-License-Identifier: Apache-2.0
"""Find BCC: the distribution's package, from inside a virtual environment too.

The package index has an unrelated project named bcc (a lattice library); it is never what is
wanted, and never what is returned.
"""

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from probes.kernel.distribution import install_bcc
from probes.kernel.host import OS_RELEASE, read_text

_PYTHON_FOLDER = re.compile(r"python3(?:\.(\d+))?")

_MARK = "libbcc.py"
"""A module that BCC's package has, and the lattice library has not."""


class BccMissingError(ImportError):
    """BCC is not installed, or can't be imported; the message is one line with the fix."""


def distro_folders(root: Path = Path("/")) -> tuple[Path, ...]:
    """Where distributions put Python packages, best first.

    ``/usr/lib/python3/dist-packages`` (Debian), ``/usr/lib/python3.N/site-packages`` (Fedora, RHEL,
    openSUSE, Arch, Alpine), ``/usr/lib64`` too. BCC is pure Python, so that any Python 3 can load
    it; what is this Python's own goes first, then the newest.
    """
    found = []
    for folder in root.glob("usr/lib*/python3*/*-packages"):
        version = _PYTHON_FOLDER.fullmatch(folder.parent.name)
        if version and folder.name in ("dist-packages", "site-packages"):
            minor = int(version[1]) if version[1] else sys.version_info.minor
            found.append((minor != sys.version_info.minor, -minor, str(folder)))
    return tuple(Path(name) for *_, name in sorted(found))


def import_bcc(folder: Path | None = None, os_release: Path = OS_RELEASE) -> ModuleType:
    """Return the BCC module: the one on ``sys.path``, or else the distribution's.

    ``folder`` holds the distribution's packages; without it, all of ``distro_folders`` are tried.
    Raises ``BccMissingError``, whichever way it fails.
    """
    fix = (
        f"install your distribution's package: {install_bcc(os_release)}; it is not on the Python "
        "package index"
    )
    problem = "BCC is not installed"
    for number, package in enumerate(_packages(folder)):
        try:
            return _load(package)
        except BccMissingError as error:
            problem = problem if number else str(error)
    raise BccMissingError(f"{problem}: {fix}")


def find_bcc(folder: Path | None = None) -> bool:
    """Tell whether ``import_bcc`` has something to load, without loading it."""
    return any(True for _ in _packages(folder))


def bcc_version(folder: Path | None = None) -> str:
    """Version of what ``import_bcc`` loads first, unloaded; empty where it can't be read."""
    for package in _packages(folder):
        text = read_text(package / "version.py") or ""
        match = re.search(r"__version__\s*=\s*['\"](\d+\.\d+(?:\.\d+)*)", text)
        return match[1] if match else ""
    return ""


def _packages(folder: Path | None) -> Iterator[Path]:
    """Packages named bcc that are BCC."""
    yield from (place for place in _on_path() if _is_file(place / _MARK))
    if folder is not None:
        if _is_file(folder / "bcc/__init__.py"):
            yield folder / "bcc"
        return
    yield from (place / "bcc" for place in distro_folders() if _is_file(place / "bcc" / _MARK))


def _on_path() -> list[Path]:
    try:
        spec = importlib.util.find_spec("bcc")
    except (ImportError, ValueError):  # ValueError: a module that was made by hand
        return []
    return [Path(place) for place in (spec.submodule_search_locations if spec else None) or ()]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a folder that may not be entered
        return False


def _load(package: Path) -> ModuleType:
    """Load the package alone: putting its folder on sys.path would let all of that in."""
    loaded = sys.modules.get("bcc")
    if loaded is not None and hasattr(loaded, "BPF"):
        return loaded
    _forget("bcc")
    spec = importlib.util.spec_from_file_location(
        "bcc", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    if spec is None or spec.loader is None:
        raise BccMissingError(f"BCC in {package} is broken (no module)")
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # its code runs here: it may raise whatever it likes
        _forget("bcc")
        raise BccMissingError(_why(package, error)) from error
    if not hasattr(module, "BPF"):
        _forget("bcc")
        raise BccMissingError(f"{package} is not BCC, but another project's (it has no BPF)")
    return module


def _why(package: Path, error: BaseException) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    # ctypes has found no such function in the library; glibc and musl say it differently.
    if isinstance(error, AttributeError) and "symbol" in said.lower():
        return (
            f"BCC in {package} is broken: its Python code and libbcc.so.0 are of different "
            f"versions ({said})"
        )
    if not isinstance(error, ImportError | OSError):  # OSError: libbcc.so.0 itself is missing
        said = f"{type(error).__name__}: {said}"
    return f"BCC in {package} is broken ({said})"


def _forget(package: str) -> None:
    for name in [n for n in sys.modules if n == package or n.startswith(package + ".")]:
        del sys.modules[name]
