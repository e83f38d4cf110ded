# SPDX-License-Identifier: Apache-2.0
"""Markdown pages and their examples; ``python -m tests.docs`` updates the outputs they show.

An HTML comment before a block directs the test:

* ``<!-- not run: REASON -->`` before a ``console`` block: it can't be run here.
* ``<!-- file: NAME -->`` before a block of another language: later examples of the page find it.
* ``<!-- data: PATH -->`` before a ``console`` block: its examples find this file of the repository.
"""

import difflib
import doctest
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
_MADE = {"build", "dist", "node_modules", "__pycache__", ".git", ".venv"}


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name not in _MADE and not path.name.endswith((".egg-info", "_cache")):
            yield from _files(path) if path.is_dir() else (path,)


FILES = tuple(str(path.relative_to(ROOT)) for path in _files(ROOT))
"""Every file of the repository, without those that tools make."""
PAGES = tuple(ROOT / name for name in FILES if name.endswith(".md"))
WITH_EXAMPLES = tuple(path for path in PAGES if path.parent in (ROOT, ROOT / "docs"))

_BLOCK = re.compile(
    r"^(?:<!-- (?P<key>[\w ]+): (?P<value>.+?) -->\n\n?)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_CODE_SPAN = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_MATCHING = doctest.ELLIPSIS | doctest.REPORT_UDIFF
_SECONDS = 60


class Block(NamedTuple):
    """A fenced block, and the comment that directs it."""

    language: str
    text: str
    key: str = ""
    value: str = ""


class Example(NamedTuple):
    """One command of a ``console`` block, and the output that the page shows."""

    command: str
    output: str


def blocks(page: str) -> Iterator[Block]:
    """Fenced blocks of a page, in order."""
    for found in _BLOCK.finditer(page):
        yield Block(found["language"], found["text"], found["key"] or "", found["value"] or "")


def prose(page: str) -> str:
    """The page without blocks, comments and code spans."""
    return _CODE_SPAN.sub("", _COMMENT.sub("", _FENCED.sub("", page)))


def code_spans(page: str) -> list[str]:
    """What stands in backticks outside of blocks."""
    return [found[2] for found in _CODE_SPAN.finditer(_COMMENT.sub("", _FENCED.sub("", page)))]


def examples(block: Block) -> Iterator[Example]:
    """The commands of a ``console`` block."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield Example(command, output)


def runs(page: str, folder: Path) -> Iterator[tuple[Example, str]]:
    """Run the page's examples in ``folder``, in order: each with its real output."""
    for block in blocks(page):
        if block.key == "file":
            (folder / block.value).write_text(block.text)
        elif block.language == "console" and block.key != "not run":
            if block.key == "data":
                shutil.copy(ROOT / block.value, folder)
            for example in examples(block):
                yield example, _output(example.command, folder)


def difference(example: Example, got: str) -> str:
    """How the real output differs from the page's; empty where it matches."""
    checker = doctest.OutputChecker()
    if checker.check_output(example.output, got, _MATCHING):
        return ""
    lines = difflib.unified_diff(
        example.output.splitlines(), got.splitlines(), "the page", "the command", lineterm=""
    )
    return "\n".join([f"$ {example.command}", *lines])


def _output(command: str, folder: Path) -> str:
    """Standard output and error as a terminal shows them, without spaces at the end of lines."""
    ours = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    ran = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=os.environ | ours,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    return "".join(f"{line.rstrip()}\n" for line in ran.stdout.splitlines())


def updated(page: str, folder: Path) -> str:
    """The page with the real output of every example that differs."""
    for example, got in runs(page, folder):
        if difference(example, got):
            before = f"$ {example.command}\n{example.output}"
            page = page.replace(before, f"$ {example.command}\n{got}", 1)
    return page


if __name__ == "__main__":
    for path in WITH_EXAMPLES:
        with tempfile.TemporaryDirectory(prefix="hvoscope-docs-") as temporary:
            text = path.read_text()
            if (new := updated(text, Path(temporary))) != text:
                path.write_text(new)
                sys.stdout.write(f"{path.relative_to(ROOT)}\n")
