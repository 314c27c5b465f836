"""Who hears what, in which order: rooms, the global endpoint, several workers."""

import asyncio

import pytest
from websockets.exceptions import InvalidStatus

from tests.kit import Client, all_heard, on_each_worker


@pytest.fixture
def in_room(server, connect, room):
    """One client in the room on each worker."""

    async def join() -> list[Client]:
        return await on_each_worker(server, lambda: connect(server.ws(room)))

    return join


async def test_a_message_reaches_everyone_in_the_room_on_every_worker(server, in_room, room):
    """Sender and the others of a room get a chat message once each, whichever worker has them."""
    clients = await in_room()
    for number, sender in enumerate(clients):
        await sender.send_chat(f"from {number}")
        for client in clients:
            await client.expect(type="chat", from_=sender.id, data={"content": f"from {number}"})
    await all_heard(server, *clients)
    for client in clients:
        assert (
            len([frame for frame in client.received if frame["room"] == room and "content" in frame["data"]])
            == 2
        )


async def test_one_process_needs_no_redis(memory_server, connect, room):
    """With the in-memory layer rooms, isolation and global reach are the same."""
    ada, bob = [await connect(memory_server.ws(room)) for _ in range(2)]
    other, glob = await connect(memory_server.ws(room + "-2")), await connect(memory_server.ws())
    await ada.send_chat("hello", id="1")
    await bob.expect(type="chat", room=room, from_=ada.id, data={"content": "hello"})
    await ada.expect(type="ack", data={"ref": "1"})
    for client in (other, glob):
        await client.nothing(type="chat")
    await glob.send_chat("all")
    for client in (ada, bob, other, glob):
        await client.expect(type="chat", room=None, data={"content": "all"})


async def test_rooms_are_isolated(server, connect, room):
    """Other rooms, even of nearly the same name, and the global endpoint hear nothing of a room."""
    others = [room.upper(), room + "-", room[:-1], f"{room}:{room}"]
    listeners = [await connect(server.ws(name)) for name in others] + [await connect(server.ws())]
    members = await on_each_worker(server, lambda: connect(server.ws(room)))
    for member in members:
        await member.send_chat("in here")
        await member.expect(type="chat", from_=member.id)
    await all_heard(server, *listeners)
    for listener in listeners:
        assert [frame for frame in listener.received if frame["room"] == room] == []


async def test_path_and_query_lead_to_the_same_room(server, connect, room):
    """`/ws/r`, `/ws/r/` and `/ws?room=r` are one room."""
    path = await connect(server.ws(room))
    slash = await connect(server.ws(room + "/"))
    query = await connect(server.ws(query=f"room={room}"))
    await query.send_chat("hello")
    for client in (path, slash, query):
        await client.expect(type="chat", room=room, from_=query.id)


async def test_a_global_message_reaches_everybody_on_every_worker(server, connect, room):
    """What is said on the global endpoint reaches every connection of all workers, in rooms or not, once."""
    speakers = await on_each_worker(server, lambda: connect(server.ws()))
    members = await on_each_worker(server, lambda: connect(server.ws(room)))
    content = f"to all, {room}"
    await speakers[0].send_chat(content)
    for client in (*speakers, *members):
        await client.expect(type="chat", room=None, from_=speakers[0].id, data={"content": content})
    await all_heard(server, *speakers, *members)
    for client in (*speakers, *members):
        assert len(await client.all(type="chat", data={"content": content})) == 1


async def test_everybody_in_a_room_hears_the_same_order(server, connect, room):
    """Twelve clients on two workers talk at once: each hears all messages, all in one order."""
    clients = [await connect(server.ws(room)) for _ in range(10)]
    clients += await on_each_worker(server, lambda: connect(server.ws(room)))

    async def talk(client: Client, number: int) -> None:
        for count in range(15):
            await client.send_chat(f"{number}.{count}")

    await asyncio.gather(*(talk(client, number) for number, client in enumerate(clients)))
    heard = []
    for client in clients:
        frames = await client.take(15 * len(clients), type="chat")
        heard.append([frame["id"] for frame in frames])
    assert len(set(heard[0])) == 15 * len(clients)
    assert all(order == heard[0] for order in heard)


async def test_one_senders_messages_keep_their_order(in_room):
    """What one client says quickly arrives in the order it was said, acks included."""
    ada, bob = await in_room()
    for number in range(90):
        await ada.send_chat(f"{number}", id=f"{number}")
    frames = await bob.take(90, type="chat")
    assert [frame["data"]["content"] for frame in frames] == [f"{number}" for number in range(90)]
    acks = await ada.take(90, type="ack")
    assert [ack["data"]["ref"] for ack in acks] == [f"{number}" for number in range(90)]
    assert [ack["data"]["id"] for ack in acks] == [frame["id"] for frame in frames]


async def test_who_has_left_hears_nothing_and_the_room_goes_on(server, in_room, connect, room):
    """A room outlives its members on a worker; after all have left, it begins anew."""
    ada, bob = await in_room()
    await bob.close()
    await ada.send_chat("still here")
    await ada.expect(type="chat", data={"content": "still here"})
    await ada.close()
    again = await on_each_worker(server, lambda: connect(server.ws(room)))
    await again[0].send_chat("anew")
    for client in again:
        await client.expect(type="chat", data={"content": "anew"})
        await client.nothing(type="chat")


async def test_a_message_sent_right_after_welcome_reaches_who_is_there(server, connect, room):
    """Whoever has its `welcome` hears every message that is sent from then on: no gap after the handshake."""
    ada = await connect(server.ws(room))
    for number in range(10):
        newcomer = await connect(server.ws(room))
        await ada.send_chat(f"hello {number}")
        await newcomer.expect(type="chat", data={"content": f"hello {number}"})


async def test_client_ids_are_never_the_same(server, connect):
    """Each connection has an id of its own, which begins with its worker's."""
    clients = [await connect(server.ws()) for _ in range(20)]
    assert len({client.id for client in clients}) == 20
    assert len({client.worker for client in clients}) <= server.worker_count


async def test_a_room_that_does_not_exist_is_no_way_in(server):
    """A library's client sees the refusal's status and body."""
    with pytest.raises(InvalidStatus) as refused:
        await Client.connect(server.ws("no%20room"))
    assert refused.value.response.status_code == 404
    assert b'"invalid_room"' in refused.value.response.body
