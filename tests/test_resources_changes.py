"""Changes from anywhere reach subscribers: after the commit, once, and never what was rolled back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from chat.realtime.testing import RedisProxy, eventually
from tests.kit import ChatServer
from tests.resource_kit import ResourceClient

BEGIN = """
from django.db import connection, transaction
from chat.resources import following, notify
from tests.blog.models import Note, Person, Post, Tag
def person(name, **more):
    return Person.objects.create(name=name, email=f"{name}@example.com", **more)
"""


class Watcher:
    """Follows the rows of one test, and changes them in another process."""

    def __init__(self, server: ChatServer, client: ResourceClient, word: str) -> None:
        self.server = server
        self.client = client
        self.word = word

    async def run(self, code: str, **names: Any) -> Any:
        """Run code in a process that serves nobody."""
        return await self.server.adjango(BEGIN + code, word=self.word, **names)

    async def told(self, code: str, **names: Any) -> list[tuple[str, str | None]]:
        """What the code made the server tell: the operations, and the names of the rows."""
        await self.run(code, **names)
        marker = await self.run("result = person(word + 'marker').pk")
        await self.client.told("create", record_id=marker)
        await self.run("Person.objects.filter(pk=pk).delete()", pk=marker)
        await self.client.told("delete", record_id=marker)
        frames = await self.client.notifications()
        return [(frame["operation"], frame["data"].get("name")) for frame in frames]


@pytest.fixture
async def watcher(app_server: ChatServer) -> AsyncIterator[Watcher]:
    word = f"c{uuid4().hex[:10]}"
    client = await ResourceClient.open(app_server)
    filters = [{"column": "name", "operator": "startswith", "value": word}]
    await client.subscribe("users", filters=filters)
    yield Watcher(app_server, client, word)
    await client.close()


async def test_one_by_one(watcher):
    """save() and delete() are told, each once."""
    code = """
one = person(word)
one.age = 3
one.save()
one.save(update_fields=["age"])
one.delete()
"""
    word = watcher.word
    assert await watcher.told(code) == [
        ("create", word),
        ("update", word),
        ("update", word),
        ("delete", None),
    ]


async def test_expressions(watcher):
    """What the database computes is told as it came out."""
    await watcher.run("person(word, age=40)")
    await watcher.client.told("create")
    code = """
from django.db.models import F
one = Person.objects.get(name=word)
one.age = F("age") + 2
one.save()
"""
    await watcher.run(code)
    assert (await watcher.client.told("update"))["data"]["age"] == 42


async def test_a_save_that_failed(watcher):
    """What a row was is read anew after a save that failed: meanwhile it may have become another."""
    code = """
from django.db import IntegrityError
from chat.resources import changes
one, other = person(word), person(word + "b")
one.email = other.email
try:
    one.save()
except IntegrityError:
    pass
Person.objects.filter(pk=one.pk).update(name="meanwhile")
result, record = [], changes.record
changes.record = lambda target, using, key, before, after: result.append(before["name"])
try:
    one.email = word + "@example.com"
    one.save()
finally:
    changes.record = record
"""
    assert await watcher.run(code) == ["meanwhile"]


async def test_bulk_calls(watcher):
    """bulk_create, update, bulk_update and delete of a queryset are told row by row."""
    word = watcher.word
    code = """
Person.objects.bulk_create([Person(name=word + n, email=f"{word}{n}@x.de") for n in "ab"])
rows = Person.objects.filter(name__startswith=word)
rows.update(age=1)
people = list(rows.order_by("pk"))
for place, one in enumerate(people):
    one.name = word + "cd"[place]
Person.objects.bulk_update(people, ["name"])
rows.delete()
"""
    told = await watcher.told(code)
    assert sorted(told[:2]) == [("create", word + "a"), ("create", word + "b")]
    assert sorted(told[2:4]) == [("update", word + "a"), ("update", word + "b")]
    assert sorted(told[4:6]) == [("update", word + "c"), ("update", word + "d")]
    assert told[6:] == [("delete", None)] * 2


async def test_bulk_create_over_what_is_there(watcher):
    """Rows that bulk_create overwrites are told as updates, those that it leaves alone not at all."""
    word = watcher.word
    await watcher.run("person(word + 'a', age=1)")
    await watcher.client.told("create")
    code = """
rows = [Person(name=word + n, email=f"{word}{n}@example.com", age=2) for n in "ab"]
Person.objects.bulk_create(rows, update_conflicts=True, unique_fields=["email"], update_fields=["age"])
"""
    assert sorted(await watcher.told(code)) == [("create", word + "b"), ("update", word + "a")]


async def test_updates_that_move_rows_in_and_out(watcher):
    """A queryset's update that makes rows match, or not any more, is a create or a delete."""
    word = watcher.word
    code = """
one, two = person(word), person("other" + word)
Person.objects.filter(pk=two.pk).update(name=word + "2")
Person.objects.filter(pk__in=[one.pk, two.pk]).update(name="away")
"""
    assert await watcher.told(code) == [
        ("create", word),
        ("create", word + "2"),
        ("delete", None),
        ("delete", None),
    ]


async def test_rollbacks_and_savepoints(watcher):
    """Nothing that was rolled back is told, nor before the commit; savepoints are kept and dropped right."""
    word = watcher.word
    code = """
def fail():
    raise ZeroDivisionError
try:
    with transaction.atomic():
        person(word + "never")
        fail()
except ZeroDivisionError:
    pass
with transaction.atomic():
    one = person(word + "kept")
    try:
        with transaction.atomic():
            Person.objects.filter(pk=one.pk).update(name=word + "never")
            with transaction.atomic():
                person(word + "never2")
            one.delete()
            fail()
    except ZeroDivisionError:
        pass
    with transaction.atomic():
        Person.objects.filter(name=word + "kept").update(age=7)
"""
    assert await watcher.told(code) == [("create", word + "kept"), ("update", word + "kept")]


async def test_raw_sql(watcher):
    """What raw SQL changes is told where the code says so: around it, or afterwards by key."""
    word = watcher.word
    code = """
one, two, three = person(word), person("x" + word), person(word + "3")
rows = Person.objects.filter(pk__in=[one.pk, two.pk])
with following(rows), connection.cursor() as cursor:
    cursor.execute("UPDATE blog_person SET name = %s WHERE id = %s", [word + "raw", two.pk])
    cursor.execute("DELETE FROM blog_person WHERE id = %s", [one.pk])
with connection.cursor() as cursor:
    cursor.execute("UPDATE blog_person SET age = 9 WHERE id = %s", [two.pk])
    cursor.execute("DELETE FROM blog_person WHERE id = %s", [three.pk])
notify(Person, [two.pk, three.pk])
"""
    told = await watcher.told(code)
    assert told[:2] == [("create", word), ("create", word + "3")]
    assert sorted(told[2:4], key=str) == [("create", word + "raw"), ("delete", None)]
    assert sorted(told[4:], key=str) == [("delete", None), ("update", word + "raw")]


async def test_what_a_deletion_takes_along(app_server, watcher):
    """Rows that are deleted with another are told, and those whose key to it is emptied too."""
    posts = await ResourceClient.open(app_server)
    await posts.do("subscribe", "posts", schema="public")
    made = await watcher.run("""
author, editor = person(word + "author"), person(word + "editor")
one = Post.objects.create(title="one", author=author, editor=editor)
two = Post.objects.create(title="two", author=editor)
result = [author.pk, editor.pk, one.pk, two.pk]
""")
    await posts.take(2, type="notification")
    await watcher.run("Person.objects.get(pk=pk).delete()", pk=made[1])
    told = [await posts.told("update", record_id=made[2]), await posts.told("delete", record_id=made[3])]
    assert told[0]["data"]["editor"] is None
    await watcher.run("Person.objects.filter(pk=pk).delete()", pk=made[0])
    await posts.told("delete", record_id=made[2])
    assert await posts.notifications() == []
    await posts.close()


async def test_many_to_many(app_server, watcher):
    """A row whose relation changes is told, from either side."""
    stories = await ResourceClient.open(app_server)
    await stories.subscribe("stories", filters=[{"column": "title", "operator": "eq", "value": watcher.word}])
    made = await watcher.run("""
post = Post.objects.create(title=word, author=person(word + "author"))
tag = Tag.objects.create(word=word)
result = [post.pk, tag.pk]
""")
    assert (await stories.told("create"))["data"]["tags"] == []
    for code, tags in (
        ("Post.objects.get(pk=post).tags.add(tag)", [watcher.word]),
        ("Tag.objects.get(pk=tag).posts.remove(post)", []),
        ("Tag.objects.get(pk=tag).posts.add(post)", [watcher.word]),
        ("Tag.objects.get(pk=tag).posts.clear()", []),
    ):
        await watcher.run(code, post=made[0], tag=made[1])
        assert (await stories.told("update"))["data"]["tags"] == tags
    await stories.close()


WAITING = """
import pathlib, time
flag = pathlib.Path(path)
with transaction.atomic():
    exec(change)
    flag.touch()
    end = time.monotonic() + 10
    while flag.exists() and time.monotonic() < end:
        time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("Tag.objects.create(word=word + '2')", {"create", "update"}),
        ("Tag.objects.filter(word=word)[0].delete()", {"delete"}),
    ],
)
async def test_who_comes_while_a_transaction_is_open(app_server, tmp_path, change, told):
    """A change that nobody followed when it was made is told to who came before its commit."""
    word, flag = f"t{uuid4().hex[:8]}", Path(tmp_path) / "flag"
    await nobody_follows_tags(app_server)
    await app_server.adjango(BEGIN + "Tag.objects.create(word=word)", word=word)
    client = await ResourceClient.open(app_server)
    names = {"word": word, "path": str(flag), "change": change}
    writing = asyncio.create_task(asyncio.to_thread(app_server.django, BEGIN + WAITING, **names))
    await eventually(flag.exists, "the change inside the transaction")
    filters = [{"column": "word", "operator": "startswith", "value": word}]
    options = {"filters": filters, "snapshot": True}
    data = await client.do("subscribe", "tags", schema="public", options=options)
    assert [row["word"] for row in data["snapshot"]] == [word]
    flag.unlink()
    await writing
    assert (await client.expect(type="notification"))["operation"] in told
    await client.close()


FOLLOWED = "from chat.resources import interest\nresult = interest.watched('blog.tag')"
SAVE = "from tests.blog.models import Tag\nTag.objects.create(word=word)"


async def nobody_follows_tags(server: ChatServer) -> None:
    """Wait until the second process knows that; it learns it by a change that no worker takes."""

    async def forgotten() -> bool:
        await server.adjango(SAVE, word=uuid4().hex[:20])
        return await server.adjango(FOLLOWED) is False

    await eventually(forgotten, "nothing is published any more")


async def test_a_model_that_nobody_follows(app_server):
    """When the last subscriber has gone, a process publishes one more change and then none."""
    client = await ResourceClient.open(app_server)
    await client.do("subscribe", "tags", schema="public")
    await app_server.adjango(SAVE, word=uuid4().hex[:20])
    await client.told("create")
    assert await app_server.adjango(FOLLOWED) is True
    await client.close()
    await nobody_follows_tags(app_server)


async def test_a_writer_that_redis_does_not_answer(start_server, own_redis):
    """A process that can't reach Redis waits for it once, not for each row; when it is back, who follows the
    model is told to begin anew."""
    server = await asyncio.to_thread(start_server, own_redis.url, workers=1, settings="tests.settings")
    with RedisProxy(own_redis.port) as line:
        server.environment["REDIS_URL"] = line.url  # of the second process alone
        word = f"r{uuid4().hex[:8]}"
        client = await ResourceClient.open(server)
        await client.do("subscribe", "tags", schema="public")
        await server.adjango(SAVE, word=word)
        await client.told("create")
        line.hold()
        code = "import time\nbegan = time.monotonic()\n" + BEGIN
        code += "for n in range(50):\n    Tag.objects.create(word=f'{word}{n}')\n"
        took = await server.adjango(code + "result = time.monotonic() - began", word=word)
        assert took < 6  # seconds: one deadline of Redis' is 3
        line.cut()
        line.release()
        assert await client.expect_close(1001, limit=10) == "changes may have been missed: subscribe again"
    client = await ResourceClient.open(server)
    data = await client.do("subscribe", "tags", schema="public", options={"snapshot": True})
    assert len(data["snapshot"]) == 51
    await client.close()
