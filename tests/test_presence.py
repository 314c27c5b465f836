"""Who is here: presence of those who come and go, names, and the list of a room's members."""

import pytest

from tests.kit import ChatServer, Client, RawSocket, all_heard, eventually, on_each_worker


@pytest.fixture(scope="module")
def users(_server: ChatServer):
    """Two signed-in users of the shared server."""
    return [_server.create_user(name) for name in ("presence-ada", "presence-bob")]


# --- coming and going ---------------------------------------------------------------------------------


async def test_the_others_are_told_who_comes_and_goes(server, connect, room):
    """`presence` `online` and `offline`, with the client id, reach the others on every worker, once each."""
    there = await on_each_worker(server, lambda: connect(server.ws(room)))
    for client in there:
        await client.round_trip()
    guest = await connect(server.ws(room))
    for client in there:
        frame = await client.expect(type="presence", from_=guest.id)
        assert frame["data"] == {"status": "online"}
        assert frame["room"] == room
        assert "user" not in frame
    await guest.close()
    for client in there:
        frame = await client.expect(type="presence", from_=guest.id)
        assert frame["data"] == {"status": "offline"}
    await all_heard(server, *there)
    for client in there:
        await client.nothing(type="presence", from_=guest.id)


async def test_nobody_is_told_of_itself(server, connect, room):
    """Whoever comes gets no presence of its own."""
    await connect(server.ws(room))
    guest = await connect(server.ws(room))
    await all_heard(server, guest)
    # That the first one is here may be published as late as this, on a busy machine.
    assert await guest.all(type="presence", from_=guest.id) == []


async def test_a_cut_line_is_a_going(server, connect, room):
    """A connection that breaks without a goodbye is `offline` for the others."""
    ada, bob = await connect(server.ws(room)), await connect(server.ws(room))
    await ada.expect(type="presence", data={"status": "online"})
    bob.abort()
    await ada.expect(type="presence", from_=bob.id, data={"status": "offline"})


async def test_online_precedes_offline_and_what_is_said_between(server, connect, room):
    """The room hears of a guest: that it is here, what it says, that it went; in this order."""
    ada = await connect(server.ws(room))
    for number in range(5):
        guest = await connect(server.ws(room))
        await guest.send_chat(f"{number}")
        await guest.expect(type="chat")
        await guest.close()
        await ada.expect(type="presence", from_=guest.id, data={"status": "offline"})
        heard = [frame for frame in ada.received if frame["from"] == guest.id]
        assert [frame["data"].get("status", "said") for frame in heard] == ["online", "said", "offline"]


async def test_other_rooms_and_the_global_endpoint_hear_of_nobody(server, connect, room):
    """Presence stays in its room, and the global endpoint has none."""
    other, glob = await connect(server.ws(room + "-2")), await connect(server.ws())
    guest = await connect(server.ws(room))
    second = await connect(server.ws())
    await guest.close()
    await second.close()
    await all_heard(server, other, glob)
    for client in (other, glob):
        assert [frame for frame in await client.all(type="presence") if frame["from"] == guest.id] == []
        assert [frame for frame in await client.all(type="presence") if frame["from"] == second.id] == []


async def test_a_refused_guest_was_never_here(server, connect, room):
    """A handshake that is refused makes no presence."""
    ada = await connect(server.ws(room))
    raw = await RawSocket.open(server.port)
    response = await raw.handshake(f"/api/chat-api/ws/{room}", Origin="https://evil.example")
    await raw.close()
    assert response.status == 403
    await all_heard(server, ada)
    await ada.nothing(type="presence")


# --- names --------------------------------------------------------------------------------------------


async def test_a_visitors_name_is_in_its_presence(server, connect, room):
    """`?name=` is shown as `data.name`, trimmed, coming and going."""
    ada = await connect(server.ws(room))
    guest = await connect(server.ws(room, "name=%20B%C3%B6b%20%F0%9F%98%80%20"))
    await ada.expect(type="presence", data={"status": "online", "name": "Böb 😀"})
    await guest.close()
    await ada.expect(type="presence", data={"status": "offline", "name": "Böb 😀"})


@pytest.mark.parametrize("query", ["name=", "name=%20%20", "nome=x", ""])
async def test_no_name_is_none(server, connect, room, query):
    """An empty or blank name, or none, leaves `data.name` out."""
    ada = await connect(server.ws(room))
    await connect(server.ws(room, query))
    assert (await ada.expect(type="presence"))["data"] == {"status": "online"}


@pytest.mark.parametrize("name", ["n" * 64, "%F0%9F%98%80" * 64, "%3Cb%3E", "a+b"])
async def test_a_name_may_be_long_and_odd(server, connect, room, name):
    """Up to 64 characters, whatever they are."""
    await connect(server.ws(room, f"name={name}"))


@pytest.mark.parametrize(
    "name", ["n" * 65, "%F0%9F%98%80" * 65, "a%00", "a%0Ab", "a%7Fb", "a%C2%85b", "a%E2%80%AEb", "%FF"]
)
async def test_what_is_no_name_is_refused(server, room, name):
    """More than 64 characters, control characters, invisible marks and bad UTF-8 are 400."""
    raw = await RawSocket.open(server.port)
    response = await raw.handshake(f"/api/chat-api/ws/{room}?name={name}")
    await raw.close()
    assert (response.status, response.code) == (400, "bad_request")


async def test_a_users_presence_says_who(server, connect, room, users):
    """`presence` of a signed-in user has `user`."""
    ada = await connect(server.ws(room))
    await connect(server.ws(room), cookie=users[0].cookie)
    frame = await ada.expect(type="presence")
    assert frame["user"] == users[0].shown


# --- the list of members ------------------------------------------------------------------------------


async def test_members_are_listed_across_workers(server, connect, room, users):
    """`?members=1`: after `welcome` one frame lists who is in the room on all workers, oneself too."""
    first, second = await on_each_worker(server, lambda: connect(server.ws(room, "name=Guest")))
    ada = await connect(server.ws(room), cookie=users[0].cookie)
    asker = await connect(server.ws(room, "members=1"), cookie=users[1].cookie)
    frame = await asker.expect(type="system", data={"event": "members"})
    assert frame["room"] == room
    assert frame["data"]["truncated"] is False
    listed = {member["id"]: member for member in frame["data"]["members"]}
    assert listed == {
        first.id: {"id": first.id, "name": "Guest", "user": None},
        second.id: {"id": second.id, "name": "Guest", "user": None},
        ada.id: {"id": ada.id, "name": None, "user": users[0].shown},
        asker.id: {"id": asker.id, "name": None, "user": users[1].shown},
    }
    assert len(frame["data"]["members"]) == 4
    assert asker.received[0]["data"]["event"] == "welcome"
    assert len(await asker.all(type="system", data={"event": "members"})) == 1


async def test_members_come_only_where_asked_for(server, connect, room):
    """Without `members=1`, and on the global endpoint, there is no list."""
    for url in (server.ws(room), server.ws(room, "members=0"), server.ws(query="members=1")):
        client = await connect(url)
        await client.nothing(type="system", data={"event": "members"})


async def test_the_list_and_presence_agree(server, connect, room):
    """The list, with those who came and went since, is who is there: nobody is missed at the seam."""
    clients = [await connect(server.ws(room)) for _ in range(3)]
    for _ in range(5):
        asker = await connect(server.ws(room, "members=1"))
        guest = await connect(server.ws(room))
        await clients.pop(0).close()
        clients += [asker, guest]
        await _knows(asker, {client.id for client in clients})


async def _knows(asker: Client, here: set[str]) -> None:
    """Wait until the list and the presence that ``asker`` got make ``here``."""

    async def agrees() -> bool:
        known: set[str] = set()
        for frame in await asker.all():
            data = frame["data"]
            if frame["type"] == "system" and data["event"] == "members":
                known |= {member["id"] for member in data["members"]}
        for frame in await asker.all(type="presence"):
            (known.add if frame["data"]["status"] == "online" else known.discard)(frame["from"])
        return known == here

    await eventually(agrees, "the members")


async def test_the_memory_layer_lists_members_too(memory_server, connect, room):
    """One process: the same list, the same presence."""
    ada = await connect(memory_server.ws(room, "name=Ada"))
    bob = await connect(memory_server.ws(room, "members=1&name=Bob"))
    frame = await bob.expect(type="system", data={"event": "members"})
    assert {member["name"] for member in frame["data"]["members"]} == {"Ada", "Bob"}
    await ada.expect(type="presence", from_=bob.id, data={"status": "online", "name": "Bob"})
    await bob.close()
    await ada.expect(type="presence", from_=bob.id, data={"status": "offline"})


# --- large rooms --------------------------------------------------------------------------------------


async def test_presence_ends_at_the_limit(start_server, connect, redis, room):
    """Up to `presence_limit` members, over all workers, are announced; no one above it; with 0 nobody."""
    server = start_server(redis.url, workers=2)
    server.change_settings(presence_limit=3)
    await _in_force(server, connect, limit=3)
    members = await on_each_worker(server, lambda: connect(server.ws(room)))
    third = await connect(server.ws(room))
    for client in members:
        await client.expect(type="presence", from_=third.id)
    fourth = await connect(server.ws(room))
    await all_heard(server, *members, third)
    for client in (*members, third):
        await client.nothing(type="presence", from_=fourth.id)
    server.change_settings(presence_limit=0)
    await _in_force(server, connect, limit=0)
    fifth = await connect(server.ws(room + "-0"))
    sixth = await connect(server.ws(room + "-0"))
    await sixth.close()
    await all_heard(server, fifth)
    assert await fifth.all(type="presence") == []


async def _in_force(server: ChatServer, connect, limit: int) -> None:
    """Wait until no worker announces a guest beyond the first ``limit`` members of a room."""

    async def announces(room: str) -> tuple[str, bool]:
        members = [await connect(server.ws(room)) for _ in range(max(limit, 1))]
        guest = await connect(server.ws(room))
        await all_heard(server, members[0])
        heard = await members[0].all(type="presence", from_=guest.id)
        for client in (*members, guest):
            await client.close()
        return guest.worker, bool(heard)

    async def nobody_does() -> bool:
        found: dict[str, bool] = {}
        while len(found) < server.worker_count:
            worker, announced = await announces(f"probe-{limit}")
            found[worker] = announced
        return not any(found.values())

    await eventually(nobody_does, "the presence limit", 10)
