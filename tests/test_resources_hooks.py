"""Hooks around what clients do with resources: their order, what they change, and how they refuse."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from websockets.exceptions import InvalidStatus

from tests.kit import ChatServer, RedisServer, eventually
from tests.resource_kit import RESOURCES, Open, ResourceClient

AUDITS = """
from tests.blog.models import Audit
result = list(Audit.objects.filter(words__contains=words).order_by("id").values_list("words", flat=True))
"""
STAFF = """
from tests.blog.models import Person
result = Person.objects.create(name=name, email=name + "@example.com", is_staff=True).pk
"""


@pytest.fixture(scope="module")
def server(redis: RedisServer) -> Iterator[ChatServer]:
    """Two workers with the hooks of `tests.blog.hooked`."""
    env = {"DJANGO_SETTINGS_MODULE": "tests.blog.hooked.settings"}
    url = redis.url.removesuffix("0") + "4"
    server = ChatServer(url, workers=2, settings="tests.settings", env=env)
    try:
        yield server.start()
    finally:
        server.stop(allow_tracebacks=True)
        server.cleanup()


@pytest.fixture
async def client(server: ChatServer, resources: Open) -> ResourceClient:
    server.mark()
    return await resources(server)


@pytest.fixture
def mark() -> str:
    return f"h{uuid4().hex[:10]}"


def person(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "email": f"{uuid4().hex[:10]}@example.com", **more}


def trail(operation: str, *who: str) -> list[str]:
    points = ("before_handle", f"before_{operation}", f"after_{operation}")
    return [f"{point} {one}" for point in points for one in who]


# --- order --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entity", ["items", "others"])
async def test_they_run_in_order(client: ResourceClient, mark: str, entity: str) -> None:
    """By ``order``, then as registered; a resource's own only there; plain and async ones alike."""
    who = ("sync", "async", "of items", "last") if entity == "items" else ("sync", "async", "last")
    made = await client.ask("create", entity, data=person(mark))
    assert made["metadata"]["trail"] == trail("create", *who)
    key = made["data"]["id"]
    read = await client.ask("read", entity, record_id=key)
    assert read["metadata"] == {"total": 1, "trail": trail("read", *who)}
    assert (await client.ask("read", entity))["metadata"]["trail"] == trail("read", *who)
    changed = await client.ask("update", entity, record_id=key, data={"age": 1})
    assert changed["metadata"]["trail"] == trail("update", *who)
    deleted = await client.ask("delete", entity, record_id=key)
    assert deleted["metadata"]["trail"] == trail("delete", *who)
    followed = await client.ask("subscribe", entity)
    assert followed["metadata"]["trail"] == trail("subscribe", *who)
    ended = await client.ask("unsubscribe", subscription_id=followed["data"]["subscription_id"])
    assert ended["success"]
    assert (await client.ask("meta", entity))["success"]


# --- changing -----------------------------------------------------------------------------------------


async def test_a_filter_of_a_hook_holds(server: ChatServer, client: ResourceClient, mark: str) -> None:
    """Whatever the client joins to it; and by a column that the client itself may not name."""
    staff = await server.adjango(STAFF, name=mark)
    plain = (await client.do("create", "others", data=person(mark)))["id"]
    named = {"column": "name", "operator": "eq", "value": mark}
    everything = {"column": "id", "operator": "gte", "value": 0, "logic_operator": "OR"}
    for filters in ([named], [named, everything], [{**named, "logic_operator": "OR"}, everything], []):
        rows = await client.do("read", "items", options={"filters": filters, "limit": 1000})
        found = [row["id"] for row in rows]
        assert plain in found
        assert staff not in found
    assert [row["id"] for row in await client.do("read", "others", options={"filters": [named]})] == [
        staff,
        plain,
    ]
    assert (await client.refused("read", "items", record_id=staff))["code"] == "not_found"
    for own in (
        {"column": "is_staff", "operator": "eq", "value": False},
        {"column": "password", "operator": "neq", "value": "x"},
    ):
        error = await client.refused("read", "items", options={"filters": [own]})
        assert (error["code"], error["details"]["column"]) == ("invalid_query", own["column"])
    for wrong in ({}, "x", 0, False, [1], [None], [["a"]]):
        assert (await client.refused("read", "items", options={"filters": wrong}))["code"] == "invalid_query"


async def test_a_copy_of_a_clients_filter_is_the_clients(client: ResourceClient, mark: str) -> None:
    """A hook may put another in its place, by another column; what it only copied stays checked."""
    await client.do("create", "others", data=person(mark))
    named = {"column": "name", "operator": "eq", "value": mark}
    team = {"column": "team", "operator": "eq", "value": 1}
    copied = {"data": {"copy": True}}
    assert len(await client.do("read", "items", options={"filters": [named]}, **copied)) == 1
    assert await client.do("read", "items", options={"filters": [named, team]}, **copied) == []
    for hidden in ("password", "is_staff"):
        guess = {"column": hidden, "operator": "neq", "value": "x", "logic_operator": "OR"}
        error = await client.refused("read", "items", options={"filters": [named, guess]}, **copied)
        assert (error["code"], error["details"]["column"]) == ("invalid_query", hidden)


async def test_a_subscriptions_filter_holds_too(client: ResourceClient, mark: str) -> None:
    """A row that the hook's filter keeps out is not told."""
    named = {"column": "name", "operator": "eq", "value": mark}
    everything = {"column": "id", "operator": "gte", "value": 0, "logic_operator": "OR"}
    ident = await client.subscribe("items", filters=[named, everything])
    await client.do("create", "others", data=person(mark, status="inactive"))
    active = await client.do("create", "others", data=person(mark))
    assert (await client.told("create", ident))["record_id"] == active["id"]
    assert await client.do("unsubscribe", subscription_id=ident) == {"subscription_id": ident}


async def test_options_data_and_results_may_be_changed(
    server: ChatServer, client: ResourceClient, mark: str
) -> None:
    """A limit, the name that is written, the answer; and what a hook writes is there."""
    made = await client.do("create", "items", data=person(f"  {mark} ", status="active"))
    assert made == made | {"name": mark, "status": "inactive", "audited": True}
    for _ in range(3):
        await client.do("create", "items", data=person(mark))
    rows = await client.do("read", "items")
    assert [row["seen"] for row in rows] == [True, True]
    assert len(await client.do("read", "items", options={"limit": 3})) == 3
    assert (await client.do("read", "others", record_id=made["id"])) == {
        key: value for key, value in made.items() if key != "audited"
    }
    assert await client.do("delete", "items", record_id=made["id"]) == {"id": made["id"], "audited": True}
    assert len(await server.adjango(AUDITS, words=mark)) == 4


# --- refusing -----------------------------------------------------------------------------------------

ANSWERS = {
    "unauthorized": ("unauthorized", "Not today.", {}),
    "denied": ("unauthorized", "Not you.", {}),
    "drf": ("unauthorized", "Authentication credentials were not provided.", {}),
    "forbidden": ("unauthorized", "Not there.", {}),
    "hook": ("hook_error", "email is required", {"field": "email"}),
    "invalid": ("validation_error", "The data is not valid.", {"name": ["Not this one."]}),
    "limited": ("rate_limited", "You are sending too fast. Wait a moment.", {"retry_after": 3}),
}


@pytest.mark.parametrize("by", ["sync", "async", "of items"])
async def test_a_hook_may_refuse(client: ResourceClient, mark: str, by: str) -> None:
    """Before or after, by an error with its own words and code, and the next message is served."""
    key = (await client.do("create", "others", data=person(mark)))["id"]
    subscription = await client.subscribe("items")
    asked: dict[str, dict[str, Any]] = {
        "read": {"record_id": key},
        "create": {},
        "update": {"record_id": key},
        "delete": {"record_id": key},
        "subscribe": {},
        "unsubscribe": {"subscription_id": subscription},
    }
    for number, (word, (code, message, details)) in enumerate(ANSWERS.items()):
        for operation, keys in asked.items():
            points = ("before_handle", f"before_{operation}", f"after_{operation}")
            at = points[number % 2 if operation == "unsubscribe" else number % 3]
            data = {**person(f"{mark} x"), "at": at, "by": by, "raise": word}
            error = await client.refused(operation, "items", data=data, **keys)
            assert error == {"code": code, "message": message, "details": details}, (at, word)
    row = await client.do("read", "others", record_id=key)
    assert (row["name"], row["status"]) == (mark, "active")
    assert await client.notifications() == []


@pytest.mark.parametrize(
    ("word", "by"), [("bug", "sync"), ("bug", "async"), ("exit", "sync"), ("exit", "async")]
)
async def test_a_hooks_bug_is_not_told(
    server: ChatServer, client: ResourceClient, mark: str, word: str, by: str
) -> None:
    """It is ``hook_error`` with a number, which the log has with the traceback; nothing ends by it."""
    key = (await client.do("create", "others", data=person(mark)))["id"]
    for operation, point in (("read", "before_handle"), ("read", "after_read"), ("update", "after_update")):
        data = {"at": point, "by": by, "raise": word, "name": "changed"}
        error = await client.refused(operation, "others", record_id=key, data=data)
        assert (error["code"], error["details"]) == ("hook_error", {})
        number = error["message"].removeprefix("A hook failed (error ").removesuffix(").")
        await eventually(lambda number=number: f"error={number}" in server.recent_output(), "the log")
    assert "secret" not in str(client.received)
    assert (await client.do("read", "others", record_id=key))["name"] == mark
    error = await client.refused("read", "others", data={"at": "before_read", "raise": "layer"})
    assert error["code"] == "hook_error"


@pytest.mark.parametrize("by", ["sync", "async", "last"])
async def test_a_failing_hook_takes_all_back(
    server: ChatServer, client: ResourceClient, mark: str, by: str
) -> None:
    """The row, what hooks before it wrote, and the news of it."""
    ident = await client.subscribe("others", filters=[{"column": "name", "operator": "eq", "value": mark}])
    data = person(mark, at="after_create", by=by, **{"raise": "bug"})
    assert (await client.refused("create", "items", data=data))["code"] == "hook_error"
    assert await server.adjango(AUDITS, words=mark) == []
    kept = await client.do("create", "items", data=person(mark))
    assert (await client.told("create", ident))["record_id"] == kept["id"]
    again = {"at": "after_delete", "by": by, "raise": "hook"}
    assert (await client.refused("delete", "items", record_id=kept["id"], data=again))["code"] == "hook_error"
    assert (await client.do("read", "others", record_id=kept["id"]))["name"] == mark
    assert await client.notifications() == []


async def test_what_cant_be_shown_is_not_written(client: ResourceClient, mark: str) -> None:
    """A result that no JSON can say takes the write back: an error never hides a change."""
    key = (await client.do("create", "items", data=person(mark)))["id"]
    error = await client.refused("update", "items", record_id=key, data={"name": "unshowable"})
    assert error["code"] == "update_error"
    assert (await client.do("read", "others", record_id=key))["name"] == mark


async def test_a_hook_may_close_the_socket(client: ResourceClient) -> None:
    await client.send(
        {
            "type": "request",
            "operation": "meta",
            "entity": "items",
            "data": {"at": "before_handle", "raise": "closed"},
        }
    )
    assert await client.expect_close(4510) == "enough"


# --- connections --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "code", "message"),
    [
        ("unauthorized", "forbidden", "Not today."),
        ("denied", "forbidden", "Not you."),
        ("hook", "hook_error", "email is required"),
    ],
)
async def test_the_door_may_stay_closed(
    server: ChatServer, resources: Open, word: str, code: str, message: str
) -> None:
    """before_connect refuses the handshake itself, with a status and the reason."""
    with pytest.raises(InvalidStatus) as refused:
        await resources(server, headers={"X-Refuse": word})
    assert refused.value.response.status_code == 403
    body = json.loads(refused.value.response.body)
    assert body == {"error": {"code": code, "message": message}}
    asked = await asyncio.to_thread(server.get, RESOURCES, X_Refuse=word)  # as a browser's page does
    assert (asked[0], json.loads(asked[2])) == (403, body)
    assert (await asyncio.to_thread(server.get, RESOURCES))[0] == 426


async def test_the_door_does_not_tell_of_bugs(server: ChatServer, resources: Open) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await resources(server, headers={"X-Refuse": "bug"})
    assert refused.value.response.status_code == 403
    assert b"secret" not in (refused.value.response.body or b"")


async def test_who_leaves_is_noticed(server: ChatServer, resources: Open, mark: str) -> None:
    """What a hook noted on the connection is there at its end."""
    client = await resources(server, headers={"X-Badge": mark})
    await client.round_trip()
    await client.close()
    async with asyncio.timeout(5):
        while await server.adjango(AUDITS, words=mark) != [f"{mark} leaves 1000"]:
            pass


async def test_the_pages_monitoring_example(server: ChatServer, resources: Open) -> None:
    """Counts over both workers, in hooks and in a view."""
    server.mark()
    clients = [await resources(server) for _ in range(3)]
    for client in clients:
        await client.round_trip()
    await clients[0].subscribe("items")
    await clients[0].subscribe("items")
    await clients[1].subscribe("others")
    words = b"Active Connections: 3\nActive Subscriptions: 3\n"
    await eventually(lambda: server.get("/stats")[2] == words, "the counts")
    await eventually(lambda: "Total connections: 3" in server.recent_output(), "the third one's line")
    assert "New subscription. Total subscriptions: 3" in server.recent_output()
    await clients[2].close()
    await eventually(
        lambda: "Client disconnected. Total connections: 2" in server.recent_output(), "the line of who left"
    )
    await clients[0].close()
    words = b"Active Connections: 1\nActive Subscriptions: 1\n"
    await eventually(lambda: server.get("/stats")[2] == words, "fewer counts")
