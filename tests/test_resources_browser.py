"""websocketspec's JavaScript client, only its type annotations removed, in a real Chromium page."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser import chromium
from tests.kit import ChatServer
from tests.resource_kit import RESOURCES

DOCUMENT = Path(__file__).parent / "websocketspec"
ADDRESS = '"ws://localhost:8080/ws"'
# The README's usage sends at once, which no browser lets it do before the socket is open.
DIAL = f"const client = new WebSocketClient({ADDRESS});"
OPEN = 'await new Promise((resolve) => client.ws.addEventListener("open", resolve));'

MORE = """
const seen = [];
await client.subscribe("users", undefined, (notification) => seen.push(notification));
const until = async (count) => {
    while (seen.length < count) await new Promise((resolve) => setTimeout(resolve, 10));
};
const one = await client.request("read", "users", { record_id: newUser.id });
const data = { status: "inactive" };
const changed = await client.request("update", "users", { record_id: `${newUser.id}`, data });
const meta = await client.request("meta", "users");
const deleted = await client.request("delete", "users", { record_id: newUser.id });
const refused = await client.request("read", "nobody").catch((error) => error);
const invalid = await client.request("create", "users", { data: { name: "Bob" } }).catch((error) => error);
await until(2);
return { users, newUser, one, changed, deleted, refused, invalid, columns: meta.columns,
         seen: seen.map(({ operation, record_id, data }) => [operation, record_id, data]) };
"""


@pytest.fixture
def page(app_server: ChatServer) -> Iterator[Page]:
    """A page of the server's that has no client of its own."""
    with chromium() as browser:
        page = browser.new_context().new_page()
        page.goto(app_server.http("/accounts/login/"))
        yield page


def test_its_javascript_client(app_server: ChatServer, page: Page) -> None:
    """The class does what its usage part does, and all else that it can."""
    lines: list[str] = []
    page.on("console", lambda line: lines.append(line.text))
    usage = (DOCUMENT / "usage.js").read_text()
    assert DIAL in usage
    usage = usage.replace(DIAL, DIAL + OPEN)
    code = f"async () => {{ {(DOCUMENT / 'client.js').read_text()}\n{usage}\n{MORE} }}"
    url = app_server.websocket(RESOURCES)
    found: Any = page.evaluate(code.replace(ADDRESS, f'"{url}"'))

    alice = {"name": "Alice", "email": "alice@example.com", "status": "active", "age": None}
    made = found["newUser"]
    assert made == {"id": made["id"], **alice}
    assert len(found["users"]) <= 10
    assert {user["status"] for user in found["users"]} <= {"active"}
    assert found["one"] == made
    gone = {**made, "status": "inactive"}
    assert (found["changed"], found["deleted"]) == (gone, {"id": made["id"]})
    assert found["columns"] == ["id", "name", "email", "status", "age"]
    assert found["refused"]["code"] == "model_not_found"
    assert found["invalid"]["details"] == {"email": ["This field is required."]}
    assert found["seen"] == [["update", made["id"], gone], ["delete", made["id"], {"id": made["id"]}]]
    said = [line for line in lines if line.startswith("User changed:")]
    assert [line.split()[2] for line in said] == ["create", "delete"]
