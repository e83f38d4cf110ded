# SPDX-License-Identifier: Apache-2.0
"""Modules imported with all their mutants in them."""

import sys
from collections.abc import Iterator, Sequence
from difflib import unified_diff
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from mutmut.mutation.file_mutation import MutatedFile, mutate_file_contents

from tests.mutants.trampoline import MutantDict

_SOURCE = "from mutmut.mutation.trampoline import"


class Loader(SourceFileLoader):
    """Compiles the mutated source of one module."""

    def __init__(self, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self.mutated: MutatedFile = mutate_file_contents(path, Path(path).read_text())

    def get_code(self, fullname: str) -> CodeType:
        source = self.mutated.code.replace(_SOURCE, "from tests.mutants.trampoline import")
        return compile(source, self.path, "exec", dont_inherit=True)

    def mutants(self) -> Iterator[str]:
        """Names, in the order of the source: ``x_FUNCTION__mutmut_NUMBER``."""
        yield from self.mutated.mutant_names

    def diff(self, mutant: str) -> str:
        """The lines that the mutant changes, with none around them."""
        original, changed = (
            self._lines(name) for name in (f"{function_of(mutant)}__mutmut_orig", mutant)
        )
        lines = list(unified_diff(original, changed, n=0, lineterm=""))[2:]
        return "\n".join(line for line in lines if line[0] != "@" and "__mutmut_" not in line)

    def _lines(self, name: str) -> list[str]:
        span = self.mutated.line_span_by_function_name[name]
        return self.mutated.code.splitlines()[span.start - 1 : span.end]


class Finder(MetaPathFinder):
    """Finds the modules to mutate, before anything else does."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = frozenset(modules)
        self.loaders: dict[str, Loader] = {}

    def install(self) -> None:
        """Come first, also if others have put themselves there since."""
        sys.meta_path[:] = [self, *(finder for finder in sys.meta_path if finder is not self)]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._modules:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            return None
        spec.loader = self.loaders[fullname] = Loader(fullname, spec.origin)
        spec.cached = None
        return spec


def function_of(mutant: str) -> str:
    return mutant.rpartition("__mutmut_")[0]


def readable(mutant: str) -> str:
    """``Reducer.add 3`` for ``xǁReducerǁadd__mutmut_3``."""
    function, _, number = mutant.rpartition("__mutmut_")
    name = function.removeprefix("x_") if function.startswith("x_") else function[2:]
    return f"{name.replace('ǁ', '.')} {number}"


def mutants_of(module: str, function: str) -> MutantDict:
    """The trampoline's table of a function, by the name that mutmut gave it."""
    table: MutantDict = getattr(sys.modules[module], f"mutants_{function}__mutmut")
    return table
