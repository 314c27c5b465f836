"""What an app or its database gets wrong: a code for the client, the rest for the log, nothing is kept."""

from uuid import uuid4

import pytest

from tests.kit import ChatServer
from tests.resource_kit import Open, ResourceClient


@pytest.fixture
async def client(each_app_server: ChatServer, resources: Open) -> ResourceClient:
    return await resources(each_app_server)


def person(name: str) -> dict[str, str]:
    return {"name": name, "email": f"{uuid4().hex[:12]}@example.com"}


async def test_each_operation_has_its_code(each_app_server: ChatServer, client: ResourceClient) -> None:
    """No word of the database's or of a bug's reaches the client; its number is the log's."""
    made = await client.do("create", "users", data=person("before"))
    for operation, entity, name in (
        ("read", "broken", ""),
        ("update", "broken", "x"),
        ("delete", "broken", "x"),
        ("create", "broken", "x"),
        ("create", "broken", "conflict"),
        ("update", "fragile", "after"),
        ("delete", "fragile", "x"),
    ):
        error = await client.refused(operation, entity, record_id=made["id"], data=person(name))
        assert (error["code"], error["details"]) == (f"{operation}_error", {})
        if "(error " in error["message"]:
            number = error["message"].partition("(error ")[2].removesuffix(").")
            assert f"error={number}" in each_app_server.recent_output()
    assert (await client.refused("read", "broken"))["code"] == "read_error"
    for word in ("secret", "SQL", "NULL", "column", "blog_person", "Traceback"):
        assert word not in "".join(client.texts)
    assert await client.do("read", "users", record_id=made["id"]) == made


async def test_what_an_app_finds_wrong_is_told(client: ResourceClient) -> None:
    """A model's ValidationError is a validation_error, of its field or of the whole."""
    for name, details in (("invalid", {"name": ["Taken."]}), ("words", {"non_field_errors": ["Not so."]})):
        error = await client.refused("create", "broken", data=person(name))
        assert (error["code"], error["details"]) == ("validation_error", details)
