# SPDX-License-Identifier: Apache-2.0
"""The help page of the screen: keys, and what its numbers mean."""

KEYS = (
    ("q", "quit"),
    ("p, space", "pause, resume"),
    ("s, r", "sort the pools by the next column, reverse the order"),
    ("w", "latencies since the start, or of the last minute"),
    ("?, h", "this page, and back"),
    ("Ctrl-Z", "suspend; fg returns"),
)

NUMBERS = (
    ("saved", "struct page memory that HVO saves on the whole machine (Linux 6.11)"),
    ("since start", "frames freed less frames allocated, since the probes were attached"),
    ("memmap", "memory of all struct pages"),
    ("missed, lost", "hits that the kernel dropped, events that the stream dropped"),
    ("drift", "frames by the probes less frames by the kernel's accounting; 0 is right"),
    ("P50 P90 P99", "latency percentiles of calls that did some work, or failed"),
    ("SKIPPED", "calls that had nothing to do, or that HVO could not serve"),
    ("-", "a value that can't be observed"),
)


def lines() -> list[str]:
    """Return the page: at most 80 characters wide and 21 lines."""
    width = max(len(name) for name, _ in (*KEYS, *NUMBERS))
    rows = [f"  {name:<{width}}  {meaning}" for name, meaning in (*KEYS, *NUMBERS)]
    return ["KEYS", *rows[: len(KEYS)], "", "NUMBERS", *rows[len(KEYS) :]]
