# SPDX-License-Identifier: Apache-2.0
"""Runs in the booted container: uses the installed package as an administrator would, and notes.

``observe.py FOLDER`` writes notes.json there. It judges nothing.
"""

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

UNIT = Path("/lib/systemd/system/hvoscope.service")
UNITS = ("hvoscope.socket", "hvoscope.service")
URL = "http://127.0.0.1:10917"


def run(*command: str) -> dict[str, Any]:
    """Return the output of a command."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return {"code": done.returncode, "out": done.stdout, "err": done.stderr}


def get(path: str) -> tuple[int, str]:
    """Return status and body."""
    try:
        with urllib.request.urlopen(URL + path, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except urllib.error.URLError as error:  # not even a connection
        return 0, str(error)


def show(unit: str) -> dict[str, str]:
    """Return systemd's properties of a unit."""
    wanted = "ActiveState,SubState,MainPID,NRestarts,StatusText,Result"
    lines = run("systemctl", "show", "-p", wanted, unit)["out"].splitlines()
    return dict(line.split("=", 1) for line in lines)


def settled(unit: str, state: str) -> dict[str, str]:
    """Return the unit's properties in that state, or after half a minute in any state."""
    for _ in range(150):
        if show(unit)["ActiveState"] == state:
            break
        time.sleep(0.2)
    return show(unit)


def in_place_of_the_daemon(folder: Path) -> dict[str, Any]:
    """Run inside_unit.py in the unit's sandbox."""
    text = UNIT.read_text()
    for key, value in (
        ("Type", "exec"),
        ("ExecStart", "/usr/bin/python3 /inside_unit.py"),
        ("Restart", "no"),
        ("CacheDirectory", "sandbox"),
    ):
        text = re.sub(rf"^{key}=.*$", f"{key}={value}", text, flags=re.MULTILINE)
    text = re.sub(r"^(Requires|After|Also)=hvoscope.socket$", "", text, flags=re.MULTILINE)
    output = folder / "sandbox.json"
    text = text.replace("[Install]", f"StandardOutput=truncate:{output}\n[Install]")
    Path("/run/systemd/system/sandbox.service").write_text(text)
    run("systemctl", "daemon-reload")
    started = run("systemctl", "start", "sandbox.service")
    settled("sandbox.service", "inactive")
    found: dict[str, Any] = json.loads(output.read_text() or "{}")
    return found | {"started": started}


def files_left() -> list[str]:
    """Return what is called hvoscope in the folders of packages."""
    found = run(
        *("find", "/etc", "/lib/systemd", "/usr", "/var", "-xdev", "-iname", "*hvoscope*"),
        *("-not", "-path", "/var/tmp/systemd-private-*"),  # systemd removes it later
        *("-not", "-path", "/var/cache/man/*"),  # of the manual pages that were read
    )
    return [str(path) for path in found["out"].split()]


def with_the_rpm() -> dict[str, Any]:
    """Use the RPM as an administrator would; the Python packages that it needs are Debian's."""
    # The other package's, where a policy-rc.d keeps its scripts from stopping them.
    run("systemctl", "stop", *UNITS)
    notes: dict[str, Any] = {
        "installed": run("rpm", "--force-debian", "-i", "--nodeps", "/hvoscope.rpm")
    }
    Path("/etc/sysconfig/hvoscope").write_text('ARGS="--backend state"\n')
    run("systemctl", "daemon-reload")  # systemd's own package does this where RPM is at home
    notes["enabled"] = run("systemctl", "enable", "--now", *UNITS)
    notes["started"] = settled("hvoscope.service", "active")
    notes["metrics"], notes["ready"] = get("/metrics"), get("/-/ready")
    notes["journal"] = run("journalctl", "-u", "hvoscope*", "-o", "cat", "-n", "60")["out"]
    notes["verified"] = run("rpm", "--verify", "--nodeps", "hvoscope")
    notes["removed"] = run("rpm", "--force-debian", "-e", "--nodeps", "hvoscope")
    notes["stopped"] = show("hvoscope.service")
    notes["left"] = files_left()
    return notes


def versions() -> dict[str, str]:
    """Return versions of all Python distributions installed by Debian, by lower-case name."""
    return {found.name.lower(): found.version for found in distributions()}


def main() -> None:
    """Take all notes."""
    folder = Path(sys.argv[1])
    notes: dict[str, Any] = {"started": settled("hvoscope.service", "active")}
    notes["versions"] = versions()
    pid = notes["started"]["MainPID"]
    notes["status"] = Path(f"/proc/{pid}/status").read_text()
    notes["oom_score_adj"] = Path(f"/proc/{pid}/oom_score_adj").read_text()
    notes["memory"] = run(
        "systemctl", "show", "-p", "MemoryMax,OOMPolicy,OOMScoreAdjust", "hvoscope.service"
    )
    notes["metrics"], notes["ready"] = get("/metrics"), get("/-/ready")
    notes["sandbox"] = in_place_of_the_daemon(folder)
    for name, command in (
        ("version", ("hvoscope", "--version")),
        ("simulate", ("hvoscope", "simulate", "--op", "grow 2MB 23", "--json")),
        ("bad", ("hvoscope", "simulate", "--op", "grow 2MB none")),
        (
            "complete",
            (
                "bash",
                "-ic",
                "source /usr/share/bash-completion/completions/hvoscope && complete -p hvoscope",
            ),
        ),
        ("verify", ("systemd-analyze", "verify", str(UNIT), str(UNIT.with_suffix(".socket")))),
    ):
        notes[name] = run(*command)
    notes["pages"] = {
        page.name: run("man", "--warnings", "-l", str(page))
        for page in Path("/usr/share/man/man1").glob("hvoscope*")
    }
    run("systemctl", "kill", "--signal=SIGKILL", "hvoscope.service")
    settled("hvoscope.service", "activating")
    notes["restarted"] = settled("hvoscope.service", "active")
    run("systemctl", "reload", "hvoscope.service")
    notes["reloaded"] = settled("hvoscope.service", "active")
    run("systemctl", "stop", "hvoscope.service")
    notes["stopped"] = show("hvoscope.service")
    notes["by_socket"] = get("/metrics")[0]
    notes["by_socket_state"] = settled("hvoscope.service", "active")
    notes["journal"] = run("journalctl", "-u", "hvoscope.service", "-o", "cat")["out"]
    notes["purged"] = run("apt-get", "purge", "-y", "hvoscope")
    notes["left"] = files_left()
    notes["rpm"] = with_the_rpm()
    (folder / "notes.json").write_text(json.dumps(notes))


if __name__ == "__main__":
    main()
