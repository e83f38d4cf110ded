# SPDX-License-Identifier: Apache-2.0
"""Parse headers of weighted alternatives: Accept, Accept-Encoding (RFC 9110, 12.4 and 12.5).

Each invalid element is ignored, as if the client had not sent it: Java's default Accept,
``text/html, *; q=.2, */*; q=.2``, has two of them.

Why not WebOb, the one maintained parser: it loads a WSGI toolkit into the daemon, rejects a whole
header for one invalid element, and follows RFC 7231, which ends at the weight. The tests use it as
their oracle.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  RFC 9110, 5.6.2
_QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_PARAMETER = re.compile(rf"({_TOKEN})=({_TOKEN}|{_QUOTED})")
# Possessive quantifiers prevent backtracking over blanks between semicolons.
_ELEMENT = re.compile(
    rf"[ \t]*+({_TOKEN}(?:/{_TOKEN})?)((?:[ \t]*+;[ \t]*+(?:{_PARAMETER.pattern})?+)*+)[ \t]*+"
)
_MEMBER = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))++', re.DOTALL)
"""Up to the next comma that is not inside a quoted string."""
_WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


class Alternative(NamedTuple):
    """One element of the list."""

    value: str
    """A media range or a content coding, in lower case."""
    parameters: Mapping[str, str]
    """Values without quotes by lower-case name; the weight is not included."""
    weight: float
    """From 0 (not acceptable) to 1 (the default)."""


def alternatives(header: str) -> Iterator[Alternative]:
    """Yield every valid element, in the client's order."""
    for member in _MEMBER.finditer(header):
        if found := _ELEMENT.fullmatch(member[0]):
            pairs = [(m[1].lower(), m[2]) for m in _PARAMETER.finditer(found[2])]
            parameters = dict(pairs)
            # RFC 9110, 12.5.1: a parameter named q is the weight, in any position.
            weight = parameters.pop("q", "1")
            if len(dict(pairs)) == len(pairs) and _WEIGHT.fullmatch(weight):
                values = {name: _unquoted(value) for name, value in parameters.items()}
                yield Alternative(found[1].lower(), values, float(weight))


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL) if value[0] == '"' else value
