# SPDX-License-Identifier: Apache-2.0
"""Drop all privileges permanently: capabilities, the means to regain them, and the user ID.

Capabilities are per thread (capabilities(7)): call this before starting the first thread.
"""

import ctypes
import errno
import os
import pwd

# include/uapi/linux/prctl.h and capability.h
_PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 4, 24, 38, 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_MAX_CAPABILITIES = 64


class PrivilegeError(Exception):
    """A privilege could not be dropped; the message is one line with the fix."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def drop(user: str = "") -> None:
    """Drop all capabilities and become ``user`` (a name; empty: keep the user).

    Raises ``PrivilegeError`` if the user does not exist or the kernel refuses.
    """
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        _empty_bounding_set(libc)
        if user:
            _become(user)
        _prctl(libc, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
        _capset_nothing(libc)
        _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
        # Otherwise /proc/self, including fdinfo, belongs to root after a change of user.
        _prctl(libc, _PR_SET_DUMPABLE, 1)
    except OSError as error:
        raise PrivilegeError(f"can't drop privileges: {error}") from error


def _empty_bounding_set(libc: ctypes.CDLL) -> None:
    for capability in range(_MAX_CAPABILITIES):
        try:
            _prctl(libc, _PR_CAPBSET_DROP, capability)
        except OSError as error:
            # EINVAL: above the last capability of this kernel. EPERM: no CAP_SETPCAP; no_new_privs
            # alone then keeps the process from regaining capabilities.
            if error.errno not in (errno.EINVAL, errno.EPERM):
                raise
            return


def _become(user: str) -> None:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise PrivilegeError(
            f"unknown user {user!r}: create it (useradd --system {user}) or name another"
        ) from None
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def _capset_nothing(libc: ctypes.CDLL) -> None:
    header = _Header(_CAPABILITY_VERSION_3, 0)
    _check(libc.capset(ctypes.byref(header), ctypes.byref((_Sets * 2)())), "capset")


def _prctl(libc: ctypes.CDLL, option: int, argument: int) -> None:
    _check(libc.prctl(option, *map(ctypes.c_ulong, (argument, 0, 0, 0))), f"prctl {option}")


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
