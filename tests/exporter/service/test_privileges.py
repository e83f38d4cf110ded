# SPDX-License-Identifier: Apache-2.0
"""Dropped privileges can't be regained; tested in a child process."""

import json
import os
import subprocess
import sys
from typing import Any

PROGRAM = """
import json, os, sys
from pathlib import Path
from exporter.service import privileges
try:
    privileges.drop(sys.argv[1])
except privileges.PrivilegeError as error:
    print(json.dumps({"error": str(error)}))
    sys.exit()
status = dict(line.split(":\\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
reader, _ = os.pipe()
names = ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd", "NoNewPrivs", "Uid", "Gid", "Groups")
print(json.dumps({
    **{name: status[name].strip() for name in names},
    "fdinfo": bool(Path(f"/proc/self/fdinfo/{reader}").read_text()),
}))
"""
NONE = "0" * 16
ROOT = os.geteuid() == 0


def after_drop(user: str = "") -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, user], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_no_capability_is_left() -> None:
    found = after_drop()
    assert [found[name] for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")] == [NONE] * 4
    assert found["NoNewPrivs"] == "1"
    assert found["fdinfo"]
    if ROOT:  # only root may empty the bounding set; no_new_privs holds in any case
        assert found["CapBnd"] == NONE


def test_an_unknown_user_is_named() -> None:
    assert "unknown user 'no-such-user'" in after_drop("no-such-user")["error"]


def test_another_user() -> None:
    found = after_drop("nobody")
    if ROOT:
        assert set(found["Uid"].split()) == {"65534"}
        assert (found["Groups"], found["CapEff"]) == ("", NONE)
        assert found["fdinfo"]
    else:
        assert "Operation not permitted" in found["error"]
