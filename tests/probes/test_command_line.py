# SPDX-License-Identifier: Apache-2.0
"""Command lines, held against what the kernel's own next_arg makes of them."""

import shutil
import subprocess
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
        (f'open="never closed {NAME}=on', ()),
        (f"{NAME.upper()}=on", ()),
        ("", ()),
    ],
)
def test_what_the_kernel_is_told(text: str, values: tuple[str | None, ...]) -> None:
    assert values_of(text, NAME) == values


@pytest.mark.parametrize("text", ["1", "y", "Yes", "on", "ON", "one", "1x"])
def test_what_every_kernel_takes_for_on(text: str) -> None:
    assert parse_bool(text) is True


@pytest.mark.parametrize("text", ["0", "n", "No", "off", "OFF", "of", "0x1"])
def test_what_every_kernel_takes_for_off(text: str) -> None:
    assert parse_bool(text) is False


@pytest.mark.parametrize("text", ["", "o", "2", "x", "true", "Enable", "f", "disabled"])
def test_what_not_every_kernel_takes(text: str) -> None:
    assert parse_bool(text) is None
    assert is_new_bool(text) is (text[:1] in tuple("tTeEfFdD"))


# The kernel's rules once more, a character at a time as next_arg goes, to compare with.
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


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_any_line_is_read_as_c_reads_it(tmp_path: Path) -> None:
    (tmp_path / "oracle.c").write_text(ORACLE)
    subprocess.run(["cc", "-o", tmp_path / "oracle", tmp_path / "oracle.c"], check=True)
    random = Random(23)  # noqa: S311  # no secret
    parts = ['"', "=", " ", "--", "a", "b_c", "on", "\t", "-", NAME]
    lines = ["".join(random.choices(parts, k=random.randint(0, 12))) for _ in range(20_000)]
    ran = subprocess.run(
        [tmp_path / "oracle"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    for line, said in zip(lines, ran.stdout.split("\n"), strict=False):
        ours = (f"[{n}]" + ("" if v is None else f"{{{v}}}") for n, v in parameters(line))
        assert "".join(f"{word} " for word in ours) == said, line
