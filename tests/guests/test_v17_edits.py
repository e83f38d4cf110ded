# SPDX-License-Identifier: Apache-2.0
"""The lines that patch v17 adds, as they come out of the mail."""

import pytest

from tests.guests.mail import added_blocks
from tests.guests.v17_edits import EDITS, FILES, MAIL

PATCH = """\
+not in a file
diff --git a/a.c b/a.c
--- a/a.c
+++ b/a.c
@@ -1,3 +1,4 @@
context
-removed
+one
+
context

+two
diff --git a/b.c b/b.c
--- a/b.c
+++ b/b.c
+three
--
2.11.0
+not in a file
"""


def test_blocks_of_a_patch() -> None:
    assert added_blocks(PATCH) == {"a.c": ["one\n\n", "two\n"], "b.c": ["three\n"]}


@pytest.mark.parametrize("text", ["", "Hello\n+ there\n", "+++ b/a.c\n-gone\n"])
def test_what_adds_nothing_is_no_patch(text: str) -> None:
    with pytest.raises(ValueError, match="no line is added to any file"):
        added_blocks(text)


def test_every_line_that_the_mail_adds_is_used_and_no_other() -> None:
    blocks = added_blocks(MAIL.read_text())
    lines = [line for file in blocks.values() for block in file for line in block.splitlines()]
    diffstat = 27 + 3 + 1 + 3 + 219 + 20 + 207 - 1  # of the mail; one of 27 is a removed line
    assert len(lines) == diffstat
    used = "".join([*FILES.values(), *(edit.replacement for edit in EDITS)])
    assert not [line for line in lines if line not in used]


def test_new_files_are_whole() -> None:
    assert FILES["mm/hugetlb_vmemmap.c"].count("\n") == 219
    assert FILES["mm/hugetlb_vmemmap.h"].endswith("#endif /* _LINUX_HUGETLB_VMEMMAP_H */\n")
