# SPDX-License-Identifier: Apache-2.0
"""Small modules: token bucket, workers, compression, log lines logged once, routing."""

import asyncio
import gzip
import logging
import threading
from http import HTTPStatus

import pytest

from exporter.web.bucket import RateLimit, TokenBucket
from exporter.web.compression import MIN_BYTES, accepts_gzip, compressed
from exporter.web.log_once import LogOnce
from exporter.web.messages import Request, Response
from exporter.web.workers import BusyError, Workers
from tests.exporter.web.site import Numbers


def test_a_bucket_fills_over_time_up_to_its_limit() -> None:
    now = 100.0
    bucket = TokenBucket(RateLimit(interval=2.0, burst=3), lambda: now)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now += 1.9
    assert not bucket.take()
    now += 0.2
    assert [bucket.take() for _ in range(2)] == [True, False]
    now += 1000
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip;Q=0.000", False),
        ("gzip;level=1;q=0", False),
        ("gzip;q=1e3", False),
        ("gzip;q=nan", False),
        ("x-gzip", True),
        ("gzip, identity", True),
        ("gzip;q=0.5, identity;q=0.6", False),
        ("identity;q=0.5, *;q=0.1", False),
        ("identity;q=0, gzip;q=0.001", True),
        ("identity;q=0, *;q=0", False),
        ('gzip;note=", br;q=0"', True),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("gzip;q=high", False),
        ("gzip ; q=1", True),
        ("", False),
        ("identity", False),
        ("xgzip", False),
    ],
)
def test_gzip_negotiation(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted


def test_small_responses_are_not_compressed() -> None:
    small = Response(HTTPStatus.OK, b"x" * (MIN_BYTES - 1))
    assert compressed(small, "gzip") == small
    large = Response(HTTPStatus.OK, b"x" * MIN_BYTES)
    assert gzip.decompress(compressed(large, "gzip").body) == large.body
    assert compressed(large, "").headers == (("Vary", "Accept-Encoding"),)


def test_the_site_answers_without_a_server() -> None:
    site = Numbers().site()
    answer = site.answer(Request("GET", "/numbers", {"accept-encoding": "identity"}))
    assert answer.status == HTTPStatus.OK
    assert b"\nanswer 42.0\n" in answer.body
    assert site.answer(Request("GET", "", {})).status == HTTPStatus.NOT_FOUND
    assert site.answer(Request("POST", "/", {})).status == HTTPStatus.METHOD_NOT_ALLOWED


def test_workers_return_results_and_raise_errors() -> None:
    def broken() -> int:
        raise LookupError("a reason")

    async def both() -> int:
        workers = Workers(threads=1, jobs=1)
        with pytest.raises(LookupError, match="a reason"):
            await workers.run(broken)
        return await workers.run(lambda: 23)

    assert asyncio.run(both()) == 23


def test_a_cancelled_job_counts_until_its_thread_ends() -> None:
    go_on = threading.Event()

    async def give_up() -> None:
        workers = Workers(threads=1, jobs=2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await workers.run(lambda: go_on.wait(30))
        in_line = asyncio.ensure_future(workers.run(lambda: 23))
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await workers.run(lambda: 42)
        in_line.cancel()
        with pytest.raises(asyncio.CancelledError):
            await in_line
        go_on.set()
        assert await workers.run(lambda: 509) == 509

    asyncio.run(give_up())


def test_a_job_that_outlives_the_loop_is_harmless() -> None:
    go_on, ended = threading.Event(), threading.Event()

    def job() -> None:
        go_on.wait(30)
        ended.set()

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await Workers(threads=1, jobs=1).run(job)

    asyncio.run(leave())
    go_on.set()
    assert ended.wait(30)


def test_lines_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    once = LogOnce(logging.getLogger("hvoscope"))
    for _ in range(3):
        once.error("no %s", "good")
        once.warning("%d", 23)
    for number in range(1009):
        once.error("%d", number)
    reported = [record.message for record in caplog.records]
    assert reported[:2] == ["no good (logged once)", "23 (logged once)"]
    assert len(reported) == len(set(reported)) == 100
