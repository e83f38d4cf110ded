# SPDX-License-Identifier: Apache-2.0
"""Checks of a kernel function's prototype in BTF, which decide what a probe may read there.

After a void function, the return register has an arbitrary value. An added or removed parameter
shifts all later ones. So a probe reads only what the prototype declares.
"""

from collections.abc import Set

from probes.kernel.btf import Btf, Prototype

Parameters = tuple[Set[str], ...]
"""Allowed types of each parameter, from the first on (``btf.Prototype``)."""


def unexpected(btf: Btf, symbol: str, expected: Parameters, *, void: bool) -> str:
    """Why a function does not have the expected prototype, one line; empty if it does.

    Also empty if BTF does not describe the function. ``void`` requires that it returns nothing.
    """
    prototype = _prototype(btf, symbol)
    if prototype is None:
        return ""
    given = prototype.parameters[: len(expected)]
    fits = all(one in allowed for one, allowed in zip(given, expected, strict=False))
    if len(given) < len(expected) or not fits:
        wanted = ", ".join("|".join(sorted(allowed)) for allowed in expected)
        has = ", ".join(prototype.parameters)
        return f"{symbol} has parameters ({has}) (expected ({wanted}))"
    if void and prototype.returns:
        return f"{symbol} returns a value, so it may fail after its entry (expected void)"
    return ""


def returns_value(btf: Btf, symbol: str, *, otherwise: bool) -> bool:
    """Whether a function returns a value; ``otherwise`` if BTF does not describe it."""
    prototype = _prototype(btf, symbol)
    return otherwise if prototype is None else prototype.returns


def _prototype(btf: Btf, symbol: str) -> Prototype | None:
    """Prototype of the function, or of the one that this is a variant of (``.part.0``)."""
    for name in (symbol, symbol.partition(".")[0]):
        try:
            return btf.prototype(name)
        except KeyError:
            continue
    return None
