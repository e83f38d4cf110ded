# SPDX-License-Identifier: Apache-2.0
"""The running kernel without probes: its pools, switch and accounting, and what the checks found.

For hosts that can't have probes or must not: no BPF program, no compiler, no capability.
"""

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

from probes.backend import BackendError, Info, Start
from probes.bpf.handover import Handover, Request
from probes.counters import Counters
from probes.kernel.host import Host
from probes.kernel.hugetlb_state import KernelState
from probes.live.loader_process import LoaderProcess
from probes.observation import CENSUS, PARTS, Absent, Census, Observation, Probes, Status
from probes.observer import HugetlbState, Observer

_NO_PROBES = Absent("without probes nothing keeps the count of a census")


class StateBackend:
    """``probes.backend.Backend`` of the running kernel, without probes; always ready."""

    def __init__(
        self,
        host: Host | None = None,
        *,
        state: HugetlbState | None = None,
        census: Callable[[], Census | Absent] | None = None,
    ) -> None:
        """Read nothing yet. ``census`` takes one at each observation; None: there is none."""
        self._host = host or Host()
        self._census = census
        self._loader: LoaderProcess | None = None
        self._handover = Handover()
        self._began: Start | None = None
        self._observer = Observer(
            lambda: b"",
            lambda _: Probes(Counters(), Status(ready=True)),
            state or KernelState(self._host),
            lambda: _NO_PROBES,
        )

    @property
    def info(self) -> Info:
        """Backend ``state``, the running kernel, and what the checks found at the start."""
        release, page_size = self._host.release, os.sysconf("SC_PAGE_SIZE")
        checks = self._handover.checks
        supported = self._handover.supported
        return Info("state", release, "state", page_size, "", supported, checks, self._began)

    def prepare(self) -> None:
        """Start the process that runs the checks: with all privileges, it can read more."""
        if self._loader is None:
            try:
                self._loader = LoaderProcess(Request.of_checks(self._host))
            except OSError:
                self._loader = None  # the state is there without the checks, too

    def start(self) -> None:
        """Run the checks."""
        self._began = Start.now()
        self.prepare()
        loader, self._loader = self._loader, None
        if loader is not None:
            try:
                self._handover = loader.ask()
            except BackendError:
                self._handover = Handover()
            finally:
                loader.close()

    def stop(self) -> None:
        """End the process that waits, if it does."""
        if self._loader is not None:
            self._loader.close()
            self._loader = None

    def observe(self, parts: Collection[str] = PARTS) -> Observation:
        """Everything that needs no probes."""
        seen = self._observer.observe(parts)
        if self._census is not None and CENSUS in parts:
            return replace(seen, census=self._census())
        return seen

    def reload(self) -> None:
        """Nothing: no count is kept."""

    def records(self) -> Iterator[bytes]:
        """Raise ``BackendError``: events come from probes."""
        raise BackendError("events need probes: use --backend bcc")

    def stack(self, _number: int) -> tuple[str, ...]:
        """Nothing: there are no events."""
        return ()
