"""An app's authorizer decides who may be in a room: the one that docs/rooms.md prints, and ones that fail."""

import asyncio
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from websockets.exceptions import InvalidStatus

from chat import authorizer
from chat.realtime.groups import room_group
from chat.realtime.runtime import get_hub
from chatproject.asgi import application
from tests.kit import ChatServer, Client, RedisServer, eventually, on_each_worker
from tests.pages import ROOT, blocks, read
from tests.test_rooms_join import joined, left, refused
from tests.token_support import forge, mint

PAGE = read("rooms.md")
FILE = re.compile(r"# (teams/\w+\.py)\n")
SOON = 2.0  # seconds within which a change reaches those inside

SETTINGS = """
import os
from chatproject.settings import *
INSTALLED_APPS = [*INSTALLED_APPS, "teams"]
CHAT = {"AUTHORIZER": os.environ.get("TEST_AUTHORIZER", "teams.rooms.may_join")}
"""

# Rooms whose authorizer does what the file beside it says, at that moment.
MOODY = """
import asyncio
from pathlib import Path
from chat.realtime import Forbidden, config

config.apply(query_timeout=1.0)

async def may_join(room, user, claims, connection):
    mood = (Path(__file__).parent / "mood").read_text()
    if not room.startswith("moody"):
        return True
    if mood == "fails":
        raise LookupError("a bug of the app")
    if mood == "sleeps":
        await asyncio.sleep(30)
    if mood == "refuses":
        raise Forbidden("Not today.")
    if mood == "says who":
        raise Forbidden(f"{connection.name} {connection.address} {connection.id} {claims}")
    return {"yes": True, "no": False, "nothing": None, "truthy": "yes"}[mood]
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The page's files, and a second authorizer; the environment in which they are installed."""
    root = tmp_path_factory.mktemp("teams")
    printed = {FILE.match(block)[1]: block for block in blocks(PAGE, "python") if FILE.match(block)}
    assert sorted(printed) == ["teams/apps.py", "teams/rooms.py"]
    more = {
        "docs_settings.py": SETTINGS,
        "teams/__init__.py": "",
        "teams/moody.py": MOODY,
        "teams/mood": "yes",
    }
    for name, content in {**printed, **more}.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(content)
    return {"PYTHONPATH": f"{root}{os.pathsep}{ROOT}", "DJANGO_SETTINGS_MODULE": "docs_settings"}


@pytest.fixture(scope="module")
def own(redis: RedisServer) -> str:
    """The shared Redis, with a database number of its own: other servers' workers are none of these."""
    return redis.url


@pytest.fixture(scope="module")
def teams(app, own) -> Iterator[ChatServer]:
    """Two workers with the page's authorizer."""
    yield from _served(ChatServer(own, workers=2, env=app))


@pytest.fixture(scope="module")
def moody(app, own) -> Iterator[ChatServer]:
    """Two workers with the authorizer that fails."""
    env = app | {"TEST_AUTHORIZER": "teams.moody.may_join"}
    yield from _served(ChatServer(own, workers=2, env=env), allow_tracebacks=True)


def _served(server: ChatServer, **stopping: bool) -> Iterator[ChatServer]:
    try:
        yield server.start()
    finally:
        server.stop(**stopping)
        server.cleanup()


@pytest.fixture
def mood(app):
    """``mood("fails")``: what the authorizer does from now on."""
    path = Path(app["PYTHONPATH"].split(os.pathsep)[0]) / "teams" / "mood"
    yield path.write_text
    path.write_text("yes")


def in_team(server: ChatServer, user_id: int, team: str, member: bool) -> None:
    """Put a user into a group, or out of it, in another process."""
    server.django(
        """
from django.contrib.auth.models import Group, User
group, _ = Group.objects.get_or_create(name=team)
groups = User.objects.get(pk=user_id).groups
groups.add(group) if member else groups.remove(group)
""",
        user_id=user_id,
        team=team,
        member=member,
    )


async def status(connect, url: str, **options: object) -> int:
    """What a handshake is answered."""
    try:
        await connect(url, **options)
    except InvalidStatus as error:
        return error.response.status_code
    return 101


async def test_the_authorizer_of_the_page_decides_at_handshakes_and_joins(teams, connect, room):
    """A team's room is for the group's members, by its endpoint and by `join`; a guest is told why not;
    other rooms are open."""
    team = room
    ada = await asyncio.to_thread(teams.create_user, f"ada-{room}")
    bob = await asyncio.to_thread(teams.create_user, f"bob-{room}")
    await asyncio.to_thread(in_team, teams, ada.id, team, True)
    for cookie, expected in ((ada.cookie, 101), (bob.cookie, 403), (None, 403)):
        assert await status(connect, teams.ws(f"team-{team}"), cookie=cookie) == expected
        client = await connect(teams.ws(), cookie=cookie)
        await joined(client, room)
        if expected == 101:
            await joined(client, f"team-{team}")
        else:
            told = await refused(client, {"type": "join", "room": f"team-{team}"}, "forbidden")
            words = "You may not join this room." if cookie else "Sign in to join a team's room."
            assert told["message"] == words


async def test_rows_come_before_the_authorizer(teams, connect, room):
    """A closed room stays closed to those whom the authorizer would let in."""
    ada = await asyncio.to_thread(teams.create_user, f"row-{room}")
    await asyncio.to_thread(in_team, teams, ada.id, room, True)
    inside = await on_each_worker(teams, lambda: connect(teams.ws(), cookie=ada.cookie))
    for client in inside:
        await joined(client, f"team-{room}")
    await asyncio.to_thread(teams.create_room, f"team-{room}", closed=True)
    for client in inside:
        await client.expect(SOON, type="system", data={"event": "left", "reason": "access_withdrawn"})
        await refused(client, {"type": "join", "room": f"team-{room}"}, "forbidden")


async def test_who_lost_the_right_leaves_within_two_seconds_on_every_worker(teams, connect, room):
    """Taken out of the group in another process: 4503 where it is the socket's room, `left` where it was
    joined; the others of the team stay."""
    ada, bob = [await asyncio.to_thread(teams.create_user, f"{name}-{room}") for name in ("out", "in")]
    for user in (ada, bob):
        await asyncio.to_thread(in_team, teams, user.id, room, True)
    name = f"team-{room}"
    at_home = await on_each_worker(teams, lambda: connect(teams.ws(name), cookie=ada.cookie))
    beside = await on_each_worker(teams, lambda: connect(teams.ws(), cookie=ada.cookie))
    stay = await on_each_worker(teams, lambda: connect(teams.ws(name), cookie=bob.cookie))
    for client in beside:
        await joined(client, name)
        await joined(client, room)
    await asyncio.to_thread(in_team, teams, ada.id, room, False)
    for client in at_home:
        assert (await client.closed(SOON))[0] == 4503
    for client in beside:
        frame = await client.expect(SOON, type="system", data={"event": "left"})
        assert frame["data"] == {"event": "left", "room": name, "reason": "access_withdrawn"}
        await client.send_chat("still here", room=room)
        await client.expect(type="chat", room=room)
    for client in stay:
        await client.round_trip()
        await client.expect(type="presence", from_=at_home[0].id, data={"status": "offline"})


async def test_a_recheck_can_be_for_one_room(moody, connect, room, mood):
    """`recheck(room=...)` asks about that room alone, on every worker; without a room, about all."""
    clients = await on_each_worker(moody, lambda: connect(moody.ws()))
    names = [f"moody-{number}-{room}" for number in range(2)]
    for client in clients:
        for name in names:
            await joined(client, name)
    mood("no")
    await moody.adjango("from chat.rooms import recheck; recheck(room=room)", room=names[0])
    for client in clients:
        await client.expect(SOON, type="system", room=names[0], data={"reason": "access_withdrawn"})
        await client.send_chat("here", room=names[1])
        await client.expect(type="chat", room=names[1], from_=client.id)
    await moody.adjango("from chat.rooms import recheck; recheck()")
    for client in clients:
        await client.expect(SOON, type="system", room=names[1], data={"reason": "access_withdrawn"})


@pytest.mark.parametrize("how", ["no", "refuses"])
async def test_no_is_forbidden(moody, connect, room, mood, how):
    """False, or a Forbidden with words of the app."""
    mood(how)
    client = await connect(moody.ws())
    told = await refused(client, {"type": "join", "room": f"moody-{room}"}, "forbidden")
    assert told["message"] == ("Not today." if how == "refuses" else "You may not join this room.")
    assert await status(connect, moody.ws(f"moody-{room}")) == 403


@pytest.mark.parametrize("how", ["nothing", "truthy"])
async def test_only_true_is_yes(moody, connect, room, mood, how):
    """None, or a text: refused."""
    mood(how)
    assert await status(connect, moody.ws(f"moody-{room}")) == 403


@pytest.mark.parametrize("how", ["fails", "sleeps"])
async def test_who_can_not_be_decided_about_stays_out(moody, connect, room, mood, how):
    """A bug, or no answer in time: 503, `error` `unavailable`, a line in the log, and the socket lives on."""
    mood(how)
    client = await connect(moody.ws())
    moody.mark()
    told = await refused(client, {"type": "join", "room": f"moody-{room}"}, "unavailable")
    assert told["retry_after"] == 5
    assert await status(connect, moody.ws(f"moody-{room}")) == 503
    await client.round_trip()
    await joined(client, room)
    await eventually(
        lambda: f"authorizer_failed room=moody-{room}" in moody.recent_output(), "a line in the log"
    )


async def test_a_failing_authorizer_puts_out_those_inside_but_they_may_come_back(moody, connect, room, mood):
    """At a re-check: 1011 for the socket's own room, `left` `unavailable` for a joined one."""
    name = f"moody-{room}"
    at_home, beside = await connect(moody.ws(name)), await connect(moody.ws())
    await joined(beside, name)
    mood("fails")
    await moody.adjango("from chat.rooms import recheck; recheck(room=room)", room=name)
    assert await at_home.closed(SOON) == (1011, "access can't be checked")
    frame = await beside.expect(SOON, type="system", data={"event": "left"})
    assert frame["data"]["reason"] == "unavailable"
    mood("yes")
    await joined(beside, name)
    await left(beside, name)


async def test_the_authorizer_sees_the_connection(moody, connect, room, mood):
    """Its name and address, and its id once it has one."""
    mood("says who")
    client = await connect(moody.ws(query="name=Ada"))
    told = await refused(client, {"type": "join", "room": f"moody-{room}"}, "forbidden")
    assert told["message"] == f"Ada 127.0.0.1 {client.id} None"
    with pytest.raises(InvalidStatus) as refusal:
        await Client.connect(moody.ws(f"moody-{room}", "name=Bob"))
    assert b"Bob 127.0.0.1 None None" in refusal.value.response.body


def test_a_misspelt_authorizer_is_found_at_the_start(app, own):
    """`check`, which `serve` runs, names it."""
    for path in ("teams.rooms.may_jion", "teams.nowhere.may_join", "teams.apps.groups_changed"):
        server = ChatServer(own, env=app | {"TEST_AUTHORIZER": path})
        found = server.manage("check")
        server.cleanup()
        assert found.returncode != 0
        assert "chat.E101" in found.stderr


async def test_a_token_that_names_the_team_opens_its_room(teams, connect, room):
    """The authorizer has the claims, at the handshake and at a `join`; a token with other teams opens
    nothing."""
    ada = await asyncio.to_thread(teams.create_user, f"token-{room}")
    access = (await asyncio.to_thread(mint, teams, ada))["access"]
    for named, expected in ((room, 101), ("another", 403)):
        headers = {"Authorization": f"Bearer {forge(access, teams=[named])}"}
        assert await status(connect, teams.ws(f"team-{room}"), headers=headers) == expected
        client = await connect(teams.ws(), headers=headers)
        if expected == 101:
            await joined(client, f"team-{room}")
        else:
            await refused(client, {"type": "join", "room": f"team-{room}"}, "forbidden")


async def test_a_fresh_token_is_looked_at_in_each_room(teams, connect, room):
    """`auth` with a token of other teams: out of the rooms that it does not open, and into those it does."""
    ada = await asyncio.to_thread(teams.create_user, f"fresh-{room}")
    access = (await asyncio.to_thread(mint, teams, ada))["access"]
    old, new = forge(access, teams=[f"{room}-1"]), forge(access, teams=[f"{room}-2"])
    client = await connect(teams.ws(), headers={"Authorization": f"Bearer {old}"})
    await joined(client, room)
    await joined(client, f"team-{room}-1")
    await refused(client, {"type": "join", "room": f"team-{room}-2"}, "forbidden")
    await client.send({"type": "auth", "id": "a", "data": {"token": new}})
    await client.expect(type="ack", data={"ref": "a"})
    frame = await client.expect(SOON, type="system", data={"event": "left"})
    assert frame["data"] == {"event": "left", "room": f"team-{room}-1", "reason": "access_withdrawn"}
    await joined(client, f"team-{room}-2")
    await client.send_chat("still here", room=room)
    await client.expect(type="chat", room=room)


# --- what happens at the same time ------------------------------------------------------------------------


class Gate:
    """An authorizer that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[str] = asyncio.Queue()
        self.answers: asyncio.Queue[bool] = asyncio.Queue()

    async def __call__(self, room: str, user: object, claims: object, connection: object) -> bool:
        await self.asked.put(room)
        return await self.answers.get()


@pytest.fixture
async def gate(layer):
    """The gate is asked; a socket of the chat, in this process, is what it is asked about."""
    found = Gate()

    async def may_join(*about: object) -> bool:
        return await found(*about)

    authorizer.register(may_join)
    yield found
    authorizer.unregister(may_join)


def socket_for(path: str) -> WebsocketCommunicator:
    socket = WebsocketCommunicator(application, path)
    socket.scope["user"] = AnonymousUser()
    return socket


async def test_a_right_that_is_lost_while_a_join_is_decided_counts(gate, room):
    """The authorizer says yes, and while it does, somebody calls for a re-check that finds no member yet:
    it is asked once more, and its no is the answer."""
    socket = socket_for("/api/chat-api/ws")
    assert (await socket.connect(timeout=5))[0]
    await socket.receive_json_from(5)
    await socket.send_json_to({"type": "join", "id": "j", "room": room})
    assert await asyncio.wait_for(gate.asked.get(), 5) == room
    assert authorizer.recheck(get_hub(), room=room) == 0
    await gate.answers.put(True)
    await asyncio.wait_for(gate.asked.get(), 5)
    await gate.answers.put(False)
    answer = (await socket.receive_json_from(5))["data"]
    assert (answer["code"], answer["ref"]) == ("forbidden", "j")
    assert room_group(room) not in get_hub().groups
    await socket.disconnect()


async def test_a_right_that_is_lost_while_a_handshake_is_decided_counts(gate, room):
    """The same at the room's own endpoint: asked once more, and refused."""
    socket = socket_for(f"/api/chat-api/ws/{room}")
    connecting = asyncio.create_task(socket.connect(timeout=5))
    assert await asyncio.wait_for(gate.asked.get(), 5) == room
    authorizer.recheck(get_hub(), room=room)
    await gate.answers.put(True)
    await asyncio.wait_for(gate.asked.get(), 5)
    await gate.answers.put(False)
    assert not (await connecting)[0]
    assert room_group(room) not in get_hub().groups


def test_only_coroutine_functions_are_registered():
    """What can't be awaited is refused when it is registered, not at the first visitor."""
    with pytest.raises(ImproperlyConfigured):
        authorizer.register(lambda *about: True)
