# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed: parsers of input from outside, and what they must do with any input.

A check raises for everything but the error that its parser documents. It returns whether the parser
accepted the input.
"""

import asyncio
import hashlib
import io
import json
import struct
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from exporter.web.formats import choose
from probes.bpf.kernel_facts import FactsError, from_btf
from probes.bpf.object_code import INSTRUCTION_SIZE, Function, MapSpec, ObjectCode
from probes.events import RECORD, unpack_all
from probes.kernel.btf import Btf, read_structs
from probes.observation import Observation
from probes.preflight.command_line import values_of
from probes.recording import trace_block
from probes.recording.observation_json import to_json
from probes.recording.trace_file import Header, TraceFileError, TraceReader
from tests.probes.kernel.test_btf import FROM_7_1, UNTIL_7_0, kernel
from tests.probes.preflight.test_command_line import NAME
from tests.soak import test_fuzz_accept as accept
from tests.soak import test_fuzz_config as config
from tests.soak import test_fuzz_http as http
from tests.soak import test_fuzz_readers as readers
from tests.soak.test_fuzz_records import good_records


class Target(NamedTuple):
    """A parser with its valid inputs, and the words that its inputs are made of."""

    check: Callable[[bytes], bool]
    corpus: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()


FILE = Path(tempfile.gettempdir(), "hvoscope-fuzz-input")
"""For parsers that read files; ``tests.fuzz.run`` gives each run a folder of its own."""

_client = http.Client()


def check_http(data: bytes) -> bool:
    """Requests that arrive in two pieces; the first byte says where they part."""
    at = data[0] % 64 if data else 0
    parts = [part for part in (data[1 : at + 1], data[at + 1 :]) if part]
    return asyncio.run(_client.responses(parts)) > 0


def check_accept(data: bytes) -> bool:
    text = data.decode("latin-1").replace("\n", "").strip(" \t")
    chosen = choose(text)
    assert chosen is accept.oracle(text)
    return bool(text)


def check_web_config(data: bytes) -> bool:
    return config.is_valid(FILE.with_suffix(".yml"), data)


def check_kallsyms(data: bytes) -> bool:
    return readers.symbols_read(FILE, data) > 0


def check_os_release(data: bytes) -> bool:
    return " (Fedora: " not in readers.advice(FILE, data)


def check_command_line(data: bytes) -> bool:
    return bool(values_of(data.decode("ascii", "replace"), NAME))


_STRUCTS = ("hstate", "page", "vmemmap_remap_walk", "zone", "absent")
_MEMBERS = ("order", "nr_huge_pages_node", "flags", "remap_pte", "nr_walked", "lock", "absent")
_FUNCTIONS = ("vmemmap_remap_range", "vmemmap_remap_nothing", "absent")


def check_btf(data: bytes) -> bool:
    """Every question has an answer, or a ``KeyError``."""
    FILE.write_bytes(data)
    with suppress(ValueError):
        read_structs(FILE, _STRUCTS)
    try:
        btf = Btf(data)
    except ValueError:
        return False
    for name in _STRUCTS:
        for member in _MEMBERS:
            btf.has(name, member)
            for ask in (btf.offset, btf.length):
                with suppress(KeyError):
                    assert ask(name, member) >= 0
    for name in _FUNCTIONS:
        with suppress(KeyError):
            btf.prototype(name)
    with suppress(KeyError):
        btf.enumerator("big")
    for mode in ("full", "range"):
        with suppress(FactsError):
            from_btf(btf, mode)
    return True


def check_program(data: bytes) -> bool:
    """A file whose checksum is right: mutations of its JSON get past that."""
    try:
        program = ObjectCode.parse(hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
    except ValueError:
        return False
    for function in program.functions.values():
        bound = function.bound_to(dict.fromkeys(function.maps.values(), 23))
        assert len(bound) == len(function.code)
        assert len(bound) % INSTRUCTION_SIZE == 0
    assert ObjectCode.parse(program.dump()) == program
    return True


_BLOCK, _RECORDS = b"\n--\n", b"\n==\n"


def check_trace(data: bytes) -> bool:
    """A trace file whose checksums are right: blocks of tag and JSON, with records or without."""
    file = b"HVOTRACE" + struct.pack("<I", 1)
    for part in data.split(_BLOCK):
        content, _, records = part[4:].partition(_RECORDS)
        file += _pack(
            part[:4].ljust(4), content, records[: len(records) // RECORD.size * RECORD.size]
        )
    try:
        reader = TraceReader(io.BytesIO(file), "fuzz")
        assert reader.header.about()
        for block in reader.blocks():
            list(unpack_all(block.records))
    except TraceFileError as error:
        assert str(error).startswith("fuzz: offset ")
        assert len(str(error).splitlines()) == 1
        return False
    return True


def _pack(tag: bytes, content: bytes, records: bytes) -> bytes:
    stored = zlib.compress(content + trace_block.to_columns(records), 0)
    fields = (tag, len(content), len(records) // RECORD.size, len(stored), zlib.crc32(stored))
    crc = zlib.crc32(trace_block.PREFIX.pack(*fields, 0)[:-4])
    return trace_block.PREFIX.pack(*fields, crc) + stored


def _trace() -> bytes:
    """A valid input of ``check_trace``."""
    header = asdict(Header("sim", "7.1", "simulated", 4096, 5, 1_700_000_000))
    now = to_json(Observation(1)) | {"stacks": {"1": ["alloc_hugetlb_folio"]}}
    blocks = (
        b"HEAD" + json.dumps(header).encode(),
        b"DATA" + json.dumps(now).encode() + _RECORDS + good_records(1, 3),
        b"DONE" + json.dumps({"events": 3, "reason": "the end"}).encode(),
    )
    return _BLOCK.join(blocks)


def _program() -> bytes:
    spec = MapSpec(1, 4, 8, 509, 0)
    load = bytes((0x18, 0x11, 0, 0, 0, 0, 0, 0)) + bytes(8)
    code = load + bytes((0x95, 0, 0, 0, 0, 0, 0, 0))
    program = ObjectCode({"counts": spec}, {"enter": Function(code, {0: "counts"})})
    return program.dump().partition(b"\n")[2]


TARGETS = {
    "http": Target(check_http, tuple(b"\x17" + good for good in http.GOOD), http.WORDS),
    "accept": Target(check_accept, accept.GOOD, accept.WORDS),
    "web-config": Target(check_web_config, config.GOOD, config.WORDS),
    "trace": Target(check_trace, (_trace(),), (_BLOCK, _RECORDS, b"HEAD", b"DATA", b"DONE")),
    "btf": Target(check_btf, (kernel(UNTIL_7_0), kernel(FROM_7_1, (("lock", 1, 0),)))),
    "kallsyms": Target(check_kallsyms, tuple(readers.SYMBOL_EXCERPTS), readers.SYMBOL_WORDS),
    "program": Target(check_program, (_program(),), (b'"maps"', b'"code"', b"[", b"{", b"1e9")),
    "os-release": Target(check_os_release, readers.OS_RELEASES, readers.OS_WORDS),
    "command-line": Target(check_command_line, readers.LINES, (b'"', b"=", b" -- ", b"on")),
}
