"""Section "Endpoints" of the wire contract: paths, room names, refusals with status and body, origins."""

import json

import pytest

from tests.kit import RawSocket

SOCKET = "/api/chat-api/ws"
LONGEST = "r" * 128
HTTP_ONLY = {"Upgrade": None, "Connection": None, "Sec-WebSocket-Key": None, "Sec-WebSocket-Version": None}


async def handshake(server, path, **headers):
    raw = await RawSocket.open(server.port)
    try:
        return await raw.handshake(path, **headers)
    finally:
        await raw.close()


async def plain_get(server, path, **headers):
    return await handshake(server, path, **HTTP_ONLY, **headers)


# --- paths and room names -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "room"),
    [
        ("", None),
        ("/", None),
        ("/tea", "tea"),
        ("/tea/", "tea"),
        ("?room=tea", "tea"),
        ("/?room=tea", "tea"),
        ("/tea?room=coffee", "tea"),
        ("/tea/?room=..%2F", "tea"),
        ("?room=coffee&room=tea", "tea"),
        ("/%74ea", "tea"),
        ("/A-z.0_9:x", "A-z.0_9:x"),
        ("/a%3Ab", "a:b"),
        (f"/{LONGEST}", LONGEST),
        (f"?room={LONGEST}", LONGEST),
        ("/.", "."),
        ("/..", ".."),
        ("/ws", "ws"),
    ],
)
async def test_where_a_socket_is(server, connect, path, room):
    """The path names the room, else the query does, else it is the global socket, with or without a slash."""
    client = await connect(f"ws://127.0.0.1:{server.port}{SOCKET}{path}")
    assert client.welcome["room"] == room
    assert client.welcome["data"]["room"] == room


@pytest.mark.parametrize(
    "path",
    [
        f"/{LONGEST}r",
        f"?room={LONGEST}r",
        "?room=",
        "//",
        "/tea//",
        "/tea%0A",
        "/tea%0a/",
        "?room=tea%0A",
        "/a%20b",
        "?room=a+b",
        "/a%2Fb",
        "/a/b",
        "/%D9%A1",  # an Arabic-Indic digit: a digit to Unicode, none here
        "?room=%D9%A1",
        "/%C3%A9",
        "/%FF",
        "/%00",
        "?room=%00",
        "/%",
        "/a%7Bb",
        "/a*",
        "/%E2%80%AE",
    ],
)
async def test_what_is_no_rooms_name(server, path):
    """Whatever else stands for a room's name is refused with 404 `invalid_room`, by handshake and by GET."""
    for response in (await handshake(server, SOCKET + path), await plain_get(server, SOCKET + path)):
        assert (response.status, response.code) == (404, "invalid_room"), response


@pytest.mark.parametrize("path", ["/", "/ws", "/api/chat-api/wsx", "/api/chat-api/", "/admin/"])
async def test_there_is_no_socket_elsewhere(server, path):
    """A handshake on another path is refused with 404."""
    response = await handshake(server, path)
    assert (response.status, response.code) == (404, "not_found")


# --- refusals -------------------------------------------------------------------------------------


async def test_a_refusal_is_json_with_a_code_and_words_and_ends_the_connection(server, open_raw):
    """A refused handshake is an HTTP response with a code and a message; then the server hangs up."""
    raw = await open_raw(server)
    response = await raw.handshake(f"{SOCKET}/a b".replace(" ", "%20"))
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert set(response.json) == {"error"}
    assert set(response.json["error"]) == {"code", "message"}
    assert response.json["error"]["message"].endswith(".")
    assert await raw.expect_end() == b""


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/tea?name=" + "n" * 65, {}, 400, "bad_request"),
        ("/tea?name=a%07", {}, 400, "bad_request"),
        ("/tea?room=%FF", {}, 400, "bad_request"),
        ("/tea?" + "&".join(f"k{n}=1" for n in range(21)), {}, 400, "bad_request"),
        ("/tea", {"Origin": "https://evil.example"}, 403, "forbidden_origin"),
        ("/a%20b", {}, 404, "invalid_room"),
    ],
)
async def test_a_plain_get_is_told_what_a_handshake_would_be(server, path, headers, status, code):
    """A GET on a WebSocket path gets the status and body that a handshake there gets."""
    refused = await handshake(server, SOCKET + path, **headers)
    told = await plain_get(server, SOCKET + path, **headers)
    assert (refused.status, refused.code) == (status, code)
    assert (told.status, told.json) == (refused.status, refused.json)


async def test_a_browsers_plain_get_is_told_what_its_handshake_would_be(server):
    """A browser names no Origin on a GET to its own site: it is told what its handshake would be."""
    cookie = {"Cookie": "sessionid=abc"}
    told = await plain_get(server, SOCKET + "/a%20b", **cookie)
    refused = await handshake(server, SOCKET + "/a%20b", **cookie, Origin=server.origin)
    assert (told.status, told.json) == (refused.status, refused.json)
    assert (await plain_get(server, SOCKET + "/tea", **cookie)).status == 426
    assert (await plain_get(server, SOCKET + "/tea", **cookie, Origin="null")).status == 403


@pytest.mark.parametrize("path", ["", "/", "/tea", "/tea/", "?room=tea"])
async def test_a_plain_get_where_a_handshake_would_do_is_426(server, path):
    """A GET that a handshake would have passed is told to upgrade, and to which version."""
    response = await plain_get(server, SOCKET + path)
    assert (response.status, response.code) == (426, "upgrade_required")
    assert response.headers["sec-websocket-version"] == "13"
    assert response.headers["upgrade"] == "websocket"


@pytest.mark.parametrize("told", ["/x", "//evil.example", "\xff"])
async def test_a_client_does_not_say_where_the_application_begins(server, told):
    """Else a path that a proxy keeps to itself would be reached under another name."""
    assert (await plain_get(server, "/x/accounts/login/", **{"Daphne-Root-Path": told})).status == 404
    answer = await plain_get(server, "/admin/", **{"Daphne-Root-Path": told})
    assert answer.status == 302
    assert answer.headers["location"] == "/admin/login/?next=/admin/"


async def test_only_get_is_answered(server):
    """A POST to a WebSocket path is 405."""
    status, _, body = server.request("POST", SOCKET, b"{}")
    assert status == 405
    assert json.loads(body)["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("version", ["8", "7", "0", "12", "14", "255"])
async def test_another_version_of_the_protocol_is_426(server, version):
    """Drafts and inventions are refused with 426 and the one version that is spoken."""
    response = await handshake(server, SOCKET, Sec_WebSocket_Version=version)
    assert response.status == 426
    assert response.headers["sec-websocket-version"] == "13"
    assert response.code == "bad_version"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_WebSocket_Key": None},
        {"Sec_WebSocket_Key": "tooshort"},
        {"Sec_WebSocket_Key": "!" * 22 + "=="},
        {"Sec_WebSocket_Version": None},
        {"Sec_WebSocket_Version": "thirteen"},
        {"Connection": "keep-alive"},
        {"Host": None},
        {"Host": "127.0.0.1:port"},
    ],
    ids=lambda headers: "-".join(f"{name}={value}" for name, value in headers.items()),
)
async def test_a_bad_upgrade_request_is_400(server, headers):
    """A request that asks for an upgrade and gets it wrong is refused with 400."""
    response = await handshake(server, SOCKET, **headers)
    assert (response.status, response.code) == (400, "bad_request")


async def test_the_header_of_a_refusal_holds_nothing_of_the_client(server):
    """What a client wrote into its path and headers is not in the answer."""
    response = await handshake(server, f"{SOCKET}/%3Cscript%3E", User_Agent="<script>", X_Evil="<script>")
    assert response.status == 404
    assert b"script" not in response.body
    assert "script" not in str(response.headers)


# --- origins --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_requests_own_host_is_an_allowed_origin(server, connect, scheme):
    """A page of this very host and port may connect (over https too: a proxy may have ended TLS)."""
    await connect(server.ws(), origin=f"{scheme}://127.0.0.1:{server.port}")


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://localhost:{port}",
        "https://evil.example",
        "http://127.0.0.1:{port}.evil.example",
        "http://evil.example@127.0.0.1:{port}",
        "http://127.0.0.1:{port}/page",
        "ftp://127.0.0.1:{port}",
        "file://",
        "127.0.0.1:{port}",
        "http://127.0.0.1:port",
    ],
)
async def test_pages_of_other_origins_are_refused(server, origin):
    """Scheme, host and port count; `null` and what is no origin are refused with 403 `forbidden_origin`."""
    for ask in (handshake, plain_get):
        response = await ask(server, SOCKET, Origin=origin.format(port=server.port))
        assert (response.status, response.code) == (403, "forbidden_origin")


async def test_a_host_that_is_not_ours_vouches_for_nobody(server):
    """A Host header that is not in ALLOWED_HOSTS (DNS rebinding) does not make its own origin allowed."""
    response = await handshake(server, SOCKET, Host="evil.example", Origin="http://evil.example")
    assert (response.status, response.code) == (403, "forbidden_origin")


async def test_programs_need_no_origin_without_a_cookie(server):
    """Without Origin and without a session cookie a client is welcome, whatever other cookies it has."""
    assert (await handshake(server, SOCKET)).status == 101
    assert (await handshake(server, SOCKET, Cookie="theme=dark; csrftoken=x")).status == 101


async def test_a_cookie_needs_an_origin(server):
    """A session cookie is refused without an Origin, even among other cookies; an allowed one lets it in."""
    cookie = "theme=dark; sessionid=nobodys"
    response = await handshake(server, SOCKET, Cookie=cookie)
    assert (response.status, response.code) == (403, "forbidden_origin")
    assert (await handshake(server, SOCKET, Cookie=cookie, Origin=server.origin)).status == 101


async def test_allowed_origins_come_from_the_environment(start_server):
    """ALLOWED_ORIGINS lets other sites' pages in, by scheme, host and port; the own host stays allowed."""
    server = start_server(env={"ALLOWED_ORIGINS": "https://app.example.com http://localhost:3000"})
    for origin, status in [
        ("https://app.example.com", 101),
        ("https://APP.example.com:443", 101),
        ("http://localhost:3000", 101),
        (server.origin, 101),
        ("http://app.example.com", 403),
        ("https://app.example.com:8443", 403),
        ("https://www.app.example.com", 403),
        ("http://localhost", 403),
    ]:
        assert (await handshake(server, SOCKET, Origin=origin)).status == status, origin
