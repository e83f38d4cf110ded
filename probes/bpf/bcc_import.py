# SPDX-License-Identifier: Apache-2.0
"""Import of BCC from the distribution's package, also from inside a virtual environment.

The Python package index has an unrelated project named bcc (a lattice library), which is never
imported.
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

_BCC_MODULE = "libbcc.py"
"""A module of BCC's package that the lattice library does not have."""


class BccMissingError(ImportError):
    """BCC is not installed or can't be imported; the message is one line with the fix."""


def distro_folders(root: Path = Path("/")) -> tuple[Path, ...]:
    """Folders of the distribution's Python packages, preferred ones first.

    ``/usr/lib/python3/dist-packages`` (Debian), ``/usr/lib/python3.N/site-packages`` (Fedora, RHEL,
    openSUSE, Arch, Alpine), and the same below ``/usr/lib64``. BCC is pure Python, so any Python 3
    can load it; folders of the running version come first, then those of the newest.
    """
    found = []
    for folder in root.glob("usr/lib*/python3*/*-packages"):
        version = _PYTHON_FOLDER.fullmatch(folder.parent.name)
        if version and folder.name in ("dist-packages", "site-packages"):
            minor = int(version[1]) if version[1] else sys.version_info.minor
            found.append((minor != sys.version_info.minor, -minor, str(folder)))
    return tuple(Path(name) for *_, name in sorted(found))


def import_bcc(folder: Path | None = None, os_release: Path = OS_RELEASE) -> ModuleType:
    """Import BCC from ``sys.path``, or else from the distribution's packages.

    ``folder`` has the distribution's packages; None tries all of ``distro_folders``. Raises
    ``BccMissingError`` for every failure.
    """
    fix = f"{install_bcc(os_release)} (the Python package index does not have it)"
    problem = "BCC is not installed"
    for number, package in enumerate(_packages(folder)):
        try:
            return _load(package)
        except BccMissingError as error:
            problem = problem if number else str(error)
    raise BccMissingError(f"{problem}: {fix}")


def find_bcc(folder: Path | None = None) -> bool:
    """Whether ``import_bcc`` has a package to load; loads nothing."""
    return any(True for _ in _packages(folder))


def bcc_version(folder: Path | None = None) -> str:
    """Version of the package that ``import_bcc`` tries first; empty if it can't be read."""
    for package in _packages(folder):
        text = read_text(package / "version.py") or ""
        match = re.search(r"__version__\s*=\s*['\"](\d+\.\d+(?:\.\d+)*)", text)
        return match[1] if match else ""
    return ""


def _packages(folder: Path | None) -> Iterator[Path]:
    """Folders of packages named bcc that are BCC."""
    yield from (package for package in _on_path() if _is_file(package / _BCC_MODULE))
    if folder is not None:
        if _is_file(folder / "bcc/__init__.py"):
            yield folder / "bcc"
        return
    packages = (distro / "bcc" for distro in distro_folders())
    yield from (package for package in packages if _is_file(package / _BCC_MODULE))


def _on_path() -> list[Path]:
    try:
        spec = importlib.util.find_spec("bcc")
    except (ImportError, ValueError):  # ValueError: the module was created without a spec
        return []
    return [Path(name) for name in (spec.submodule_search_locations if spec else None) or ()]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no permission for the folder
        return False


def _load(package: Path) -> ModuleType:
    """Load only this package; adding its folder to sys.path would expose all others there."""
    loaded = sys.modules.get("bcc")
    if loaded is not None and hasattr(loaded, "BPF"):
        return loaded
    _unload("bcc")
    spec = importlib.util.spec_from_file_location(
        "bcc", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    if spec is None or spec.loader is None:
        raise BccMissingError(f"BCC in {package} is broken (no module)")
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the package's code runs here: any error is possible
        _unload("bcc")
        raise BccMissingError(_reason(package, error)) from error
    if not hasattr(module, "BPF"):
        _unload("bcc")
        raise BccMissingError(f"{package} is not BCC, but another project (it has no BPF)")
    return module


def _reason(package: Path, error: BaseException) -> str:
    message = " ".join(str(error).split()) or type(error).__name__
    # ctypes did not find a function in the library; glibc and musl report this differently.
    if isinstance(error, AttributeError) and "symbol" in message.lower():
        return (
            f"BCC in {package} is broken: its Python code and libbcc.so.0 are of different "
            f"versions ({message})"
        )
    if not isinstance(error, ImportError | OSError):  # OSError: libbcc.so.0 itself is missing
        message = f"{type(error).__name__}: {message}"
    return f"BCC in {package} is broken ({message})"


def _unload(package: str) -> None:
    for name in [n for n in sys.modules if n == package or n.startswith(package + ".")]:
        del sys.modules[name]
