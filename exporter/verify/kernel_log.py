# SPDX-License-Identifier: Apache-2.0
"""Lines of the kernel's log that report a fault, from /dev/kmsg (root)."""

import os
import re
from pathlib import Path

from probes.observation import Absent

_FAULT = re.compile(
    r"\bBUG\b|Bad page|WARNING:|Oops|general protection|list_(add|del) corruption|"
    r"(soft|hard) lockup|hung task|blocked for more than|detected stall"
)
_KERNEL = 0
"""Facility of the kernel's own records; others are written by user space."""
_RECORD_BYTES = 8192
"""Longest record (PRINTKRB_RECORD_MAX, kernel/printk/printk.c)."""


class KernelLog:
    """Reads what is logged from now on."""

    def __init__(self, path: Path = Path("/dev/kmsg")) -> None:
        """Begin at the end of the log."""
        self._lines: list[str] = []
        self._problem = ""
        try:
            self._file: int | None = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            os.lseek(self._file, 0, os.SEEK_END)
        except OSError as error:
            self._file = None
            self._problem = f"{path} can't be read ({error.strerror})"

    def close(self) -> None:
        """Close the log."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def faults(self) -> tuple[str, ...] | Absent:
        """Lines since the start that report a fault; absent once records were overwritten."""
        while self._file is not None:
            try:
                record = os.read(self._file, _RECORD_BYTES)
            except BlockingIOError:
                break
            except BrokenPipeError:  # EPIPE: the next record was overwritten
                self._problem = "the kernel's log was overwritten before it could be read"
                continue
            except OSError as error:
                self._problem = f"the kernel's log can't be read ({error.strerror})"
                break
            if not record:
                break
            prefix, _, message = record.partition(b";")
            if int(prefix.split(b",")[0]) >> 3 != _KERNEL:
                continue
            line = message.split(b"\n", 1)[0].decode("utf-8", "replace")
            if _FAULT.search(line):
                self._lines.append(line)
        if self._problem and not self._lines:
            return Absent(self._problem)
        return tuple(self._lines)
