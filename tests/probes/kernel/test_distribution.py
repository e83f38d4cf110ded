# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from probes.kernel.distribution import install_bcc, install_headers


def os_release(root: Path, text: str) -> Path:
    path = root / "etc/os-release"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


NO_PACKAGES = (
    "run hvoscope in a container with BCC and these kernel headers, or load programs from "
    "`hvoscope compile`"
)


@pytest.mark.parametrize(
    ("text", "release", "bcc", "headers"),
    [
        (
            'NAME="Linux Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"\n',
            "6.8.0-45-generic",
            "apt install python3-bpfcc",
            "apt install linux-headers-6.8.0-45-generic",
        ),
        (
            "ID=debian\n",
            "6.14.11-4-pve",
            "apt install python3-bpfcc",
            "apt install proxmox-headers-6.14.11-4-pve",
        ),
        (
            'ID="rhel"\nID_LIKE="fedora"\n',
            "5.14.0-570.12.1.el9_6.x86_64+rt",
            "dnf install python3-bcc",
            "dnf install 'kernel-devel-uname-r = 5.14.0-570.12.1.el9_6.x86_64+rt'",
        ),
        (
            'ID="rocky"\nID_LIKE="rhel centos fedora"\n',
            "6.17.8-1.el9.elrepo.x86_64",
            "dnf install python3-bcc",
            "dnf install 'kernel-devel-uname-r = 6.17.8-1.el9.elrepo.x86_64'",
        ),
        (
            'ID="ol"\nID_LIKE="fedora"\n',
            "5.15.0-206.el9uek.x86_64",
            "dnf install python3-bcc",
            "dnf install kernel-uek-devel-5.15.0-206.el9uek.x86_64",
        ),
        (
            "ID='opensuse-tumbleweed'\nID_LIKE='opensuse suse'\n",
            "6.12.60-1-longterm",
            "zypper install python3-bcc",
            "zypper install kernel-longterm-devel=6.12.60-1",
        ),
        (
            'ID="sles"\nID_LIKE="suse"\n',
            "6.12.0",
            "zypper install python3-bcc",
            "zypper install kernel-default-devel",
        ),
        (
            "ID=manjaro\nID_LIKE=arch\n",
            "6.6.46-1-lts",
            "pacman -S python-bcc",
            "pacman -S linux-lts-headers",
        ),
        (
            "ID=arch\n",
            "6.12.57-rt14-1-rt-lts",
            "pacman -S python-bcc",
            "pacman -S linux-rt-lts-headers",
        ),
        (
            "ID=alpine\n",
            "6.6.47-0-virt",
            "apk add py3-bcc",
            "apk add linux-virt-dev",
        ),
        # The rest of /usr is read-only here.
        (
            "ID=fedora\nVERSION_ID=43\nVARIANT_ID=coreos\nOSTREE_VERSION='43.20251101.3.0'\n",
            "6.17.8-300.fc43.x86_64",
            "rpm-ostree install python3-bcc, then reboot",
            "rpm-ostree install kernel-devel-6.17.8-300.fc43.x86_64, then reboot",
        ),
        (
            'ID="opensuse-microos"\nID_LIKE="suse opensuse opensuse-tumbleweed"\n',
            "6.17.6-1-default",
            "transactional-update pkg install python3-bcc, then reboot",
            "transactional-update pkg install kernel-default-devel=6.17.6-1, then reboot",
        ),
    ],
)
def test_install_commands_of_kernels_and_derivatives(
    tmp_path: Path, text: str, release: str, bcc: str, headers: str
) -> None:
    """The distributions themselves are in tests/probes/distributions.py."""
    path = os_release(tmp_path, text)
    assert (install_bcc(path), install_headers(release, path)) == (bcc, headers)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('NAME="Flatcar Container Linux by Kinvolk"\nID=flatcar\nID_LIKE=coreos\n', "Flatcar C"),
        ('NAME="Talos"\nID=talos\nVERSION_ID=v1.11.5\n', "Talos "),
        ('NAME="Container-Optimized OS"\nID=cos\nVERSION_ID=121\n', "Container-Optimized OS "),
        ("ID=bottlerocket\n", "bottlerocket "),
        ('NAME="Ubuntu Core"\nID=ubuntu-core\n', "Ubuntu Core "),
        (
            'NAME="Red Hat Enterprise Linux CoreOS"\nID="rhcos"\nID_LIKE="rhel fedora"\n',
            "Red Hat Enterprise Linux CoreOS ",
        ),
        (
            'NAME="Red Hat Enterprise Linux CoreOS"\nID="rhel"\nOPENSHIFT_VERSION="4.19"\n',
            "Red Hat Enterprise Linux CoreOS ",
        ),
    ],
)
def test_systems_without_a_package_manager_are_told_so(
    tmp_path: Path, text: str, name: str
) -> None:
    path = os_release(tmp_path, text)
    told = install_bcc(path)
    assert told == install_headers("6.12.0", path)
    assert told.startswith(name)
    assert told.endswith(f"has no package manager: {NO_PACKAGES}")
    assert "\n" not in told


def test_image_mode_is_recognized_without_a_field_in_os_release(tmp_path: Path) -> None:
    path = os_release(tmp_path, 'ID="rhel"\nID_LIKE="centos fedora"\nVERSION_ID="10.0"\n')
    assert install_bcc(path) == "dnf install python3-bcc"
    (tmp_path / "run").mkdir()
    (tmp_path / "run/ostree-booted").touch()
    assert install_bcc(path) == "rpm-ostree install python3-bcc, then reboot"


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


def test_a_missing_os_release_gets_the_debian_and_fedora_commands(tmp_path: Path) -> None:
    told = install_bcc(tmp_path / "etc/os-release")
    assert told == "apt install python3-bpfcc (Fedora: dnf install python3-bcc)"
