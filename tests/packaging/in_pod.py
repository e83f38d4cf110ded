# SPDX-License-Identifier: Apache-2.0
"""Runs the exporter with a manifest's arguments in a network namespace, without any capability.

``unshare --net python -m tests.packaging.in_pod PATHS ARGUMENT...`` prints a JSON object: for each
of the comma-separated paths the status and body that a client in the pod's network gets.
"""

import fcntl
import json
import socket
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from exporter.cli.web_options import DEFAULT_ADDRESS

# linux/sockios.h, linux/if.h
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_LISTENING = " INFO listening on "
_NO_CAPABILITY = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))


def _get(path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{DEFAULT_ADDRESS}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def main() -> None:
    """Start, ask, stop."""
    paths, arguments = sys.argv[1].split(","), sys.argv[2:]
    _loopback_up()
    hvoscope = str(Path(sys.executable).with_name("hvoscope"))
    command = [*_NO_CAPABILITY, hvoscope, *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if _LISTENING in line:
                break
        else:
            sys.exit("".join(said))
        answers = {path: _get(path) for path in paths}
        process.terminate()
        process.communicate()
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main()
