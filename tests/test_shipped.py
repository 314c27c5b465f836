"""The middleware that comes with the layer, on a real server."""

from tests.kit import RawSocket, eventually
from tests.scraping import scrape, value
from tests.test_consumer_server import url_of


async def test_shipped_middleware(app_server, connect):
    """Schemas by type, users only for some types, a line and a count for each message; no content logged."""
    client = await connect(url_of(app_server, "shipped"), welcomed=False)
    await client.send({"type": "numbers", "id": 1, "data": [1, 2]})
    await client.expect(type="reply", id=1, data=3)
    await client.send({"type": "numbers", "id": 2, "data": ["classified"]})
    error = await client.expect(type="error", data={"code": "invalid_message", "ref": 2})
    assert list(error["data"]["details"]) == ["data[0]"]
    await client.send({"type": "secret", "id": 3})
    await client.expect(type="error", data={"code": "unauthenticated", "ref": 3})
    await client.send({"type": "made-up-type", "id": 4})
    await client.expect(type="error", data={"code": "unknown_type", "ref": 4})
    await client.send({"type": "slow"})
    await client.send({"type": "handled", "id": 5})
    reply = await client.expect(type="reply", id=5)
    assert reply["data"] == {
        "numbers ok": 1,
        "numbers invalid_message": 1,
        "secret unauthenticated": 1,
        "other unknown_type": 1,
        "slow ok": 1,
    }
    name, labels = "realtime_message_outcomes_total", {"type": "numbers", "outcome": "invalid_message"}
    # Another worker may answer, which knows what this one counted a second ago.
    await eventually(lambda: value(scrape(app_server), name, **labels) == 1, "its outcomes at /metrics")
    output = app_server.recent_output()
    assert "outcome=unauthenticated" in output
    assert "slow_message" in output
    assert "classified" not in output
    assert "made-up-type" not in output


async def test_authentication_required_at_the_door(app_server, connect):
    """Without types it refuses the handshake of those who have not signed in, and lets users in."""
    raw = await RawSocket.open(app_server.port)
    response = await raw.handshake("/test/members-area")
    await raw.close()
    assert (response.status, response.code) == (401, "unauthenticated")
    ada = app_server.create_user("ada-of-the-members-area")
    client = await connect(url_of(app_server, "members-area"), cookie=ada.cookie, welcomed=False)
    await client.send({"type": "any", "id": 1})
    await client.expect(type="error", data={"ref": 1})
