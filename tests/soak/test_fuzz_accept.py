# SPDX-License-Identifier: Apache-2.0
"""Accept headers, valid and mutated: no crash, no 500, and the oracle's choice of format.

The oracle splits lists by hand, reads each element with WebOb, and weighs by brute force. WebOb
follows RFC 7231; where RFC 9110 differs, ``Reading`` says so.
"""

import asyncio
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import NamedTuple

import pytest

from exporter.web.formats import OPENMETRICS, TEXT, Format, choose
from exporter.web.http_connection import HttpConnection
from exporter.web.limits import DEFAULT
from exporter.web.messages import Request, Response
from tests.exporter.web.site import Numbers
from tests.exporter.web.test_formats import WANT_OPENMETRICS, WANT_TEXT
from tests.soak.mutate import mutations
from tests.soak.test_fuzz_http import Fed, pieces

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it imports cgi
    from webob.acceptparse import Accept

pytestmark = pytest.mark.soak

INPUTS = 20_000
"""Number of generated headers, and of mutated ones."""

WHOLE = 5
"""One of this many headers goes through a server connection."""

GOOD = tuple(text.encode("latin-1", "replace") for text in (*WANT_OPENMETRICS, *WANT_TEXT))
WORDS = (
    *(
        b",",
        b";",
        b"=",
        b'"',
        b"\\",
        b'\\"',
        b" ",
        b"\t",
        b"*",
        b"*/*",
        b"/",
        b"\xe4",
        b"\0",
        b"\n",
    ),
    *(b";q=0", b";q=0.5", b";q=1.001", b"q=1", b";Q=0.25", b"version=1.0.0", b'version="1.0.0"'),
    *(b"text/plain", b"text/*", b"application/openmetrics-text", b"charset=UTF-8", b";escaping=x"),
)


class Reading(NamedTuple):
    """One element as parsed by the oracle."""

    media_range: str
    parameters: tuple[tuple[str, str], ...]
    weight: float


def split(text: str, separator: str) -> list[str]:
    """Split outside quoted strings."""
    parts, quoted, escaped = [""], False, False
    for character in text:
        if character == separator and not quoted:
            parts.append("")
            continue
        parts[-1] += character
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
    return parts


def readings(header: str) -> Iterator[Reading]:
    for element in split(header, ","):
        media_range, *parameters = split(element, ";")
        # RFC 9110, 5.6.6: a parameter may be empty.
        bare = ";".join((media_range, *(p for p in parameters if p.strip(" \t")))).strip(" \t")
        try:
            ((_, weight, before, after),) = Accept.parse(bare)
        except ValueError:
            continue
        # RFC 9110, 12.5.1: parameters after the weight belong to the media range, too.
        if any(isinstance(extension, str) for extension in after):
            continue
        pairs = tuple((name.lower(), value) for name, value in (*before, *after))
        names = [name for name, _ in pairs]
        if len(set(names)) == len(names) and "q" not in names:
            yield Reading(media_range.strip(" \t").lower(), pairs, weight)


def weight_of(offer: Format, read: list[Reading]) -> tuple[float, bool]:
    best = (-1, -1, 0.0)
    for media_range, pairs, weight in read:
        offered = dict(offer.parameters)
        fits = all(
            name == "escaping"
            or (value.lower() if name == "charset" else value) == offered.get(name)
            for name, value in pairs
        )
        wildcards = media_range.count("*") if media_range != offer.media_type else 0
        named = media_range in (offer.media_type, offer.media_type.split("/")[0] + "/*", "*/*")
        if fits and named:
            best = max(best, (2 - wildcards, len(pairs), weight))
    return best[2], best[0] == 2


def oracle(header: str) -> Format:
    read = list(readings(header))
    text, _ = weight_of(TEXT, read)
    openmetrics, named = weight_of(OPENMETRICS, read)
    if openmetrics == 0:
        return TEXT
    if openmetrics == text:
        return OPENMETRICS if named else TEXT
    return OPENMETRICS if openmetrics > text else TEXT


def legal(random: Random) -> str:
    """Generate a header by the relevant part of RFC 9110's grammar."""

    def quoted(text: str) -> str:
        return '"' + "".join(random.choice((c, "\\" + c)) for c in text) + '"'

    def parameter() -> str:
        name = random.choice(("version", "charset", "escaping", "VERSION", "x"))
        value = random.choice(("1.0.0", "0.0.4", "0.0.1", "utf-8", "UTF-8", "a,b", 'c";d', "q"))
        plain = value.replace(".", "").replace("-", "").isalnum() and random.random() < 0.6
        return f"{name}={value if plain else quoted(value)}"

    def element() -> str:
        media_range = random.choice(
            ("*/*", "text/*", "application/*", TEXT.media_type, OPENMETRICS.media_type, "a/b")
        )
        parts = [parameter() for _ in range(random.choice((0, 0, 1, 1, 2)))]
        if random.random() < 0.7:
            at = len(parts) if random.random() < 0.8 else random.randint(0, len(parts))
            parts.insert(
                at, f"q={random.choice(('0', '0.', '0.1', '0.25', '0.999', '1', '1.000'))}"
            )
        if random.random() < 0.1:
            parts.append("")
        blank = random.choice(("", "", " ", "\t "))
        return f"{blank};{blank}".join((media_range, *parts))

    comma = random.choice((",", ", ", " ,, "))
    return comma.join(element() for _ in range(random.randint(1, 5)))


def headers() -> Iterator[bytes]:
    random = Random(1009)
    for _ in range(INPUTS):
        yield legal(random).encode("latin-1")
    yield from mutations(1009, GOOD, INPUTS, WORDS)


def test_the_format_equals_the_oracles() -> None:
    openmetrics = 0
    for data in headers():
        if b"\n" in data:
            continue  # a newline ends the header; WebOb accepts a final one
        accept = data.decode("latin-1").strip(" \t")
        chosen = choose(accept)
        assert chosen is oracle(accept), accept
        openmetrics += chosen is OPENMETRICS
    print(f"{2 * INPUTS} headers, {openmetrics} times OpenMetrics")
    assert INPUTS / 4 < openmetrics < INPUTS


def test_every_response_is_a_scrape_or_an_error() -> None:
    site = Numbers().site()
    random = Random(23)

    async def respond(request: Request) -> Response:
        return site.answer(request)

    async def all_of_them() -> Counter[bytes]:
        answers: Counter[bytes] = Counter()
        for accept in islice(headers(), None, None, WHOLE):
            request = b"GET /numbers HTTP/1.1\r\nHost: x\r\nAccept: " + accept + b"\r\n\r\n"
            client = Fed(pieces(random, request))
            await HttpConnection(client, respond, DEFAULT).run()
            answer = client.heard.split(b" ", 2)[1]
            answers[answer] += 1
            if answer == b"200" and b"\n" not in accept:  # a newline ends the header
                expected = oracle(accept.decode("latin-1").strip(" \t")).content_type
                assert b"\r\nContent-Type: %b\r\n" % expected.encode() in client.heard, accept
            elif answer != b"200":
                assert answer in (b"400", b"431"), accept
                assert min(accept) < ord(" "), accept  # control characters are invalid in headers
        return answers

    answers = asyncio.run(all_of_them())
    print(dict(answers))
    assert answers[b"200"] > INPUTS * 3 / 2 / WHOLE
