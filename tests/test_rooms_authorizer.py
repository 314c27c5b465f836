"""An app's authorizer decides who may be in a room: the one that docs/rooms.md prints, and ones that fail."""

import asyncio
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.kit import ChatServer, Client, RedisServer, eventually, on_each_worker
from tests.pages import ROOT, blocks, read
from tests.test_rooms_join import joined, left, refused

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
