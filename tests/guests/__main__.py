# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.guests --kernel patched -- uname -a`: one command in one guest."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.guests import busybox, kernel_matrix
from tests.guests.cache import Cache
from tests.guests.progress import CommandError, UnavailableError, say
from tests.guests.qemu import GuestError, Host, run_in_guest


def main() -> int:
    """Parse the command line and do as it says; the exit code is that of the guest's command."""
    args = _parser().parse_args()
    if args.list:
        for name, entry in kernel_matrix.KERNELS.items():
            sys.stdout.write(f"{name:12} {entry.about}\n")
        return 0
    names = args.kernel or list(kernel_matrix.KERNELS)
    try:
        return _fetch(names) if args.fetch else _run(names, args)
    except (CommandError, GuestError, UnavailableError) as error:
        say(str(error))
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.guests", description=__doc__)
    parser.add_argument(
        "--kernel", action="append", choices=list(kernel_matrix.KERNELS), help="may be repeated"
    )
    parser.add_argument("--list", action="store_true", help="show the test kernels")
    parser.add_argument("--fetch", action="store_true", help="only fill the cache")
    parser.add_argument("--out", type=Path, help="where results go (default: a new directory)")
    parser.add_argument("--append", default="", help="further boot parameters")
    parser.add_argument("--memory", type=int, default=8192, help="MiB")
    parser.add_argument("--timeout", type=float, default=300, help="seconds")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("command", nargs="*", help="after --")
    return parser


def _fetch(names: list[str]) -> int:
    busybox.provide(Cache())
    for name in names:
        kernel = kernel_matrix.provide(name)
        say(f"{name}: {kernel.release} is in {kernel.vmlinuz}")
    return 0


def _run(names: list[str], args: argparse.Namespace) -> int:
    if not args.command or len(names) != 1:
        raise UnavailableError("give one --kernel and a command after --")
    Host.find()  # before minutes of building for a guest that cannot be
    out = args.out or Path(tempfile.mkdtemp(prefix="hvo-out-"))
    done = run_in_guest(
        kernel_matrix.provide(names[0]),
        args.command,
        out=out,
        append=args.append,
        memory_mib=args.memory,
        timeout_s=args.timeout,
        env=dict(pair.split("=", 1) for pair in args.env),
        watch=_show,
    )
    say(f"exit code {done.exit_code} after {done.wall_s:.1f} s; results in {out}")
    return done.exit_code


def _show(stream: str, data: bytes) -> None:
    sink = sys.stdout if stream == "stdout" else sys.stderr
    sink.buffer.write(data)
    sink.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
