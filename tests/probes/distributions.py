# SPDX-License-Identifier: Apache-2.0
"""Small trees of files, laid out as distributions install them.

``os_release`` has the lines that matter, as each distribution quotes them. docs/service.md has the
sources.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from probes.kernel.host import Host
from tests.probes.preflight_host import config

KCONFIG = "include/linux/kconfig.h"

BCC = {
    "__init__.py": "from .libbcc import lib\n\n\nclass BPF:\n    pass\n",
    # The real one loads libbcc.so.0, which is not here.
    "libbcc.py": (
        "import ctypes as ct\n"
        "lib = ct.CDLL('libc.so.6', use_errno=True)\n"
        "lib.getpid.restype = ct.c_int\n"
    ),
    "table.py": "from .libbcc import lib\n",
}


@dataclass(frozen=True)
class Distribution:
    """Where one release of a distribution has what hvoscope needs; paths are below the root."""

    os_release: str
    release: str
    python: str
    """Folder of Python packages."""
    bcc_version: str
    source: str
    """Real folder of the kernel headers."""
    links: Mapping[str, str]
    """Links below /lib/modules/RELEASE to folders below the root."""
    config: str
    install_bcc: str
    install_headers: str
    others: tuple[str, ...] = field(default=())
    """Further folders of Python packages, without BCC."""

    def lay_out(self, root: Path, *, bcc: bool = True, headers: bool = True) -> Host:
        """Write the tree; return a host that reads it."""
        self._write(root, "usr/lib/os-release", self.os_release)
        (root / "etc").mkdir()
        (root / "etc/os-release").symlink_to("../usr/lib/os-release")
        (root / "lib").symlink_to("usr/lib")
        self._write(root, self.config, config())
        for folder in (self.python, *self.others):
            (root / folder).mkdir(parents=True)
        for name, text in BCC.items() if bcc else ():
            self._write(root, f"{self.python}/bcc/{name}", text)
        if bcc:
            version = f"__version__ = '{self.bcc_version}'\n"
            self._write(root, f"{self.python}/bcc/version.py", version)
        if headers:
            self._write(root, f"{self.source}/{KCONFIG}", "")
        modules = root / "lib/modules" / self.release
        modules.mkdir(parents=True, exist_ok=True)
        for name, to in self.links.items():
            if headers:
                (root / to).mkdir(parents=True, exist_ok=True)
            (modules / name).symlink_to(root / to)
        return Host(
            proc=root / "proc",
            sys=root / "sys",
            modules=root / "lib/modules",
            release=self.release,
            machine="x86_64",
            boot=root / "boot",
            os_release=root / "etc/os-release",
        )

    def _write(self, root: Path, name: str, text: str) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _red_hat(os_release: str, release: str, python: str, version: str) -> Distribution:
    source = f"usr/src/kernels/{release}"
    return Distribution(
        os_release,
        release,
        f"usr/lib/python{python}/site-packages",
        version,
        source,
        {"build": source, "source": source},
        f"usr/lib/modules/{release}/config",
        "dnf install python3-bcc",
        f"dnf install kernel-devel-{release}",
        (f"usr/lib64/python{python}/site-packages",),
    )


def _suse(os_release: str, release: str, python: str, version: str) -> Distribution:
    kernel = release.removesuffix("-default")
    return Distribution(
        os_release,
        release,
        f"usr/lib/python{python}/site-packages",
        version,
        f"usr/src/linux-{kernel}",
        {
            "build": f"usr/src/linux-{kernel}-obj/x86_64/default",
            "source": f"usr/src/linux-{kernel}",
        },
        f"boot/config-{release}",
        "zypper install python3-bcc",
        f"zypper install kernel-default-devel={kernel}",
        (f"usr/lib64/python{python}/site-packages",),
    )


def _ubuntu(os_release: str, release: str, version: str) -> Distribution:
    source = f"usr/src/linux-headers-{release}"
    return Distribution(
        os_release,
        release,
        "usr/lib/python3/dist-packages",
        version,
        source,
        {"build": source},
        f"boot/config-{release}",
        "apt install python3-bpfcc",
        f"apt install linux-headers-{release}",
    )


DISTRIBUTIONS: Mapping[str, Distribution] = {
    "debian-12": Distribution(
        'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n',
        "6.1.0-56-amd64",
        "usr/lib/python3/dist-packages",
        "0.26.0",
        "usr/src/linux-headers-6.1.0-56-common",
        {
            "build": "usr/src/linux-headers-6.1.0-56-amd64",
            "source": "usr/src/linux-headers-6.1.0-56-common",
        },
        "boot/config-6.1.0-56-amd64",
        "apt install python3-bpfcc",
        "apt install linux-headers-6.1.0-56-amd64",
        ("usr/lib/python3.11/dist-packages",),
    ),
    "ubuntu-22.04": _ubuntu(
        'VERSION_ID="22.04"\nVERSION_CODENAME=jammy\nID=ubuntu\nID_LIKE=debian\n',
        "5.15.0-122-generic",
        "0.18.0",
    ),
    "ubuntu-24.04": _ubuntu(
        'VERSION_ID="24.04"\nVERSION_CODENAME=noble\nID=ubuntu\nID_LIKE=debian\n',
        "6.8.0-45-generic",
        "0.29.1",
    ),
    "fedora-43": _red_hat(
        'NAME="Fedora Linux"\nID=fedora\nVERSION_ID=43\nVARIANT_ID=server\n',
        "6.17.8-300.fc43.x86_64",
        "3.14",
        "0.35.0",
    ),
    "rhel-9": _red_hat(
        'NAME="Red Hat Enterprise Linux"\nID="rhel"\nID_LIKE="fedora"\nVERSION_ID="9.6"\n',
        "5.14.0-570.12.1.el9_6.x86_64",
        "3.9",
        "0.32.0",
    ),
    "rhel-10": _red_hat(
        'NAME="Red Hat Enterprise Linux"\nID="rhel"\nID_LIKE="centos fedora"\nVERSION_ID="10.0"\n',
        "6.12.0-55.9.1.el10_0.x86_64",
        "3.12",
        "0.32.0",
    ),
    "almalinux-9": _red_hat(
        'NAME="AlmaLinux"\nID="almalinux"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.6"\n',
        "5.14.0-570.12.1.el9_6.x86_64",
        "3.9",
        "0.32.0",
    ),
    "rocky-10": _red_hat(
        'NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="10.0"\n',
        "6.12.0-55.9.1.el10_0.x86_64",
        "3.12",
        "0.32.0",
    ),
    "centos-stream-9": _red_hat(
        'NAME="CentOS Stream"\nID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="9"\n',
        "5.14.0-600.el9.x86_64",
        "3.9",
        "0.32.0",
    ),
    "opensuse-leap-15.6": _suse(
        'ID="opensuse-leap"\nID_LIKE="suse opensuse"\nVERSION_ID="15.6"\n',
        "6.4.0-150600.23.17-default",
        "3.6",
        "0.29.1",
    ),
    "opensuse-tumbleweed": _suse(
        'ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n# VERSION="20251101"\n',
        "6.17.6-1-default",
        "3.13",
        "0.35.0",
    ),
    "sles-15": _suse(
        'ID="sles"\nID_LIKE="suse"\nVERSION_ID="15.6"\n',
        "6.4.0-150600.23.17-default",
        "3.6",
        "0.29.1",
    ),
    "arch": Distribution(
        'NAME="Arch Linux"\nID=arch\nBUILD_ID=rolling\n',
        "6.17.8-arch1-1",
        "usr/lib/python3.14/site-packages",
        "0.36.1",
        "usr/lib/modules/6.17.8-arch1-1/build",
        {},
        "usr/lib/modules/6.17.8-arch1-1/build/.config",
        "pacman -S python-bcc",
        "pacman -S linux-headers",
    ),
}
"""A new distribution also gets a row in docs/service.md."""
