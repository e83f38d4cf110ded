# SPDX-License-Identifier: Apache-2.0
"""What stands in a mutated module for each function: calls the mutant, or the function as it is."""

from collections.abc import Callable
from functools import wraps
from typing import Any

Function = Callable[..., Any]
MutantDict = dict[str, Function]
"""A function's mutants by name; ``_mutmut_orig`` is itself, ``now`` what is called."""


def wrap_in_trampoline(
    mutants: MutantDict, is_classmethod: bool = False
) -> Callable[[Function], Function]:
    def wrap(function: Function) -> Function:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            chosen = mutants.get("now") or mutants["_mutmut_orig"]
            if is_classmethod:  # found again from the class of this call, which may be a subclass
                return getattr(args[0], chosen.__name__)(*args[1:], **kwargs)
            return chosen(*args, **kwargs)

        return call

    return wrap


def record(mutants: MutantDict, function: str, reached: set[str]) -> None:
    """Add ``function`` to ``reached`` on every call, until ``forget``."""
    original = mutants["_mutmut_orig"]

    @wraps(original)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        reached.add(function)
        return original(*args, **kwargs)

    mutants["now"] = recorded


def forget(mutants: MutantDict) -> None:
    """Call the function as it is, without a record."""
    mutants.pop("now", None)
