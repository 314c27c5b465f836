"""Whatever changes the rows, from wherever: what subscribers were told adds up to what there is."""

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from chat.realtime.testing import eventually
from tests.kit import ChatServer, RedisServer
from tests.postgres import PostgresServer
from tests.resource_kit import Refusal, ResourceClient

CHANGES = 1000
ACTORS = 4
ROUNDS = 5  # quiet points

BULK = """
from django.db import transaction
from tests.blog.models import Person
rows = Person.objects.filter(pk__in=keys)
if what == "update":
    rows.update(status=status, age=age)
elif what == "delete":
    rows.delete()
elif what == "create":
    Person.objects.bulk_create([Person(name=n, email=f"{n}@bulk.de", status=status) for n in names])
elif what == "bulk_update":
    people = list(rows)
    for person in people:
        person.age, person.status = age, status
    Person.objects.bulk_update(people, ["age", "status"])
elif what == "save":
    for person in rows:
        person.status = status
        person.save()
elif what == "rollback":
    try:
        with transaction.atomic():
            rows.update(name="never")
            rows.delete()
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
elif what == "savepoints":
    with transaction.atomic():
        rows.update(age=age)
        try:
            with transaction.atomic():
                rows.update(name="never")
                with transaction.atomic():
                    rows.update(status="inactive")
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        for person in rows:
            person.status = status
            person.save(update_fields=["status"])
"""

ADMIN = """
from django.contrib.auth import get_user_model
from django.test import Client
users = get_user_model().objects
admin = users.filter(username="root").first() or users.create_superuser("root")
client = Client()
client.force_login(admin)
path = "/admin/blog/person/" + ("add/" if key is None else f"{key}/{what}/")
answer = client.post(path, fields, headers={"host": "localhost"})
result = answer.status_code
"""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def server(request, redis: RedisServer) -> Iterator[ChatServer]:
    """Two workers with the blog, on each database."""
    database = PostgresServer().start() if request.param == "postgres" else None
    env = {} if database is None else {"DATABASE_URL": database.url}
    number = "2" if database is None else "3"
    server = ChatServer(redis.url.removesuffix("0") + number, workers=2, settings="tests.settings", env=env)
    try:
        if database is not None:
            done = server.manage("migrate", "--noinput", "--verbosity", "0")
            assert done.returncode == 0, done.stderr
        yield server.start()
    finally:
        server.stop()
        server.cleanup()
        if database is not None:
            database.stop()
            database.cleanup()


class Mirror:
    """A subscriber: its snapshot, and what each notification made of it."""

    def __init__(self, client: ResourceClient, options: dict[str, Any]) -> None:
        self.client = client
        self.options = options
        self.rows: dict[Any, dict[str, Any]] = {}
        self.wrong: list[str] = []

    async def begin(self) -> None:
        data = await self.client.do("subscribe", "users", options={**self.options, "snapshot": True})
        self.ident = data["subscription_id"]
        self.rows = {row["id"]: row for row in data["snapshot"]}

    async def follow(self) -> None:
        """Take what has come so far."""
        for told in await self.client.notifications():
            key, operation = told["record_id"], told["operation"]
            if operation == "delete":
                if self.rows.pop(key, None) is None:
                    self.wrong.append(f"{key} left, and had not been there")
                continue
            if (operation == "create") == (key in self.rows):
                self.wrong.append(f"{operation} of {key}, there: {key in self.rows}")
            self.rows[key] = told["data"]

    async def fresh(self) -> dict[Any, dict[str, Any]]:
        """What a read says now."""
        options = {**self.options, "limit": 1000}
        return {row["id"]: row for row in await self.client.do("read", "users", options=options)}


class Actor:
    """Somebody who changes rows, each time in another way."""

    def __init__(self, number: int, server: ChatServer, client: ResourceClient, shell: asyncio.Lock) -> None:
        self.number = number
        self.shell = shell
        self.server = server
        self.client = client
        self.random = random.Random(number)
        self.made = 0

    def name(self) -> str:
        self.made += 1
        return f"p{self.number}x{self.made}"

    async def act(self, keys: list[int]) -> None:
        ways = [self.by_socket] * 6 + [self.by_http] * 2 + [self.by_code] * 3 + [self.by_admin]
        await self.random.choice(ways)(keys)

    def some(self, keys: list[int], most: int = 3) -> list[int]:
        return self.random.sample(keys, min(len(keys), self.random.randint(1, most))) if keys else []

    def values(self) -> dict[str, Any]:
        return {"status": self.random.choice(["active", "inactive"]), "age": self.random.randint(0, 60)}

    async def by_socket(self, keys: list[int]) -> None:
        what = self.random.choice(["create", "update", "update", "delete"])
        try:
            if what == "create" or not keys:
                name = self.name()
                data = {"name": name, "email": f"{name}@x.de", **self.values()}
                await self.client.do("create", "users", data=data)
            elif what == "update":
                key = self.random.choice(keys)
                await self.client.do("update", "users", record_id=key, data=self.values())
            else:
                await self.client.do("delete", "users", record_id=self.random.choice(keys))
        except Refusal as refusal:
            if refusal.code != "not_found":  # somebody else deleted it
                raise

    async def by_http(self, keys: list[int]) -> None:
        what = self.random.choice(["POST", "PATCH", "DELETE"])
        body, path = self.values(), "/test/blog/people/"
        if what == "POST" or not keys:
            what, name = "POST", self.name()
            body |= {"name": name, "email": f"{name}@http.de"}
        else:
            path += f"{self.random.choice(keys)}/"
        data = json.dumps(body).encode()
        status, _, answer = await asyncio.to_thread(
            self.server.request, what, path, data, Content_Type="application/json"
        )
        assert status in (200, 201, 204, 404), answer

    async def by_code(self, keys: list[int]) -> None:
        ways = ["update", "delete", "create", "bulk_update", "save", "rollback", "savepoints"]
        what = self.random.choice(ways)
        names = [self.name() for _ in range(self.random.randint(1, 3))]
        async with self.shell:
            await self.server.adjango(BULK, what=what, keys=self.some(keys), names=names, **self.values())

    async def by_admin(self, keys: list[int]) -> None:
        name = self.name()
        fields = {"name": name, "email": f"{name}@admin.de", "password": "x", **self.values()}
        what, key = "change", self.random.choice(keys) if keys else None
        if self.random.random() < 0.3:
            what, key = "add", None
        elif self.random.random() < 0.3:
            what, fields = "delete", {"post": "yes"}
        async with self.shell:
            status = await self.server.adjango(ADMIN, key=key, what=what, fields=fields)
        assert status in (200, 302, 404)


FILTERS: list[dict[str, Any]] = [
    {},
    {"filters": [{"column": "status", "operator": "eq", "value": "active"}]},
    {"filters": [{"column": "age", "operator": "gt", "value": 30}], "columns": ["id", "age"]},
    {"filters": [{"column": "name", "operator": "startswith", "value": "p1"}]},
]


@pytest.mark.timeout(120)
async def test_subscribers_know_what_there_is(server):
    """After any changes, over sockets, HTTP, the admin and code, on two workers, a snapshot and the
    notifications equal a fresh read at every quiet point, and nothing is told twice."""
    shell = asyncio.Lock()  # the second process does one thing at a time
    clients = [await ResourceClient.open(server) for _ in range(2 * len(FILTERS) + ACTORS)]
    mirrors = [Mirror(client, options) for client, options in zip(clients, FILTERS * 2, strict=False)]
    early, late = mirrors[: len(FILTERS)], mirrors[len(FILTERS) :]
    actors = [Actor(n, server, client, shell) for n, client in enumerate(clients[len(mirrors) :], 1)]
    keys: list[int] = []

    async def run(actor: Actor) -> None:
        for _ in range(CHANGES // ROUNDS // ACTORS):
            await actor.act(keys)

    for mirror in early:
        await mirror.begin()
    begun = early
    for _ in range(ROUNDS):
        comers, late = late[:1], late[1:]
        async with asyncio.TaskGroup() as tasks:
            for actor in actors:
                tasks.create_task(run(actor))
            for mirror in comers:
                tasks.create_task(mirror.begin())
        begun = [*begun, *comers]

        async def agree() -> bool:
            for mirror in begun:  # noqa: B023 (called before the next round)
                await mirror.follow()
            return all([mirror.rows == await mirror.fresh() for mirror in begun])  # noqa: B023 (as above)

        await eventually(agree, "what was told equals what there is", 10)
        assert [wrong for mirror in begun for wrong in mirror.wrong] == []
        keys[:] = begun[0].rows
    assert len(keys) > 20  # there was something to tell
    for client in clients:
        await client.close()
