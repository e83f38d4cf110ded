# SPDX-License-Identifier: Apache-2.0
"""What the pages say is so: examples, links, files, targets, words."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs import (
    FILES,
    PAGES,
    ROOT,
    WITH_EXAMPLES,
    blocks,
    code_spans,
    difference,
    prose,
    runs,
)

README = ROOT / "README.md"
BOARDS = tuple((ROOT / "dashboards/json").glob("*.json"))
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]

WORDS = (
    *(r"the seed(?! of (?:a|the) (?:run|simulation))", r"the patch's seed", r"seed's"),
    *(r"legs?", r"parcels?", r"heaps?", r"losses", r"books", r"out of sight"),
    *(r"whoever(?:'s)?", r"nobody(?:'s)?", r"anew", r"of so long", r"the way back"),
    r"(?<!there )(?:is|are|was|were) no (?!longer|more|less|later)",
    *(r"the machine answers", r"mend(?:s|ed|ing)?", r"promised"),
    *(r"in the midst of", r"where there is to be any"),
    *(r"the kernel's steps?", r"semantic steps?"),
)
"""Words with a plainer one in their stead. ``step`` alone is a scenario's."""
PLAN = r"plan(?:s|ned|ning)?"
"""Of hooks. The savings calculator alone is called that, and has its page."""

MODULE = re.compile(r"python -m ((?:tests|dashboards|exporter|probes|sim_backend)(?:\.\w+)*)")
TARGET = re.compile(r"\bmake ((?!bench ONLY)[a-z][a-z-]*)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(r"(?:[\w.*-]+/)+[\w.*-]*")
FILE = re.compile(r"[\w.-]+\.(?:py|md|c|h|toml|yml|json|sh|service|socket|svg|png|prom|tsx?)")
PANELS = re.compile(r"dashboard[,:]\s+((?:\*[^*]+\*(?:,\s+|\s+and\s+)?)+)")
NAME_IN_FILE = re.compile(r"`(\w+)`\s+(?:of|in)\s+`([\w./-]+\.\w+)`")

pages = pytest.mark.parametrize("page", PAGES, ids=NAMES)


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda path: path.name)
def test_examples_show_the_real_output(page: Path, tmp_path: Path) -> None:
    wrong = [text for run in runs(page.read_text(), tmp_path) if (text := difference(*run))]
    assert not wrong, "\n\n".join([*wrong, "python -m tests.docs updates them"])


def test_most_examples_are_run() -> None:
    shown = [block for page in WITH_EXAMPLES for block in blocks(page.read_text())]
    consoles = [block for block in shown if block.language == "console"]
    assert len([block for block in consoles if block.key != "not run"]) > len(consoles) / 2


def test_a_wrong_output_is_noticed(tmp_path: Path) -> None:
    page = "```console\n$ echo 23; echo 509 >&2\n23\n507\n```\n"
    (run,) = runs(page, tmp_path)
    assert difference(*run).splitlines()[-2:] == ["-507", "+509"]
    (run,) = runs(page.replace("507", "5..."), tmp_path)
    assert difference(*run) == ""


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if not re.match(r"https?://", link):
            target, _, anchor = link.partition("#")
            path = page.parent / target if target else page
            assert path.exists(), link
            assert not anchor or anchor in anchors(path), link


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_named_files_exist(page: Path) -> None:
    text = page.read_text()
    made = {block.value for block in blocks(text) if block.key == "file"}
    tops = {path.split("/")[0] for path in FILES}
    for span in code_spans(text):
        if PATH.fullmatch(span) and span.split("/")[0] in tops:
            assert list(ROOT.glob(span.rstrip("/"))), span
        elif FILE.fullmatch(span) and span not in made:
            assert any(path.split("/")[-1] == span for path in FILES), span


@pages
def test_named_things_are_in_their_files(page: Path) -> None:
    for name, path in NAME_IN_FILE.findall(page.read_text()):
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text()), f"{name} of {path}"


@pages
def test_make_targets_and_modules_exist(page: Path) -> None:
    text = page.read_text()
    code = "\n".join([*code_spans(text), *(block.text for block in blocks(text))])
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in TARGET.findall(code):
        assert target in targets, f"make {target}"
    for module in MODULE.findall(code):
        spec = find_spec(module)
        assert spec is not None, module
        assert not spec.submodule_search_locations or find_spec(f"{module}.__main__"), module


@pages
def test_named_panels_exist(page: Path) -> None:
    titles = re.findall(r'"title": "(.+)"', "".join(path.read_text() for path in BOARDS))
    for panels in PANELS.findall(page.read_text()):
        for panel in re.findall(r"\*([^*]+)\*", panels):
            assert re.sub(r"\s+", " ", panel) in titles, panel


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 150


def test_every_page_can_be_found_from_the_readme() -> None:
    linked = set(LINK.findall(README.read_text()))
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= linked


@pages
def test_words_are_the_fields(page: Path) -> None:
    text = re.sub(r"\S+\.md\b", "", prose(page.read_text()))
    words = WORDS if page.name == "plan.md" else (*WORDS, PLAN)
    found = re.findall(rf"\b(?:{'|'.join(words)})\b", text, re.IGNORECASE)
    assert found == []
