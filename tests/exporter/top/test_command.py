# SPDX-License-Identifier: Apache-2.0
"""`hvoscope top` as a process, in a terminal of 80 by 24 and without a terminal."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from tests.probes.preflight_host import machine

HVOSCOPE = [sys.executable, "-c", "from exporter.cli.main import main; main()"]
REPOSITORY = Path(__file__).parents[3]
TIMEOUT_S = 60


class Terminal:
    """The controlling end of a process's terminal."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self._descriptor = descriptor
        self.process = process
        self.output = ""

    def read_until(self, *wanted: str) -> str:
        """Read until all wanted texts have appeared since the last call; return the output."""
        until, came = time.monotonic() + TIMEOUT_S, ""
        while not all(text in came for text in wanted):
            if not select.select([self._descriptor], [], [], until - time.monotonic())[0]:
                raise AssertionError(f"{wanted} not in the output {came[-2000:]!r}")
            came += os.read(self._descriptor, 65536).decode(errors="replace")
        self.output += came
        return came

    def press(self, keys: str) -> None:
        """Send keys as a keyboard does."""
        os.write(self._descriptor, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Resize the window."""
        _resize(self._descriptor, columns, lines)
        self.process.send_signal(signal.SIGWINCH)

    def has_echo(self) -> bool:
        """Tell whether the terminal echoes, as a shell requires."""
        return bool(termios.tcgetattr(self._descriptor)[3] & termios.ECHO)

    def end(self) -> int:
        """Wait for the process while reading its remaining output."""
        self.read_until("\x1b[?1049l")  # back from the alternate screen
        return self.process.wait(TIMEOUT_S)


@contextmanager
def terminal(*arguments: str) -> Iterator[Terminal]:
    """``hvoscope top`` in a terminal of 80 by 24."""
    ours, theirs = pty.openpty()
    _resize(theirs, 80, 24)
    environment = os.environ | {"TERM": "xterm-256color", "PYTHONUTF8": "1"}
    environment = {k: v for k, v in environment.items() if k not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [*HVOSCOPE, "top", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=REPOSITORY,
        env=environment,
        process_group=0,  # Ctrl-Z stops all of it
    ) as process:
        try:
            yield Terminal(ours, process)
        finally:
            process.kill()
            os.close(theirs)
            os.close(ours)


def _resize(descriptor: int, columns: int, lines: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def plain(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HVOSCOPE, "top", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        cwd=REPOSITORY,
    )


def test_keys_on_a_terminal() -> None:
    with terminal("--backend", "sim", "--sim.kernel", "6.7", "--interval", "0.1") as screen:
        screen.read_until("SIMULATED kernel 6.7", "sort: size up", "0:00:01")
        assert not screen.has_echo()
        screen.press("s")
        screen.read_until("sort: node up")
        screen.press("r")
        screen.read_until("sort: node down")
        screen.press("w")
        screen.read_until("latency: 1 min")
        screen.press("p")
        screen.read_until("PAUSED", "resume")
        screen.press("q")
        assert screen.end() == 0
        assert screen.has_echo()
        assert "…" not in screen.output
        assert "Traceback" not in screen.output


def test_ctrl_z_gives_the_terminal_back_until_fg() -> None:
    with terminal("--backend", "sim", "--interval", "5") as screen:
        screen.read_until("help")
        screen.press("\x1a")
        _, status = os.waitpid(screen.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert screen.has_echo()
        screen.read_until("\x1b[?1049l")
        screen.process.send_signal(signal.SIGCONT)
        screen.read_until("\x1b[?1049h", "help")
        assert not screen.has_echo()
        screen.press("q")
        assert screen.end() == 0


def test_a_larger_window_is_filled() -> None:
    with terminal("--backend", "sim", "--interval", "5") as screen:
        assert "vmemmap_remap_range" not in screen.read_until("quit")
        screen.resize(120, 40)
        screen.read_until("vmemmap_remap_range", "CALLS")


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_signal_leaves_the_terminal_as_it_was(how: signal.Signals, code: int) -> None:
    with terminal("--backend", "sim") as screen:
        screen.read_until("quit")
        screen.process.send_signal(how)
        assert screen.end() == code
        assert screen.has_echo()
        assert "Traceback" not in screen.output


def test_a_pipe_gets_lines() -> None:
    ran = plain("--backend", "sim", "--interval", "0.1", "--count", "3")
    assert (ran.returncode, ran.stderr) == (0, "")
    mark, header, *lines = ran.stdout.splitlines()
    assert mark == "# SIMULATED kernel 7.3"
    assert header.split()[:2] == ["TIME", "SECONDS"]
    times = [datetime.strptime(line.split()[0], "%H:%M:%S") for line in lines]
    assert times == sorted(times) or times[0].hour == 23  # midnight
    assert len(lines) == 3
    assert "\x1b" not in ran.stdout


def test_without_probes_the_kernels_state_is_shown(tmp_path: Path) -> None:
    pool = "sys/devices/system/node/node0/hugepages/hugepages-2048kB/{}_hugepages"
    locked = {
        "sys/kernel/security/lockdown": "none integrity [confidentiality]",
        "sys/devices/system/node/online": "0\n",
        pool.format("nr"): "23\n",
        pool.format("free"): "5\n",
    }
    host = machine(tmp_path, locked)
    paths = ("--path.procfs", str(host.proc), "--path.sysfs", str(host.sys))
    ran = plain(*paths, "--interval", "0.1", "--count", "2")
    assert ran.returncode == 0
    (line,) = ran.stderr.splitlines()
    assert line.startswith("hvoscope: no probes attached, showing only the kernel's state: ")
    assert "lockdown" in line
    last = ran.stdout.splitlines()[-1].split()
    assert re.fullmatch(r"\d\d:\d\d:\d\d", last[0])
    assert last[2:] == [*["-"] * 10, "2MB:0=23/5"]


def test_a_closed_pipe_is_not_an_error() -> None:
    command = [*HVOSCOPE, "top", "--backend", "sim", "--interval", "0.1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(TIMEOUT_S) == 0
        assert process.stderr.read() == b""


def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [*HVOSCOPE, "top", "--backend", "sim", "--interval", "0.1"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            cwd=REPOSITORY,
        )
    assert ran.returncode == 1
    assert (
        ran.stderr == "hvoscope: error: can't write to standard output: No space left on device\n"
    )


def test_a_recording_is_played(tmp_path: Path) -> None:
    file = tmp_path / "some.hvot"
    record = [*HVOSCOPE, "record", str(file), "--backend", "sim", "--count", "509"]
    subprocess.run(record, check=True, capture_output=True, timeout=TIMEOUT_S, cwd=REPOSITORY)
    ran = plain("--backend", "replay", "--replay.file", str(file), "--count", "1")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"# replay of {file}: ")
    assert "# SIMULATED kernel 7.3" in ran.stdout


def test_the_daemon_never_loads_the_screen() -> None:
    code = (
        "import sys, exporter.service.daemon; from exporter.cli.main import cli;"
        "cli.get_command(None, 'serve');"
        "print([m for m in sys.modules if m.split('.')[0] == 'rich'])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, cwd=REPOSITORY, check=True
    )
    assert ran.stdout == b"[]\n"


@pytest.mark.parametrize(
    "arguments",
    [("--interval", "0"), ("--count", "0"), ("now",), ("--backend", "replay")],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: tuple[str, ...]) -> None:
    ran = plain(*arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert len(ran.stderr.splitlines()) == 1
