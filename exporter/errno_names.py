# SPDX-License-Identifier: Apache-2.0
"""Names of errno values as the kernel's sources spell them."""

import errno
from collections.abc import Mapping

from probes.counters import ENOTSUPP, ERRNO_UNKNOWN

UNKNOWN_ERROR = "failed"
"""Name of a failure whose errno was not read."""

_NAMES: Mapping[int, str] = {
    **errno.errorcode,
    # Python has one name for each number, the C library's; these are the kernel's.
    errno.EAGAIN: "EAGAIN",
    errno.EDEADLK: "EDEADLK",
    errno.EOPNOTSUPP: "EOPNOTSUPP",
    ENOTSUPP: "ENOTSUPP",
}


def error_name(ret: int) -> str:
    """Return the name of a negative return value: ``-12`` is ``ENOMEM``; ``errno 23456`` if none.

    A failure whose errno was not read is ``failed``.
    """
    if ret == -ERRNO_UNKNOWN:
        return UNKNOWN_ERROR
    return _NAMES.get(-ret, f"errno {-ret}")
