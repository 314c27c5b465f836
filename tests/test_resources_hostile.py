"""A hostile client gets nothing: no hidden column, row, relation, lookup or word of the database's.

What it asks for that is not listed is refused in the same words, whether or not it is there.
"""

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.kit import ChatServer
from tests.resource_kit import Open, ResourceClient

NAMES = [
    # what is there and hidden, each beside what is not there
    "password",
    "is_staff",
    "passwords",
    "is_stuff",
    # lookups, transforms, paths, the ORM's own words
    "password__startswith",
    "name__regex",
    "id__in",
    "posts__title",
    "posts",
    "owner__user__password",
    "author_id",
    "pk",
    "pk__gte",
    "_connector",
    "_negated",
    "_state",
    "objects",
    "self",
    "__class__",
    "__init__",
    "*",
    "?",
    # SQL
    "id; DROP TABLE blog_person; --",
    "1=1) OR (1=1",
    'id" OR "1"="1',
    "id`",
    "public.users.id",
    "id desc",
    "-id",
    "CAST(id AS text)",
    "",
    " id",
    "ID",
    "i\u0501",
    "\0",
    "x" * 5000,
]
NO_NAMES: list[Any] = [None, 1, 1.5, True, [], ["name"], {}, {"name": 1}, [["name"]]]
OUTLAWS = ("sqlite", "psycopg", "SELECT", "select", "blog_", "Traceback", "django", "Error:", "s3cret")

SECRET = """
from tests.blog.models import Person
secret = {"is_staff": True, "password": "s3cret-" + name}
result = Person.objects.create(name=name, email=f"{name}@example.com", **secret).pk
"""


@pytest.fixture
async def client(each_app_server: ChatServer, resources: Open) -> ResourceClient:
    return await resources(each_app_server)


def options_with(name: Any) -> list[dict[str, Any]]:
    """A name at each place where a client may write one."""
    return [
        {"filters": [{"column": name, "operator": "eq", "value": "x"}]},
        {
            "filters": [
                {"column": "id", "operator": "eq", "value": 1},
                {"column": name, "operator": "is_null"},
            ]
        },
        {"filters": [{"column": name, "operator": "in", "value": list(range(2000))}]},
        {"filters": [{"column": "name", "operator": name, "value": "x"}]},
        {"filters": [{"column": "name", "operator": "eq", "value": "x", "logic_operator": name}]},
        {"sort": [{"column": name}]},
        {"sort": [{"column": "name", "direction": name}]},
        {"columns": [name]},
        {"columns": ["id", name]},
        {"preload": [name]},
        {"preload": [{"relation": name}]},
        {"preload": [{"relation": "posts", "filters": [{"column": name, "operator": "is_null"}]}]},
        {"preload": [{"relation": "posts", "sort": [{"column": name}]}]},
        {"preload": [{"relation": "posts", "columns": [name]}]},
    ]


def allowed(options: dict[str, Any], name: Any) -> bool:
    """A few of the names do mean something at some place."""
    text = json.dumps(options)
    return (
        (name in ("", None) and ("logic_operator" in text or "direction" in text))
        or (name == "posts" and text.startswith('{"preload": ["posts"]'))
        or (name == "posts" and text == '{"preload": [{"relation": "posts"}]}')
    )


@pytest.mark.parametrize("kind", ["read", "subscribe"])
async def test_names_that_are_not_listed(client: ResourceClient, kind: str) -> None:
    """At each place each of them is ``invalid_query``; a hidden one is told no different from one that is not
    there; and nobody speaks of the database."""
    told: dict[str, set[Any]] = {}
    for name in [*NAMES, *NO_NAMES]:
        for place, options in enumerate(options_with(name)):
            if allowed(options, name):
                continue
            error = await client.refused(kind, "users", options=options)
            assert error["code"] == "invalid_query", options
            text = json.dumps(error)
            if isinstance(name, str) and name.isascii() and len(name) > 2:
                own = json.dumps(name)[1:-1]
                text = text.replace(own[:100], "?")
            assert not [word for word in OUTLAWS if word in text]
            if isinstance(name, str) and name.isidentifier() and 2 < len(name) < 100:
                told.setdefault(str(place), set()).add(text)
    assert {place: len(texts) for place, texts in told.items()} == {str(place): 1 for place in range(14)}


@pytest.mark.parametrize(
    "options", [{"filters": "1=1"}, {"sort": "name"}, {"columns": "name"}, {"preload": {}}]
)
async def test_options_of_another_kind(client: ResourceClient, options: dict[str, Any]) -> None:
    """A text or an object in the place of a list is refused, and the key is named."""
    error = await client.refused("read", "users", options=options)
    assert (error["code"], list(error["details"])) == ("invalid_query", list(options))


async def test_keys_that_are_not_of_the_protocol_do_nothing(client: ResourceClient) -> None:
    """Whatever a query builder would make of them."""
    plain = await client.ask("read", "users", options={"limit": 3})
    extras = [
        "where",
        "customSqlWhere",
        "_connector",
        "password__startswith",
        "pk__in",
        "raw",
        "extra",
        "using",
    ]
    for extra in extras:
        answer = await client.ask("read", "users", options={"limit": 3, extra: "1=1"}, **{extra: "1=1"})
        assert {**answer, "id": None, "timestamp": None} == {**plain, "id": None, "timestamp": None}


async def test_too_much_of_all(client: ResourceClient) -> None:
    """Lists have a length at which they are refused, long before they are work."""
    one = {"column": "id", "operator": "eq", "value": 1}
    for options in (
        {"filters": [one] * 51},
        {"filters": [{"column": "id", "operator": "in", "value": list(range(1001))}]},
        {"filters": [{"column": "id", "operator": "in", "value": list(range(10_000))}]},
        {"filters": [{"column": "name", "operator": "like", "value": "%a" * 5001}]},
        {"sort": [{"column": "name"}] * 11},
        {"columns": ["id"] * 5000},
        {"preload": ["posts"] * 11},
    ):
        assert (await client.refused("read", "users", options=options))["code"] == "invalid_query"
    many = [{"column": "id", "operator": "in", "value": list(range(1000))}] * 10
    assert (await client.ask("read", "users", options={"filters": many, "limit": 1}))["success"]
    wild = {"column": "name", "operator": "like", "value": "%a" * 4000 + "%_"}
    assert await client.do("read", "users", options={"filters": [wild]}) == []


async def test_the_secret_stays_one(each_app_server: ChatServer, client: ResourceClient) -> None:
    """No question that is answered depends on a column that is hidden."""
    name = f"x{uuid4().hex[:10]}"
    key = await each_app_server.adjango(SECRET, name=name)
    for question in ("s", "s3cret", "a"):
        for operator in ("startswith", "like", "gt"):
            guess = {"column": "password", "operator": operator, "value": question}
            error = await client.refused("read", "users", record_id=key, options={"filters": [guess]})
            assert error == {
                "code": "invalid_query",
                "message": "Filter 1: its column is not a column to filter by.",
                "details": {"filter": 0, "column": "password", "reason": "is not a column to filter by"},
            }
    assert set(await client.do("read", "users", record_id=key)) == {"id", "name", "email", "status", "age"}
    assert "s3cret" not in "".join(client.texts)
    meta = await client.do("meta", "users")
    assert "password" not in json.dumps(meta)
    assert "is_staff" not in json.dumps(meta)


# A column of each kind; what no database, or only one of them, could keep.
UNFIT: list[tuple[str, Any]] = [
    ("code", "a\0b"),
    ("words", "\0"),
    ("words", {"a": 1}),
    ("contents", "a\0"),
    ("contents", {"a": ["b", {"c": "\0"}]}),
    ("contents", {"a\0": 1}),
    ("pieces", 2**63),
    ("pieces", 1.5),
    ("pieces", "9" * 1001),
    ("pieces", True),
    ("weight", "nan"),
    ("weight", "Infinity"),
    ("weight", "1e400"),
    ("weight", []),
    ("price", "NaN"),
    ("price", "sNaN"),
    ("price", "1e5"),
    ("price", "0.001"),
    ("price", 99999.99),
    ("price", "1" * 1001),
    ("fragile", {}),
    ("fragile", 2),
    ("day", "2025-02-30"),
    ("day", "10000-01-01"),
    ("moment", "0001-01-01T00:00:00+23:00"),
    ("moment", "9999-12-31T23:59:59-23:00"),
    ("moment", 1e300),
    ("time", "24:01"),
    ("span", "9999999999 00:00:00"),
    ("span", {}),
    ("reference", "x"),
    ("reference", -1),
    ("reference", 2**64 - 1.0),
    ("address", "1.2.3.400"),
]
FIT: list[tuple[str, Any]] = [
    ("pieces", -(2**31)),
    ("pieces", 2**31 - 1),
    ("weight", 1.7976931348623157e308),
    ("weight", -5e-324),
    ("price", "-9999.99"),
    ("day", "0001-01-01"),
    ("day", "9999-12-31"),
    ("moment", "0001-01-01T00:00:00Z"),
    ("moment", "9999-12-31T23:59:59.999999Z"),
    ("time", "23:59:59.999999"),
    ("span", "-106751991 00:00:00"),
    ("reference", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
    ("address", "2001:db8::1"),
    ("contents", {"a": [None, True, 1.5, "é🙂", {"": {}}], "b": 2**64 - 1}),
    ("contents", []),
    ("words", "x" * 50_000),
    ("words", "'; DROP TABLE blog_parcel; -- \\ % _ \x01\x1f\x7f\ufffe"),
]


async def test_values_at_the_ends(client: ResourceClient) -> None:
    """What fits is kept as it is; what does not is a validation_error of its field, never a failure."""
    code = uuid4().hex[:12]
    await client.do("create", "parcels", data={"code": code})
    for name, value in UNFIT:
        for operation, key in (("create", None), ("update", code)):
            data = {"code": uuid4().hex[:12], name: value} if key is None else {name: value}
            error = await client.refused(operation, "parcels", record_id=key, data=data)
            assert (error["code"], list(error["details"])) == ("validation_error", [name]), (name, value)
    for name, value in FIT:
        row = await client.do("update", "parcels", record_id=code, data={name: value})
        assert row[name] == value
        assert (await client.do("read", "parcels", record_id=code))[name] == value
    # SQLite keeps 292,000 years, PostgreSQL more.
    answer = await client.ask("update", "parcels", record_id=code, data={"span": "200000000 00:00:00"})
    assert answer["success"] or answer["error"]["code"] == "validation_error"
    error = await client.refused("create", "stories", data={"title": "x", "author": 2**63, "tags": ["\0"]})
    assert error["code"] == "validation_error"
    assert "create_error" not in "".join(client.texts)
    assert "update_error" not in "".join(client.texts)
