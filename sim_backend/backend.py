# SPDX-License-Identifier: Apache-2.0
"""``SimBackend``: a simulated kernel behind the same face as the real one."""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from probes.backend import BackendError, Info
from probes.baseline import Baseline
from probes.counters import DURATIONS, PAGE_DURATIONS, PageKey, Reducer
from probes.events import RECORD, Event, Kind
from probes.observation import DRIFT, PARTS, Absent, Observation, Probes, Status
from probes.observer import Observer
from probes.operations import Operation
from sim_backend.faults import DETACHED, LossyQueue, probe_statuses, visible
from sim_backend.kernel.errors import KernelBug, OperationError
from sim_backend.kernel.pte_run import PteRun
from sim_backend.kernel.sim_kernel import SimKernel
from sim_backend.scenario.actions import Action, Step
from sim_backend.scenario.perform import perform

Wait = Callable[[threading.Event, float], object]
"""Waits until the event is set, or so many seconds have passed."""

Sink = Callable[[bytes], object]
"""Takes blocks of whole records."""

_UNCOUNTED = frozenset({Kind.REMAP_RANGE, Kind.REMAP_PTE, Kind.RESTORE_PTE})
"""Kinds that carry no totals, and are most of all events."""

_BLOCK_BYTES = 512 * RECORD.size
_IDLE_SECONDS = 0.5


class SimBackend:
    """A ``probes.backend.Backend`` of a ``SimKernel``.

    Between ``start`` and ``stop`` a thread of its own runs the scenario, and ``operate`` may be
    called from any thread.
    """

    def __init__(
        self,
        kernel: SimKernel,
        scenario: Iterable[Step] | None = None,
        *,
        time_scale: float = 1.0,
        stream: bool = False,
        queue_records: int = 65_536,
        loses: bool = False,
        sink: Sink | None = None,
        about: str = "",
        wait: Wait = threading.Event.wait,
    ) -> None:
        """Nothing moves before ``start``.

        Without a ``scenario`` only ``operate`` moves the kernel. ``time_scale`` is simulated
        seconds per second of waiting, and may be infinite. ``stream`` makes ``records`` available;
        up to ``queue_records`` records wait for its consumer. Without a stream, ``loses`` shows
        lost events from the start, as a read stream would; the action ``lose`` adds to them.
        ``sink`` gets every block of records too, and the simulation waits for it: nothing is lost.
        ``about`` is that of ``info``.
        Raises ``ValueError`` when a number is not above 0.
        """
        if time_scale <= 0 or queue_records <= 0:
            raise ValueError("time scale and queue size must be above 0")
        self._kernel = kernel
        self._about = about
        self._baseline: Baseline | Absent = Absent("not started")
        self._observer = Observer(
            self._probes, lambda probes: probes, kernel, lambda: self._baseline
        )
        self._steps = iter(scenario) if scenario is not None else None
        self._time_scale = time_scale
        self._wait = wait
        self._queue_records = queue_records
        self._queue = LossyQueue(queue_records) if stream else None
        self._lost_elsewhere = 0 if loses else None
        self._epoch = 0
        self._sink = sink
        self._pending = bytearray()
        self._reducer = self._new_reducer()
        self._reducer_lock = threading.Lock()
        self._kernel_lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = False
        self._problem = ""

    @property
    def info(self) -> Info:
        """``sim``, the generation, ``simulated``."""
        kernel = self._kernel
        page_size = kernel.geometry.page_size
        return Info("sim", kernel.generation.name, "simulated", page_size, self._about)

    def prepare(self) -> None:
        """Nothing: a simulation needs no privilege."""

    def start(self) -> None:
        """Trace the kernel and run the scenario. Raises ``BackendError`` when traced already."""
        with self._kernel_lock:
            try:
                self._kernel.attach(self._emit, self._emit_run)
                self._baseline = self._kernel.census()
            except ValueError as error:
                raise BackendError(f"can't start: {error}") from None
        self._started = True
        self._problem = ""
        self._stopping.clear()
        self._epoch += 1
        self._reducer = self._new_reducer()
        if self._queue is not None and self._queue.closed:
            self._queue = LossyQueue(self._queue_records)
        self.observe((DRIFT,))  # counted from now on
        if self._steps is not None:
            self._thread = threading.Thread(
                target=self._run, args=(self._steps,), name="hvoscope-sim", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """End the scenario after the operation it is in, and stop tracing."""
        if not self._started:
            return
        self._stopping.set()
        # A signal may have broken off start() before it came to start the thread.
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
        self._thread = None
        with self._kernel_lock:
            self._kernel.detach()
        if self._queue is not None:
            self._queue.close()
        self._started = False

    def operate(self, operation: Operation) -> int:
        """Do one operation now; see ``SimKernel.operate`` for what it returns and raises."""
        with self._kernel_lock:
            try:
                return self._kernel.operate(operation)
            finally:
                self._flush()

    def perform(self, action: Operation | Action) -> None:
        """Do one action now; see ``sim_backend.scenario.perform`` for what it raises."""
        if isinstance(action, Action) and action.verb == "restart":
            self.restart()
        elif isinstance(action, Action) and action.verb == "lose":
            self._lose(int(action.amount))
        else:
            with self._kernel_lock:
                try:
                    perform(self._kernel, action)
                finally:
                    self._flush()

    def perform_step(self, step: Step) -> None:
        """Do what ``step`` says now, without its pause.

        Raises ``OperationError`` with file and line, unless the step may fail.
        """
        try:
            self.perform(step.action)
        except OperationError as error:
            if not step.may_fail:
                where = f"{step.where}: " if step.where else ""
                raise OperationError(f"{where}{error}", error.done) from error

    def restart(self) -> None:
        """Act as if the daemon restarted: all probes attached, all counters 0, no hit missed."""
        with self._kernel_lock, self._reducer_lock:
            self._kernel.trace_anew()
            self._baseline = self._kernel.census()
            self._reducer = self._new_reducer()
            self._epoch += 1
        if self._queue is not None:
            self._queue.forget()
        if self._lost_elsewhere is not None:
            self._lost_elsewhere = 0

    def observe(self, parts: Collection[str] = PARTS) -> Observation:
        """Counters since ``start`` or ``restart``, zeros where nothing happened.

        What a detached probe would count is left out.
        """
        return self._observer.observe(parts)

    def reload(self) -> None:
        """Nothing: a simulation is alone."""

    def records(self) -> Iterator[bytes]:
        """Blocks of records until ``stop``; for one consumer."""
        if self._queue is None:
            raise BackendError("this backend was made without an event stream")
        return self._queue.blocks(_IDLE_SECONDS)

    def _probes(self) -> Probes:
        with self._reducer_lock:
            counters = replace(self._reducer.snapshot(), epoch=self._epoch)
        detached = self._kernel.machine.trace.detached
        if detached:
            counters = visible(counters, self._kernel.generation.symbols.keys() - detached)
        return Probes(counters, self._status())

    def _status(self) -> Status:
        """Every step that the kernel has is seen, and nothing missed, but for faults."""
        trace = self._kernel.machine.trace
        problem = self._problem if self._started else "not started"
        detached = [step for step in self._kernel.generation.symbols if step in trace.detached]
        return Status(
            ready=not problem and not detached,
            probes=probe_statuses(self._kernel.generation.symbols, detached, problem),
            problem=problem or "; ".join(f"{step}: {DETACHED}" for step in detached),
            missed={
                step: trace.missed[step]
                for step in self._kernel.generation.symbols
                if step not in detached
            },
            map_errors={},
            lost=self._lost(),
        )

    def _new_reducer(self) -> Reducer:
        batched = "batch" in self._kernel.generation.symbols
        return Reducer(self._keys(), DURATIONS if batched else PAGE_DURATIONS)

    def _keys(self) -> Iterator[PageKey]:
        for size in self._kernel.huge_page_sizes:
            for node in range(self._kernel.nodes):
                yield PageKey(self._kernel.geometry.order(size), node)

    def _run(self, steps: Iterator[Step]) -> None:
        try:
            for step in steps:
                self._wait(self._stopping, step.seconds / self._time_scale)
                if self._stopping.is_set():
                    return
                with self._kernel_lock:
                    self._kernel.idle(step.seconds)
                self.perform_step(step)
        except (KernelBug, OperationError) as error:
            self._problem = f"the scenario broke off: {error}"

    def _lose(self, records: int) -> None:
        if self._queue is not None:
            self._queue.lose(records)
        else:
            self._lost_elsewhere = (self._lost_elsewhere or 0) + records

    def _lost(self) -> Mapping[str, int]:
        if self._queue is not None:
            return {"queue": self._queue.lost}
        return {} if self._lost_elsewhere is None else {"queue": self._lost_elsewhere}

    def _emit(self, event: Event) -> None:
        if event.kind not in _UNCOUNTED:
            with self._reducer_lock:
                self._reducer.add((event,))
        if self._read:
            self._append(event.pack())

    def _emit_run(self, run: PteRun) -> None:
        if self._read:
            self._append(run.pack())

    @property
    def _read(self) -> bool:
        """Whether records have a consumer; counters alone need none."""
        return self._queue is not None or self._sink is not None

    def _append(self, records: bytes | bytearray) -> None:
        self._pending += records
        if len(self._pending) >= _BLOCK_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        block = bytes(self._pending)
        self._pending.clear()
        if self._queue is not None:
            self._queue.put(block)
        if self._sink is not None:
            self._sink(block)
