"""Who may come to a consumer: `auth`, `authenticators`, claims, and authenticators of one's own."""

import asyncio
import secrets

import pytest
from websockets.exceptions import InvalidStatus

from chat.realtime import RealtimeConsumer
from tests.kit import ChatServer, Client
from tests.token_support import claims_of, mint


@pytest.fixture
def user(app_server):
    return app_server.create_user(f"user-{secrets.token_hex(4)}")


@pytest.fixture
def token(app_server, user) -> str:
    return mint(app_server, user)["access"]


@pytest.fixture
def ask(app_server, connect):
    """``await ask("members", cookie=..., headers=...)``: whom the consumer takes the client for, or with
    which status it refuses."""

    async def asked(name: str, **options):
        try:
            client = await connect(url(app_server, name), welcomed=False, **options)
        except InvalidStatus as error:
            return status_of(error)
        return (await client.expect(type="you"))["data"]

    return asked


def status_of(error: InvalidStatus) -> int:
    return error.response.status_code


def url(server: ChatServer, name: str) -> str:
    return f"ws://127.0.0.1:{server.port}/test/identity/{name}"


def bearer(token: str) -> dict[str, dict[str, str]]:
    return {"headers": {"Authorization": f"Bearer {token}"}}


async def test_auth_none_looks_at_nothing(ask, user):
    """Neither a session nor a token, good or bad, makes a user."""
    for options in ({"cookie": user.cookie}, bearer("garbage"), {}):
        assert (await ask("nobody", **options))["user"] == ""


async def test_auth_required_takes_any_credentials_and_no_visitors(ask, user, token):
    """A session and a token are let in; without one, or with a bad one, it is 401."""
    assert (await ask("members", cookie=user.cookie))["user"] == user.username
    assert (await ask("members", **bearer(token)))["user"] == user.username
    assert await ask("members") == 401
    assert await ask("members", cookie="sessionid=" + "x" * 32) == 401
    assert await ask("members", **bearer("garbage")) == 401


async def test_a_consumer_chooses_its_authenticators(ask, user, token):
    """Sessions alone: a token is not looked at. Tokens alone: a session is not."""
    assert (await ask("sessions-only", cookie=user.cookie))["user"] == user.username
    assert (await ask("sessions-only", **bearer(token)))["user"] == ""
    assert (await ask("tokens-only", **bearer(token)))["user"] == user.username
    assert await ask("tokens-only", cookie=user.cookie) == 401


async def test_the_first_that_finds_credentials_decides(app_server, ask, user, token):
    """With the session first, a good session decides, whatever the token; without one the token does."""
    other = app_server.create_user(f"user-{secrets.token_hex(4)}")
    assert (await ask("sessions-first", cookie=other.cookie, **bearer(token)))["user"] == other.username
    assert (await ask("sessions-first", **bearer(token)))["user"] == user.username
    assert (await ask("sessions-first", cookie=other.cookie, **bearer("garbage")))["user"] == other.username
    assert await ask("sessions-first", **bearer("garbage")) == 401


async def test_claims_are_at_hand(ask, user, token):
    """`self.claims` and `connection.claims` are the token's, None without one; the token is not kept."""
    found = await ask("members", **bearer(token))
    assert found["claims"] == claims_of(token)
    assert found["same"]
    assert found["tokens"] == []
    assert (await ask("members", cookie=user.cookie))["claims"] is None


async def test_an_authenticator_of_ones_own(app_server, connect, ask, user):
    """Its identity counts, with its claims; its refusal is a 401; where it finds nothing the next is asked;
    and its sockets end with the user."""
    key = {"headers": {"X-Key": user.username}}
    found = await ask("keys", **key)
    assert (found["user"], found["claims"]) == (user.username, {"shop": 7})
    assert (await ask("keys", cookie=user.cookie))["user"] == user.username
    assert await ask("keys", headers={"X-Key": "no such key"}) == 401
    client = await connect(url(app_server, "keys"), welcomed=False, **key)
    await app_server.adjango(
        "from django.contrib.auth.models import User\n"
        "user = User.objects.get(pk=pk)\nuser.is_active = False\nuser.save()",
        pk=user.id,
    )
    assert await client.closed(2) == (4501, "signed out")


async def test_a_consumer_without_tokens_takes_none_on_the_socket(app_server, connect, token):
    """`auth` where no authenticator takes tokens: `unauthenticated`."""
    client = await connect(url(app_server, "no-tokens"), welcomed=False)
    await client.send({"type": "auth", "data": {"token": token}})
    error = (await client.expect(type="error"))["data"]
    assert (error["code"], error["message"]) == ("unauthenticated", "Tokens are not taken here.")


async def test_a_consumer_that_is_no_sign_in_consumer_knows_no_auth(app_server, connect, token):
    """Only who extends `SignInConsumer` takes `auth`."""
    client = await connect(url(app_server, "sessions-only"), welcomed=False)
    await client.send({"type": "auth", "data": {"token": token}})
    assert (await client.expect(type="error"))["data"]["code"] == "unknown_type"


def test_a_misspelt_auth_fails_at_import():
    """`auth = "requierd"` must not let everybody in."""
    with pytest.raises(TypeError, match=r"Shop\.auth"):
        type("Shop", (RealtimeConsumer,), {"auth": "requierd"})


@pytest.mark.parametrize("kind", ["deactivated", "signed out"])
async def test_credentials_that_end_during_the_handshake_open_nothing_that_stays(
    start_server, redis, connect, kind
):
    """The word comes while a handshake is under way, before its connection is known to anybody: the socket is
    closed as soon as it is open, or refused with 401."""
    server = start_server(redis.url, settings="tests.settings")
    user = server.create_user(f"user-{secrets.token_hex(4)}")
    pair = mint(server, user)
    opener = await connect(url(server, "gated/opens"), welcomed=False)
    witness = await connect(url(server, "members"), welcomed=False, **bearer(pair["access"]))
    late = asyncio.ensure_future(
        Client.connect(url(server, "gated/waits"), welcomed=False, **bearer(pair["access"]))
    )
    await opener.send({"type": "arrived"})
    await opener.expect(type="arrived")
    if kind == "deactivated":
        code = (
            "from django.contrib.auth.models import User\n"
            "user = User.objects.get(pk=pk)\nuser.is_active = False\nuser.save()"
        )
        await server.adjango(code, pk=user.id)
    else:
        code = (
            "from chat.credentials import end_sign_in\nfrom chat.realtime.auth import sign_in_name\n"
            "end_sign_in(sign_in_name(sid))"
        )
        await server.adjango(code, sid=claims_of(pair["access"])["sid"])
    assert await witness.closed(2) == (4501, "signed out")
    await opener.send({"type": "open"})
    if kind == "deactivated":
        assert await (await late).closed(2) == (4501, "signed out")
    else:
        with pytest.raises(InvalidStatus) as error:
            await late
        assert status_of(error.value) == 401
