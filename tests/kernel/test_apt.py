# SPDX-License-Identifier: Apache-2.0
"""What is read from apt's answers, and what is said when a package is missing."""

from __future__ import annotations

import pytest

from tests.kernel import legs, tools
from tests.kernel.apt import Apt, Suite, dependencies, pick_mirror
from tests.kernel.cache import Cache
from tests.kernel.debian import packages
from tests.kernel.progress import UnavailableError


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

    def depends(self, package: str) -> list[str]:
        return self._table[package]


def test_packages_of_one_image() -> None:
    apt = _FakeApt(
        {
            "linux-image-cloud-amd64": ["linux-image-6-cloud"],
            "linux-headers-cloud-amd64": ["linux-headers-6-cloud"],
            "linux-image-6-cloud": ["kmod", "linux-base"],
            "linux-headers-6-cloud": ["linux-headers-6-common", "linux-kbuild-6", "gcc-12"],
            "linux-headers-6-common": [],
        }
    )
    assert packages(apt) == [
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
    assert set(packages(apt)) == {
        f"linux-{part}-7-cloud" for part in ("image", "base", "binary", "modules", "headers")
    }


def test_without_root_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        tools, "_TOOLS", {"there": ("a", ("sh",)), "gone": ("some-package", ("?",))}
    )
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert tools.missing_packages(("there", "gone")) == ["some-package"]
    with pytest.raises(UnavailableError, match=r"missing: some-package \(as root: apt-get install"):
        tools.require_all(("there", "gone"))


def test_legs_under_test() -> None:
    assert legs.under_test(environ={}) == ["patched", "debian-6.1", "debian-6.12", "debian-sid"]
    assert legs.under_test(works=False, environ={}) == ["debian-5.10", "patched-slob"]
    assert legs.under_test(environ={"HVOSCOPE_LEGS": "patched,debian-5.10"}) == ["patched"]
    with pytest.raises(ValueError, match=r"unknown legs \['nothing'\]"):
        legs.under_test(environ={"HVOSCOPE_LEGS": "patched,nothing"})


def test_a_leg_passes_its_boot_parameters_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def provide(*args: object) -> object:
        seen.extend(args)
        return args

    suite = Suite("x")
    leg = legs.Leg("about", suite, provide, "hugepages=4")  # type: ignore[arg-type]
    monkeypatch.setitem(legs.LEGS, "mine", leg)
    cache = Cache.__new__(Cache)
    legs.provide("mine", cache)
    assert seen == ["mine", suite, cache, "hugepages=4"]
