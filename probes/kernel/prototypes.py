# SPDX-License-Identifier: Apache-2.0
"""What may be read at a kernel function: its prototype, as BTF has it, decides.

A register of a void function holds whatever was left there, and a parameter that came or went moves
all behind it. So nothing is read that the prototype does not name.
"""

from collections.abc import Set

from probes.kernel.btf import Btf, Prototype

Parameters = tuple[Set[str], ...]
"""Of each parameter, from the first on, what it may be (``btf.Prototype``)."""


def unexpected(btf: Btf, symbol: str, expected: Parameters, *, void: bool) -> str:
    """Why a function is not the one that is expected, one line; empty when it is, or unknown.

    ``void``: it must not return anything.
    """
    prototype = _prototype(btf, symbol)
    if prototype is None:
        return ""
    given = prototype.parameters[: len(expected)]
    fits = all(one in allowed for one, allowed in zip(given, expected, strict=False))
    if len(given) < len(expected) or not fits:
        wanted = ", ".join("|".join(sorted(allowed)) for allowed in expected)
        has = ", ".join(prototype.parameters)
        return f"{symbol} takes other parameters than expected: ({has}), not ({wanted})"
    if void and prototype.returns:
        return f"{symbol} returns a value, so that its entry does not tell what it did"
    return ""


def returns_value(btf: Btf, symbol: str, *, otherwise: bool) -> bool:
    """Whether a function returns a value; ``otherwise`` where BTF does not describe it."""
    prototype = _prototype(btf, symbol)
    return otherwise if prototype is None else prototype.returns


def _prototype(btf: Btf, symbol: str) -> Prototype | None:
    """Of the function, or of the one that a compiler made this variant of (``.part.0``)."""
    for name in (symbol, symbol.partition(".")[0]):
        try:
            return btf.prototype(name)
        except KeyError:
            continue
    return None
