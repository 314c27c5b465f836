"""The HTTP API, on real servers: who may call what, what comes back, and what bad calls get."""

import asyncio
import json
import re

import pytest

from chat.api import errors
from chat.api.urls import urlpatterns
from tests.kit import eventually, on_each_worker, wait_until
from tests.operator_support import API, Caller, new_user
from tests.pages import ROOT

STAFF_CALLS = [
    ("GET", "ws/stats"),
    ("GET", "rooms"),
    ("GET", "rooms/lobby"),
    ("GET", "connections"),
    ("DELETE", "connections/0123456789abcdef0123456789abcdef"),
    ("POST", "connections/close"),
    ("POST", "broadcast"),
]


@pytest.fixture
def staff(server):
    """A plain member of staff, without any permission."""
    return Caller(server, new_user(server, is_staff=True))


@pytest.fixture
def anyone(server):
    return Caller(server, csrf=False)


class TestHealth:
    def test_alive(self, anyone):
        """Anyone may ask whether the process is alive."""
        answer = anyone("GET", "health")
        assert (answer.status, answer.json) == (200, {"status": "ok"})
        assert answer.headers["cache-control"] == "no-store"

    def test_ready(self, anyone):
        """A worker that reaches Redis is ready."""
        answer = anyone("GET", "ready")
        assert (answer.status, answer.json) == (200, {"status": "ready"})

    def test_alive_without_a_database(self, start_server):
        """Health and readiness answer while the database is away, to a browser with a session cookie too."""
        server = start_server(None, env={"DATABASE_URL": "postgres://nobody@127.0.0.1:1/none"})
        cookie = {"Cookie": "sessionid=abcdefghijklmnopqrstuvwxyz012345"}
        for path in ("health", "ready"):
            assert server.get(API + path, **cookie)[0] == 200

    def test_without_redis(self, own_redis, start_server):
        """Without Redis the process is alive but not ready, and what needs the workers is unavailable."""
        server = start_server(own_redis.url)
        staff = Caller(server, new_user(server, is_staff=True))
        own_redis.kill()
        answer = wait_until(lambda: (a := staff("GET", "ready")).status == 503 and a, "not ready")
        assert staff("GET", "health").status == 200
        assert answer.error["code"] == "unavailable"
        assert "redis" in answer.error["message"]
        assert "retry-after" in answer.headers
        message = {"type": "notification", "data": {"content": "x"}}
        answer = staff("POST", "broadcast", message)
        assert (answer.status, answer.error["code"]) == (503, "unavailable")
        assert "retry-after" in answer.headers
        own_redis.start()
        wait_until(lambda: staff("GET", "ready").status == 200, "ready again")

    def test_frozen_redis(self, own_redis, start_server):
        """A Redis that takes connections and says nothing makes the worker unready within seconds."""
        server = start_server(own_redis.url)
        anyone = Caller(server)
        own_redis.freeze()
        try:
            assert anyone("GET", "ready").status == 503
            assert anyone("GET", "health").status == 200
        finally:
            own_redis.thaw()


class TestWhoMayCall:
    @pytest.mark.parametrize(("method", "path"), STAFF_CALLS)
    def test_without_credentials(self, anyone, method, path):
        """A call without credentials is answered 401, with a scheme."""
        answer = anyone(method, path)
        assert (answer.status, answer.error["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"]

    @pytest.mark.parametrize(("method", "path"), STAFF_CALLS)
    def test_not_staff(self, server, method, path):
        """Somebody who is signed in but not staff gets 403."""
        answer = Caller(server, new_user(server))(method, path)
        assert (answer.status, answer.error["code"]) == (403, "forbidden")

    @pytest.mark.parametrize(("method", "path"), [call for call in STAFF_CALLS if call[0] != "GET"])
    def test_without_the_csrf_token(self, server, method, path):
        """A call that changes something needs the CSRF token beside the session."""
        user = new_user(server, is_staff=True)
        answer = Caller(server, user, csrf=False)(method, path)
        assert (answer.status, answer.error["code"]) == (403, "forbidden")
        assert "CSRF" in answer.error["message"]

    def test_inactive_staff(self, server):
        """A deactivated user's session counts for nothing."""
        user = new_user(server, is_staff=True, is_active=False)
        assert Caller(server, user)("GET", "rooms").status == 401

    @pytest.mark.parametrize("path", ["health", "ready", "ws/stats", "rooms", "rooms/lobby", "connections"])
    def test_a_trailing_slash(self, staff, path):
        """A trailing slash changes nothing."""
        assert staff("GET", path).status == staff("GET", path + "/").status == 200

    @pytest.mark.parametrize("token", ["", "x", "x:y:z", "eyJ:1:2"])
    def test_a_bad_signature(self, anyone, token):
        """A command's signature that is not one is refused."""
        answer = anyone("GET", "rooms", Authorization=f"ChatCommand {token}")
        assert (answer.status, answer.error["code"]) == (401, "unauthenticated")

    def test_a_signature_is_for_one_call(self, server, anyone):
        """A command's signature opens that call, and no other one."""
        token = server.django(
            "from chat.operator import sign\nresult = sign('GET', '/api/chat-api/rooms?limit=5', b'')"
        )
        signed = {"Authorization": f"ChatCommand {token}"}
        assert anyone("GET", "rooms?limit=5", **signed).status == 200
        assert anyone("GET", "rooms?limit=6", **signed).status == 401
        assert anyone("GET", "connections", **signed).status == 401
        assert anyone("POST", "connections/close", {"all": True}, **signed).status == 401

    def test_a_signature_grows_old(self, server, anyone):
        """A command's signature is good for 30 seconds."""
        made = """
import time
from unittest import mock
from chat.operator import sign
with mock.patch("django.core.signing.time.time", return_value=time.time() - age):
    result = sign("GET", "/api/chat-api/rooms", b"")
"""
        for age, status in ((25, 200), (35, 401)):
            token = server.django(made, age=age)
            assert anyone("GET", "rooms", Authorization=f"ChatCommand {token}").status == status


class TestReading:
    async def test_stats(self, server, staff, room, connect):
        """Stats name every worker, and add them up."""
        await on_each_worker(server, lambda: connect(server.ws(room)))
        stats = staff("GET", "ws/stats").json
        assert len(stats["workers"]) == server.worker_count
        for worker in stats["workers"]:
            assert worker["state"] == "serving"
            assert worker["connections"] >= 1
        totals = stats["totals"]
        for key in ("connections", "messages_in", "messages_out", "dropped", "slow_closed"):
            assert totals[key] == sum(worker[key] for worker in stats["workers"])
        assert set(totals["rates"]) == {"in", "out"}
        # The room is on both workers, and is one room.
        assert stats["rooms"] == totals["rooms"] < sum(worker["rooms"] for worker in stats["workers"])

    async def test_rooms(self, server, staff, room, connect):
        """Rooms come with their members on all workers."""
        members = await on_each_worker(server, lambda: connect(server.ws(room)))
        answer = staff("GET", "rooms").json
        assert {"room": room, "members": len(members)} in answer["rooms"]
        assert answer["total"] >= 1
        assert len(staff("GET", "rooms?limit=1").json["rooms"]) == 1

    async def test_members(self, server, staff, room, connect):
        """A room's members come with id, name and user."""
        user = await asyncio.to_thread(new_user, server)
        ada = await connect(server.ws(room, "name=Ada"))
        signed_in = await connect(server.ws(room), cookie=user.cookie)
        answer = staff("GET", f"rooms/{room}").json
        assert (answer["room"], answer["total"], answer["truncated"]) == (room, 2, False)
        by_id = {member["id"]: member for member in answer["members"]}
        assert by_id[ada.id] == {"id": ada.id, "name": "Ada", "user": None}
        assert by_id[signed_in.id]["user"] == user.shown

    async def test_members_for_a_member(self, server, room, connect):
        """Who is in a room may see who else is; who has left may not any more."""
        user = await asyncio.to_thread(new_user, server)
        caller = Caller(server, user)
        assert caller("GET", f"rooms/{room}").status == 403
        client = await connect(server.ws(room), cookie=user.cookie)
        answer = caller("GET", f"rooms/{room}")
        assert [member["user"] for member in answer.json["members"]] == [user.shown]
        assert caller("GET", f"rooms/{room}-other").status == 403
        await client.close()
        await eventually(lambda: caller("GET", f"rooms/{room}").status == 403, "403 after leaving")

    async def test_a_name_is_no_id(self, server, room, connect):
        """Somebody whose user name is another user's id gives that user no right."""
        user = await asyncio.to_thread(new_user, server)
        impostor = await asyncio.to_thread(server.create_user, str(user.id))
        await connect(server.ws(room), cookie=impostor.cookie)
        assert Caller(server, user)("GET", f"rooms/{room}").status == 403
        assert Caller(server, impostor)("GET", f"rooms/{room}").status == 200

    def test_an_empty_room(self, staff, room):
        """A room without members is a room: it needs no row."""
        assert staff("GET", f"rooms/{room}").json == {
            "room": room,
            "members": [],
            "total": 0,
            "truncated": False,
        }

    @pytest.mark.parametrize("name", ["a%20b", "%C3%A4", "x" * 129, "a%0A"])
    def test_no_room(self, staff, anyone, name):
        """What can't be a room's name is 404, whoever asks."""
        for caller in (staff, anyone):
            answer = caller("GET", f"rooms/{name}")
            assert (answer.status, answer.error["code"]) == (404, "invalid_room")

    async def test_connections(self, server, staff, room, connect):
        """Connections come with their state and metadata, and can be filtered by room and by user."""
        user = await asyncio.to_thread(new_user, server)
        guest = await connect(server.ws(room, "name=Ada"), user_agent_header="test <b>1</b>")
        signed_in = await connect(server.ws(room), cookie=user.cookie)
        await guest.send_chat("hello")
        await signed_in.expect(type="chat")
        answer = staff("GET", f"connections?room={room}").json
        assert answer["total"] == 2
        found = {connection["id"]: connection for connection in answer["connections"]}[guest.id]
        assert found["room"] == room
        assert found["name"] == "Ada"
        assert found["user"] is None
        assert found["user_agent"] == "test <b>1</b>"
        assert found["address"] == "127.0.0.1"
        assert found["worker"] == guest.worker
        assert found["state"] == "open"
        assert found["messages_in"] == 1
        assert found["queue_depth"] == 0
        for name in (user.username, str(user.id)):
            answer = staff("GET", f"connections?user={name}").json
            assert [connection["id"] for connection in answer["connections"]] == [signed_in.id]
        answer = staff("GET", f"connections?room={room}&limit=1").json
        assert (len(answer["connections"]), answer["total"]) == (1, 2)

    @pytest.mark.parametrize(
        ("query", "field"),
        [("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"), ("room=a%20b", "room")],
    )
    def test_a_bad_query(self, staff, query, field):
        """A bad parameter is named."""
        answer = staff("GET", f"connections?{query}")
        assert (answer.status, answer.error["code"]) == (400, "invalid_request")
        assert field in answer.error["details"]


class TestClosing:
    async def test_one(self, server, staff, room, connect):
        """DELETE closes one connection on whichever worker it is, with a reason."""
        for client in await on_each_worker(server, lambda: connect(server.ws(room))):
            answer = staff("DELETE", f"connections/{client.id}?reason=Good%20night")
            assert (answer.status, answer.content) == (204, b"")
            assert await client.closed() == (4510, "Good night")
            assert staff("DELETE", f"connections/{client.id}").status == 404

    @pytest.mark.parametrize("ident", ["0" * 32, "x", "%00", "a%20b", "x" * 200])
    def test_none(self, staff, ident):
        """There is nothing to close behind an id that is none."""
        answer = staff("DELETE", f"connections/{ident}")
        assert (answer.status, answer.error["code"]) == (404, "not_found")

    async def test_a_room(self, server, staff, room, connect):
        """A room's connections are closed on all workers, and nobody else's."""
        clients = await on_each_worker(server, lambda: connect(server.ws(room)))
        other = await connect(server.ws(f"{room}-other"))
        answer = staff("POST", "connections/close", {"room": room, "reason": "Cleaning"})
        assert (answer.status, answer.json) == (200, {"closed": 2, "left": 0, "workers": 2})
        for client in clients:
            assert await client.closed() == (4510, "Cleaning")
        await other.round_trip()

    async def test_a_user(self, server, staff, room, connect):
        """A user's connections are closed wherever they are."""
        user = await asyncio.to_thread(new_user, server)
        mine = [await connect(server.ws(name), cookie=user.cookie) for name in (None, room)]
        other = await connect(server.ws(room))
        answer = staff("POST", "connections/close", {"user": user.username})
        assert answer.json["closed"] == 2
        for client in mine:
            assert (await client.closed())[0] == 4510
        await other.round_trip()

    async def test_all(self, start_server, connect):
        """`all` closes every connection."""
        server = await asyncio.to_thread(start_server)
        staff = Caller(server, await asyncio.to_thread(new_user, server, is_staff=True))
        clients = [await connect(server.ws(name)) for name in (None, "a", "b")]
        assert staff("POST", "connections/close", {"all": True}).json == {
            "closed": 3,
            "left": 0,
            "workers": 1,
        }
        for client in clients:
            assert (await client.closed())[0] == 4510

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"all": False},
            {"room": "a", "user": "b"},
            {"all": True, "room": "a"},
            {"room": ""},
            {"room": None},
            {"room": ["a"]},
            {"user": ""},
            {"reason": "x"},
            {"rooms": "a"},
            {"room": "a", "code": 1000},
            {"room": "a", "reason": "x" * 121},
            {"room": "a", "reason": "ä" * 61},
            [],
            "all",
            None,
        ],
    )
    def test_a_bad_body(self, staff, body):
        """Exactly one target has to be named; anything else closes nobody."""
        answer = staff("POST", "connections/close", json.dumps(body).encode())
        assert (answer.status, answer.error["code"]) == (400, "invalid_request")


class TestBroadcast:
    async def test_to_a_room(self, server, staff, room, connect):
        """A notification reaches a room on all workers, and nobody else; the id is the message's."""
        clients = await on_each_worker(server, lambda: connect(server.ws(room)))
        other = await connect(server.ws(f"{room}-other"))
        data = {"content": "Tea is ready <b>now</b>", "level": 3, "more": [None, 1.5, "ä"]}
        answer = staff("POST", "broadcast", {"room": room, "type": "notification", "data": data})
        assert (answer.status, answer.json["workers"]) == (202, 2)
        for client in clients:
            frame = await client.expect(type="notification")
            assert (frame["id"], frame["room"], frame["data"]) == (answer.json["id"], room, data)
            assert frame["from"] is None
        await other.nothing(type="notification")

    async def test_to_everybody(self, server, staff, room, connect):
        """Without a room, or with null, everybody gets it, whether in a room or not."""
        clients = [await connect(server.ws(name)) for name in (None, room)]
        for body in ({}, {"room": None}):
            answer = staff("POST", "broadcast", {"type": "system", "data": {"event": "test"}, **body})
            assert answer.status == 202
            for client in clients:
                await client.expect(type="system", id=answer.json["id"], room=None, data={"event": "test"})

    def test_to_nobody(self, staff, room):
        """An empty room takes nothing, and that is said."""
        answer = staff("POST", "broadcast", {"room": room, "type": "notification", "data": {}})
        assert (answer.status, answer.json["workers"]) == (202, 0)

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"type": "chat"}, "type"),
            ({"type": None}, "type"),
            ({"type": ["notification"]}, "type"),
            ({"data": None}, "data"),
            ({"data": "text"}, "data"),
            ({"data": [1]}, "data"),
            ({"data": {"x": 2**70}}, "data"),
            ({"data": {"x": "y" * 65_536}}, "data"),
            ({"room": "a b"}, "room"),
            ({"room": ""}, "room"),
            ({"room": 7.5}, "room"),
            ({"room": "x" * 129}, "room"),
            ({"rooms": "lobby"}, "rooms"),
        ],
    )
    def test_a_bad_body(self, staff, change, field):
        """What is wrong is named, field by field."""
        body = {"type": "notification", "data": {"content": "x"}, **change}
        answer = staff("POST", "broadcast", body)
        assert (answer.status, answer.error["code"]) == (400, "invalid_request")
        assert list(answer.error["details"]) == [field]
        assert answer.error["message"].startswith(field)

    def test_what_is_missing(self, staff):
        """Type and data must be there."""
        assert set(staff("POST", "broadcast", {}).error["details"]) == {"type", "data"}

    def test_exactly_as_large_as_a_message_may_be(self, staff, room):
        """65,536 bytes of data go through, one more does not."""
        frame = len('{"x":""}')
        for size, status in ((65_536, 202), (65_537, 400)):
            body = {"room": room, "type": "notification", "data": {"x": "y" * (size - frame)}}
            assert staff("POST", "broadcast", body).status == status

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"{'a': 1}",
            b'{"type": "notification", "data": {"x": NaN}}',
            b'{"type": "notification", "data": {"x": "\\ud800"}}',
            b"\xff\xfe",
            b"[" * 100_000,
        ],
    )
    def test_no_json(self, staff, content):
        """A body that is not JSON, as strict as on the WebSocket, is refused."""
        answer = staff("POST", "broadcast", content)
        assert (answer.status, answer.error["code"]) == (
            400,
            "invalid_json" if content else "invalid_request",
        )

    def test_too_deep(self, staff, room):
        """Data nested deeper than 32 levels is refused: no client could send it either."""
        deep = {}
        for _ in range(40):
            deep = {"x": deep}
        answer = staff("POST", "broadcast", {"room": room, "type": "system", "data": deep})
        assert answer.status == 400
        assert "32" in answer.error["message"]

    def test_a_huge_body(self, staff):
        """A body beyond half a megabyte is not read."""
        answer = staff("POST", "broadcast", b"x" * (512 * 1024 + 1))
        assert (answer.status, answer.error["code"]) == (413, "too_large")

    def test_another_media_type(self, staff):
        """Only JSON is read."""
        answer = staff(
            "POST", "broadcast", b"type=notification", Content_Type="application/x-www-form-urlencoded"
        )
        assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type")


class TestOtherCalls:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "rooms"),
            ("DELETE", "rooms/lobby"),
            ("GET", "broadcast"),
            ("PUT", "connections"),
        ],
    )
    def test_another_method(self, staff, method, path):
        """Another method is answered 405, with those that are allowed."""
        answer = staff(method, path)
        assert (answer.status, answer.error["code"]) == (405, "method_not_allowed")
        assert answer.headers["allow"]

    @pytest.mark.parametrize("path", ["", "nothing", "rooms/a/b", "connections/a/b", "health/x", "health%0A"])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_nothing_there(self, anyone, method, path):
        """Anything else under the API is 404 in the API's own shape."""
        answer = anyone(method, path)
        assert (answer.status, answer.error["code"]) == (404, "not_found")


class TestDocs:
    """docs/operating.md says what the API does."""

    @pytest.fixture
    def page(self) -> str:
        return (ROOT / "docs" / "operating.md").read_text()

    async def test_every_key(self, server, staff, room, connect, page):
        """Each key of a worker, of the totals and of a connection is explained."""
        await connect(server.ws(room))
        stats = staff("GET", "ws/stats").json
        connection = staff("GET", f"connections?room={room}").json["connections"][0]
        keys = {*stats["workers"][0], *stats["totals"], *connection, *stats["workers"][0]["rates"]}
        assert [key for key in keys if f"`{key}`" not in page] == []

    def test_every_path(self, page):
        """Each path is named."""
        paths = {pattern.name: pattern.pattern.regex.pattern for pattern in urlpatterns}
        del paths["nothing"]
        for path in paths.values():
            named = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", path.removeprefix("^").removesuffix(r"/?\Z"))
            assert named.replace("{connection}", "{id}") in page

    def test_every_code(self, page):
        """Each code of a refusal is named."""
        ours = [errors.InvalidRoom, errors.TooLarge, errors.Unavailable, errors.Draining]
        for code in [*errors.CODES.values(), *(error.default_code for error in ours)]:
            assert f"`{code}`" in page


class TestInMemory:
    async def test_one_process_answers_for_itself(self, memory_server, room, connect):
        """With the in-memory layer the API reaches the one process there is."""
        staff = Caller(memory_server, await asyncio.to_thread(new_user, memory_server, is_staff=True))
        assert staff("GET", "ready").status == 200
        client = await connect(memory_server.ws(room))
        stats = staff("GET", "ws/stats").json
        assert [worker["layer_kind"] for worker in stats["workers"]] == ["memory"]
        assert {"room": room, "members": 1} in staff("GET", "rooms").json["rooms"]
        message = {"room": room, "type": "notification", "data": {"content": "hi"}}
        assert staff("POST", "broadcast", message).json["workers"] == 1
        await client.expect(type="notification", data={"content": "hi"})
        assert staff("DELETE", f"connections/{client.id}").status == 204
        assert (await client.closed())[0] == 4510
