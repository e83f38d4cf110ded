# SPDX-License-Identifier: Apache-2.0
"""The options of the kernels that are built here."""

from tests.guests.built import missing_options, option_of, override, requested_config


def test_the_option_of_a_line() -> None:
    assert option_of("CONFIG_A=y") == option_of("# CONFIG_A is not set") == "CONFIG_A"
    assert option_of("# CONFIG_A matters, see below") == option_of("") == ""


def test_what_comes_on_top_wins() -> None:
    merged = override(
        "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=y\n", "CONFIG_B=y\n# CONFIG_A is not set\n"
    )
    assert missing_options(merged, "CONFIG_B=y\nCONFIG_C=y\n") == []
    assert missing_options(merged, "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\n") == [
        "# CONFIG_A is not set"
    ]


def test_slob_differs_from_the_patched_kernel_in_its_own_options_only() -> None:
    plain, slob = ({*requested_config(n).splitlines()} for n in ("patched", "patched-slob"))
    assert {line for line in plain ^ slob if option_of(line)} == {
        "CONFIG_SLUB=y",
        "# CONFIG_SLUB is not set",
        "CONFIG_SLOB=y",
        "# CONFIG_SLOB is not set",
        "CONFIG_MEMCG=y",
        "# CONFIG_MEMCG is not set",
    }
