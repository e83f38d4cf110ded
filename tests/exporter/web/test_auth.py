# SPDX-License-Identifier: Apache-2.0
"""Basic authentication, alone and through the server."""

import asyncio
import base64
from pathlib import Path
from time import process_time

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.auth import Users, cost_of
from exporter.web.workers import BusyError
from tests.exporter.web.site import Numbers, Served


def hashed(password: str) -> bytes:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4))


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def allowed(users: Users, authorization: str) -> bool:
    return asyncio.run(users.allow(authorization))


def test_only_known_users_with_their_password_are_allowed() -> None:
    users = Users({"alice": hashed("open:sesame"), "bob": hashed("")})
    assert allowed(users, basic("alice", "open:sesame"))
    assert allowed(users, basic("bob", ""))
    for name, password in (
        ("alice", "sesame"),
        ("alice", ""),
        ("bob", "open:sesame"),
        ("carol", "open:sesame"),
        ("", ""),
        ("Alice", "open:sesame"),
    ):
        assert not allowed(users, basic(name, password)), (name, password)


@pytest.mark.parametrize(
    "authorization",
    ["", "Basic", "Basic !!!", "Basic YWxpY2U", "Bearer YWxpY2U6eA==", "YWxpY2U6eA==", "Basic ä"],
)
def test_invalid_authorization_is_rejected(authorization: str) -> None:
    assert not allowed(Users({"alice": hashed("x")}), authorization)


def test_the_scheme_is_case_insensitive() -> None:
    users = Users({"alice": hashed("x")})
    assert allowed(users, basic("alice", "x").replace("Basic", "bAsIc"))


def test_without_users_everyone_is_allowed() -> None:
    assert allowed(Users({}), "")


def test_a_correct_password_is_hashed_only_once() -> None:
    async def calls() -> list[bool]:
        users = Users({"alice": bcrypt.hashpw(b"x", bcrypt.gensalt(12))})
        began = process_time()
        assert await users.allow(basic("alice", "x"))
        hashed_at = process_time()
        answers = [await users.allow(basic("alice", "x")) for _ in range(1009)]
        assert process_time() - hashed_at < 100 * (hashed_at - began)
        return answers

    assert all(asyncio.run(calls()))


def test_a_wrong_password_is_not_cached() -> None:
    users = Users({"alice": hashed("x")})
    assert not allowed(users, basic("alice", "y"))
    assert not allowed(users, basic("alice", "y"))
    assert allowed(users, basic("alice", "x"))


def test_guesses_are_limited() -> None:
    async def guess() -> list[bool | BaseException]:
        users = Users({"alice": hashed("x")})
        guesses = (users.allow(basic("alice", str(number))) for number in range(23))
        return await asyncio.gather(*guesses, return_exceptions=True)

    answers = asyncio.run(guess())
    assert answers.count(False) == 16
    assert sum(isinstance(answer, BusyError) for answer in answers) == 7


def test_a_cached_user_does_not_wait_for_guesses() -> None:
    async def both() -> None:
        users = Users({"alice": hashed("x")})
        assert await users.allow(basic("alice", "x"))
        guesses = [
            asyncio.ensure_future(users.allow(basic("alice", str(number)))) for number in range(23)
        ]
        await asyncio.sleep(0)
        assert await users.allow(basic("alice", "x"))
        await asyncio.gather(*guesses, return_exceptions=True)

    asyncio.run(both())


def test_passwords_longer_than_72_bytes() -> None:
    users = Users({"alice": hashed("x" * 72)})
    assert allowed(users, basic("alice", "x" * 100))
    assert not allowed(users, basic("alice", "x" * 71))


GOOD = bcrypt.hashpw(b"x", b"$2b$04$abcdefghijklmnopqrstuu").decode()


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_hashes_of_other_tools_are_accepted(prefix: str) -> None:
    text = GOOD.replace("$2b$", prefix)
    assert cost_of(text) == 4
    assert allowed(Users({"alice": text.encode()}), basic("alice", "x"))


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", GOOD + "x", GOOD[:-1], GOOD.replace("$04$", "$4$"), GOOD + "\n", " " + GOOD),
        *(GOOD.replace("$04$", cost) for cost in ("$00$", "$03$", "$21$", "$31$", "$-4$", "$٠٤$")),
        *(
            GOOD.replace("$2b$", prefix)
            for prefix in ("$2$", "$1$", "$2c$", "$2B$", "2b$", "$2bb$")
        ),
        GOOD[:28] + "z" + GOOD[29:],  # a salt with bits beyond its 16 bytes
        GOOD[:15] + "*" + GOOD[16:],
        GOOD[:-1] + "/",  # a hash with bits beyond its 23 bytes
        GOOD[:40] + "-" + GOOD[41:],
    ],
)
def test_unusable_hashes_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"is (not )?a "):
        cost_of(text)


@given(
    prefix=st.sampled_from(["$2$", "$2a$", "$2b$", "$2c$", "$2x$", "$2y$"]),
    salt=st.text("./AZaz09", min_size=22, max_size=22),
    password=st.binary(max_size=100),
)
def test_every_accepted_hash_can_be_verified(prefix: str, salt: str, password: bytes) -> None:
    text = f"{prefix}04${salt}" + GOOD[29:]
    try:
        cost_of(text)
    except ValueError:
        return
    plain = password.replace(b"\0", b"x")
    made = bcrypt.hashpw(plain[:72], text[:29].encode())
    users = Users({"alice": made})
    assert allowed(users, "Basic " + base64.b64encode(b"alice:" + plain).decode())
    assert allowed(users, "Basic " + base64.b64encode(b"alice:" + password).decode()) in (
        (True, False) if b"\0" in password else (True,)
    )


def test_names_that_are_not_utf8() -> None:
    users = Users({"\ufffd": hashed("x")})
    assert not allowed(users, "Basic " + base64.b64encode(b"\xff:x").decode())


def test_a_password_with_a_nul_byte_is_wrong_and_not_an_error(tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    path.write_text(f"basic_auth_users: {{alice: {hashed('x').decode()}}}\n")
    with Served(Numbers().site(), path) as served:
        for password in ("\0", "x\0", "x\0y", "\0x"):
            assert served.ask("/numbers", Authorization=basic("alice", password))[0] == 401
        assert served.ask("/numbers", Authorization=basic("alice", "x"))[0] == 200


def test_through_the_server(tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    path.write_text(
        f"basic_auth_users: {{alice: {hashed('x').decode()}}}\n"
        "http_server_config: {headers: {X-Frame-Options: deny}}\n"
    )
    with Served(Numbers().site(), path) as served:
        for where in ("/", "/numbers", "/-/healthy", "/-/ready", "/nothing"):
            status, body, headers = served.ask(where)
            assert (status, body) == (401, b"unauthorized\n"), where
            assert headers["WWW-Authenticate"] == 'Basic realm="hvoscope", charset="UTF-8"'
            assert headers["X-Frame-Options"] == "deny"
        assert served.ask("/numbers", Authorization=basic("alice", "y"))[0] == 401
        status, _, headers = served.ask("/numbers", Authorization=basic("alice", "x"))
        assert (status, headers["X-Frame-Options"]) == (200, "deny")
