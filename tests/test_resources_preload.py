"""Rows that belong to rows: each kind of relation, what may be asked of it, and whose eyes see it."""

from typing import Any
from uuid import uuid4

import pytest

from tests.kit import ChatServer
from tests.resource_kit import Open, ResourceClient

SAVE = """
from decimal import Decimal
from tests.blog.models import Passport, Person, Post, Tag

def person(name):
    return Person.objects.create(name=name, email=f"{mark}-{name}@example.com")

ada, bob, eve = person("ada"), person("bob"), person("eve")
passport = Passport.objects.create(holder=ada, number=int(mark[1:4], 16))
tags = [Tag.objects.create(word=f"{mark}-{word}") for word in ("red", "blue", "grey")]
posts = {}
for title, author, editor, price, words in (
    ("public 1", ada, bob, 3, (0, 1)),
    ("public 2", ada, None, 1, (1,)),
    ("draft 3", ada, ada, None, (0, 1, 2)),
    ("hidden 4", ada, bob, 2, ()),
    ("fixed 5", bob, bob, 2, (2,)),
):
    post = Post.objects.create(title=title, author=author, editor=editor, price=price)
    post.tags.set([tags[place] for place in words])
    posts[title[-1]] = post.pk
result = {"ada": ada.pk, "bob": bob.pk, "eve": eve.pk, "passport": passport.pk, "posts": posts,
          "tags": [tag.pk for tag in tags]}
"""


@pytest.fixture
async def blog(each_app_server: ChatServer) -> Any:
    """The keys of three people, five posts and three tags; ``mark`` is what the tags' words begin with."""
    mark = f"p{uuid4().hex[:10]}"
    return {"mark": mark, **await each_app_server.adjango(SAVE, mark=mark)}


@pytest.fixture
async def client(each_app_server: ChatServer, resources: Open) -> ResourceClient:
    return await resources(each_app_server)


def keys(blog: Any, numbers: str) -> list[int]:
    """The keys of the posts with these numbers."""
    return [blog["posts"][number] for number in numbers]


async def preloaded(client: ResourceClient, entity: str, ids: list[int], *preload: Any, **more: Any) -> Any:
    """The rows with these keys in this order, with what belongs to them."""
    filters = [{"column": "id", "operator": "in", "value": ids}]
    options = {"filters": filters, "preload": list(preload), **more}
    rows = {row["id"]: row for row in await client.do("read", entity, options=options)}
    assert sorted(rows) == sorted(ids)
    return [rows[ident] for ident in ids]


def ids_of(rows: list[dict[str, Any]], relation: str) -> list[list[int]]:
    return [[one["id"] for one in row[relation]] for row in rows]


# --- the kinds ----------------------------------------------------------------------------------------


async def test_a_foreign_key_both_ways(client: ResourceClient, blog: Any) -> None:
    """One object, or null; and a list, which may be empty."""
    first, second = await preloaded(client, "posts", keys(blog, "12"), {"relation": "author"}, "editor")
    assert (first["author"]["id"], second["author"]["id"]) == (blog["ada"], blog["ada"])
    assert set(first["author"]) == {"id", "name", "email", "status", "age"}
    assert (first["editor"]["name"], second["editor"]) == ("bob", None)
    people = await preloaded(client, "users", [blog["ada"], blog["bob"], blog["eve"]], {"relation": "posts"})
    assert ids_of(people, "posts") == [keys(blog, "1234"), keys(blog, "5"), []]
    assert people[0]["posts"][0]["author"] == blog["ada"]


async def test_one_to_one_both_ways(client: ResourceClient, blog: Any) -> None:
    """One object, or null, on either side."""
    ada, bob = await preloaded(client, "users", [blog["ada"], blog["bob"]], "passport")
    assert (ada["passport"]["holder"], bob["passport"]) == (blog["ada"], None)
    options = {"preload": [{"relation": "holder", "columns": ["name"]}]}
    passport = await client.do("read", "passports", record_id=blog["passport"], options=options)
    assert passport["holder"] == {"name": "ada"}


async def test_many_to_many_both_ways(client: ResourceClient, blog: Any) -> None:
    """Each row has its own; one that belongs to several is with each."""
    red, blue, grey = blog["tags"]
    posts = await preloaded(client, "posts", keys(blog, "1234"), {"relation": "tags"})
    assert ids_of(posts, "tags") == [[red, blue], [blue], [red, blue, grey], []]
    for tag, wanted in ((red, "13"), (blue, "123"), (grey, "35")):
        shown = await client.do("read", "tags", record_id=tag, options={"preload": ["posts"]})
        assert [post["id"] for post in shown["posts"]] == keys(blog, wanted)


# --- what may be asked of it --------------------------------------------------------------------------


async def test_it_has_options_of_its_own(client: ResourceClient, blog: Any) -> None:
    """Columns, filters, sort, limit and offset, the last two for each row by itself."""
    people = [blog["ada"], blog["bob"]]

    async def posts(**options: Any) -> Any:
        rows = await preloaded(client, "users", people, {"relation": "posts", **options}, columns=["id"])
        assert [set(row) for row in rows] == [{"id", "posts"}] * 2
        return [row["posts"] for row in rows]

    one = {"column": "title", "operator": "startswith", "value": "public"}
    assert await posts(filters=[one], columns=["id"]) == [[{"id": one} for one in keys(blog, "12")], []]
    dear = [{"column": "price", "direction": "DESC"}]
    names = {"columns": ["title"], "sort": dear}
    assert await posts(**names, limit=1) == [[{"title": "public 1"}], [{"title": "fixed 5"}]]
    assert await posts(**names, limit=2, offset=1) == [[{"title": "hidden 4"}, {"title": "public 2"}], []]
    assert await posts(**names, offset=3) == [[{"title": "draft 3"}], []]
    for options in ({"limit": 0}, {"offset": 2**63 - 1}, {"offset": 2**63 - 1, "limit": 2**63 - 1}):
        assert await posts(**options) == [[], []]


async def test_it_needs_no_column_beside(client: ResourceClient, blog: Any) -> None:
    """What says whose a row is need not be shown."""
    options = {"columns": ["title"], "preload": [{"relation": "author", "columns": ["name"]}, "tags"]}
    post = await client.do("read", "posts", record_id=blog["posts"]["2"], options=options)
    word = {"id": blog["tags"][1], "word": f"{blog['mark']}-blue"}
    assert post == {"title": "public 2", "author": {"name": "ada"}, "tags": [word]}


@pytest.mark.parametrize(
    "preload",
    [
        "posts",
        {"relation": "posts"},
        ["nope"],
        ["author__user"],
        ["posts__tags"],
        ["password"],
        ["edited"],  # there is one, which is not listed
        ["_state"],
        [{"relation": "posts__author"}],
        [{"relation": None}],
        [{"relation": {}}],
        [{"relation": ["posts"]}],
        [{}],
        [None],
        [1],
        [["posts"]],
        ["posts", "posts"],
        ["posts"] * 11,
        [{"relation": "posts", "limit": -1}],
        [{"relation": "posts", "offset": 1.5}],
        [{"relation": "posts", "columns": ["tags"]}],
        [{"relation": "posts", "columns": "id"}],
        [{"relation": "posts", "sort": [{"column": "content"}]}],
        [{"relation": "posts", "filters": [{"column": "content", "operator": "eq", "value": "x"}]}],
        [{"relation": "posts", "filters": [{"column": "author__password", "operator": "eq", "value": "x"}]}],
        [{"relation": "posts", "where": "1=1", "filters": "1=1"}],
    ],
)
async def test_nothing_else_may_be_asked(app_server: ChatServer, resources: Open, preload: Any) -> None:
    """Only listed relations, once each, and of them only what their own resource lists."""
    client = await resources(app_server)
    assert (await client.refused("read", "users", options={"preload": preload}))["code"] == "invalid_query"


async def test_it_goes_one_step(client: ResourceClient, blog: Any) -> None:
    """A preload inside of a preload is not looked at."""
    nested = {"relation": "posts", "preload": [{"relation": "tags"}, {"relation": "nope"}]}
    (ada,) = await preloaded(client, "users", [blog["ada"]], nested)
    assert "tags" not in ada["posts"][0]


# --- whose eyes ---------------------------------------------------------------------------------------


async def test_hidden_rows_are_not_shown(
    each_app_server: ChatServer, resources: Open, client: ResourceClient, blog: Any
) -> None:
    """A row that permissions hide takes no place, whatever the limit; without rights there is none at all."""
    sort = [{"column": "id", "direction": "desc"}]
    (ada,) = await preloaded(
        client, "authors", [blog["ada"]], {"relation": "posts", "sort": sort, "limit": 1}, "edited"
    )
    assert [post["title"] for post in ada["posts"]] == ["draft 3"]
    assert ada["edited"] == []
    user = each_app_server.create_user(blog["mark"], is_superuser=True)
    staff = await resources(each_app_server, cookie=user.cookie)
    (ada,) = await preloaded(staff, "authors", [blog["ada"]], "edited")
    assert [post["title"] for post in ada["edited"]] == ["draft 3"]


async def test_the_rows_of_a_user_may_be_found_by_the_same_relation(
    client: ResourceClient, blog: Any
) -> None:
    """What get_queryset joins does not decide whose a row is, nor double it."""
    red, blue, grey = blog["tags"]
    posts = await preloaded(client, "articles", keys(blog, "123"), {"relation": "tags", "limit": 2})
    assert ids_of(posts, "tags") == [[red, blue], [blue], [red, blue]]
    assert grey not in [tag["id"] for tag in posts[2]["tags"]]


# Few rows instead of ten thousand: a request that would have to look at more is refused.
LIMITED = """
from chat.resources import reading, registry
from chat.resources.errors import InvalidQuery
from chat.resources.options import read_options
from chat.resources.rights import ANONYMOUS, Asking

def read(entity, limit, **options):
    resource = registry.find(entity)
    reading.MOST_CHECKED = reading.MOST_RELATED = limit
    try:
        return len(reading.read_many(Asking(resource, ANONYMOUS, "read"), read_options(resource, options))[0])
    except InvalidQuery as error:
        return error.details

mine = [{"column": "id", "operator": "in", "value": posts}]
hers = [{"column": "id", "operator": "eq", "value": ada}]
result = [read("guarded.entries", 5, filters=mine), read("guarded.entries", 4, filters=mine),
          read("public.users", 4, filters=hers, preload=["posts"]),
          read("public.users", 3, filters=hers, preload=["posts"]),
          read("public.users", 3, filters=hers, preload=[{"relation": "posts", "limit": 3}])]
"""


async def test_too_many_rows_are_refused(app_server: ChatServer) -> None:
    """A thousand related rows of each of a thousand, or a permission asked of a whole table."""
    blog = await app_server.adjango(SAVE, mark=f"p{uuid4().hex[:10]}")
    found = await app_server.adjango(LIMITED, posts=list(blog["posts"].values()), ada=blog["ada"])
    checked = {"filters": "leave more than 4 records"}
    related = {"relation": "posts", "limit": "gives more than 3 records"}
    assert found == [4, checked, 1, related, 1]


# --- permissions that look at each row ----------------------------------------------------------------


async def test_a_hidden_row_is_not_counted(client: ResourceClient, blog: Any) -> None:
    """Neither a total nor a page tells that there is one; to change what may only be seen is unauthorized."""
    mine = {"column": "id", "operator": "in", "value": keys(blog, "12345")}

    async def read(*filters: Any, **options: Any) -> tuple[str, int]:
        answer = await client.ask("read", "entries", options={"filters": [mine, *filters], **options})
        return "".join(row["title"][-1] for row in answer["data"]), answer["metadata"]["total"]

    sort = [{"column": "id", "direction": "desc"}]
    assert await read() == ("1235", 4)
    assert await read(sort=sort, limit=2) == ("53", 4)
    assert await read(sort=sort, limit=1, offset=1) == ("3", 4)
    assert await read(limit=0) == ("", 4)
    guess = {"column": "title", "operator": "startswith", "value": "hidden"}
    assert await read(guess) == ("", 0)
    hidden, fixed = blog["posts"]["4"], blog["posts"]["5"]
    for operation in ("read", "update", "delete"):
        for key in (hidden, 2**40):
            error = await client.refused(operation, "entries", record_id=key, data={"title": "mine"})
            assert error == {"code": "not_found", "message": "There is no such record.", "details": {}}
    for operation in ("update", "delete"):
        error = await client.refused(operation, "entries", record_id=fixed, data={"title": "mine"})
        assert error["code"] == "unauthorized"
    assert await read() == ("1235", 4)
