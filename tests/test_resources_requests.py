"""Read, create, update, delete and meta, as a client sees them, on SQLite and on PostgreSQL."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.kit import ChatServer
from tests.resource_kit import Open, ResourceClient

LARGEST = 1000  # rows of a read

MANY = """
from tests.blog.models import Parcel
Parcel.objects.bulk_create([Parcel(code=f"{mark}{number:04}") for number in range(1003)])
"""
HIDDEN = """
from tests.blog.models import Person
result = list(Person.objects.filter(name=name).values_list("id", "is_staff", "password"))
"""
DEACTIVATE = """
from django.contrib.auth.models import User
User.objects.filter(pk=pk).update(is_active=False)
"""


@pytest.fixture
def mark() -> str:
    """What the names of this test's rows begin with."""
    return f"m{uuid4().hex[:10]}"


@pytest.fixture
async def client(each_app_server: ChatServer, resources: Open) -> ResourceClient:
    return await resources(each_app_server)


async def create(client: ResourceClient, name: str, **data: Any) -> dict[str, Any]:
    """A new person."""
    made: dict[str, Any] = await client.do(
        "create", "users", data={"name": name, "email": f"{name}@example.com", **data}
    )
    return made


def named(mark: str) -> dict[str, Any]:
    return {"column": "name", "operator": "startswith", "value": mark}


# --- create and read ----------------------------------------------------------------------------------


async def test_a_row_is_made_and_read(client: ResourceClient, mark: str) -> None:
    """By its key as a number or a text, with metadata; only the columns that are shown, or asked for."""
    answer = await client.ask("create", "users", data={"name": mark, "email": f"{mark}@example.com"})
    made = answer["data"]
    shown = {"id": made["id"], "name": mark, "email": f"{mark}@example.com", "status": "active", "age": None}
    assert (answer["success"], made) == (True, shown)
    assert set(answer) == {"id", "type", "success", "data", "timestamp"}
    for key in (made["id"], str(made["id"])):
        answer = await client.ask("read", "users", record_id=key)
        assert (answer["data"], answer["metadata"]) == (made, {"total": 1})
    options = {"columns": ["age", "name", "name"], "filters": [named(mark)]}
    assert await client.do("read", "users", record_id=made["id"], options=options) == {
        "name": mark,
        "age": None,
    }


async def test_a_text_key_may_be_sent_as_a_number(client: ResourceClient, mark: str) -> None:
    """Numbers and texts stand for each other in keys, whatever the column holds."""
    number = int(mark[1:9], 16)
    await client.do("create", "parcels", data={"code": str(number)})
    assert (await client.do("read", "parcels", record_id=number))["code"] == str(number)
    assert await client.do("delete", "parcels", record_id=number) == {"id": str(number)}


@pytest.mark.parametrize("operation", ["read", "update", "delete"])
async def test_a_row_that_is_not_there_is_not_found(client: ResourceClient, operation: str) -> None:
    """Nor is what can't be a key; the same words for all of them."""
    keys = [
        0,
        -1,
        2**31,
        2**63 - 1,
        2**64 - 1,
        "",
        " ",
        "x",
        "1.0",
        "1e3",
        "a\0b",
        "9" * 400,
        "1 OR 1=1",
        "١",
    ]
    for entity in ("groups", "users", "parcels"):
        for key in [2**40, *keys]:
            error = await client.refused(operation, entity, record_id=key, data={})
            assert error == {"code": "not_found", "message": "There is no such record.", "details": {}}, key


async def test_a_row_that_does_not_fit_the_filters_is_not_found(client: ResourceClient, mark: str) -> None:
    made = await create(client, mark)
    options = {"filters": [{"column": "age", "operator": "gt", "value": 1}]}
    assert (await client.refused("read", "users", record_id=made["id"], options=options))[
        "code"
    ] == "not_found"


async def test_pages(each_app_server: ChatServer, client: ResourceClient, mark: str) -> None:
    """A hundred rows unless asked, a thousand at most; the metadata say how many there are and what held."""
    await each_app_server.adjango(MANY, mark=mark)
    mine = [{"column": "code", "operator": "startswith", "value": mark}]
    for given, count, limit, offset in (
        ({}, 100, 100, 0),
        ({"limit": None, "offset": None}, 100, 100, 0),
        ({"limit": 7, "offset": 1000}, 3, 7, 1000),
        ({"limit": 1001}, LARGEST, LARGEST, 0),
        ({"limit": 2**63 - 1}, LARGEST, LARGEST, 0),
        ({"limit": 0, "offset": 2}, 0, 0, 2),
        ({"offset": 1003}, 0, 100, 1003),
        ({"offset": 2**63 - 1}, 0, 100, 2**63 - 1),
    ):
        options = {"filters": mine, "columns": ["code"], **given}
        answer = await client.ask("read", "parcels", options=options)
        found = [row["code"] for row in answer["data"]]
        assert answer["metadata"] == {"total": 1003, "count": count, "limit": limit, "offset": offset}
        assert found == [f"{mark}{number:04}" for number in range(offset, offset + count)]


@pytest.mark.parametrize("name", ["limit", "offset"])
@pytest.mark.parametrize("value", [-1, 2**63, 1.0, "1", True, [], {}])
async def test_a_page_is_whole_numbers(
    app_server: ChatServer, resources: Open, name: str, value: Any
) -> None:
    error = await (await resources(app_server)).refused("read", "users", options={name: value})
    assert (error["code"], list(error["details"])) == ("invalid_query", [name])


# --- update -------------------------------------------------------------------------------------------


async def test_an_update_changes_what_was_sent(client: ResourceClient, mark: str) -> None:
    """And nothing else; null, an empty text and 0 are values."""
    made = await client.do(
        "create", "parcels", data={"code": mark, "pieces": 3, "words": "a", "fragile": True}
    )
    expected = dict(made)
    for change in ({"pieces": 0}, {"words": ""}, {"fragile": False}, {"pieces": None}, {}, {"fragile": None}):
        expected |= change
        assert await client.do("update", "parcels", record_id=mark, data=change) == expected
        assert await client.do("read", "parcels", record_id=mark) == expected


async def test_a_key_stays(client: ResourceClient, mark: str) -> None:
    """Where clients choose the key of a row they choose it once: no update makes a second row."""
    await client.do("create", "parcels", data={"code": mark})
    assert await client.do("update", "parcels", record_id=mark, data={"code": mark, "pieces": 1})
    error = await client.refused("update", "parcels", record_id=mark, data={"code": f"{mark}-2", "pieces": 2})
    assert (error["code"], list(error["details"])) == ("validation_error", ["code"])
    assert (await client.refused("read", "parcels", record_id=f"{mark}-2"))["code"] == "not_found"
    assert (await client.do("read", "parcels", record_id=mark))["pieces"] == 1


async def test_two_updates_lose_nothing(
    each_app_server: ChatServer, resources: Open, client: ResourceClient, mark: str
) -> None:
    """Of different keys of one row, at the same time, from two connections."""
    other = await resources(each_app_server)
    key = (await create(client, mark))["id"]
    for number in range(8):
        name, age = f"{mark}-{number}", number
        await asyncio.gather(
            client.do("update", "users", record_id=key, data={"name": name}),
            other.do("update", "users", record_id=key, data={"age": age}),
        )
        row = await client.do("read", "users", record_id=key)
        assert (row["name"], row["age"]) == (name, age)


# --- what can't be written ----------------------------------------------------------------------------


async def test_nobody_writes_what_is_not_listed(
    each_app_server: ChatServer, client: ResourceClient, mark: str
) -> None:
    """Keys, hidden columns, relations: what is not writable is ignored, on create and on update."""
    stolen = {"id": 77_777_777, "pk": 77_777_777, "is_staff": True, "password": "mine", "posts": [1]}
    made = await create(client, mark, **stolen)
    await client.do("update", "users", record_id=made["id"], data={**stolen, "_state": 1, "save": 1})
    assert await each_app_server.adjango(HIDDEN, name=mark) == [[made["id"], False, "s3cret"]]


async def test_what_is_wrong_is_said_by_field(client: ResourceClient, mark: str) -> None:
    """As Django REST framework says it."""
    data = {"email": "no address", "status": "gone", "age": "many"}
    error = await client.refused("create", "users", data=data)
    assert (error["code"], error["message"]) == ("validation_error", "The data is not valid.")
    assert error["details"] == {
        "name": ["This field is required."],
        "email": ["Enter a valid email address."],
        "status": ['"gone" is not a valid choice.'],
        "age": ["A valid integer is required."],
    }
    made = await create(client, mark)
    error = await client.refused("update", "users", record_id=made["id"], data={"name": None, "age": {}})
    assert set(error["details"]) == {"name", "age"}
    for data in (None, [], "x", 1, True):
        error = await client.refused("create", "users", data=data)
        assert (error["code"], error["details"]) == ("validation_error", {"data": ["must be an object"]})
    assert (await client.refused("create", "users"))["code"] == "validation_error"
    error = await client.refused("create", "stories", data={"title": "forbidden", "author": 0, "tags": [{}]})
    assert error["details"]["title"] == ["Not this one."]
    assert set(error["details"]) == {"title", "author", "tags"}


async def test_what_must_be_unique_is(
    each_app_server: ChatServer, resources: Open, client: ResourceClient, mark: str
) -> None:
    """A second one is a validation_error of its field; of two at once one is made."""
    first, second = await create(client, mark), await create(client, f"{mark}-2")
    error = await client.refused("create", "users", data={"name": "x", "email": first["email"]})
    assert (error["code"], list(error["details"])) == ("validation_error", ["email"])
    error = await client.refused("update", "users", record_id=second["id"], data={"email": first["email"]})
    assert (error["code"], list(error["details"])) == ("validation_error", ["email"])
    other = await resources(each_app_server)
    for number in range(4):
        data = {"name": mark, "email": f"{mark}-at-once-{number}@example.com"}
        answers = await asyncio.gather(*[one.ask("create", "users", data=data) for one in (client, other)])
        refused = [answer["error"] for answer in answers if not answer["success"]]
        assert len(refused) == 1
        assert refused[0]["code"] in ("validation_error", "create_error")
        assert "UNIQUE" not in str(refused)
        assert "blog_" not in str(refused)


async def test_what_others_need_is_not_deleted(client: ResourceClient, mark: str) -> None:
    """A protected row stays, and the error says nothing of tables."""
    key = (await create(client, mark))["id"]
    number = int(mark[1:4], 16)
    passport = await client.do("create", "passports", data={"holder": key, "number": number})
    error = await client.refused("delete", "users", record_id=key)
    assert error == {"code": "delete_error", "message": "Other records refer to this one.", "details": {}}
    assert await client.do("delete", "passports", record_id=passport["id"]) == {"id": passport["id"]}
    assert await client.do("delete", "users", record_id=str(key)) == {"id": key}
    assert (await client.refused("delete", "users", record_id=key))["code"] == "not_found"


# --- whose rows ---------------------------------------------------------------------------------------


async def test_another_users_row_is_not_there(
    each_app_server: ChatServer, resources: Open, mark: str
) -> None:
    """The owner is whom the server knows; for all others the row is as one that never was."""
    ada, bob = [
        await resources(each_app_server, cookie=each_app_server.create_user(f"{mark}-{name}").cookie)
        for name in "ab"
    ]
    note = await ada.do("create", "notes", data={"text": mark, "owner": 1, "id": str(uuid4())})
    assert await ada.do("read", "notes", record_id=note["id"]) == note
    for operation in ("read", "update", "delete"):
        hidden = await bob.refused(operation, "notes", record_id=note["id"], data={"text": "mine"})
        assert hidden == await bob.refused(operation, "notes", record_id=str(uuid4()), data={"text": "mine"})
    assert await bob.do("read", "notes") == []
    assert await ada.do("update", "notes", record_id=note["id"], data={"text": "new", "owner": 1})
    assert await ada.do("read", "notes") == [note | {"text": "new"}]


async def test_a_session_that_ends_may_write_no_more(
    app_server: ChatServer, resources: Open, mark: str
) -> None:
    """The user is read anew: one that was made inactive is nobody within a second."""
    user = app_server.create_user(mark)
    client = await resources(app_server, cookie=user.cookie)
    assert await client.do("read", "notes") == []
    await app_server.adjango(DEACTIVATE, pk=user.id)

    async def refused() -> bool:
        answer = await client.ask("create", "notes", data={"text": "x"})
        return bool(not answer["success"] and answer["error"]["code"] == "unauthorized")

    async with asyncio.timeout(2):
        while not await refused():
            pass
