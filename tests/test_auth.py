"""Who is it: sessions, AUTH_ENABLED, and the end of credentials (4501)."""

import secrets
import urllib.parse

import pytest

from tests.kit import ChatServer, Client, RawSocket, eventually, on_each_worker

CREDENTIALS_LIMIT = 2.0  # seconds within which ended credentials end sockets (docs/protocol.md)


@pytest.fixture(scope="module")
def _strict_server(redis):
    """A server with AUTH_ENABLED=true, on two workers."""
    server = ChatServer(redis.url, workers=2, env={"AUTH_ENABLED": "true"}).start()
    yield server
    server.stop()
    server.cleanup()


@pytest.fixture
def strict_server(_strict_server):
    _strict_server.mark()
    yield _strict_server
    _strict_server.check_output(_strict_server.recent_output())


@pytest.fixture(params=["redis", "memory"])
def any_server(request, server, memory_server):
    """Either shared server."""
    return server if request.param == "redis" else memory_server


def new_name() -> str:
    return f"user-{secrets.token_hex(4)}"


async def handshake(server, path="/api/chat-api/ws", **headers):
    raw = await RawSocket.open(server.port)
    try:
        return await raw.handshake(path, **headers)
    finally:
        await raw.close()


async def signed_in(server, connect, user, room) -> list[Client]:
    """One socket of the user on each worker, in the room."""
    return await on_each_worker(server, lambda: connect(server.ws(room), cookie=user.cookie))


async def all_end(clients: list[Client], code: int) -> None:
    for client in clients:
        assert await client.closed(CREDENTIALS_LIMIT) == (code, "signed out")


# --- who it is ----------------------------------------------------------------------------------------


async def test_a_session_makes_the_user(any_server, connect, room):
    """A session cookie signs in: `welcome` tells the client, `user` in its messages tells everybody."""
    user = any_server.create_user(new_name())
    guest = await connect(any_server.ws(room))
    ada = await connect(any_server.ws(room), cookie=user.cookie)
    assert ada.welcome["data"]["user"] == user.shown
    await ada.send_chat("hello", user={"id": 99, "username": "somebody"})
    frame = await guest.expect(type="chat")
    assert frame["user"] == user.shown
    assert frame["from"] == ada.id
    await guest.send_chat("hello")
    assert "user" not in await ada.expect(type="chat", from_=guest.id)


@pytest.mark.parametrize(
    "cookie",
    [
        "sessionid=" + "x" * 32,
        "sessionid=",
        "sessionid",
        "sessionid=a b; sessionid",
        "sessionid=" + "x" * 2000,
        "sessionid=../../etc/passwd",
        "sessionid=\xff\xfe",
        "csrftoken=x",
        ";;;=;",
    ],
)
async def test_a_cookie_that_is_no_session_is_an_anonymous_visitor(server, cookie):
    """A session that is unknown, malformed or empty makes no user, and no error."""
    response = await handshake(server, Cookie=cookie, Origin=server.origin)
    assert response.status == 101


async def test_a_session_of_a_deactivated_user_is_nobodys(server, connect):
    """An inactive user's session makes an anonymous visitor, and so does one from before a new password."""
    inactive = server.create_user(new_name(), is_active=False)
    client = await connect(server.ws(), cookie=inactive.cookie)
    assert client.welcome["data"]["user"] is None
    user = server.create_user(new_name())
    server.django(
        "from django.contrib.auth.models import User\nUser.objects.filter(pk=pk).update(password='!another')",
        pk=user.id,
    )
    client = await connect(server.ws(), cookie=user.cookie)
    assert client.welcome["data"]["user"] is None


async def test_an_expired_session_is_nobodys(server, connect):
    """A session past its date makes an anonymous visitor."""
    user = server.create_user(new_name())
    server.django(
        "from django.contrib.sessions.models import Session\n"
        "from django.utils import timezone\n"
        "Session.objects.filter(pk=key).update(expire_date=timezone.now())",
        key=user.session_key,
    )
    client = await connect(server.ws(), cookie=user.cookie)
    assert client.welcome["data"]["user"] is None


async def test_the_other_cookies_are_none_of_ours(server, connect):
    """The session is found among other cookies, whatever they look like."""
    user = server.create_user(new_name())
    client = await connect(server.ws(), cookie=f'theme="a;b"; x=y; {user.cookie}; z')
    assert client.welcome["data"]["user"] == user.shown


# --- AUTH_ENABLED -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/tea", "?room=tea"])
async def test_auth_enabled_refuses_anonymous_connections(strict_server, path):
    """With AUTH_ENABLED=true an anonymous handshake, and a GET, is 401 `unauthenticated`."""
    path = "/api/chat-api/ws" + path
    for headers in ({}, {"Cookie": "sessionid=" + "x" * 32, "Origin": strict_server.origin}):
        response = await handshake(strict_server, path, **headers)
        assert (response.status, response.code) == (401, "unauthenticated")
        plain = await handshake(strict_server, path, **headers, Upgrade=None, Connection=None)
        assert (plain.status, plain.json) == (response.status, response.json)


async def test_auth_enabled_welcomes_users(strict_server, connect, room):
    """With AUTH_ENABLED=true signed-in users chat as ever."""
    user = strict_server.create_user(new_name())
    ada, bob = await signed_in(strict_server, connect, user, room)
    await ada.send_chat("hello")
    assert (await bob.expect(type="chat"))["user"] == user.shown


async def test_the_settings_can_not_switch_auth_enabled_off(strict_server):
    """A settings row that does not require a sign-in changes nothing where the environment does."""
    strict_server.change_settings(auth_required=False, presence_limit=99)
    assert (await handshake(strict_server)).status == 401


async def test_the_settings_can_require_a_sign_in(start_server, redis, connect):
    """`auth_required` saved: within 2 seconds every worker refuses anonymous visitors, and parts with those
    it has (4501); and back."""
    server = start_server(redis.url, workers=2)
    user = server.create_user(new_name())
    guests = await on_each_worker(server, lambda: connect(server.ws()))
    member = await connect(server.ws(), cookie=user.cookie)
    for required, status in ((True, 401), (False, 101)):
        server.change_settings(auth_required=required)

        async def refused(wanted: int = status) -> bool:
            return {(await handshake(server)).status for _ in range(12)} == {wanted}

        await eventually(refused, f"{status} on every worker", CREDENTIALS_LIMIT)
        await connect(server.ws(), cookie=user.cookie)
        await member.round_trip()
    assert [(await guest.closed())[0] for guest in guests] == [4501] * len(guests)


# --- the end of credentials ---------------------------------------------------------------------------


async def test_signing_out_closes_that_sessions_sockets_on_every_worker(server, connect, room):
    """POST to the sign-out page: 4501 on every worker for its session; other sessions and people stay."""
    user = server.create_user(new_name())
    elsewhere = f"sessionid={server.create_session(user.id)}"
    mine = await signed_in(server, connect, user, room)
    other_device = await connect(server.ws(room), cookie=elsewhere)
    guest = await connect(server.ws(room))
    token = secrets.token_hex(16)
    status, _, _ = server.request(
        "POST",
        "/accounts/logout/",
        urllib.parse.urlencode({"csrfmiddlewaretoken": token}).encode(),
        Cookie=f"{user.cookie}; csrftoken={token}",
        Content_Type="application/x-www-form-urlencoded",
    )
    assert status == 302
    await all_end(mine, 4501)
    for client in (other_device, guest):
        await client.round_trip()


async def test_the_memory_layer_ends_credentials_too(memory_server, connect, room):
    """One process: signing out closes the session's sockets."""
    user = memory_server.create_user(new_name())
    mine = await connect(memory_server.ws(room), cookie=user.cookie)
    token = secrets.token_hex(16)
    memory_server.request(
        "POST",
        "/accounts/logout/",
        urllib.parse.urlencode({"csrfmiddlewaretoken": token}).encode(),
        Cookie=f"{user.cookie}; csrftoken={token}",
        Content_Type="application/x-www-form-urlencoded",
    )
    await all_end([mine], 4501)


ENDINGS = {
    "a new password": "user.set_password('new'); user.save()",
    "a password saved alone": "user.set_password('new'); user.save(update_fields=['password'])",
    "deactivation": "user.is_active = False; user.save()",
    "deletion": "user.delete()",
}


@pytest.mark.parametrize("change", ENDINGS.values(), ids=ENDINGS.keys())
async def test_ended_credentials_close_the_users_sockets_on_every_worker(server, connect, room, change):
    """Wherever it happens, in another process too: 4501 within 2 seconds on every worker; others stay."""
    user, bystander = server.create_user(new_name()), server.create_user(new_name())
    mine = await signed_in(server, connect, user, room)
    elsewhere = await connect(server.ws(), cookie=f"sessionid={server.create_session(user.id)}")
    others = [await connect(server.ws(room), cookie=bystander.cookie), await connect(server.ws(room))]
    await server.adjango(
        f"from django.contrib.auth.models import User\nuser = User.objects.get(pk=pk)\n{change}", pk=user.id
    )
    await all_end([*mine, elsewhere], 4501)
    for client in others:
        await client.round_trip()
    client = await connect(server.ws(room), cookie=user.cookie)
    assert client.welcome["data"]["user"] is None


async def test_the_session_that_changed_the_password_stays(server, connect, room):
    """As on the site: the session in which a password is changed goes on, all others end."""
    user = server.create_user(new_name())
    other = await connect(server.ws(room), cookie=f"sessionid={server.create_session(user.id)}")
    mine = await connect(server.ws(room), cookie=user.cookie)
    await server.adjango(
        """
from importlib import import_module
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.auth.models import User
from django.db import transaction
with transaction.atomic():
    user = User.objects.get(pk=pk)
    user.set_password("new")
    user.save()
    session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
""",
        pk=user.id,
        key=user.session_key,
    )
    await all_end([other], 4501)
    await mine.round_trip()


@pytest.mark.parametrize(
    "change",
    [
        "user.last_name = 'Lovelace'; user.save()",
        "user.last_login = None; user.save(update_fields=['last_login'])",
        "user.is_staff = True; user.save()",
    ],
)
async def test_other_changes_of_a_user_close_nothing(server, connect, room, change):
    """Saving a user whose credentials stay the same leaves the sockets open."""
    user = server.create_user(new_name())
    mine = await signed_in(server, connect, user, room)
    await server.adjango(
        f"from django.contrib.auth.models import User\nuser = User.objects.get(pk=pk)\n{change}", pk=user.id
    )
    await _looked(server, mine)


async def test_a_change_that_is_rolled_back_closes_nothing(server, connect, room):
    """Only what was committed counts."""
    user = server.create_user(new_name())
    mine = await signed_in(server, connect, user, room)
    await server.adjango(
        """
from django.contrib.auth.models import User
from django.db import transaction
try:
    with transaction.atomic():
        user = User.objects.get(pk=pk)
        user.is_active = False
        user.save()
        raise KeyError
except KeyError:
    pass
""",
        pk=user.id,
    )
    await _looked(server, mine)


async def _looked(server, clients: list[Client]) -> None:
    """Wait until what the workers were told before has been done: another user's end comes after it."""
    other = server.create_user(new_name())
    theirs = await on_each_worker(server, lambda: Client.connect(server.ws(), cookie=other.cookie))
    await server.adjango(
        "from django.contrib.auth.models import User\nUser.objects.get(pk=pk).delete()", pk=other.id
    )
    await all_end(theirs, 4501)
    for client in clients:
        await client.round_trip()
