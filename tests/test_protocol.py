"""The chat's wire contract, over real sockets."""

from tests.harness import on_each_worker


async def test_a_message_reaches_everyone_in_the_room_on_every_worker(server, connect, room):
    """Sender and the others of a room get a chat message, whichever worker has them."""
    ada, bob = await on_each_worker(server, lambda: connect(server.ws(room)))
    await ada.send_chat("hello")
    for client in (ada, bob):
        assert (await client.expect(type="chat"))["from"] == ada.id


async def test_one_process_needs_no_redis(memory_server, connect, room):
    """With the in-memory layer two clients chat."""
    ada, bob = await connect(memory_server.ws(room)), await connect(memory_server.ws(room))
    await ada.send_chat("hello")
    await bob.expect(type="chat", room=room, from_=ada.id, data={"content": "hello"})
    await bob.nothing(type="chat")
