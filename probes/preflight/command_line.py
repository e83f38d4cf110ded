# SPDX-License-Identifier: Apache-2.0
"""Parser of the kernel's command line and its booleans, with the kernel's rules.

Sources: next_arg (lib/cmdline.c), parse_args and parameq (kernel/params.c), kstrtobool
(lib/kstrtox.c).
"""

import re
from collections.abc import Iterator

# Quoted blanks belong to the word; an unclosed quote extends to the end. Quotes can't be escaped.
# The kernel treats fewer characters as blanks than Python does.
_WORD = re.compile(r'(?:[^ \t\n\v\f\r"]|"[^"]*(?:"|\Z))+')

_END = "--"
"""The rest of the line is for init."""

_ON, _OFF = frozenset("yY1"), frozenset("nN0")


def parameters(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield names and values up to ``--``; the value of a word without ``=`` is None."""
    for word in _WORD.findall(text):
        name, value = _name_and_value(word)
        if name == _END and value is None:
            return
        yield name, value


def values_of(text: str, name: str) -> tuple[str | None, ...]:
    """Return all values of a parameter, in order; in names ``-`` equals ``_``."""
    wanted = name.replace("-", "_")
    return tuple(value for n, value in parameters(text) if n.replace("-", "_") == wanted)


def parse_bool(text: str) -> bool | None:
    """Parse a boolean that all kernels accept; None if some kernel does not accept it.

    Only the first letters matter. ``true`` and ``false`` exist since Linux 6.3, ``enable`` and
    ``disable`` since a later version.
    """
    if text[:1] in _ON or text[:2].lower() == "on":
        return True
    return False if text[:1] in _OFF or text[:2].lower() == "of" else None


def is_new_bool(text: str) -> bool:
    """Whether only newer kernels accept the text as a boolean."""
    return text[:1].lower() in tuple("tfed")


def _name_and_value(word: str) -> tuple[str, str | None]:
    """Split a word, without the quotes around the whole word or around its value."""
    quoted = word.startswith('"')
    body = word[1:] if quoted else word
    equals = body.find("=", 1)  # a word that begins with "=" has no value
    in_quotes = equals > 0 and body.startswith('"', equals + 1)
    if (quoted or in_quotes) and body.endswith('"'):
        body = body[:-1]
    if equals < 0:
        return body, None
    value = body[equals + 1 :]
    return body[:equals], value[1:] if in_quotes and value else value
