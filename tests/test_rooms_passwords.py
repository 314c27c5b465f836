"""Room passwords: by header or by `join`, hashed, never in an address; wrong guesses are few; a new password
puts out those who came with the old one."""

import asyncio
import json
import time
from urllib.parse import quote

import pytest
from django.contrib.auth.hashers import check_password
from django.db import connection
from websockets.exceptions import InvalidStatus

from chat import passwords
from chat.models import Room
from chat.passwords import GUESSES
from tests.kit import ChatServer, Client, eventually, on_each_worker
from tests.test_rooms_join import joined, left, refused

SOON = 2.0  # seconds within which a saved change holds on every worker
SECRET = "Grüße aus Wien"
PATH = "/api/chat-api/ws/"


def set_password(server: ChatServer, room: str, password: str | None, hasher: str = "default") -> None:
    """As the admin does, in another process."""
    server.django(
        """
from django.contrib.auth.hashers import make_password
from chat.models import Room
row, _ = Room.objects.get_or_create(name=name)
row.password = make_password(password, hasher=hasher) if password else ""
row.save()
""",
        name=room,
        password=password,
        hasher=hasher,
    )


async def guarded(server: ChatServer, room: str, password: str | None = SECRET) -> None:
    """The room asks for this password, or for none, on every worker."""
    await asyncio.to_thread(set_password, server, room, password)

    async def all_know() -> bool:
        answers = [await asked(server, room) for _ in range(30)]  # all on one worker: once in 50,000
        return {code for _, code, _ in answers} == {"password_required" if password else "upgrade_required"}

    await eventually(all_know, "the password on every worker", SOON)


async def asked(server: ChatServer, room: str, **headers: str) -> tuple[int, str, dict]:
    """What a plain GET of the room's address is told: status, code, headers."""
    status, found, body = await asyncio.to_thread(server.get, PATH + room, **headers)
    return status, json.loads(body)["error"]["code"], found


async def by_header(connect, server: ChatServer, room: str, password: str, **options: object) -> Client:
    return await connect(server.ws(room), headers={"X-Room-Password": quote(password)}, **options)


async def test_the_password_opens_the_room(server, connect, room):
    """In the header at the handshake, or in a `join`, on each worker; without one `password_required`,
    by handshake, by GET and by `join`."""
    await guarded(server, room)
    inside = await on_each_worker(server, lambda: by_header(connect, server, room, SECRET))
    for client in await on_each_worker(server, lambda: connect(server.ws())):
        await refused(client, {"type": "join", "room": room}, "password_required")
        await joined(client, room, password=SECRET)
        inside.append(client)
    with pytest.raises(InvalidStatus) as refusal:
        await connect(server.ws(room))
    assert refusal.value.response.status_code == 403
    assert json.loads(refusal.value.response.body)["error"]["code"] == "password_required"
    await inside[-1].send_chat("among us", room=room)
    for client in inside:
        await client.expect(type="chat", room=room, data={"content": "among us"})


@pytest.mark.parametrize("wrong", ["grüße aus wien", " ", "x" * 129, "Grüße aus Wien "], ids=repr)
async def test_a_wrong_password_is_forbidden(server, connect, room, wrong):
    """403 at the handshake, `error` in answer to `join`."""
    await guarded(server, room)
    client = await connect(server.ws())
    told = await refused(client, {"type": "join", "room": room, "data": {"password": wrong}}, "forbidden")
    assert told["message"] == "The password is wrong."
    with pytest.raises(InvalidStatus) as refusal:
        await by_header(connect, server, room, wrong)
    assert refusal.value.response.status_code == 403
    assert json.loads(refusal.value.response.body)["error"]["code"] == "forbidden"


@pytest.mark.parametrize("given", [7, None, True, ["Grüße aus Wien"], {"a": SECRET}, ""], ids=repr)
async def test_a_password_of_another_kind_is_wrong(server, connect, room, given):
    """Nothing but the right text opens the room."""
    await guarded(server, room)
    client = await connect(server.ws())
    code = "password_required" if given is None else "forbidden"
    await refused(client, {"type": "join", "room": room, "data": {"password": given}}, code)


@pytest.mark.parametrize("path", ["", "{room}"])
async def test_a_password_in_the_address_is_refused_with_words(server, room, path):
    """`?password=` is 400, right or wrong, with a room and without, and says where it belongs."""
    status, _, body = await asyncio.to_thread(
        server.get, f"{PATH}{path.format(room=room)}".rstrip("/") + "?password=x"
    )
    assert status == 400
    assert "X-Room-Password" in json.loads(body)["error"]["message"]


async def test_five_wrong_guesses_and_no_more(server, connect, room):
    """Exactly: over both workers, by header and by `join`, one after the other and at once; the sixth is
    `rate_limited` and told when to come back, even with the right password; another room is not concerned."""
    await guarded(server, room)
    await guarded(server, f"{room}-2")
    clients = await on_each_worker(server, lambda: connect(server.ws()))
    guessers = [*clients, *[await connect(server.ws()) for _ in range(2 * GUESSES - 2)]]
    codes: list[str] = []

    async def guess(number: int) -> None:
        client = guessers[number]
        ref = f"guess-{number}"
        data = {"password": f"wrong {number}"}
        await client.send({"type": "join", "id": ref, "room": room, "data": data})
        codes.append((await client.expect(10, type="error", data={"ref": ref}))["data"]["code"])

    await asyncio.gather(*[guess(number) for number in range(2 * GUESSES)])
    assert sorted(codes) == ["forbidden"] * GUESSES + ["rate_limited"] * GUESSES
    for client in clients:
        told = await refused(
            client, {"type": "join", "room": room, "data": {"password": SECRET}}, "rate_limited"
        )
        assert 0 < told["retry_after"] <= passwords.WINDOW
        await joined(client, f"{room}-2", password=SECRET)
    status, code, headers = await asked(server, room, X_Room_Password="wrong again")
    assert (status, code) == (429, "rate_limited")
    assert 0 < int(headers["retry-after"]) <= passwords.WINDOW


async def test_thirty_wrong_guesses_of_an_address_for_all_rooms(start_server, own_redis, room):
    """Over two workers: five each for six rooms, and none for the seventh; another address may still guess
    there, and a right password is none of them."""
    server: ChatServer = await asyncio.to_thread(
        start_server, own_redis.url, workers=2, env={"TRUSTED_PROXIES": "1"}
    )
    names = [f"{room}-{number}" for number in range(7)]
    await asyncio.to_thread(
        server.django,
        """
from django.contrib.auth.hashers import PBKDF2SHA1PasswordHasher
from chat.models import Room
fast = PBKDF2SHA1PasswordHasher().encode(password, "salt", iterations=1)  # thirty slow ones take a minute
for name in names:
    Room.objects.create(name=name, password=fast)
""",
        names=names,
        password=SECRET,
    )

    async def known() -> bool:
        return {(await asked(server, names[-1]))[1] for _ in range(12)} == {"password_required"}

    await eventually(known, "the passwords on every worker", SOON)

    async def guess(name: str, password: str, address: str = "192.0.2.7") -> str:
        return (await asked(server, name, X_Room_Password=password, X_Forwarded_For=address))[1]

    assert await guess(names[6], quote(SECRET)) == "upgrade_required"
    wrong = [await guess(name, f"wrong {number}") for name in names[:6] for number in range(GUESSES)]
    assert wrong == ["forbidden"] * passwords.GUESSES_OF_ADDRESS
    status, code, headers = await asked(
        server, names[6], X_Room_Password="wrong", X_Forwarded_For="192.0.2.7"
    )
    assert (status, code) == (429, "rate_limited")
    assert 0 < int(headers["retry-after"]) <= passwords.WINDOW
    assert await guess(names[6], "wrong", "192.0.2.8") == "forbidden"


async def test_right_ones_are_no_guesses(server, connect, room):
    """Twenty who come at once with the right password all get in, and wrong guesses are left."""
    await guarded(server, room)
    clients = await asyncio.gather(*[by_header(connect, server, room, SECRET) for _ in range(20)])
    other = await connect(server.ws())
    for number in range(GUESSES):
        data = {"password": f"wrong {number}"}
        await refused(other, {"type": "join", "room": room, "data": data}, "forbidden")
    assert len(clients) == 20


async def test_a_new_password_puts_out_who_came_with_the_old_one(server, connect, room):
    """Within 2 seconds on both workers: 4503 for the room's own sockets, `left` for those who joined; who
    comes with the new one gets in; taking the password away puts nobody out."""
    await guarded(server, room)
    at_home = await on_each_worker(server, lambda: by_header(connect, server, room, SECRET))
    beside = await on_each_worker(server, lambda: connect(server.ws()))
    for client in beside:
        await joined(client, room, password=SECRET)
    await asyncio.to_thread(set_password, server, room, "another one")
    for client in at_home:
        assert (await client.closed(SOON))[0] == 4503
    for client in beside:
        frame = await client.expect(SOON, type="system", room=room, data={"event": "left"})
        assert frame["data"]["reason"] == "access_withdrawn"
        await refused(client, {"type": "join", "room": room, "data": {"password": SECRET}}, "forbidden")
        await joined(client, room, password="another one")
    await guarded(server, room, None)
    guest = await connect(server.ws(room))
    await guest.send_chat("open now")
    for client in beside:
        await client.expect(type="chat", room=room, data={"content": "open now"})


async def test_a_password_that_is_set_puts_out_who_came_without(server, connect, room):
    """A room that gets a password keeps nobody who has not given it."""
    inside = await on_each_worker(server, lambda: connect(server.ws(room)))
    await asyncio.to_thread(set_password, server, room, SECRET)
    for client in inside:
        assert (await client.closed(SOON))[0] == 4503


async def test_who_left_gives_the_password_again(server, connect, room):
    """It opens the room for one stay."""
    await guarded(server, room)
    client = await connect(server.ws())
    await joined(client, room, password=SECRET)
    await joined(client, room)
    await left(client, room)
    await refused(client, {"type": "join", "room": room}, "password_required")


async def test_other_rules_come_first(server, connect, room):
    """The right password does not open a closed room."""
    await guarded(server, room)
    client = await connect(server.ws())
    await asyncio.to_thread(server.change_room, room, closed=True)

    async def is_closed() -> bool:
        return {(await asked(server, room))[1] for _ in range(12)} == {"forbidden"}

    await eventually(is_closed, "a closed room", SOON)
    await refused(client, {"type": "join", "room": room, "data": {"password": SECRET}}, "forbidden")


async def test_a_flood_of_guesses_holds_up_nobody_else(start_server, own_redis, connect, room):
    """While wrong passwords for many rooms are checked, messages and handshakes without a password take
    their usual time; what does not fit into the queue is `unavailable` at once."""
    server: ChatServer = await asyncio.to_thread(start_server, own_redis.url, env={"MESSAGE_RATE": "0"})
    names = [f"{room}-{number}" for number in range(30)]
    await asyncio.to_thread(
        server.django,
        """
from django.contrib.auth.hashers import make_password
from chat.models import Room
first = make_password("right")
for number, name in enumerate(names):  # each another hash: made up, since nobody gives the right one
    Room.objects.create(name=name, password=first[:-5] + f"{number:04d}=")
""",
        names=names,
    )

    async def known() -> bool:
        return (await asked(server, names[-1]))[1] == "password_required"

    await eventually(known, "the passwords", SOON)
    talker = await connect(server.ws())

    async def guess(name: str) -> int:
        headers = {"X-Room-Password": "wrong"}
        with pytest.raises(InvalidStatus) as refusal:
            await Client.connect(server.ws(name), headers=headers, open_timeout=30)
        return refusal.value.response.status_code

    guesses = [asyncio.create_task(guess(name)) for name in names]
    slowest, rounds = 0.0, 0
    while not all(one.done() for one in guesses):
        began = time.monotonic()
        await talker.round_trip()
        await (await Client.connect(server.ws(room))).close()
        slowest, rounds = max(slowest, time.monotonic() - began), rounds + 1
    statuses = [await one for one in guesses]
    assert rounds > 3, (rounds, slowest, statuses)
    assert slowest < 1.5, f"a round trip and a handshake took {slowest:.2f} s"
    assert set(statuses) == {403, 503}
    assert statuses.count(403) <= passwords.MAX_WAITING + 1


async def test_the_password_is_nowhere_but_hashed(start_server, own_redis, connect, room):
    """Not in the database, in Redis' keys, in the log, nor in what the server shows of a connection."""
    server: ChatServer = await asyncio.to_thread(start_server, own_redis.url, workers=2)
    secret = "unmistakable-77"
    await guarded(server, room, secret)
    client = await connect(server.ws(room), headers={"X-Room-Password": secret})
    other = await connect(server.ws())
    await joined(other, room, password=secret)
    shown = await asyncio.to_thread(server.command, "chat_connections", "--json")
    assert client.id in shown.stdout
    with own_redis.client() as keys:
        held = "".join(keys.keys("*"))
    assert "guesses" in held
    for text in (shown.stdout, held, server.output(), json.dumps([client.received, other.received])):
        assert secret not in text
    assert secret.encode() not in server.database.read_bytes()


# --- in the admin -----------------------------------------------------------------------------------------


@pytest.mark.django_db
class TestAdmin:
    FORM = {"name": "tea", "title": "Tea", "access": "everyone"}

    @pytest.fixture
    def room_page(self, admin_client):
        """The page of a room; ``room_page({...})`` sends its form and returns the page or None."""
        room = Room.objects.create(name="tea", title="Tea")
        address = f"/admin/chat/room/{room.pk}/change/"

        def send(fields: dict) -> str:
            return admin_client.post(address, self.FORM | fields, follow=True).content.decode()

        send.address = address
        return send

    def test_a_password_is_set_kept_and_cleared(self, room_page):
        """Set by the form, hashed; saving the room without one keeps it; a tick clears it."""
        room_page({"new_password": " Earl Grey "})
        encoded = Room.objects.get().password
        assert check_password(" Earl Grey ", encoded)
        room_page({"title": "Tea time"})
        assert Room.objects.get().password == encoded
        room_page({"clear_password": "on"})
        assert Room.objects.get().password == ""

    def test_it_is_never_shown(self, room_page, admin_client):
        """Neither the password nor its hash, on no page of the admin; only whether there is one."""
        room_page({"new_password": "unmistakable-88"})
        encoded = Room.objects.get().password
        for address in (
            room_page.address,
            "/admin/chat/room/",
            room_page.address.replace("change", "history"),
        ):
            shown = admin_client.get(address).content.decode()
            assert "unmistakable-88" not in shown
            assert encoded not in shown
            assert encoded[-20:-1] not in shown
        assert "asks for a password" in admin_client.get("/admin/chat/room/").content.decode().lower()
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM chat_historicalroom")
            assert "password" not in [column[0] for column in cursor.description]

    def test_two_wishes_at_once_are_refused(self, room_page):
        """Setting and clearing in one form changes nothing."""
        shown = room_page({"new_password": "x", "clear_password": "on"})
        assert "Either set a password, or ask for none." in shown
        assert Room.objects.get().password == ""

    def test_going_back_in_history_keeps_the_password(self, room_page, admin_client):
        """A password is no part of a room's history: an earlier version comes back with today's."""
        room_page({"title": "Later"})
        room_page({"new_password": "today's"})
        encoded = Room.objects.get().password
        first = Room.objects.get().history.last()
        address = room_page.address.replace("change", f"history/{first.history_id}")
        assert admin_client.post(address, self.FORM).status_code == 302
        room = Room.objects.get()
        assert (room.title, room.password) == ("Tea", encoded)


# --- tables that clients can grow -------------------------------------------------------------------------


def test_guesses_without_redis_are_bounded_and_end(monkeypatch):
    """In one process: five in a window, then a wait; a new window after it; so many addresses are kept."""
    monkeypatch.setattr(passwords, "_guesses", type(passwords._guesses)())
    ada, bob = ("ada", "ada in tea"), ("bob", "bob in tea")
    assert [passwords._reserve_here(ada, 100.0) for _ in range(GUESSES)] == [0] * GUESSES
    assert passwords._reserve_here(ada, 110.0) == passwords.WINDOW - 10
    assert passwords._reserve_here(bob, 110.0) == 0
    assert passwords._reserve_here(ada, 100.0 + passwords.WINDOW) == 0
    for number in range(passwords.MAX_GUESSERS + 10):
        passwords._reserve_here((f"address {number}", f"room {number}"), 200.0)
    assert len(passwords._guesses) == passwords.MAX_GUESSERS


def test_an_address_has_so_many_guesses_for_all_rooms_without_redis_too(monkeypatch):
    """In one process: thirty in a window, however many rooms; what is refused leaves no entry."""
    monkeypatch.setattr(passwords, "_guesses", type(passwords._guesses)())
    most = passwords.GUESSES_OF_ADDRESS
    waits = [passwords._reserve_here(("ada", f"room {number}"), 100.0) for number in range(most + 5)]
    assert waits == [0] * most + [passwords.WINDOW] * 5
    assert len(passwords._guesses) == most + 1
    assert passwords._reserve_here(("bob", "bob in room 0"), 100.0) == 0


def test_an_ipv6_network_is_one_guesser():
    """Who has a /64 has 2**64 addresses, and five guesses."""
    same = {passwords._guesser("tea", address) for address in ("2001:db8::1", "2001:db8::ffff:2")}
    others = {passwords._guesser("tea", address) for address in ("2001:db8:0:1::1", "192.0.2.1", None)}
    assert len(same) == 1
    assert len(same | others) == 4
    assert passwords._guesser("coffee", "192.0.2.1") not in others


async def test_one_process_asks_for_passwords_too(memory_server, connect, room):
    """On the in-memory layer: right, wrong, and five guesses."""
    await guarded(memory_server, room)
    client = await connect(memory_server.ws())
    for number in range(GUESSES):
        data = {"password": f"wrong {number}"}
        await refused(client, {"type": "join", "room": room, "data": data}, "forbidden")
    await refused(client, {"type": "join", "room": room, "data": {"password": "x"}}, "rate_limited")
