# SPDX-License-Identifier: Apache-2.0
"""Kernel command lines, compared with a C reimplementation of the kernel's next_arg."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from probes.preflight.command_line import is_new_bool, parameters, parse_bool, values_of

NAME = "hugetlb_free_vmemmap"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (f"quiet {NAME}=on", ("on",)),
        (f"{NAME}", (None,)),
        (f"{NAME}=", ("",)),
        (f'{NAME}="on"', ("on",)),
        (f'"{NAME}=on"', ("on",)),
        (f'"{NAME}" ro', (None,)),
        (f'{NAME}="on off" ro', ("on off",)),
        (f'{NAME}="', ("",)),
        (f'{NAME}="on', ("on",)),
        (f'{NAME}=o"n"', ('o"n"',)),
        ("hugetlb-free-vmemmap=on", ("on",)),
        ("hugetlb-free_vmemmap=off", ("off",)),
        (f"{NAME}=on {NAME}=off", ("on", "off")),
        (f"\t{NAME}=on\v", ("on",)),
        (f'dyndbg="file a.c +p; {NAME}=on" quiet', ()),
        (f'"dyndbg=file a.c {NAME}=on" quiet', ()),
        (f"ro -- {NAME}=on", ()),
        (f'ro "--" {NAME}=on', ()),
        (f"ro --- {NAME}=on", ("on",)),
        (f"ro --=1 {NAME}=on", ("on",)),
        (f"x{NAME}=on {NAME}x=on {NAME}.x=on ={NAME}=on", ()),
        (f'open="unclosed quote {NAME}=on', ()),
        (f"{NAME.upper()}=on", ()),
        ("", ()),
    ],
)
def test_values_of_follows_the_kernels_quoting_rules(
    text: str, values: tuple[str | None, ...]
) -> None:
    assert values_of(text, NAME) == values


@pytest.mark.parametrize("name", ["memmap-on-memory", "memmap_on_memory", "memmap-on_memory"])
def test_dashes_of_the_name_that_is_asked_for_equal_underscores(name: str) -> None:
    """parameq (kernel/params.c)."""
    assert values_of("memmap_on_memory=1 memmap-on-memory=0", name) == ("1", "0")


@pytest.mark.parametrize("text", ["1", "y", "Yes", "on", "ON", "one", "1x"])
def test_parse_bool_accepts_what_every_kernel_reads_as_on(text: str) -> None:
    assert parse_bool(text) is True


@pytest.mark.parametrize("text", ["0", "n", "No", "off", "OFF", "of", "0x1"])
def test_parse_bool_accepts_what_every_kernel_reads_as_off(text: str) -> None:
    assert parse_bool(text) is False


@pytest.mark.parametrize("text", ["", "o", "2", "x", "true", "Enable", "f", "disabled"])
def test_parse_bool_rejects_what_only_some_kernels_accept(text: str) -> None:
    assert parse_bool(text) is None
    assert is_new_bool(text) is (text[:1] in tuple("tTeEfFdD"))


# The kernel's rules, implemented per character like next_arg.
ORACLE = r"""
#include <ctype.h>
#include <stdio.h>
#include <string.h>
int main(void)
{
	static char line[1 << 16];
	while (fgets(line, sizeof line, stdin)) {
		char *at = line;
		line[strcspn(line, "\n")] = 0;
		for (;;) {
			char *begin, *value = NULL, *c;
			int inside = 0, whole = 0;
			while (isspace((unsigned char)*at))
				at++;
			if (!*at)
				break;
			if (*at == '"')
				whole = inside = 1, at++;
			for (begin = c = at; *c && (inside || !isspace((unsigned char)*c)); c++) {
				if (*c == '=' && !value && c != begin)
					value = c + 1;
				if (*c == '"')
					inside = !inside;
			}
			at = *c ? c + 1 : c;
			*c = 0;
			if (value) {
				value[-1] = 0;
				if (*value == '"') {
					value++;
					if (c[-1] == '"')
						c[-1] = 0;
				}
			}
			if (whole && c > begin && c[-1] == '"')
				c[-1] = 0;
			if (!value && !strcmp(begin, "--"))
				break;
			printf("[%s]%s%s%s ", begin, value ? "{" : "", value ? value : "", value ? "}" : "");
		}
		puts("");
	}
	return 0;
}
"""


def oracle_output(folder: Path, lines: Sequence[bytes]) -> list[bytes]:
    """Run the oracle on each line."""
    (folder / "oracle.c").write_text(ORACLE)
    subprocess.run(["cc", "-o", folder / "oracle", folder / "oracle.c"], check=True)
    ran = subprocess.run(
        [folder / "oracle"], input=b"\n".join(lines) + b"\n", capture_output=True, check=True
    )
    return ran.stdout.split(b"\n")[:-1]


def formatted(line: str) -> str:
    """Parse a line and format it as the oracle does."""
    return "".join(
        f"[{name}] " if value is None else f"[{name}]{{{value}}} "
        for name, value in parameters(line)
    )


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_random_lines_are_parsed_as_by_the_c_oracle(tmp_path: Path) -> None:
    random = Random(23)  # noqa: S311  # not a secret
    parts = ['"', "=", " ", "--", "a", "b_c", "on", "\t", "\v", "\x1c", "-", NAME]
    lines = ["".join(random.choices(parts, k=random.randint(0, 12))) for _ in range(5_000)]
    expected = oracle_output(tmp_path, [line.encode() for line in lines])
    assert len(expected) == len(lines)
    for line, words in zip(lines, expected, strict=True):
        assert formatted(line) == words.decode(), line
