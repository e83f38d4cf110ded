# SPDX-License-Identifier: Apache-2.0
"""Runs in the guest: attaches the probes as this process may, by kprobes and by fentry.

``python -m tests.kernel.attempts`` writes what came of it to standard output. It is a module of its
own because a guest takes seconds to import what makes certificates.
"""

import json
import sys

from probes.backend import RANGE, BackendError
from probes.bpf.handover import FENTRY, KPROBE
from probes.live.backend import LiveBackend
from probes.operations import parse_operation
from tests.kernel.workload import Notes, perform


def attempt(attach: str) -> Notes:
    """Attach, and have a page skipped while HVO is off: the reason tells if the switch is seen."""
    backend = LiveBackend(mode=RANGE, attach=attach)
    try:
        backend.start()
        perform(parse_operation("grow 2MB 1"))
        perform(parse_operation("shrink 2MB 1"))
        seen = backend.observe()
    except BackendError as error:
        return {"problem": str(error)}
    finally:
        backend.stop()
    return {
        "problem": seen.status.problem,
        "off": seen.counters.total("hugepages_skipped", "off"),
        "unknown": seen.counters.total("hugepages_skipped", "unknown"),
    }


def main() -> None:
    """Try both."""
    sys.stdout.write(json.dumps({attach: attempt(attach) for attach in (KPROBE, FENTRY)}))


if __name__ == "__main__":
    main()
