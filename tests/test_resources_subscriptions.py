"""Live subscriptions: what subscribers are told, in which order, and until when."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from django.contrib.auth.models import AnonymousUser
from rest_framework.permissions import BasePermission

from chat.models import Room
from chat.realtime.testing import eventually
from chat.realtime.testing.workers import ask
from chat.resources.columns import Column, Kind
from chat.resources.consumer import ResourceConsumer
from chat.resources.delivery import holding
from chat.resources.entering import read_snapshot
from chat.resources.errors import TooManySubscriptions
from chat.resources.filters import Filters, read_filters
from chat.resources.followers import Index
from chat.resources.groups import Following, Group, has_to_look
from chat.resources.options import Query, read_options
from chat.resources.resource import ModelResource
from chat.resources.tracking import tracked
from tests.kit import ChatServer
from tests.resource_kit import ResourceClient

Open = Callable[..., Awaitable[ResourceClient]]


@pytest.fixture
async def client(app_server: ChatServer) -> AsyncIterator[Open]:
    """``await client(cookie=...)``: a connection to the resources of `app_server`, closed after the test."""
    opened: list[ResourceClient] = []

    async def open_client(server: ChatServer = app_server, **options: Any) -> ResourceClient:
        opened.append(await ResourceClient.open(server, **options))
        return opened[-1]

    yield open_client
    for one in opened:
        await one.close()


@pytest.fixture
def word() -> str:
    """A name that no other test uses: what rows of this test begin with."""
    return f"w{uuid4().hex[:10]}"


def mine(word: str, **more: Any) -> dict[str, Any]:
    """The options of a subscription to this test's rows."""
    return {"filters": [{"column": "name", "operator": "startswith", "value": word}], **more}


def person(word: str, **more: Any) -> dict[str, Any]:
    return {"name": word, "email": f"{word}@example.com", **more}


# --- enter, stay, leave ---------------------------------------------------------------------------


async def test_a_row_enters_stays_and_leaves(client, word):
    """What begins to match is a create, what still matches an update, what stops matching a delete."""
    ada, bob = await client(), await client()
    filters = [*mine(word)["filters"], {"column": "status", "operator": "eq", "value": "active"}]
    ident = await bob.subscribe("users", filters=filters)
    row = await ada.do("create", "users", data=person(word, status="inactive"))
    await ada.do("update", "users", record_id=row["id"], data={"age": 1})
    await ada.do("update", "users", record_id=row["id"], data={"status": "active"})
    entered = await bob.told("create", ident)
    assert entered["record_id"] == row["id"]
    assert entered["data"] == {**row, "age": 1, "status": "active"}
    assert (entered["schema"], entered["entity"]) == ("public", "users")
    assert "id" not in entered

    await ada.do("update", "users", record_id=row["id"], data={"age": 2})
    assert (await bob.told("update", ident))["data"]["age"] == 2
    await ada.do("update", "users", record_id=row["id"], data={"status": "inactive"})
    assert (await bob.told("delete", ident))["data"] == {"id": row["id"]}
    await ada.do("delete", "users", record_id=row["id"])
    assert await bob.notifications() == []


async def test_columns_of_a_subscription(client, word):
    """Only the columns that were asked for are told; a delete has the row's id."""
    ada = await client()
    ident = await ada.subscribe("users", **mine(word, columns=["name"]))
    row = await ada.do("create", "users", data=person(word))
    assert (await ada.told("create", ident))["data"] == {"name": word}
    await ada.do("delete", "users", record_id=row["id"])
    gone = await ada.told("delete", ident)
    assert (gone["data"], gone["record_id"]) == ({"id": row["id"]}, row["id"])


async def test_a_response_precedes_its_own_notification(client, word):
    """The requester hears its response before the change that it caused, each of many at once."""
    ada = await client()
    await ada.subscribe("users", **mine(word))
    for number in range(20):
        message = {"type": "request", "operation": "create", "entity": "users", "id": f"c-{number}"}
        await ada.send({**message, "data": person(f"{word}{number}")})
    answers = [await ada.expect(type="response", id=f"c-{number}") for number in range(20)]
    await ada.take(20, type="notification")
    order = [frame for frame in ada.received if frame["type"] in ("response", "notification")]
    for answer in answers:
        told = [f for f in order if f["type"] == "notification" and f["record_id"] == answer["data"]["id"]]
        assert len(told) == 1
        assert order.index(answer) < order.index(told[0])


async def test_the_same_subscription_twice(client, word):
    """Each has an id of its own and is told of its own; one ends without the other."""
    ada, bob = await client(), await client()
    first = await ada.subscribe("users", **mine(word))
    second, third = await ada.subscribe_many("users", [mine(word), mine(word)])
    assert len({first, second, third}) == 3
    await bob.do("create", "users", data=person(word))
    for ident in (first, second, third):
        await ada.told("create", ident)
    assert await ada.do("unsubscribe", subscription_id=first) == {"subscription_id": first}
    await bob.do("create", "users", data=person(word + "b"))
    await ada.told("create", second)
    await ada.told("create", third)
    assert await ada.notifications() == []
    again = await ada.refused("unsubscribe", subscription_id=first)
    assert again["code"] == "subscription_not_found"


async def test_who_comes_hears_nothing_of_before(client, word):
    """A change that was answered before a subscription was asked for is not told to it, on either worker."""
    writers = [await client() for _ in range(4)]
    await (await client()).subscribe("users", **mine(word))  # so that changes are published
    for number in range(10):
        rows = [
            await one.do("create", "users", data=person(f"{word}{number}{place}"))
            for place, one in enumerate(writers)
        ]
        for one, row in zip(writers, rows, strict=True):
            ident = await one.subscribe("users", **mine(word))
            await one.do("update", "users", record_id=row["id"], data={"age": number})
            assert (await one.expect(type="notification"))["data"]["age"] == number
            await one.do("unsubscribe", subscription_id=ident)
            await one.notifications()


async def test_somebody_elses_subscription(client, word):
    """A subscription's id says nothing on another connection, although the ids may be the same."""
    ada, bob = await client(), await client()
    ident = await ada.subscribe("users", **mine(word))
    assert (await bob.refused("unsubscribe", subscription_id=ident))["code"] == "subscription_not_found"
    await bob.do("create", "users", data=person(word))
    await ada.told("create", ident)


async def test_the_limit_of_subscriptions(client, word):
    """A connection may have a hundred; the next is refused, and accepted again when one has ended."""
    ada = await client()
    first, *_ = await ada.subscribe_many("users", [mine(f"{word}{number}") for number in range(99)])
    await ada.subscribe("users", **mine(f"{word}99"))
    refused = await ada.refused("subscribe", "users", options=mine(word))
    assert (refused["code"], refused["details"]) == ("too_many_subscriptions", {"limit": 100})
    await ada.do("unsubscribe", subscription_id=first)
    await ada.subscribe("users", **mine(word))


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"operation": "follow", "entity": "users"}, "invalid_subscription_operation"),
        ({"entity": "users"}, "invalid_subscription_operation"),
        ({"operation": "subscribe"}, "model_not_found"),
        ({"operation": "subscribe", "entity": "nobody"}, "model_not_found"),
        ({"operation": "subscribe", "entity": "people"}, "invalid_model"),
        ({"operation": "subscribe", "entity": "notes"}, "unauthorized"),
        ({"operation": "unsubscribe"}, "missing_subscription_id"),
        ({"operation": "unsubscribe", "subscription_id": "sub-0"}, "subscription_not_found"),
        (
            {
                "operation": "subscribe",
                "entity": "users",
                "options": {"filters": [{"column": "password", "operator": "eq", "value": "x"}]},
            },
            "invalid_query",
        ),
        ({"operation": "subscribe", "entity": "users", "options": {"snapshot": "yes"}}, "invalid_query"),
    ],
)
async def test_what_is_refused(client, keys, code):
    """Each wrong message has the code that says what is wrong, and the socket lives on."""
    ada = await client()
    await ada.send({"id": 7, "type": "subscription", **keys})
    answer = await ada.expect(type="response", id=7)
    assert answer["success"] is False
    assert answer["error"]["code"] == code
    assert await ada.do("read", "users", options={"limit": 1}) is not None


# --- snapshots ------------------------------------------------------------------------------------


async def test_a_snapshot_and_then_the_changes(client, word):
    """The answer has the rows that match, in the order that was asked for; then come the changes."""
    ada = await client()
    for number in (2, 1, 3):
        await ada.do("create", "users", data=person(f"{word}{number}", age=number))
    sort = [{"column": "age", "direction": "desc"}]
    options = mine(word, sort=sort, snapshot=True, columns=["name"])
    answer = await ada.ask("subscribe", "users", options=options)
    assert answer["data"]["snapshot"] == [{"name": f"{word}{number}"} for number in (3, 2, 1)]
    assert answer["metadata"] == {"total": 3, "count": 3}
    row = await ada.do("create", "users", data=person(f"{word}4"))
    told = await ada.told("create", answer["data"]["subscription_id"])
    assert told["data"] == {"name": f"{word}4"}
    assert told["record_id"] == row["id"]


async def test_a_crowd_gets_its_snapshots(client, word):
    """Many who come at once, with the rows changing meanwhile, each end with the same rows."""
    ada = await client()
    crowd = [await client() for _ in range(12)]
    rows = [await ada.do("create", "users", data=person(f"{word}{number}")) for number in range(5)]

    async def change() -> None:
        for number, row in enumerate(rows):
            await ada.do("update", "users", record_id=row["id"], data={"age": number})
            await ada.do("create", "users", data=person(f"{word}x{number}"))

    async def begin(one: ResourceClient) -> tuple[str, dict[int, Any]]:
        data = await one.do("subscribe", "users", options=mine(word, snapshot=True))
        return data["subscription_id"], {row["id"]: row for row in data["snapshot"]}

    *begun, _ = await asyncio.gather(*[begin(one) for one in crowd], change())
    fresh = {row["id"]: row for row in await ada.do("read", "users", options=mine(word))}
    assert len(fresh) == 10
    for one, (_, held) in zip(crowd, begun, strict=True):

        async def caught_up(one: ResourceClient = one, held: dict[int, Any] = held) -> bool:
            for told in await one.notifications():
                assert (told["operation"] == "create") == (told["record_id"] not in held)
                assert held.get(told["record_id"]) != told["data"], "told twice"
                held[told["record_id"]] = told["data"]
            return held == fresh

        await eventually(caught_up)


# --- rights ---------------------------------------------------------------------------------------


async def test_everybody_hears_of_their_own_rows(app_server, client):
    """Rows that are somebody's are told to them alone; a row that changes hands leaves one and enters the
    other's."""
    users = [await asyncio.to_thread(app_server.create_user, f"u{uuid4().hex[:8]}") for _ in range(3)]
    ada, bob, eve = [await client(cookie=user.cookie) for user in users]
    for one in (ada, bob, eve):
        await one.subscribe("notes")
    note = await ada.do("create", "notes", data={"text": "mine"})
    assert note["owner"] == users[0].id
    assert (await ada.told("create"))["record_id"] == note["id"]
    await app_server.adjango(
        "from tests.blog.models import Note\nNote.objects.filter(pk=pk).update(owner=owner)",
        pk=note["id"],
        owner=users[1].id,
    )
    assert (await ada.told("delete"))["data"] == {"id": note["id"]}
    assert (await bob.told("create"))["data"]["owner"] == users[1].id
    assert (await ada.refused("update", "notes", record_id=note["id"], data={"text": "x"}))[
        "code"
    ] == "not_found"
    await bob.do("delete", "notes", record_id=note["id"])
    await bob.told("delete")
    assert await ada.notifications() == []
    assert await eve.notifications() == []


GRANT = """
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
user = get_user_model().objects.get(pk=pk)
permission = Permission.objects.get(codename="add_post")
user.user_permissions.add(permission) if grant else user.user_permissions.remove(permission)
"""
POST = """
from tests.blog.models import Person, Post
author, _ = Person.objects.get_or_create(name="author", email="author@example.com")
result = Post.objects.create(title=title, author=author).pk
"""


async def test_withdrawn_rights_end_a_subscription(app_server, client):
    """Who loses the permission hears nothing more within a second, and is told that it has ended."""
    user = await asyncio.to_thread(app_server.create_user, f"u{uuid4().hex[:8]}")
    await app_server.adjango(GRANT, pk=user.id, grant=True)
    ada = await client(cookie=user.cookie)
    ident = await ada.subscribe("drafts")
    await app_server.adjango(POST, title="seen")
    assert (await ada.told("create", ident))["data"]["title"] == "seen"
    await app_server.adjango(GRANT, pk=user.id, grant=False)

    async def ended() -> Any:
        await app_server.adjango(POST, title="unseen")
        await ada.round_trip()
        return [frame for frame in ada.unread if frame["type"] == "response"]

    (answer,) = await eventually(ended, "the end of the subscription", limit=1)
    assert answer["id"] is None
    assert answer["error"]["code"] == "unauthorized"
    assert answer["error"]["details"] == {"subscription_id": ident}
    await ada.notifications()
    await app_server.adjango(POST, title="never")
    assert await ada.notifications() == []
    assert (await ada.refused("subscribe", "drafts"))["code"] == "unauthorized"
    assert (await ada.refused("read", "drafts"))["code"] == "unauthorized"


async def test_rows_that_permissions_hide(app_server, client):
    """A row that an object's permission hides is told to nobody, until it shows itself."""
    ada = await client()
    ident = await ada.subscribe("entries")
    title = f"hidden {uuid4()}"
    pk = await app_server.adjango(POST, title=title)
    change = "from tests.blog.models import Post\nPost.objects.filter(pk=pk).update(title=title)"
    await app_server.adjango(change, pk=pk, title=f"shown {pk}")
    assert (await ada.told("create", ident, record_id=pk))["data"]["title"] == f"shown {pk}"
    await app_server.adjango(change, pk=pk, title=title)
    await ada.told("delete", ident, record_id=pk)


async def test_rows_that_a_hook_leaves_out(app_server, client, word):
    """A hook's filter holds for changes too, by whatever column; who follows without it is told all."""
    ada, bob = await client(), await client()
    staff = (await ada.do("subscribe", "colleagues", options=mine(word, snapshot=True)))["subscription_id"]
    later = await ada.subscribe("colleagues", **mine(word, columns=["name"]))
    await bob.subscribe("users", **mine(word))
    row = await bob.do("create", "users", data=person(word))
    await bob.told("create")
    assert await ada.notifications() == []
    change = "from tests.blog.models import Person\nPerson.objects.filter(pk=pk).update(is_staff=staff)"
    await app_server.adjango(change, pk=row["id"], staff=True)
    assert (await ada.told("create", staff))["data"] == {"id": row["id"], "name": word}
    assert (await ada.told("create", later))["data"] == {"name": word}
    await bob.told("update")
    await app_server.adjango(change, pk=row["id"], staff=False)
    for ident in (staff, later):
        await ada.told("delete", ident)


async def test_code_that_fails_for_one_user(app_server, client, word):
    """Their subscription ends, and says so with a number; the others' go on."""
    users = [await asyncio.to_thread(app_server.create_user, f"u{uuid4().hex[:8]}") for _ in range(2)]
    ada, bob = [await client(cookie=user.cookie) for user in users]
    for one in (ada, bob):
        await one.do("subscribe", "people", schema="failing", options=mine(word))
    eve = await client()
    await eve.subscribe("users", **mine(word))
    await eve.do("create", "users", data=person(word, name=f"breaks {users[0].username}"))
    await eve.do("create", "users", data=person(word + "2"))
    ended = await ada.expect(type="response", id=None)
    assert ended["error"]["code"] == "read_error"
    assert "secret" not in ended["error"]["message"]
    for one in (bob, eve):
        assert (await one.told("create"))["data"]["name"] == word + "2"


# --- ends -----------------------------------------------------------------------------------------


async def held(server: ChatServer) -> list[dict[str, Any]]:
    """What each worker holds for those who follow something."""
    found = await ask(server, "resources_held")
    return sorted(found, key=lambda worker: worker["worker"])


@pytest.mark.timeout(60)
async def test_a_thousand_subscriptions_leave_nothing_behind(app_server, word):
    """However they end, in the middle of their requests and with rows changing: no feed, no group, no task
    and no Redis channel stays."""

    async def nobody() -> list[dict[str, Any]] | None:
        found = await held(app_server)
        return found if not any(worker["feeds"] or worker["works"] for worker in found) else None

    before = await eventually(nobody, "nothing is followed")
    users = [await asyncio.to_thread(app_server.create_user, f"u{uuid4().hex[:8]}") for _ in range(2)]
    chance = random.Random(7)

    async def come_and_go(number: int) -> None:
        cookie = chance.choice([None, *[user.cookie for user in users]])
        one = await ResourceClient.open(app_server, **({} if cookie is None else {"cookie": cookie}))
        for place in range(20):
            entity = chance.choice(["users", "users", "notes", "stories", "colleagues"])
            filters = mine(f"{word}{place % 3}")["filters"] if entity == "users" else []
            options = {"filters": filters, "snapshot": chance.random() < 0.7}
            message = {"type": "subscription", "operation": "subscribe", "entity": entity}
            await one.send({**message, "id": place, "options": options})
            if place % 5 == 0:
                message = {"type": "request", "operation": "create", "entity": "users", "id": 100 + place}
                await one.send({**message, "data": person(f"{word}{place % 3}x{number}-{place}")})
        for place in range(chance.choice([0, 0, 5, 20])):
            answer = await one.expect(type="response", id=place)
            if answer["success"] and chance.random() < 0.5:
                ident = answer["data"]["subscription_id"]
                await one.send({"type": "subscription", "operation": "unsubscribe", "subscription_id": ident})
        if number % 2:
            one.abort()
            async with asyncio.timeout(10):
                await one.socket.wait_closed()
        else:
            await one.close()

    for batch in range(2):
        await asyncio.gather(*[come_and_go(25 * batch + number) for number in range(25)])

    async def same() -> bool:
        return await held(app_server) == before

    await eventually(same, f"what was held before: {before}", 15)


async def test_counts_and_what_is_left_behind(app_server, client, word):
    """Subscriptions are counted on all workers, and are gone with their connections."""
    count = "from chat import resources\nresult = [getattr(resources, name)() for name in names]"
    names = ["get_connection_count", "get_subscription_count"]
    before = await app_server.adjango(count, names=names)
    some = [await ResourceClient.open(app_server) for _ in range(6)]
    for one in some:
        await one.subscribe("users", **mine(word))
        await one.subscribe("users", **mine(word, snapshot=True))
    assert await app_server.adjango(count, names=names) == [before[0] + 6, before[1] + 12]
    for one in some[:3]:
        await one.close()
    for one in some[3:]:
        one.abort()

    async def gone() -> bool:
        return await app_server.adjango(count, names=names) == before

    await eventually(gone, "nothing left of them")


async def test_a_word_to_every_connection(app_server, client):
    """``broadcast_message`` reaches the resource connections, or those for which a condition holds."""
    ada, bob = await client(headers={"User-Agent": "ada"}), await client()
    code = "from chat.resources import broadcast_message\nbroadcast_message(message, where)"
    await app_server.adjango(code, message={"type": "news", "n": 1}, where=None)
    await ada.expect(type="news", n=1)
    await bob.expect(type="news", n=1)
    await app_server.adjango(code, message={"type": "news", "n": 2}, where={"user_agent": "ada"})
    await ada.expect(type="news", n=2)
    await bob.round_trip()
    assert [frame for frame in bob.unread if frame["type"] == "news"] == []


async def test_redis_was_away(start_server, own_redis, client, word):
    """Whoever follows something is closed with 1001 when changes may have been missed, and begins anew."""
    server = await asyncio.to_thread(start_server, own_redis.url, workers=1, settings="tests.settings")
    ada, bob = await client(server), await client(server)
    await ada.subscribe("users", **mine(word))
    await asyncio.to_thread(own_redis.kill)
    await asyncio.to_thread(own_redis.restart)
    reason = await ada.expect_close(1001, limit=10)
    assert reason == "changes may have been missed: subscribe again"
    await bob.do("create", "users", data=person(word))  # it followed nothing, and lives on
    eve = await client(server)
    assert len((await eve.do("subscribe", "users", options=mine(word, snapshot=True)))["snapshot"]) == 1
    await bob.do("create", "users", data=person(word + "b"))
    await eve.told("create")


# --- decisions, from values -----------------------------------------------------------------------


def test_what_waits_for_a_response_ends_with_its_subscription():
    """A notification that waits behind a response is not sent any more when its subscription has ended, even
    if the same has begun anew: its snapshot is newer."""
    sent: list[Any] = []
    consumer = ResourceConsumer()
    consumer.connection = SimpleNamespace(id="c", push=sent.append)
    group = SimpleNamespace(id="sub-1")
    first, again = SimpleNamespace(group=group), SimpleNamespace(group=group)
    other = SimpleNamespace(group=SimpleNamespace(id="sub-2"))
    consumer.subscriptions = {"sub-1": first, "sub-2": other}
    consumer._answering.add("c.1")
    consumer.expect("c.1")
    for frame, ident in (("old", "sub-1"), ("kept", "sub-2")):
        consumer.hold(frame, ident)
    consumer.subscriptions["sub-1"] = again
    consumer.hold("new", "sub-1")
    assert sent == []
    assert holding == {"c"}
    consumer._answered("c.1")
    assert sent == ["kept", "new"]
    assert holding == set()


class Everything:
    """What a group needs of a resource."""

    permission_classes = ()
    max_followed = 2
    is_fixed = True
    filter_columns: ClassVar[dict[str, Column]] = {n: Column(n, n, Kind.INTEGER, True) for n in "ab"}


def newcomers() -> Following:
    query = Query(Filters(), ("id",))
    return Following("new", Everything(), query, None, Group("main", Everything(), query))


def test_a_change_that_the_snapshot_had_is_not_told_again():
    """A row that is known as it is now is told again only where the change left it as it was."""
    group = newcomers()
    group.held = {1: b"as read"}
    assert group.decide_held(1, True, b"as read", changed=True) is None
    assert group.decide_held(1, True, b"as read", changed=False) == "update"
    assert group.decide_held(1, True, b"newer", changed=True) == "update"
    assert group.decide_held(1, True, b"newer", changed=True) is None
    assert group.decide_held(2, True, b"new", changed=True) == "create"
    assert group.decide_held(1, False, None, changed=True) == "delete"
    assert group.decide_held(1, False, None, changed=True) is None
    assert group.held == {2: b"new"}


@pytest.mark.parametrize(
    ("is_fixed", "name", "looks"), [(True, "a", False), (False, "a", True), (True, "c", True)]
)
def test_whose_rows_have_to_be_looked_at(is_fixed, name, looks):
    """Where rows are not everybody's, or not all of the table's, or a filter of a hook's asks for what no
    change is told with, a change alone does not say who may know of it."""
    resource = Everything()
    resource.is_fixed = is_fixed
    filters = [{"column": name, "operator": "eq", "value": 1}]
    query = Query(read_filters(filters, {name: Column(name, name, Kind.INTEGER, True)}), ("a",))
    assert has_to_look(resource, query) is looks


class NotTea(BasePermission):
    def has_object_permission(self, request: Any, view: Any, obj: Any) -> bool:
        return obj.name != "tea"


class FewRooms(ModelResource):
    model = Room
    fields = ["id", "name"]
    filter_fields = ["name"]
    permission_classes = [NotTea]
    max_followed = 2


@pytest.mark.django_db
@pytest.mark.parametrize("names", [("tea", "milk"), ("tea", "milk", "cake")])
def test_a_snapshot_is_whole_or_refused(names):
    """Rows that a permission hides count too: beyond the last one that was looked at there may be more."""
    Room.objects.bulk_create([Room(name=name) for name in names])
    resource = FewRooms("a", "rooms")
    asked = tracked(Room), resource, AnonymousUser(), read_options(resource, {"columns": ["name"]})
    if len(names) > 2:
        with pytest.raises(TooManySubscriptions):
            read_snapshot(*asked)
    else:
        assert [shown for shown, _ in read_snapshot(*asked).values()] == [b'{"name":"milk"}']


def test_a_group_that_grows_too_large():
    """A subscription that remembers rows has a bound on them."""
    group = newcomers()
    for key in range(4):
        group.decide_held(key, True, b"", changed=True)
    assert not group.is_too_large
    group.decide_held(4, True, b"", changed=True)
    assert group.is_too_large


def test_what_filters_ask_to_be_equal_finds_the_groups():
    """Of many groups a change finds those that it may concern, by all equalities together; a removed one is
    found no more."""
    columns = {name: Column(name, name, Kind.INTEGER, True) for name in "ab"}
    index = Index()

    def add(key: str, *filters: tuple[str, str, Any]) -> Group:
        raw = [{"column": name, "operator": operator, "value": value} for name, operator, value in filters]
        group = Group(key, Everything(), Query(read_filters(raw, columns), ("a",)))
        index.add(group)
        return group

    both = [add(f"{a}{b}", ("a", "eq", a), ("b", "eq", b)) for a in range(3) for b in range(3)]
    some, more, never = (
        add("in", ("a", "in", [1, 2])),
        add("gt", ("a", "gt", 1)),
        add("none", ("a", "in", [])),
    )
    assert set(index.concerned([{"a": 1, "b": 2}, None])) == {both[5], some, more}
    assert set(index.concerned([{"a": 0, "b": 0}, {"a": 2, "b": 0}])) == {both[0], both[6], some, more}
    for group in (*both, some, never):
        assert index.remove(group)
        assert not index.remove(group)
    assert index.concerned([{"a": 1, "b": 2}]) == [more]
    assert list(index.groups.values()) == [more]
