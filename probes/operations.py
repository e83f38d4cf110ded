# SPDX-License-Identifier: Apache-2.0
"""Operations on hugetlb pools, with one syntax for simulator, scenarios and kernel tests.

``grow 2MB 23``, ``shrink 2MB 23``, ``overcommit 2MB 5``, ``demote 1GB 1``, ``hvo off``, ``hvo on``.
"""

from typing import NamedTuple

from probes.geometry import parse_size, size_label

POOL_VERBS = ("grow", "shrink", "overcommit", "demote")
SWITCH_VERB = "hvo"


class Operation(NamedTuple):
    """One operation. ``size`` (bytes) and ``pages`` (number) are 0 for the switch."""

    verb: str
    size: int = 0
    pages: int = 0
    on: bool = False
    """New state of the switch; used only by ``hvo``."""

    def __str__(self) -> str:
        """Format the operation as ``parse_operation`` reads it."""
        if self.verb == SWITCH_VERB:
            return f"{self.verb} {'on' if self.on else 'off'}"
        return f"{self.verb} {size_label(self.size)} {self.pages}"


def parse_operation(text: str) -> Operation:
    """Parse one operation. Raises ``ValueError`` with the input and what is expected."""
    words = text.split()
    if len(words) == 2 and words[0] == SWITCH_VERB and words[1] in ("on", "off"):
        return Operation(SWITCH_VERB, on=words[1] == "on")
    if len(words) != 3 or words[0] not in POOL_VERBS:
        raise ValueError(
            f"invalid operation {text!r} (expected 'grow 2MB 23', 'shrink 2MB 23', "
            "'overcommit 2MB 5', 'demote 1GB 1', 'hvo on', 'hvo off')"
        )
    if not words[2].isdecimal() or int(words[2]) == 0:
        raise ValueError(
            f"invalid operation {text!r}: invalid count {words[2]!r} (expected a number above 0)"
        )
    try:
        size = parse_size(words[1])
    except ValueError as error:
        raise ValueError(f"invalid operation {text!r}: {error}") from None
    return Operation(words[0], size, int(words[2]))
