# SPDX-License-Identifier: Apache-2.0
"""What is read from apt's answers, and what is said when a package is missing."""

from __future__ import annotations

import pytest

from tests.guests import kernel_matrix, tools
from tests.guests.apt import Apt, dependencies, newest_version, pick_mirror
from tests.guests.cache import Cache
from tests.guests.debian import choose, packages
from tests.guests.progress import UnavailableError


def test_mirror_is_told_by_its_path() -> None:
    addresses = ["http://a.test/tools/", "http://b.test/x/debian-security", "http://b.test/debian/"]
    assert pick_mirror("debian", addresses) == "http://b.test/debian/"
    assert pick_mirror("debian-security", addresses) == "http://b.test/x/debian-security"
    assert pick_mirror("ubuntu", addresses) is None


def test_dependencies_without_versions_and_alternatives() -> None:
    field = "kmod, linux-base (>= 4.3~), linux-image-1 (= 2) | linux-image-1-unsigned"
    assert dependencies(field) == ["kmod", "linux-base", "linux-image-1"]
    assert dependencies("") == []


class _FakeApt(Apt):
    """Packages of a suite that need no download."""

    def __init__(self, table: dict[str, list[str]]) -> None:
        self._table = table

    def names(self, prefix: str) -> list[str]:
        return [name for name in self._table if name.startswith(prefix)]

    def depends(self, package: str) -> list[str]:
        return self._table[package]


def test_packages_of_one_image() -> None:
    apt = _FakeApt(
        {
            "linux-image-6-cloud": ["kmod", "linux-base"],
            "linux-headers-6-cloud": ["linux-headers-6-common", "linux-kbuild-6", "gcc-12"],
            "linux-headers-6-common": [],
        }
    )
    assert packages(apt, ["linux-image-6-cloud", "linux-headers-6-cloud"]) == [
        "linux-image-6-cloud",
        "linux-headers-6-cloud",
        "linux-headers-6-common",
    ]


def test_packages_of_a_split_image() -> None:
    apt = _FakeApt(
        {
            "linux-image-cloud-amd64": ["linux-image-7-cloud"],
            "linux-headers-cloud-amd64": ["linux-headers-7-cloud"],
            "linux-image-7-cloud": ["linux-base-7-cloud", "linux-binary-7-cloud"],
            "linux-base-7-cloud": [],
            "linux-binary-7-cloud": ["linux-modules-7-cloud", "linux-base-7-cloud"],
            "linux-modules-7-cloud": [],
            "linux-headers-7-cloud": [],
        }
    )
    assert set(packages(apt, ["linux-image-cloud-amd64", "linux-headers-cloud-amd64"])) == {
        f"linux-{part}-7-cloud" for part in ("image", "base", "binary", "modules", "headers")
    }


def test_modules_that_the_suite_no_longer_has_are_left_out() -> None:
    apt = _FakeApt(
        {
            "linux-image-7-cloud": ["linux-binary-7-cloud", "linux-modules-7-cloud"],
            "linux-binary-7-cloud": [],
        }
    )
    assert packages(apt, ["linux-image-7-cloud"]) == ["linux-image-7-cloud", "linux-binary-7-cloud"]


IMAGES = [
    f"linux-image-{release}-{flavour}"
    for flavour in ("amd64", "cloud-amd64", "cloud-amd64-dbg", "cloud-amd64-unsigned")
    for release in (
        *("6.1.0-56", "6.12.9+deb13", "6.12.113+deb13", "6.12.115+deb13", "6.12.115+deb13.1"),
        *("6.120.1+deb14", "7.0.13+deb13"),
    )
]


@pytest.mark.parametrize(
    ("series", "below", "release"),
    [
        ("6.12", "", "6.12.115+deb13.1"),
        ("6.12", "6.12.115", "6.12.113+deb13"),
        ("6.12", "6.12.113", "6.12.9+deb13"),
        ("7.0", "", "7.0.13+deb13"),
    ],
)
def test_the_newest_release_of_a_series(series: str, below: str, release: str) -> None:
    chosen = choose(IMAGES, "cloud-amd64", series, below)
    assert chosen == f"linux-image-{release}-cloud-amd64"


@pytest.mark.parametrize(("series", "below"), [("6.13", ""), ("7.0", "7.0.13"), ("7", "")])
def test_a_series_that_is_not_there_has_no_release(series: str, below: str) -> None:
    assert choose(IMAGES, "cloud-amd64", series, below) == ""


def test_a_release_is_newer_than_its_candidates() -> None:
    versions = ["7.2.13-1", "7.3.4-1~bpo13+1", "7.3~rc7-1~exp1"]
    assert newest_version(versions) == "7.3.4-1~bpo13+1"
    assert newest_version(versions[::2]) == "7.3~rc7-1~exp1"


def test_without_root_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        tools, "_TOOLS", {"there": ("a", ("sh",)), "gone": ("some-package", ("?",))}
    )
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert tools.missing_packages(("there", "gone")) == ["some-package"]
    with pytest.raises(UnavailableError, match=r"missing: some-package \(as root: apt-get install"):
        tools.require_all(("there", "gone"))


ASKED = ["restore-leak", "restore-leak-fixed"]


def test_kernels_under_test() -> None:
    assert set(kernel_matrix.under_test(environ={})) | set(
        kernel_matrix.under_test(works=False, environ={})
    ) == set(kernel_matrix.KERNELS) - set(ASKED)
    assert kernel_matrix.under_test(works=False, environ={}) == ["debian-5.10", "patched-slob"]
    assert kernel_matrix.under_test(environ={"HVOSCOPE_KERNELS": "patched,debian-5.10"}) == [
        "patched"
    ]
    with pytest.raises(ValueError, match=r"unknown test kernels \['nothing'\]"):
        kernel_matrix.under_test(environ={"HVOSCOPE_KERNELS": "patched,nothing"})


def test_kernels_that_are_only_used_by_name() -> None:
    assert not {*kernel_matrix.selected(environ={})} & {*ASKED}
    named = {"HVOSCOPE_KERNELS": ",".join(ASKED)}
    assert kernel_matrix.selected(environ=named) == ASKED
    # Nor by tests that would take any kernel.
    assert kernel_matrix.under_test(environ=named) == []


def test_every_test_runs_on_the_main_kernels_only() -> None:
    assert kernel_matrix.whole(environ={}) == [
        *("v17", "patched", "debian-6.1", "debian-6.12", "debian-sid")
    ]
    assert kernel_matrix.whole(environ={"HVOSCOPE_KERNELS": "patched-no-btf,v17,debian-5.10"}) == [
        "v17"
    ]
    some = {"HVOSCOPE_KERNELS": "debian-6.1,v17,patched-no-btf", "HVOSCOPE_WHOLE": "v17,patched"}
    assert kernel_matrix.whole(environ=some) == ["v17"]
    with pytest.raises(
        ValueError, match=r"HVOSCOPE_WHOLE names unknown test kernels \['nothing'\]"
    ):
        kernel_matrix.whole(environ={"HVOSCOPE_WHOLE": "nothing"})


def test_a_kernel_passes_its_boot_parameters_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    class Made:
        def provide(self, *args: object) -> object:
            seen.extend(args)
            return args

    entry = kernel_matrix.MatrixKernel("about", Made(), "hugepages=4")  # type: ignore[arg-type]
    monkeypatch.setitem(kernel_matrix.KERNELS, "mine", entry)
    cache = Cache.__new__(Cache)
    kernel_matrix.provide("mine", cache)
    assert seen == ["mine", cache, "hugepages=4"]


def test_one_kernel_boots_as_debian_does() -> None:
    stock = [name for name, entry in kernel_matrix.KERNELS.items() if not entry.append]
    assert stock == ["debian-6.12-stock", *ASKED]
