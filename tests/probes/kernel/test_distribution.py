# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from probes.kernel.distribution import install_bcc, install_headers


def os_release(root: Path, text: str) -> Path:
    path = root / "etc/os-release"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "release", "bcc", "headers"),
    [
        (
            "ID=debian\n",
            "6.1.0-56-cloud-amd64",
            "apt install python3-bpfcc",
            "apt install linux-headers-6.1.0-56-cloud-amd64",
        ),
        (
            'NAME="Linux Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"\n',
            "6.8.0-45-generic",
            "apt install python3-bpfcc",
            "apt install linux-headers-6.8.0-45-generic",
        ),
        (
            "ID=fedora\n",
            "6.10.3-200.fc40.x86_64",
            "dnf install python3-bcc",
            "dnf install kernel-devel-6.10.3-200.fc40.x86_64",
        ),
        (
            'ID="rocky"\nID_LIKE="rhel centos fedora"\n',
            "5.14.0-427.el9.x86_64",
            "dnf install python3-bcc",
            "dnf install kernel-devel-5.14.0-427.el9.x86_64",
        ),
        (
            'ID="ol"\nID_LIKE="fedora"\n',
            "5.15.0-206.el9uek.x86_64",
            "dnf install python3-bcc",
            "dnf install kernel-uek-devel-5.15.0-206.el9uek.x86_64",
        ),
        (
            'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n',
            "6.4.0-150600.23.17-default",
            "zypper install python3-bcc",
            "zypper install kernel-default-devel",
        ),
        (
            "ID=arch\n",
            "6.10.5-arch1-1",
            "pacman -S python-bcc",
            "pacman -S linux-headers",
        ),
        (
            "ID=manjaro\nID_LIKE=arch\n",
            "6.6.46-1-lts",
            "pacman -S python-bcc",
            "pacman -S linux-lts-headers",
        ),
        (
            "ID=alpine\n",
            "6.6.47-0-virt",
            "apk add py3-bcc",
            "apk add linux-virt-dev",
        ),
    ],
)
def test_install_commands_of_each_distribution_family(
    tmp_path: Path, text: str, release: str, bcc: str, headers: str
) -> None:
    path = os_release(tmp_path, text)
    assert (install_bcc(path), install_headers(release, path)) == (bcc, headers)


@pytest.mark.parametrize("text", ["", "ID=gentoo\n", "#ID=fedora\n", 'ID="fedora\n', "garbage\n"])
def test_an_unknown_distribution_gets_the_debian_and_fedora_commands(
    tmp_path: Path, text: str
) -> None:
    path = os_release(tmp_path, text)
    assert install_bcc(path) == "apt install python3-bpfcc (Fedora: dnf install python3-bcc)"
    assert install_headers("1", path).startswith("apt install linux-headers-1 (Fedora: ")


def test_os_release_in_usr_lib_is_the_fallback(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/os-release").write_text("ID=arch\n")
    assert install_bcc(tmp_path / "etc/os-release") == "pacman -S python-bcc"
