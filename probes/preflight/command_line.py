# SPDX-License-Identifier: Apache-2.0
"""The kernel's command line, taken apart as the kernel does it, and its booleans.

Sources: next_arg (lib/cmdline.c), parse_args and parameq (kernel/params.c), kstrtobool
(lib/kstrtox.c).
"""

import re
from collections.abc import Iterator

# Blanks between quotes belong to the word; a quote that nothing closes runs to the end. The kernel
# knows no way to write a quote inside of quotes.
_WORD = re.compile(r'(?:[^\s"]|"[^"]*(?:"|\Z))+')

_END = "--"
"""What follows is for init."""

_ON, _OFF = frozenset("yY1"), frozenset("nN0")


def parameters(text: str) -> Iterator[tuple[str, str | None]]:
    """Names and values up to ``--``; None is the value of a word without ``=``."""
    for word in _WORD.findall(text):
        name, value = _name_and_value(word)
        if name == _END and value is None:
            return
        yield name, value


def values_of(text: str, name: str) -> tuple[str | None, ...]:
    """Every value of a parameter, in order. In names ``-`` is ``_``."""
    wanted = name.replace("-", "_")
    return tuple(value for n, value in parameters(text) if n.replace("-", "_") == wanted)


def parse_bool(text: str) -> bool | None:
    """A boolean as every kernel reads it; None where some kernel does not take it as one.

    Only the first letters count. ``true`` and ``false`` came in Linux 6.3, ``enable`` and
    ``disable`` after that.
    """
    if text[:1] in _ON or text[:2].lower() == "on":
        return True
    return False if text[:1] in _OFF or text[:2].lower() == "of" else None


def is_new_bool(text: str) -> bool:
    """Whether newer kernels take it as a boolean and older ones do not."""
    return text[:1].lower() in tuple("tfed")


def _name_and_value(word: str) -> tuple[str, str | None]:
    """Without the quotes around the whole word or around its value."""
    quoted = word.startswith('"')
    body = word[1:] if quoted else word
    equals = body.find("=", 1)  # a word that begins with one has no value
    in_quotes = equals > 0 and body.startswith('"', equals + 1)
    if (quoted or in_quotes) and body.endswith('"'):
        body = body[:-1]
    if equals < 0:
        return body, None
    value = body[equals + 1 :]
    return body[:equals], value[1:] if in_quotes and value else value
