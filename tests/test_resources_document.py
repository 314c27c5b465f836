"""websocketspec's README against the server: its example messages, and its Python client as it stands."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kit import ChatServer
from tests.resource_kit import RESOURCES, Open, ResourceClient

CLIENT = Path(__file__).parent / "websocketspec" / "python_client.txt"
USAGE_END = "asyncio.run(main())\n"

# The README's requests, by its headings; 123 stands for the record that CREATE made.
CREATE = """{
    "id": "msg-1",
    "type": "request",
    "operation": "create",
    "schema": "public",
    "entity": "users",
    "data": {
        "name": "John Doe",
        "email": "john@example.com",
        "status": "active"
    }
}"""
READ_MANY = """{
    "id": "msg-2",
    "type": "request",
    "operation": "read",
    "schema": "public",
    "entity": "users",
    "options": {
        "filters": [
            {"column": "status", "operator": "eq", "value": "active"}
        ],
        "columns": ["id", "name", "email"],
        "sort": [
            {"column": "name", "direction": "asc"}
        ],
        "limit": 10,
        "offset": 0
    }
}"""
READ_ONE = """{
    "id": "msg-3",
    "type": "request",
    "operation": "read",
    "schema": "public",
    "entity": "users",
    "record_id": "123"
}"""
UPDATE = """{
    "id": "msg-4",
    "type": "request",
    "operation": "update",
    "schema": "public",
    "entity": "users",
    "record_id": "123",
    "data": {
        "name": "John Updated",
        "email": "john.updated@example.com"
    }
}"""
DELETE = """{
    "id": "msg-5",
    "type": "request",
    "operation": "delete",
    "schema": "public",
    "entity": "users",
    "record_id": "123"
}"""
SUBSCRIBE = """{
    "id": "sub-1",
    "type": "subscription",
    "operation": "subscribe",
    "schema": "public",
    "entity": "users",
    "options": {
        "filters": [
            {"column": "status", "operator": "eq", "value": "active"}
        ]
    }
}"""
UNSUBSCRIBE = """{
    "id": "unsub-1",
    "type": "subscription",
    "operation": "unsubscribe",
    "subscription_id": "sub-abc123"
}"""

JOHN = {"name": "John Doe", "email": "john@example.com", "status": "active"}


async def answered(client: ResourceClient, text: str) -> dict[str, Any]:
    """The response to one of the README's messages: its id, and what every response has."""
    await client.send(text)
    answer = await client.expect(type="response", id=json.loads(text)["id"])
    assert answer["success"] is True, answer
    assert answer["timestamp"].endswith("Z")
    return answer


async def test_its_messages(app_server: ChatServer, resources: Open) -> None:
    """Each example is answered as the README shows it."""
    client, other = await resources(app_server), await resources(app_server)

    subscribed = await answered(client, SUBSCRIBE)
    ident = subscribed["data"].pop("subscription_id")
    assert subscribed["data"] == {"schema": "public", "entity": "users"}

    john = (await answered(other, CREATE))["data"]
    key = john["id"]
    assert john == {"id": key, **JOHN, "age": None}
    told = await client.told("create", ident, record_id=key)
    assert set(told) >= {"type", "operation", "subscription_id", "schema", "entity", "data", "timestamp"}
    assert (told["schema"], told["entity"], told["data"]) == ("public", "users", john)

    many = await answered(client, READ_MANY)
    assert len(many["data"]) == many["metadata"]["count"] <= 10
    assert many["metadata"]["total"] >= many["metadata"]["count"]
    assert all(set(row) == {"id", "name", "email"} for row in many["data"])
    names = [row["name"] for row in many["data"]]
    assert names == sorted(names)

    one = await answered(client, READ_ONE.replace("123", str(key)))
    assert one["data"] == john

    changed = await answered(other, UPDATE.replace("123", str(key)))
    john |= {"name": "John Updated", "email": "john.updated@example.com"}
    assert changed["data"] == john
    assert (await client.told("update", ident, record_id=key))["data"] == john

    assert (await answered(other, DELETE.replace("123", str(key))))["data"] == {"id": key}
    assert (await client.told("delete", ident, record_id=key))["data"] == {"id": key}

    assert (await answered(client, UNSUBSCRIBE.replace("sub-abc123", ident)))["success"]


async def test_its_error(app_server: ChatServer, resources: Open) -> None:
    """The README's error has these keys; its details are the field's."""
    client = await resources(app_server)
    await client.send(CREATE.replace('"email": "john@example.com",', ""))
    answer = await client.next()
    assert answer.pop("timestamp")
    assert answer == {
        "id": "msg-1",
        "type": "response",
        "success": False,
        "error": {
            "code": "validation_error",
            "message": "The data is not valid.",
            "details": {"email": ["This field is required."]},
        },
    }


META = {"schema", "entity", "table_name", "columns", "primary_key"}
MORE = {"fields", "relations", "operators", "sort", "operations", "limits"}


async def test_meta(app_server: ChatServer, resources: Open) -> None:
    """What the Go package tells, and beyond that what a client can build a form from."""
    client = await resources(app_server)
    meta = await client.do("meta", "users")
    assert set(meta) == META | MORE
    columns = ["id", "name", "email", "status", "age"]
    assert [meta[name] for name in ("schema", "entity", "table_name", "columns", "primary_key")] == [
        "public",
        "users",
        "blog_person",
        columns,
        "id",
    ]
    assert list(meta["fields"]) == columns
    wanted = {
        "id": ("integer", False, True),
        "name": ("string", True, False),
        "email": ("email", True, False),
    }
    for name, said in wanted.items():
        field = meta["fields"][name]
        assert (field["type"], field["required"], field["read_only"]) == said
    choices = [{"value": "active", "label": "Active"}, {"value": "inactive", "label": "Inactive"}]
    assert meta["fields"]["status"]["choices"] == choices
    assert meta["relations"]["posts"] == {
        "schema": "public",
        "entity": "posts",
        "many": True,
        "columns": ["id", "title", "content", "author", "editor", "price", "created_at"],
    }
    assert meta["relations"]["passport"]["many"] is False
    assert list(meta["operators"]) == columns
    assert set(meta["operators"]["name"]) >= {"eq", "like", "ilike", "in", "between", "is_null"}
    assert meta["sort"] == ["id", "name", "age"]
    assert meta["limits"] == {"default": 100, "largest": 1000}
    assert (await client.do("meta", "posts"))["fields"]["created_at"]["read_only"] is True
    assert list((await client.do("meta", "authors"))["relations"]) == [
        "posts"
    ]  # drafts are not for everybody


@pytest.mark.parametrize(
    ("entity", "anonymous", "user"),
    [
        ("users", "read create update delete meta subscribe unsubscribe", None),
        ("posts", "read meta subscribe unsubscribe", "read create update delete meta subscribe unsubscribe"),
        ("tags", "read meta subscribe unsubscribe", "read meta subscribe unsubscribe"),
        ("words", "read meta", "read meta"),
        ("notes", None, "read create update delete meta subscribe unsubscribe"),
        ("drafts", None, None),
    ],
)
async def test_meta_says_what_this_user_may_do(
    app_server: ChatServer, resources: Open, entity: str, anonymous: str | None, user: str | None
) -> None:
    """And who may do nothing learns nothing."""
    cookie = app_server.create_user(f"meta-{entity}").cookie
    for client, wanted in (
        (await resources(app_server), anonymous),
        (await resources(app_server, cookie=cookie), user or anonymous),
    ):
        if wanted is None:
            assert (await client.refused("meta", entity))["code"] == "unauthorized"
        else:
            assert (await client.do("meta", entity))["operations"] == wanted.split()


# --- its Python client --------------------------------------------------------------------------------

# After what the README does: the same class, with what comes of it.
DRIVE = """
async def drive():
    await main()
    client = WebSocketClient(URL)
    await client.connect()
    told = asyncio.Queue()
    mine = {"column": "email", "operator": "eq", "value": "guido@example.com"}
    await client.subscribe("users", told.put_nowait, filters=[mine])
    made = await client.request("create", "users", data={"name": "Guido", "email": mine["value"]})
    news = [await asyncio.wait_for(told.get(), 10)]
    read = await client.request("read", "users", record_id=str(made["id"]))
    many = await client.request("read", "users", options={"filters": [mine]})
    changed = await client.request("update", "users", record_id=made["id"], data={"age": 67})
    news.append(await asyncio.wait_for(told.get(), 10))
    deleted = await client.request("delete", "users", record_id=made["id"])
    news.append(await asyncio.wait_for(told.get(), 10))
    try:
        await client.request("read", "nobody")
    except Exception as error:
        refused = str(error)
    news = [[one["operation"], one["data"]] for one in news]
    print(json.dumps([made, read, many, changed, deleted, refused, news]))

asyncio.run(drive())
"""


def test_its_python_client(app_server: ChatServer, tmp_path: Path) -> None:
    """The class as it stands, with another address; what its usage part does, and what it can do."""
    text = CLIENT.read_text()
    assert text.endswith(USAGE_END)
    url = app_server.websocket(RESOURCES)
    text = text.removesuffix(USAGE_END).replace("ws://localhost:8080/ws", url)
    program = tmp_path / "client.py"
    program.write_text(f"URL = {url!r}\n{text}{DRIVE}")
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Users: [")
    made, read, many, changed, deleted, refused, news = json.loads(lines[-1])
    assert made == {
        "id": made["id"],
        "name": "Guido",
        "email": "guido@example.com",
        "status": "active",
        "age": None,
    }
    assert (read, many, changed) == (made, [made], made | {"age": 67})
    assert (deleted, refused) == ({"id": made["id"]}, "There is no such entity.")
    assert news == [["create", made], ["update", changed], ["delete", deleted]]
