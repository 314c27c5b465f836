"""Tokens on the WebSocket: each way in, each bad one, `auth` on the open socket, and how they end (4501)."""

import asyncio
import secrets
import time
import urllib.parse

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from websockets.exceptions import InvalidStatus

from tests.kit import Client, RawSocket, eventually, on_each_worker
from tests.token_support import claims_of, forge, hmac_signed, in_seconds, mint, post, without_signature

LIMIT = 2.0  # seconds within which ended credentials end sockets (docs/protocol.md)
PATH = "/api/chat-api/ws"


def new_name() -> str:
    return f"user-{secrets.token_hex(4)}"


@pytest.fixture
def user(server):
    return server.create_user(new_name())


@pytest.fixture
def token(server, user) -> str:
    """An access token of the user."""
    return mint(server, user)["access"]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def handshake(server, path=PATH, **headers):
    raw = await RawSocket.open(server.port)
    try:
        return await raw.handshake(path, **headers)
    finally:
        await raw.close()


async def refused(server, token: str, code: str = "unauthenticated", status: int = 401) -> str:
    """Prove that a token is refused, in the header and as a subprotocol; returns the words."""
    as_header = await handshake(server, Authorization=f"Bearer {token}")
    assert (as_header.status, as_header.code) == (status, code)
    if token.isascii() and " " not in token:
        offered = await handshake(server, Sec_WebSocket_Protocol=f"chat.v1, bearer.{token}")
        assert (offered.status, offered.json) == (status, as_header.json)
    return as_header.json["error"]["message"]


async def token_clients(server, connect, token, room) -> list[Client]:
    """A socket with the token on each worker."""
    return await on_each_worker(server, lambda: connect(server.ws(room), headers=bearer(token)))


async def all_end(clients: list[Client], reason: str = "signed out") -> None:
    for client in clients:
        assert await client.closed(LIMIT) == (4501, reason)


# --- ways in ------------------------------------------------------------------------------------------


async def test_a_token_in_the_header_makes_the_user(server, connect, room, user, token):
    """A program with a bearer token, without an Origin, is the token's user."""
    client = await connect(server.ws(room), headers=bearer(token))
    assert client.welcome["data"]["user"] == user.shown
    await client.send_chat("hello")
    assert (await client.expect(type="chat"))["user"] == user.shown


async def test_the_scheme_is_written_in_any_case(server, user, token):
    """`bearer` and `BEARER` are the same scheme (RFC 9110 section 11.1)."""
    for scheme in ("bearer", "BEARER"):
        assert (await handshake(server, Authorization=f"{scheme}  {token}")).status == 101


async def test_another_scheme_is_none_of_ours(server, connect):
    """A proxy's Basic credentials make no user, and no refusal."""
    client = await connect(server.ws(), headers={"Authorization": "Basic YWRhOnNlY3JldA=="})
    assert client.welcome["data"]["user"] is None


async def test_an_offered_token_makes_the_user_and_is_never_sent_back(server, user, token):
    """`bearer.<token>` beside a real subprotocol: the user is the token's, the answer does not hold it."""
    raw = await RawSocket.open(server.port)
    response = await raw.handshake(
        PATH, Sec_WebSocket_Protocol=f"bearer.{token}, chat.v1", Origin=server.origin
    )
    assert response.status == 101
    assert token not in str(response)
    assert response.headers["sec-websocket-protocol"] == "chat.v1"
    assert user.username.encode() in (await raw.read_frame()).payload
    await raw.close()


async def test_an_offered_token_needs_an_allowed_origin(server, token):
    """A page of another site gets nowhere with a token either."""
    response = await handshake(
        server, Sec_WebSocket_Protocol=f"chat.v1, bearer.{token}", Origin="https://evil.example"
    )
    assert (response.status, response.code) == (403, "forbidden_origin")


async def test_a_get_with_a_token_learns_what_a_handshake_would(server, token):
    """A plain GET with the header gets 426, with a bad token 401."""
    for given, status in ((token, 426), (token + "x", 401)):
        response = await handshake(server, Authorization=f"Bearer {given}", Upgrade=None, Connection=None)
        assert response.status == status


async def test_a_token_goes_before_a_session(server, connect, user, token):
    """With both, the token's user counts, and a bad token is refused whatever the session says."""
    other = server.create_user(new_name())
    client = await connect(server.ws(), cookie=other.cookie, headers=bearer(token))
    assert client.welcome["data"]["user"] == user.shown
    with pytest.raises(InvalidStatus) as error:
        await connect(server.ws(), cookie=other.cookie, headers=bearer(token + "x"))
    assert error.value.response.status_code == 401


async def test_a_session_beside_a_token_still_needs_an_origin(server, user, token):
    """Who sends a cookie is a browser, and has to say which page asks."""
    response = await handshake(server, Authorization=f"Bearer {token}", Cookie=user.cookie)
    assert (response.status, response.code) == (403, "forbidden_origin")


# --- bad tokens ---------------------------------------------------------------------------------------

FORGED = {
    "another key": {"key": "another key that is as long as the real one is"},
    "another algorithm": {"algorithm": "HS384"},
    "expired": {"exp": -1},
    "expired within the leeway": {"exp": -1},
    "no expiry": {"exp": None},
    "not yet valid": {"nbf": 60},
    "made in the future": {"iat": 60},
    "another issuer": {"iss": "somebody"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "somebody"},
    "no audience": {"aud": None},
    "no id": {"jti": None},
    "no user": {"user_id": None},
    "a user that is none": {"user_id": "nobody"},
    "a user beyond all numbers": {"user_id": "9" * 40},
    "no sign-in": {"sid": None},
    "no password digest": {"pwd": None},
    "another password": {"pwd": "0" * 32},
    "an expiry that is none": {"exp": "soon"},
    "an expiry beyond the calendar": {"exp": 10**18},
    "another type": {"token_type": "sliding"},
    "no type": {"token_type": None},
}


@pytest.mark.parametrize("changes", FORGED.values(), ids=FORGED.keys())
async def test_a_token_with_anything_wrong_is_refused(server, token, changes):
    """401 where visitors are welcome, for each claim that is missing or wrong, and each wrong signature."""
    given = {
        name: in_seconds(value) if name in ("exp", "nbf", "iat") and value in (-1, 60) else value
        for name, value in changes.items()
    }
    assert await refused(server, forge(token, **given)) in (
        "The token is not valid.",
        "The token has expired.",
    )


@pytest.mark.parametrize(
    "garbage",
    ["", "x", "a.b.c", "...", "e30.e30.", "\xff\xfe", "two words", "x" * 10_240, "[" * 6000, "." * 6000],
)
async def test_garbage_is_refused(server, garbage):
    """What is no token is 401, however long; nothing is decoded of more than 8,192 characters."""
    assert await refused(server, garbage) == "The token is not valid."


async def test_a_subprotocol_beyond_ascii_is_a_bad_request(server):
    """RFC 6455 section 4.1 wants ASCII: 400, and no traceback in the log."""
    response = await handshake(server, Sec_WebSocket_Protocol="bearer.\xff\xfe")
    assert (response.status, response.code) == (400, "bad_request")


async def test_a_deeply_nested_header_is_refused(server, token):
    """JSON that is too deep for the parser is a bad token like any other."""
    assert await refused(server, hmac_signed("[" * 5000)) == "The token is not valid."


async def test_an_unsigned_token_is_refused(server, token):
    """`alg: none` is no algorithm here, with and without a signature behind it."""
    bare = without_signature(token)
    await refused(server, bare)
    await refused(server, bare + token.split(".")[2])


async def test_a_refresh_token_is_no_access_token(server, user):
    """The long-lived one opens no socket."""
    await refused(server, mint(server, user)["refresh"])


async def test_two_tokens_are_one_too_many(server, token):
    """Which one counts would be a guess: 400."""
    for headers in (
        {"Authorization": f"Bearer {token}", "Sec_WebSocket_Protocol": f"chat.v1, bearer.{token}"},
        {"Sec_WebSocket_Protocol": f"bearer.{token}, bearer.{token}"},
    ):
        response = await handshake(server, **headers)
        assert (response.status, response.code) == (400, "bad_request")


@pytest.mark.parametrize("name", ["token", "access_token"])
async def test_a_token_in_the_query_is_refused_and_not_logged(server, token, name):
    """400 with words that say where it belongs; the log has neither the token nor the query."""
    for given in (token, "x", ""):
        response = await handshake(server, f"{PATH}?{name}={given}")
        assert (response.status, response.code) == (400, "bad_request")
        assert "Authorization header" in response.json["error"]["message"]
    output = server.recent_output()
    assert token not in output
    assert f"{name}=" not in output


async def test_a_setting_allows_tokens_in_the_query(start_server, redis, connect, tmp_path):
    """With TOKEN_IN_QUERY=true it is one more way in; bad ones are 401, and no line of a log has any, the
    access log's included."""
    log = tmp_path / "access.log"
    server = start_server(
        redis.url,
        env={"TOKEN_IN_QUERY": "true", "LOG_LEVEL": "DEBUG"},
        arguments=("--access-log", str(log)),
    )
    user = server.create_user(new_name())
    token = mint(server, user)["access"]
    client = await connect(server.ws(query=f"token={token}"))
    assert client.welcome["data"]["user"] == user.shown
    response = await handshake(server, f"{PATH}?token={token}x")
    assert (response.status, response.code) == (401, "unauthenticated")
    await client.close()
    await server.adjango(
        "import urllib.request\nurllib.request.urlopen(url)", url=server.http("/api/chat-api/health")
    )
    assert token not in server.output()
    assert "/api/chat-api/ws" in log.read_text()
    assert token not in log.read_text()


async def test_a_public_key_is_no_secret_to_sign_with(start_server, redis, connect):
    """With RS256, tokens that are signed with HS256 and the public key are refused; real ones are taken."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    path = redis.directory / "jwt.pem"
    path.write_bytes(pem)
    server = start_server(redis.url, env={"JWT_PRIVATE_KEY_FILE": str(path)})
    user = server.create_user(new_name())
    token = mint(server, user)["access"]
    client = await connect(server.ws(), headers=bearer(token))
    assert client.welcome["data"]["user"] == user.shown
    await refused(server, hmac_signed('{"alg":"HS256","typ":"JWT"}', claims_of(token), public))
    await refused(server, forge(token))
    await refused(server, without_signature(token))
    await refused(server, forge(token, key=rsa.generate_private_key(65_537, 2048), algorithm="RS256"))


@pytest.mark.parametrize("required", [False, True])
async def test_a_token_satisfies_auth_enabled(start_server, redis, connect, required):
    """With AUTH_ENABLED=true a token is as good as a session."""
    server = start_server(redis.url, env={"AUTH_ENABLED": "true"} if required else {})
    user = server.create_user(new_name())
    client = await connect(server.ws(), headers=bearer(mint(server, user)["access"]))
    assert client.welcome["data"]["user"] == user.shown
    assert (await handshake(server)).status == (401 if required else 101)


# --- `auth` on the open socket ------------------------------------------------------------------------


async def test_a_visitor_signs_in_on_the_open_socket(server, connect, room, user, token):
    """`auth` with a token: `ack`; later messages carry the user, and what is sent to the user arrives."""
    guest, other = await connect(server.ws(room)), await connect(server.ws(room))
    await guest.send({"type": "auth", "id": "a-1", "data": {"token": token}})
    ack = await guest.expect(type="ack")
    assert ack["data"]["ref"] == "a-1"
    assert ack["data"]["user"] == user.shown
    assert 890 <= ack["data"]["expires_in"] <= 900
    await guest.send_chat("hello")
    assert (await other.expect(type="chat"))["user"] == user.shown
    await server.adjango(
        "from chat.realtime import send_to_user\nsend_to_user(pk, 'notification', {'n': 1})", pk=user.id
    )
    await guest.expect(type="notification", data={"n": 1})
    await other.nothing(type="notification")


async def test_a_visitor_who_signed_in_goes_with_the_credentials(server, connect, user, token):
    """From then on deactivation closes the socket, like any other of the user."""
    guest = await connect(server.ws())
    await guest.send({"type": "auth", "data": {"token": token}})
    assert (await guest.expect(type="ack"))["data"]["ref"] is None
    await change(server, user, "user.is_active = False")
    await all_end([guest])


@pytest.mark.parametrize(
    "data", [{"token": "garbage"}, {"token": ""}, {"token": "x" * 10_240}, {"token": "ü"}]
)
async def test_a_bad_token_changes_nothing(server, connect, user, token, data):
    """`auth` with a bad token: `error` `unauthenticated`; the socket stays the user's."""
    client = await connect(server.ws(), headers=bearer(token))
    await client.send({"type": "auth", "id": "a-1", "data": data})
    error = await client.expect(type="error")
    assert (error["data"]["code"], error["data"]["ref"]) == ("unauthenticated", "a-1")
    await client.send_chat("hello")
    assert (await client.expect(type="chat"))["user"] == user.shown


@pytest.mark.parametrize("data", [None, {}, [], "token", {"token": None}, {"token": 7}, {"token": ["x"]}])
async def test_an_auth_message_without_a_token_is_no_message(server, connect, data):
    """`data.token` is a text: else `invalid_message`."""
    client = await connect(server.ws())
    await client.send({"type": "auth", "id": "a-1", "data": data})
    assert (await client.expect(type="error"))["data"]["code"] == "invalid_message"


async def test_a_token_of_another_user_is_refused(server, connect, user, token):
    """A socket stays its user's, whether a session or a token made it so."""
    other = mint(server, server.create_user(new_name()))["access"]
    by_token = await connect(server.ws(), headers=bearer(token))
    by_session = await connect(server.ws(), cookie=user.cookie)
    for client in (by_token, by_session):
        await client.send({"type": "auth", "data": {"token": other}})
        error = (await client.expect(type="error"))["data"]
        assert error["code"] == "unauthenticated"
        assert error["message"] == "This socket belongs to another user."
        await client.send_chat("hello")
        assert (await client.expect(type="chat", from_=client.id))["user"] == user.shown


async def test_a_fresh_token_extends_the_stay(server, connect, user, token):
    """A socket whose token is about to expire stays when a fresh one came in time; another one goes."""
    short = forge(token, exp=in_seconds(2))
    stays, goes = [await connect(server.ws(), headers=bearer(short)) for _ in range(2)]
    await stays.send({"type": "auth", "data": {"token": token}})
    await stays.expect(type="ack")
    assert await goes.closed() == (4501, "token expired")
    await stays.round_trip()


async def test_a_sign_in_on_the_socket_counts_for_the_limit_of_a_users_connections(
    start_server, redis, connect
):
    """With two connections allowed to a user, over two workers: of three visitors who sign in as one user
    two are accepted; the third is told so, stays a visitor, and may try again when one has gone."""
    server = start_server(redis.url, workers=2, env={"MAX_CONNECTIONS_PER_USER": "2"})
    user = server.create_user(new_name())
    token = mint(server, user)["access"]
    guests = [await connect(server.ws()) for _ in range(3)]
    sign_in = {"type": "auth", "id": "a-1", "data": {"token": token}}
    for guest in guests[:2]:
        await guest.send(sign_in)
        await guest.expect(type="ack")
    await guests[2].send(sign_in)
    error = (await guests[2].expect(type="error"))["data"]
    assert (error["code"], error["ref"]) == ("too_many_connections", "a-1")
    await guests[2].send_chat("still a visitor")
    assert "user" not in await guests[0].expect(type="chat")
    assert (await handshake(server, Authorization=f"Bearer {token}")).status == 429
    await guests[0].close()

    async def accepted() -> bool:
        await guests[2].send(sign_in)
        return (await guests[2].expect(data={"ref": "a-1"}))["type"] == "ack"

    await eventually(accepted, "a place for the third")
    await guests[1].send(sign_in)
    await guests[1].expect(type="ack")  # a fresh token of the same user takes no second place


# --- how it ends --------------------------------------------------------------------------------------


async def change(server, user, code: str) -> None:
    """Change the user in another process, and save."""
    await server.adjango(
        f"from django.contrib.auth.models import User\nuser = User.objects.get(pk=pk)\n{code}\nuser.save()",
        pk=user.id,
    )


async def test_an_expired_token_closes_its_sockets_on_every_worker(server, connect, room, user, token):
    """4501 within 2 seconds of its expiry and not before; the user's other sockets stay."""
    expires = in_seconds(3)
    mine = await token_clients(server, connect, forge(token, exp=expires), room)
    others = [
        await connect(server.ws(room), headers=bearer(token)),
        await connect(server.ws(), cookie=user.cookie),
    ]
    for client in mine:
        assert await client.closed() == (4501, "token expired")
        assert expires <= time.time() <= expires + LIMIT
    for client in others:
        await client.round_trip()


ENDINGS = {
    "a new password": "user.set_password('new')",
    "deactivation": "user.is_active = False",
}


@pytest.mark.parametrize("code", ENDINGS.values(), ids=ENDINGS.keys())
async def test_ended_credentials_close_token_sockets_on_every_worker(
    server, connect, room, user, token, code
):
    """Within 2 seconds on both workers; the same token opens no socket any more."""
    mine = await token_clients(server, connect, token, room)
    bystander = await connect(server.ws(room))
    await change(server, user, code)
    await all_end(mine)
    await refused(server, token)
    await bystander.round_trip()


async def test_a_deleted_user_leaves(server, connect, room, user, token):
    """Deletion closes the token's sockets on both workers."""
    mine = await token_clients(server, connect, token, room)
    await server.adjango(
        "from django.contrib.auth.models import User\nUser.objects.get(pk=pk).delete()", pk=user.id
    )
    await all_end(mine)
    await refused(server, token)


async def test_other_changes_of_a_user_close_nothing(server, connect, room, user, token):
    """A new name leaves the sockets open, and they were looked at: another user's end came later."""
    mine = await token_clients(server, connect, token, room)
    await change(server, user, "user.last_name = 'Lovelace'")
    other = server.create_user(new_name())
    theirs = await token_clients(server, connect, mint(server, other)["access"], room)
    await change(server, other, "user.is_active = False")
    await all_end(theirs)
    for client in mine:
        await client.round_trip()


async def test_signing_out_ends_the_tokens_that_the_session_made(server, connect, room, user, token):
    """POST to the sign-out page: the sockets with tokens of that session close on both workers, and the
    tokens count no longer; tokens of another sign-in stay."""
    csrf = secrets.token_hex(16)
    headers = {"Cookie": f"{user.cookie}; csrftoken={csrf}", "X_CSRFToken": csrf}
    _, pair = post(server, "/api/chat-api/token", {}, **headers)
    mine = await token_clients(server, connect, pair["access"], room)
    elsewhere = await connect(server.ws(room), headers=bearer(token))
    form = urllib.parse.urlencode({"csrfmiddlewaretoken": csrf}).encode()
    status, _, _ = server.request(
        "POST",
        "/accounts/logout/",
        form,
        Cookie=headers["Cookie"],
        Content_Type="application/x-www-form-urlencoded",
    )
    assert status == 302
    await all_end(mine)
    await refused(server, pair["access"])
    assert post(server, "/api/chat-api/token/refresh", {"refresh": pair["refresh"]})[0] == 401
    await elsewhere.round_trip()


async def test_revoking_closes_the_sign_ins_sockets(server, connect, room, user, token):
    """POST token/revoke: 4501 on both workers; another sign-in of the user stays."""
    pair = mint(server, user)
    mine = await token_clients(server, connect, pair["access"], room)
    elsewhere = await connect(server.ws(room), headers=bearer(token))
    assert post(server, "/api/chat-api/token/revoke", {"refresh": pair["refresh"]})[0] == 204
    await all_end(mine)
    await refused(server, pair["access"])
    await elsewhere.round_trip()


async def test_the_memory_layer_ends_tokens_too(memory_server, connect, room):
    """One process: expiry, and the end of the sign-in."""
    user = memory_server.create_user(new_name())
    pair = mint(memory_server, user)
    expiring = await connect(memory_server.ws(room), headers=bearer(forge(pair["access"], exp=in_seconds(2))))
    mine = await connect(memory_server.ws(room), headers=bearer(pair["access"]))
    assert await expiring.closed() == (4501, "token expired")
    post(memory_server, "/api/chat-api/token/revoke", {"refresh": pair["refresh"]})
    await all_end([mine])


async def test_all_sockets_of_a_user_end_together(server, connect, room, user, token):
    """As many as a user may have: all within 2 seconds."""
    clients = await asyncio.gather(
        *(connect(server.ws(room), headers=bearer(token), welcomed=False) for _ in range(16))
    )
    ended = asyncio.gather(*(client.closed() for client in clients))
    await change(server, user, "user.is_active = False")
    began = time.monotonic()
    assert {code for code, _ in await ended} == {4501}
    assert time.monotonic() - began < LIMIT


# --- what nobody tells --------------------------------------------------------------------------------


async def test_what_changed_while_redis_was_away_is_found_when_it_is_back(start_server, own_redis, connect):
    """A deactivation that the workers could not be told: after Redis is back the sockets close, both kinds,
    on both workers."""
    server = start_server(own_redis.url, workers=2)
    user = server.create_user(new_name())
    token = mint(server, user)["access"]
    mine = await token_clients(server, connect, token, None)
    mine += await on_each_worker(server, lambda: connect(server.ws(), cookie=user.cookie))
    guest = await connect(server.ws())
    own_redis.kill()
    await change(server, user, "user.is_active = False")
    for client in mine:
        await client.round_trip()
    own_redis.start()
    for client in mine:
        assert await client.closed(10) == (4501, "signed out")
    await guest.round_trip()


async def test_a_change_without_a_signal_is_found(start_server, redis, connect):
    """`QuerySet.update()` and deleted session rows tell nobody; the look at everybody finds them."""
    server = start_server(redis.url, workers=2, settings="tests.hasty_settings")
    user, other = server.create_user(new_name()), server.create_user(new_name())
    by_token = await token_clients(server, connect, mint(server, user)["access"], None)
    by_session = await on_each_worker(server, lambda: connect(server.ws(), cookie=other.cookie))
    stays = await connect(server.ws(), cookie=server.create_user(new_name()).cookie)
    await server.adjango(
        "from django.contrib.auth.models import User\n"
        "from django.contrib.sessions.models import Session\n"
        "User.objects.filter(pk=pk).update(is_active=False)\n"
        "Session.objects.filter(pk=key).delete()",
        pk=user.id,
        key=other.session_key,
    )
    for client in (*by_token, *by_session):
        assert await client.closed() == (4501, "signed out")
    await stays.round_trip()


async def test_a_database_that_fails_just_then_is_asked_again(start_server, redis, connect):
    """While credentials can't be verified nobody is closed or let in, and it is said once; when they can, the
    word is still known."""
    server = start_server(redis.url, workers=1)
    user = server.create_user(new_name())
    token = mint(server, user)["access"]
    client = await connect(server.ws(), headers=bearer(token))
    bystander = await connect(server.ws(), cookie=server.create_user(new_name()).cookie)
    await server.adjango(
        "from django.db import connection\n"
        "from chat.realtime import control\n"
        "from django.contrib.auth.models import User\n"
        "User.objects.filter(pk=pk).update(is_active=False)\n"
        "with connection.cursor() as cursor:\n"
        "    cursor.execute('PRAGMA legacy_alter_table=ON')\n"
        "    cursor.execute('ALTER TABLE auth_user RENAME TO hidden')\n"
        "control.tell('verify_user', {'user': str(pk)})",
        pk=user.id,
    )
    await eventually(lambda: "credentials_unverified" in server.output(), "the complaint")
    await client.send({"type": "auth", "id": "a-1", "data": {"token": token}})
    error = (await client.expect(type="error"))["data"]
    assert (error["code"], error["ref"], error["retry_after"]) == ("unavailable", "a-1", 5)
    response = await handshake(server, Authorization=f"Bearer {token}")
    assert (response.status, response.code) == (503, "unavailable")
    await server.adjango(
        "from django.db import connection\n"
        "with connection.cursor() as cursor:\n"
        "    cursor.execute('PRAGMA legacy_alter_table=ON')\n"
        "    cursor.execute('ALTER TABLE hidden RENAME TO auth_user')"
    )
    assert await client.closed() == (4501, "signed out")
    await bystander.round_trip()
    await eventually(lambda: "credentials_verified_again" in server.output(), "the all-clear")
    assert server.output().count("credentials_unverified") == 1
