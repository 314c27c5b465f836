"""Filters and sort as a client asks for them, on SQLite and on PostgreSQL alike.

That each operator means the same there and in memory, on random rows, is test_resources_filters.py's.
"""

from typing import Any

import pytest

from tests.kit import ChatServer
from tests.resource_kit import Open, ResourceClient

# Below them all are empty; code → what its columns hold.
ROWS: dict[str, dict[str, Any]] = {
    "a": {"pieces": 1, "small": 5, "price": "1.50", "day": "2024-01-31", "words": "Ab%", "fragile": True},
    "b": {"pieces": 12, "small": 5, "price": "-2.00", "day": "2024-12-01", "words": "ab_", "fragile": False},
    "c": {"pieces": None, "small": 7, "price": None, "day": None, "words": "", "fragile": None},
    "d": {"pieces": -3, "small": None, "price": "10.00", "day": "0001-01-01", "words": "Éa", "weight": 0.5},
    "e": {"pieces": 12, "small": 5, "price": "1.5", "day": "9999-12-31", "words": "éB", "weight": -1e300},
}

SAVE = """
from tests.blog.models import Parcel
if not Parcel.objects.filter(code=mark + "a").exists():
    Parcel.objects.bulk_create([Parcel(code=mark + code, **values) for code, values in rows.items()])
"""
MARK = "q-"


@pytest.fixture
async def client(each_app_server: ChatServer, resources: Open) -> ResourceClient:
    """With the rows above in the database."""
    await each_app_server.adjango(SAVE, rows=ROWS, mark=MARK)
    return await resources(each_app_server)


async def found(client: ResourceClient, *filters: dict[str, Any], **options: Any) -> str:
    """The codes of those of our rows that fit, in the order they come in."""
    mine = {"column": "code", "operator": "startswith", "value": MARK}
    options = {"filters": [mine, *filters], "columns": ["code"], **options}
    rows = await client.do("read", "parcels", options=options)
    return "".join(row["code"].removeprefix(MARK) for row in rows)


def one(column: str, operator: str, *value: Any, joined: str | None = None) -> dict[str, Any]:
    made = {"column": column, "operator": operator}
    if value:
        made["value"] = value[0]
    return made if joined is None else {**made, "logic_operator": joined}


FILTERS: list[tuple[dict[str, Any], str]] = [
    (one("pieces", "eq", 12), "be"),
    (one("pieces", "eq", "12"), "be"),
    (one("pieces", "EQ", 12), "be"),
    (one("pieces", "eq", None), "c"),
    (one("pieces", "neq", 12), "ad"),
    (one("pieces", "neq", None), "abde"),
    (one("pieces", "gt", 1), "be"),
    (one("pieces", "gte", 1), "abe"),
    (one("pieces", "lt", 1), "d"),
    (one("pieces", "lte", 1), "ad"),
    (one("pieces", "in", [1, -3, 1, "-3"]), "ad"),
    (one("pieces", "in", []), ""),
    (one("pieces", "between", [-3, 1]), "ad"),
    (one("pieces", "between", [1, -3]), ""),
    (one("pieces", "is_null"), "c"),
    (one("pieces", "is_null", False), "abde"),
    (one("pieces", "is_not_null", True), "abde"),
    # On what is no text, the text of it.
    (one("pieces", "like", "1%"), "abe"),
    (one("pieces", "like", 12), "be"),
    (one("pieces", "ilike", "_2"), "be"),
    (one("pieces", "contains", "3"), "d"),
    (one("pieces", "startswith", "-"), "d"),
    (one("day", "like", "2024-%-01"), "b"),
    (one("day", "endswith", "31"), "ae"),
    # Case, and wildcards that are none.
    (one("words", "like", "ab%"), "b"),
    (one("words", "ilike", "AB%"), "ab"),
    (one("words", "ilike", "ÉA"), "d"),
    (one("words", "icontains", "É"), "de"),
    (one("words", "contains", "%"), "a"),
    (one("words", "endswith", "_"), "b"),
    (one("words", "like", "%\\_"), "b"),
    (one("words", "like", ""), "c"),
    (one("words", "eq", ""), "c"),
    (one("words", "startswith", ""), "abcde"),
    (one("words", "gt", "a"), "bde"),
    (one("words", "lt", "a"), "ac"),
    # Beyond what a column holds there is nothing, not an error, and not the empty rows either.
    (one("pieces", "eq", 2**63 - 1), ""),
    (one("pieces", "gt", 2**31), ""),
    (one("pieces", "lt", 2**40), "abde"),
    (one("pieces", "lte", 2**63 - 1), "abde"),
    (one("pieces", "gte", -(2**63)), "abde"),
    (one("pieces", "neq", 2**62), "abde"),
    (one("pieces", "between", [-(2**63), 2**63 - 1]), "abde"),
    (one("pieces", "in", [2**40, 1, -(2**63)]), "a"),
    (one("small", "lt", 2**20), "abce"),
    (one("price", "lt", "1e50"), "abde"),
    (one("price", "eq", 1.5), "ae"),
    (one("price", "eq", "1.5000"), "ae"),
    (one("price", "gt", -1e99), "abde"),
    (one("weight", "lt", 0), "e"),
    (one("day", "gte", "9999-12-31"), "e"),
    (one("day", "lt", "0001-01-02"), "d"),
    (one("moment", "lt", "9999-12-31T23:59:59.999999Z"), ""),
    (one("moment", "gt", "0001-01-01"), ""),
    (one("span", "lt", "106751990 00:00:00"), ""),
    (one("fragile", "eq", True), "a"),
    (one("fragile", "neq", True), "b"),
    (one("fragile", "in", [True, False]), "ab"),
    (one("reference", "eq", "00000000-0000-0000-0000-000000000000"), ""),
    (one("contents", "is_null"), "abcde"),
    (one("address", "is_not_null"), ""),
]


async def test_filters(client: ResourceClient) -> None:
    """Each operator, on each kind of column, up to the ends of what a database holds."""
    for asked, wanted in FILTERS:
        assert await found(client, asked) == wanted, asked


async def test_groups(client: ResourceClient) -> None:
    """OR joins a filter to the one before it, in runs; all groups must hold; the first one's word joins
    nothing."""
    a, b = one("pieces", "eq", 1, joined="OR"), one("pieces", "eq", -3, joined="or")
    assert await found(client, one("words", "eq", ""), a, b) == "acd"
    assert await found(client, one("words", "eq", ""), a, one("day", "is_not_null"), b) == "a"
    assert await found(client, one("small", "eq", 5), one("words", "eq", "Ab%", joined="AND"), b) == "a"
    assert (
        await found(client, one("small", "eq", 5, joined=""), one("pieces", "in", [], joined="OR")) == "abe"
    )
    answer = await client.ask("read", "parcels", options={"filters": [a, b], "columns": ["code"]})
    assert {row["code"] for row in answer["data"]} >= {MARK + "a", MARK + "d"}


@pytest.mark.parametrize(
    ("sort", "wanted"),
    [
        ([], "abcde"),
        (None, "abcde"),
        ([{"column": "pieces"}], "cdabe"),
        ([{"column": "pieces", "direction": "asc"}], "cdabe"),
        ([{"column": "pieces", "direction": "DESC"}], "beadc"),
        ([{"column": "pieces", "direction": "Desc"}, {"column": "code", "direction": "desc"}], "ebadc"),
        ([{"column": "small"}, {"column": "pieces", "direction": "DESC"}], "dbeac"),
        ([{"column": "small", "direction": None}, {"column": "day", "direction": ""}], "dabec"),
        ([{"column": "words"}], "cabde"),
        ([{"column": "words", "direction": "desc"}], "edbac"),
        ([{"column": "price"}], "cbaed"),
        ([{"column": "price", "direction": "desc"}], "daebc"),
        ([{"column": "day", "direction": "DESC"}], "ebadc"),
        ([{"column": "fragile"}], "cdeba"),
        ([{"column": "code", "direction": "desc"}, {"column": "code", "direction": "asc"}], "edcba"),
        ([{"column": "moment", "direction": "desc", "nulls": "first"}], "abcde"),
    ],
)
async def test_sort(client: ResourceClient, sort: Any, wanted: str) -> None:
    """Nulls are the lowest, texts go by code points, the key breaks ties."""
    assert await found(client, sort=sort) == wanted
    assert await found(client, sort=sort, limit=2, offset=1) == wanted[1:3]
