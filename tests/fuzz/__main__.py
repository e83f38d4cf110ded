# SPDX-License-Identifier: Apache-2.0
"""Fuzz one parser: ``python -m tests.fuzz TARGET CORPUS [OPTION OF LIBFUZZER]...``.

``CORPUS`` is a folder that gets the valid inputs of the tests, and every input that reaches new
code. ``-runs=N`` or ``-max_total_time=SECONDS`` ends it. An input that breaks a rule is written to
the current folder, with the traceback on stderr. `make fuzz` calls this for every target.
"""

import sys
from pathlib import Path

import atheris

_MODULES = ["exporter", "probes", "h11", "yaml"]
_LIMITS = (
    "-timeout=60",  # seconds of a busy machine
    "-rss_limit_mb=1024",
    "-print_final_stats=1",
    "-len_control=0",
    "-reload=0",  # else inputs are read back and run once more whenever a second has passed
)


def escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def main() -> None:
    with atheris.instrument_imports(include=_MODULES):
        from tests.fuzz.targets import FILE, TARGETS  # noqa: PLC0415 - instrumented by this

    if len(sys.argv) < 3 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz TARGET CORPUS ({', '.join(TARGETS)})")
    target, corpus = TARGETS[sys.argv[1]], Path(sys.argv[2])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, good in enumerate(target.corpus):
        (corpus / f"valid-{number}").write_bytes(good)
    words = FILE.with_suffix(".words")
    words.write_text("".join(f'"{escaped(word)}"\n' for word in target.words))
    limits = [*_LIMITS, f"-dict={words}"] if target.words else _LIMITS
    arguments = [sys.argv[0], *limits, *sys.argv[3:], str(corpus)]

    def check(data: bytes) -> None:
        target.check(data)

    atheris.Setup(arguments, check)
    atheris.Fuzz()  # ends the process


if __name__ == "__main__":
    main()
