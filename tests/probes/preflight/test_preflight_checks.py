# SPDX-License-Identifier: Apache-2.0
"""Every check of preflight, both ways."""

import gzip
from pathlib import Path

import pytest

from probes.preflight import Finding, Verdict, examine
from tests.probes.preflight_host import (
    BTF,
    CONFIG,
    KALLSYMS,
    RELEASE,
    SYMBOLS_5_15,
    SYMBOLS_6_1,
    SYSCTL,
    btf,
    config,
    kallsyms,
    machine,
)

Changes = dict[str, str | bytes | None]

OK, WARNING, PROBLEM, UNKNOWN = Verdict.OK, Verdict.WARNING, Verdict.PROBLEM, Verdict.UNKNOWN
OLD: Changes = {KALLSYMS: kallsyms(*SYMBOLS_5_15), SYSCTL: None}
POOL = "sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages"
FREE = "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"
HOTPLUG = "sys/module/memory_hotplug/parameters/memmap_on_memory"
LOCKDOWN = "sys/kernel/security/lockdown"
STATUS = "proc/self/status"


def look(root: Path, name: str, changes: Changes) -> Finding:
    """The finding of this name, on a machine in order but for ``changes``."""
    findings = examine(machine(root, changes), root / "dist")
    (finding,) = (finding for finding in findings if finding.name == name)
    return finding


def cmdline(text: str) -> Changes:
    return {"proc/cmdline": f"quiet {text}\n"}


def test_config_may_be_in_the_running_kernel(tmp_path: Path) -> None:
    blob = gzip.compress(config("BPF_EVENTS").encode())
    finding = look(tmp_path, "config", {"proc/config.gz": blob})
    assert finding.what == f"{tmp_path}/proc/config.gz lacks CONFIG_BPF_EVENTS"
    assert (finding.verdict, finding.fix) == (PROBLEM, "use a kernel with CONFIG_BPF_EVENTS")


@pytest.mark.parametrize(
    "broken", [b"", b"no gzip", gzip.compress(b"CONFIG_KPROBES=y\n", mtime=0)[:-9]]
)
def test_a_broken_config_is_passed_over(tmp_path: Path, broken: bytes) -> None:
    finding = look(tmp_path, "config", {"proc/config.gz": broken})
    assert finding == Finding("config", OK, f"{tmp_path}/{CONFIG} has all that is needed")


def test_config_may_be_with_the_modules(tmp_path: Path) -> None:
    path = f"modules/{RELEASE}/config"
    finding = look(tmp_path, "config", {CONFIG: None, path: config()})
    assert finding == Finding("config", OK, f"{tmp_path}/{path} has all that is needed")


def test_config_may_be_nowhere(tmp_path: Path) -> None:
    finding = look(tmp_path, "config", {CONFIG: None})
    assert finding.verdict is UNKNOWN
    assert finding.what.startswith(f"not found in {tmp_path}/proc/config.gz, {tmp_path}/boot or ")


def test_config_under_the_name_of_the_first_kernels(tmp_path: Path) -> None:
    text = config().replace("_OPTIMIZE_", "_FREE_")
    assert look(tmp_path, "config", {CONFIG: text}).verdict is OK


@pytest.mark.parametrize("text", [config("BPF_SYSCALL"), config().replace("BPF_SYSCALL=y", "")])
def test_what_only_config_shows_is_a_problem(tmp_path: Path, text: str) -> None:
    finding = look(tmp_path, "config", {CONFIG: text})
    assert (finding.verdict, finding.fix) == (PROBLEM, "use a kernel with CONFIG_BPF_SYSCALL")


@pytest.mark.parametrize(
    ("changes", "verdict", "what"),
    [
        ({BTF: btf(64)}, OK, "64 bytes"),
        ({BTF: btf(80)}, PROBLEM, "80 bytes, no power of two: HVO has switched"),
        ({BTF: None}, UNKNOWN, "its size can't be told without BTF"),
        ({BTF: btf(64)[:20]}, UNKNOWN, "its size can't be told without BTF"),
        ({BTF: btf(64, "book")}, PROBLEM, "the kernel's BTF does not describe it ('page')"),
    ],
)
def test_struct_page(tmp_path: Path, changes: Changes, verdict: Verdict, what: str) -> None:
    finding = look(tmp_path, "struct page", changes)
    assert finding.verdict is verdict
    assert finding.what.startswith(what)


@pytest.mark.parametrize(
    ("changes", "verdict", "what"),
    [
        ({}, OK, "hugetlb_free_vmemmap= is not given; the default is off"),
        (
            {CONFIG: config() + "CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP_DEFAULT_ON=y\n"},
            OK,
            "hugetlb_free_vmemmap= is not given; the default is on",
        ),
        (
            {CONFIG: None},
            OK,
            "hugetlb_free_vmemmap= is not given; the default is unknown",
        ),
        (cmdline("hugetlb_free_vmemmap=on"), OK, "hugetlb_free_vmemmap=on"),
        (cmdline("hugetlb_free_vmemmap=N"), OK, "hugetlb_free_vmemmap=N"),
        (cmdline("hugetlb_free_vmemmap=x hugetlb_free_vmemmap=1"), OK, "hugetlb_free_vmemmap=1"),
        (
            cmdline("hugetlb_free_vmemmap=enable"),
            WARNING,
            "hugetlb_free_vmemmap=enable means something to some kernels only",
        ),
        (
            cmdline("hugetlb_free_vmemmap=2"),
            WARNING,
            "hugetlb_free_vmemmap=2 means nothing to the kernel",
        ),
        (
            {**OLD, **cmdline("hugetlb_free_vmemmap")},  # no more than =1
            WARNING,
            "hugetlb_free_vmemmap without a value means nothing to the kernel",
        ),
        (
            {
                KALLSYMS: kallsyms(*SYMBOLS_6_1, "hugetlb_vmemmap_optimize_param"),
                **cmdline("hugetlb_free_vmemmap"),  # Linux 6.15: kstrtobool is given no text
            },
            WARNING,
            "hugetlb_free_vmemmap without a value means nothing to the kernel",
        ),
        (
            cmdline("hugetlb_free_vmemmap"),  # Linux 6.0 to 6.14: a core_param of type bool
            OK,
            "hugetlb_free_vmemmap without a value, which means on",
        ),
        (cmdline('"hugetlb_free_vmemmap=on"'), OK, "hugetlb_free_vmemmap=on"),
        ({**OLD, **cmdline('hugetlb-free-vmemmap="on"')}, OK, "hugetlb_free_vmemmap=on"),
        (
            cmdline("-- hugetlb_free_vmemmap=on"),
            OK,
            "hugetlb_free_vmemmap= is not given; the default is off",
        ),
        (
            {**OLD, **cmdline("hugetlb_free_vmemmap=1")},  # Linux 5.14 knows on and off alone
            WARNING,
            "hugetlb_free_vmemmap=1 means nothing to the kernel",
        ),
    ],
)
def test_the_boot_parameter(tmp_path: Path, changes: Changes, verdict: Verdict, what: str) -> None:
    finding = look(tmp_path, "boot", changes)
    assert (finding.verdict, finding.what) == (verdict, what)
    assert finding.fix == ("boot with hugetlb_free_vmemmap=on" if verdict is WARNING else "")


@pytest.mark.parametrize(
    ("changes", "verdict", "what", "fix"),
    [
        ({SYSCTL: "1\n"}, OK, "on: vm.hugetlb_optimize_vmemmap is 1", ""),
        ({SYSCTL: None}, UNKNOWN, "vm.hugetlb_optimize_vmemmap is not there", ""),
        (
            {**OLD, **cmdline("hugetlb_free_vmemmap=on hugetlb_free_vmemmap=1")},
            OK,  # the kernel takes no notice of the second
            "on from boot; this kernel has no sysctl for it",
            "",
        ),
        (
            {**OLD, **cmdline("hugetlb_free_vmemmap=on")},
            OK,
            "on from boot; this kernel has no sysctl for it",
            "",
        ),
        (
            OLD,
            WARNING,
            "HVO is switched off, so new huge pages are not optimised",
            "boot with hugetlb_free_vmemmap=on",
        ),
        (
            {**OLD, CONFIG: None},
            UNKNOWN,
            "neither boot parameter nor kernel config tells",
            "",
        ),
    ],
)
def test_the_switch(
    tmp_path: Path, changes: Changes, verdict: Verdict, what: str, fix: str
) -> None:
    assert look(tmp_path, "switch", changes) == Finding("switch", verdict, what, fix)


@pytest.mark.parametrize(
    ("changes", "verdict", "what"),
    [
        ({HOTPLUG: "N\n"}, OK, "memory_hotplug.memmap_on_memory is off"),
        ({HOTPLUG: None}, OK, "memory_hotplug.memmap_on_memory is off"),
        (
            {HOTPLUG: "Y\n"},
            WARNING,
            "memmap_on_memory is on: hot-added memory can't be optimised",
        ),
        (
            {HOTPLUG: "force\n"},
            WARNING,
            "memmap_on_memory is on: hot-added memory can't be optimised",
        ),
        (
            {HOTPLUG: "Y\n", SYSCTL: None},
            WARNING,
            "memmap_on_memory is on, and takes vm.hugetlb_optimize_vmemmap away",
        ),
        ({**OLD, HOTPLUG: "Y\n"}, OK, "memory_hotplug.memmap_on_memory gives way to HVO"),
    ],
)
def test_hotplug(tmp_path: Path, changes: Changes, verdict: Verdict, what: str) -> None:
    finding = look(tmp_path, "hotplug", changes)
    assert (finding.verdict, finding.what) == (verdict, what)
    assert bool(finding.fix) is (verdict is WARNING)


def unreadable(path: Path) -> None:
    """Make it what root, too, can't read: a link to itself."""
    path.unlink(missing_ok=True)
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("name", "path", "what"),
    [
        ("boot", "proc/cmdline", "{} can't be read (Too many levels of symbolic links)"),
        ("hotplug", HOTPLUG, "{} can't be read (Too many levels of symbolic links)"),
    ],
)
def test_what_can_not_be_read_is_unknown(tmp_path: Path, name: str, path: str, what: str) -> None:
    host = machine(tmp_path, {})
    unreadable(tmp_path / path)
    (finding,) = (f for f in examine(host, tmp_path / "dist") if f.name == name)
    assert finding == Finding(name, UNKNOWN, what.format(tmp_path / path))


def test_a_switch_that_can_not_be_read_is_not_one_that_is_gone(tmp_path: Path) -> None:
    host = machine(tmp_path, {HOTPLUG: "Y\n"})
    unreadable(tmp_path / SYSCTL)
    findings = {finding.name: finding for finding in examine(host, tmp_path / "dist")}
    assert findings["switch"].what == "vm.hugetlb_optimize_vmemmap can't be read"
    assert findings["hotplug"].what.endswith("hot-added memory can't be optimised")


def test_a_config_that_can_not_be_read_is_not_one_that_is_gone(tmp_path: Path) -> None:
    host = machine(tmp_path, {CONFIG: None})
    unreadable(tmp_path / "proc/config.gz")
    (finding,) = (f for f in examine(host, tmp_path / "dist") if f.name == "config")
    assert finding.verdict is UNKNOWN
    assert finding.what == (
        f"{tmp_path}/proc/config.gz can't be read (Too many levels of symbolic links)"
    )


def test_pools_filled_while_hvo_may_have_been_off(tmp_path: Path) -> None:
    pools: Changes = {POOL.format(2048): "23\n", FREE: "11\n", POOL.format(1 << 20): "1\n"}
    assert look(tmp_path, "pools", pools) == Finding(
        "pools",
        UNKNOWN,
        "23 of 2MB, 1 of 1GB; those allocated while HVO was off stay unoptimised, "
        "and no flag shows which",
        "with HVO on, empty the pools and fill them again",
    )


@pytest.mark.parametrize(
    ("switch", "verdict", "end"),
    [("1\n", OK, "; HVO has been on since boot"), ("0\n", UNKNOWN, "no flag shows which")],
)
def test_pools_of_a_kernel_booted_with_hvo(
    tmp_path: Path, switch: str, verdict: Verdict, end: str
) -> None:
    pools = {POOL.format(2048): "509\n", SYSCTL: switch, **cmdline("hugetlb_free_vmemmap=on")}
    finding = look(tmp_path, "pools", {**pools})
    assert finding.verdict is verdict
    assert finding.what.startswith("509 of 2MB; ")
    assert finding.what.endswith(end)


def test_pools_of_every_node_count(tmp_path: Path) -> None:
    of_node = "sys/devices/system/node/node{}/hugepages/hugepages-2048kB/nr_hugepages"
    nodes: Changes = {"sys/devices/system/node/online": "0-1\n"}
    finding = look(
        tmp_path, "pools", {**nodes, of_node.format(0): "23\n", of_node.format(1): "509\n"}
    )
    assert finding.what.startswith("532 of 2MB; ")


def test_pools_where_hvo_can_never_work(tmp_path: Path) -> None:
    finding = look(tmp_path, "pools", {BTF: btf(56), SYSCTL: None, POOL.format(2048): "23\n"})
    assert finding == Finding("pools", OK, "23 of 2MB")


def test_a_kernel_without_huge_pages(tmp_path: Path) -> None:
    finding = look(tmp_path, "pools", {POOL.format(2048): None, FREE: None})
    assert finding == Finding(
        "pools",
        PROBLEM,
        f"{tmp_path}/sys/kernel/mm/hugepages lists no huge page size",
        "the kernel needs CONFIG_HUGETLBFS and a CPU with huge pages",
    )


@pytest.mark.parametrize(
    ("changes", "verdict", "what"),
    [
        ({LOCKDOWN: "[none] integrity confidentiality\n"}, OK, "none"),
        ({LOCKDOWN: "none [integrity] confidentiality\n"}, OK, "integrity"),
        (
            {LOCKDOWN: "none integrity [confidentiality]\n"},
            PROBLEM,
            "kernel lockdown (confidentiality) forbids kprobes",
        ),
        ({LOCKDOWN: None}, OK, "not in this kernel"),  # as its config says
        (
            {LOCKDOWN: None, CONFIG: None, "sys/kernel/security/lsm": "capability"},
            OK,
            "not in this kernel",
        ),
    ],
)
def test_lockdown(tmp_path: Path, changes: Changes, verdict: Verdict, what: str) -> None:
    finding = look(tmp_path, "lockdown", changes)
    assert (finding.verdict, finding.what) == (verdict, what)
    assert finding.fix == ("boot with lockdown=integrity" if verdict is PROBLEM else "")


@pytest.mark.parametrize(
    "text", [None, f"{config()}CONFIG_SECURITY_LOCKDOWN_LSM=y\n"], ids=["no config", "compiled in"]
)
def test_lockdown_that_can_not_be_read(tmp_path: Path, text: str | None) -> None:
    finding = look(tmp_path, "lockdown", {LOCKDOWN: None, CONFIG: text})
    what = f"{tmp_path}/{LOCKDOWN} can't be read"
    assert finding == Finding("lockdown", UNKNOWN, what)


ENABLED = "sys/kernel/debug/kprobes/enabled"


@pytest.mark.parametrize(
    ("changes", "verdict", "what", "fix"),
    [
        ({}, OK, "enabled", ""),
        ({ENABLED: None}, OK, f"compiled in; {{}}/{ENABLED} can't be read", ""),
        (
            {ENABLED: "0\n"},
            PROBLEM,
            "kprobes are switched off, so probes would never be hit",
            f"echo 1 > {{}}/{ENABLED}",
        ),
        (
            {"proc/sys/kernel/ftrace_enabled": "0\n"},
            PROBLEM,
            "ftrace is switched off, so probes would never be hit",
            "sysctl kernel.ftrace_enabled=1",
        ),
        ({"proc/sys/kernel/ftrace_enabled": None}, OK, "enabled", ""),
    ],
)
def test_kprobes(tmp_path: Path, changes: Changes, verdict: Verdict, what: str, fix: str) -> None:
    finding = look(tmp_path, "kprobes", changes)
    assert finding == Finding("kprobes", verdict, what.format(tmp_path), fix.format(tmp_path))


@pytest.mark.parametrize(
    ("version", "verdict", "what"),
    [
        ("__version__ = '0.26.0'\n", OK, "version 0.26.0"),
        ('__version__ = "0.16.0"\n', OK, "version 0.16.0"),
        (
            "__version__ = '0.12.0'\n",
            WARNING,
            "BCC 0.12.0 has no ring buffers, so `hvoscope trace` can't work",
        ),
        ("__version__ = '@REVISION@'\n", UNKNOWN, "installed, but of no version that can be read"),
    ],
)
def test_bcc(tmp_path: Path, version: str, verdict: Verdict, what: str) -> None:
    finding = look(tmp_path, "bcc", {"dist/bcc/version.py": version})
    assert (finding.verdict, finding.what) == (verdict, what)
    assert finding.fix == ("update BCC to 0.16 or later" if verdict is WARNING else "")


@pytest.mark.parametrize(
    ("capabilities", "verdict", "what"),
    [
        ("0000000000200000", OK, "CAP_SYS_ADMIN"),
        ("000000c000000000", OK, "CAP_BPF and CAP_PERFMON"),
        ("0000008000000000", PROBLEM, "no privilege to attach probes"),  # CAP_BPF alone
        ("0000000000000000", PROBLEM, "no privilege to attach probes"),
    ],
)
def test_privileges(tmp_path: Path, capabilities: str, verdict: Verdict, what: str) -> None:
    finding = look(tmp_path, "privileges", {STATUS: f"CapEff:\t{capabilities}\n"})
    assert (finding.verdict, finding.what) == (verdict, what)


def test_root_of_a_user_namespace_is_not_the_machines(tmp_path: Path) -> None:
    finding = look(tmp_path, "privileges", {"proc/self/uid_map": "0 1000 1\n"})
    assert finding == Finding(
        "privileges",
        PROBLEM,
        "root in a user namespace only (a rootless container)",
        "run as the machine's own root",
    )
    assert look(tmp_path / "old", "privileges", {"proc/self/uid_map": None}).verdict is OK


@pytest.mark.parametrize(
    ("capabilities", "level", "verdict"),
    [
        ("000000c000000000", "3\n", WARNING),
        ("000000c000000000", "2\n", OK),
        ("000000c000000000", "-1\n", OK),
        ("000000c000200000", "3\n", OK),
    ],
)
def test_distributions_may_ask_for_more_than_cap_perfmon(
    tmp_path: Path, capabilities: str, level: str, verdict: Verdict
) -> None:
    changes: Changes = {
        STATUS: f"CapEff:\t{capabilities}\n",
        "proc/sys/kernel/perf_event_paranoid": level,
    }
    finding = look(tmp_path, "privileges", changes)
    assert finding.verdict is verdict
    assert ("kernel.perf_event_paranoid=3" in finding.what) is (verdict is WARNING)


@pytest.mark.parametrize(
    ("changes", "verdict", "what"),
    [
        ({}, OK, "0: addresses are shown to root"),
        ({"proc/sys/kernel/kptr_restrict": "1\n"}, OK, "1: addresses are shown to root"),
        (
            {"proc/sys/kernel/kptr_restrict": None},
            UNKNOWN,
            "kernel.kptr_restrict can't be read",
        ),
        (
            {KALLSYMS: kallsyms(*SYMBOLS_6_1[1:])},
            WARNING,
            "the switch has no symbol: why pages are skipped stays unknown",
        ),
    ],
)
def test_addresses(tmp_path: Path, changes: Changes, verdict: Verdict, what: str) -> None:
    finding = look(tmp_path, "kptr_restrict", changes)
    assert (finding.verdict, finding.what) == (verdict, what)


@pytest.mark.parametrize(
    ("step", "symbol"),
    [
        ("optimize", "free_huge_page_vmemmap"),
        ("remap_range", "vmemmap_remap_free"),
        ("remap_pte", "vmemmap_remap_pte"),
        ("restore", "alloc_huge_page_vmemmap"),
        ("restore_pte", "vmemmap_restore_pte"),
    ],
)
def test_the_symbol_of_each_step(tmp_path: Path, step: str, symbol: str) -> None:
    assert look(tmp_path, step, OLD) == Finding(step, OK, symbol)


def test_a_step_that_no_function_stands_for(tmp_path: Path) -> None:
    symbols = kallsyms(*(name for name in SYMBOLS_6_1 if name != "vmemmap_remap_pte"))
    assert look(tmp_path, "remap_pte", {KALLSYMS: symbols}) == Finding(
        "remap_pte",
        PROBLEM,
        "the kernel has none of: vmemmap_remap_pte",
        "report this kernel to hvoscope: its functions belong in probes/kernel/hooks.py",
    )


def test_a_batch_that_was_rewritten_costs_no_count(tmp_path: Path) -> None:
    rewritten = "hugetlb_vmemmap_optimize_folios.isra.0"
    finding = look(tmp_path, "batch", {KALLSYMS: kallsyms(*SYMBOLS_6_1, rewritten)})
    assert finding.verdict is WARNING
    assert rewritten in finding.what


def test_a_folder_that_can_not_be_looked_into(tmp_path: Path) -> None:
    host = machine(tmp_path, {})
    name = "x" * 300  # too long for any file system: stat fails with neither yes nor no
    findings = examine(type(host)(host.proc, tmp_path / name, host.modules, RELEASE, "x86_64"))
    verdicts = {finding.name: finding.verdict for finding in findings}
    assert verdicts["kprobes"] is UNKNOWN
    assert verdicts["lockdown"] is verdicts["pools"] is UNKNOWN
