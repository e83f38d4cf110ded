# SPDX-License-Identifier: Apache-2.0
"""Find BCC: the distribution's package, from inside a virtual environment too.

The package index has an unrelated project named bcc (a lattice library); it is never what is
wanted, and never what is returned.
"""

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

from probes.host import read_text

DISTRO_PACKAGES = Path("/usr/lib/python3/dist-packages")
"""Where Debian and Ubuntu put python3-bpfcc: pure Python, so that any Python 3 can load it."""

_HOW_TO_INSTALL = (
    "install your distribution's package: apt install python3-bpfcc (Debian, Ubuntu), "
    "dnf install python3-bcc (Fedora, RHEL); it is not on the Python package index"
)


class BccMissingError(ImportError):
    """BCC is not installed; the message says what to install."""


def import_bcc(distro_packages: Path = DISTRO_PACKAGES) -> ModuleType:
    """Return the BCC module. Raises ``BccMissingError``."""
    try:
        module = importlib.import_module("bcc")
    except ImportError:
        pass
    else:
        if hasattr(module, "BPF"):
            return module
        _forget("bcc")
    return _import_from(distro_packages)


def find_bcc(distro_packages: Path = DISTRO_PACKAGES) -> bool:
    """Tell whether ``import_bcc`` has something to load, without loading it."""
    if (distro_packages / "bcc/__init__.py").is_file():
        return True
    spec = importlib.util.find_spec("bcc")
    places = spec.submodule_search_locations if spec else None
    return any((Path(place) / "libbcc.py").is_file() for place in places or ())


def bcc_version(distro_packages: Path = DISTRO_PACKAGES) -> str:
    """Version of what ``find_bcc`` finds, unloaded; empty where it can't be read."""
    spec = importlib.util.find_spec("bcc")
    elsewhere = map(Path, (spec.submodule_search_locations if spec else None) or ())
    for folder in (distro_packages / "bcc", *elsewhere):
        text = read_text(folder / "version.py") or ""
        if match := re.search(r"__version__\s*=\s*['\"](\d+\.\d+(?:\.\d+)*)", text):
            return match[1]
    return ""


def _import_from(folder: Path) -> ModuleType:
    """Load ``folder``/bcc alone: putting the folder on sys.path would let all of it in."""
    package = folder / "bcc"
    init = package / "__init__.py"
    if not init.is_file():
        raise BccMissingError(f"BCC is not installed: {_HOW_TO_INSTALL}")
    spec = importlib.util.spec_from_file_location(
        "bcc", init, submodule_search_locations=[str(package)]
    )
    if spec is None or spec.loader is None:
        raise BccMissingError(f"BCC in {package} can't be imported: {_HOW_TO_INSTALL}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["bcc"] = module
    try:
        spec.loader.exec_module(module)
    except (ImportError, OSError) as error:  # OSError: libbcc.so.0 itself is missing
        _forget("bcc")
        raise BccMissingError(f"BCC in {package} is broken ({error}): {_HOW_TO_INSTALL}") from error
    return module


def _forget(package: str) -> None:
    for name in [n for n in sys.modules if n == package or n.startswith(package + ".")]:
        del sys.modules[name]
