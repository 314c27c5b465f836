"""Filters mean the same in SQLite, in PostgreSQL and in memory; what does not fit is refused by name."""

import datetime
import decimal
import itertools
import uuid
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chat.resources.columns import Kind
from chat.resources.errors import InvalidQuery
from chat.resources.filters import MAX_FILTERS, MAX_VALUES, Operator, operators_of, read_filters
from chat.resources.lookups import as_glob, lower, matches
from tests.postgres import PostgresServer
from tests.samples import ALIASES, ATTNAMES, COLUMNS, Sample, databases

# Letters whose case, width or meaning in a pattern a database might see otherwise.
TEXTS = st.text("abAB%_\\*?[]^-. 1éÉßİıǅσςΣ日🙂\n", max_size=6)
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.TEXT: TEXTS,
    Kind.INTEGER: st.integers(-12, 12) | st.sampled_from([2**31 - 1, -(2**31)]),
    Kind.FLOAT: st.sampled_from([-1.5, -0.0, 0.0, 0.1, 1.0, 1e20, 3.14]),
    Kind.DECIMAL: st.decimals(-10, 10, places=3),
    Kind.BOOLEAN: st.booleans(),
    Kind.DATE: st.dates(datetime.date(2024, 12, 30), datetime.date(2025, 1, 3)),
    Kind.DATETIME: st.datetimes(
        datetime.datetime(2024, 12, 31, 23, 59, 58),  # noqa: DTZ001 (hypothesis adds the zone)
        datetime.datetime(2025, 1, 1, 0, 0, 1),  # noqa: DTZ001 (as above)
        timezones=st.just(datetime.UTC),
    ),
    Kind.TIME: st.sampled_from([datetime.time(), datetime.time(1, 2, 3), datetime.time(23, 59, 59, 999999)]),
    Kind.DURATION: st.timedeltas(datetime.timedelta(days=-2), datetime.timedelta(days=2)),
    Kind.UUID: st.sampled_from([uuid.UUID(int=number) for number in (0, 1, 2**127, 2**128 - 1)]),
    Kind.OPAQUE: st.just({"a": 1}),
}
ASKED = [column for column in COLUMNS.values() if column.name != "id"]


def as_json(value: Any) -> Any:
    """A value as a client would write it."""
    if isinstance(value, datetime.timedelta):
        return f"{value.days} {value.seconds}.{value.microseconds:06d}"
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | uuid.UUID):
        return str(value)
    return value


@st.composite
def filters(draw: Any) -> list[dict[str, Any]]:
    made = []
    for _ in range(draw(st.integers(1, 4))):
        column = draw(st.sampled_from(ASKED))
        operator = draw(st.sampled_from(operators_of(column)))
        one = VALUES[column.kind].map(as_json)
        if operator in (Operator.LIKE, Operator.ILIKE, Operator.CONTAINS, Operator.ICONTAINS):
            one = TEXTS | st.sampled_from(["%", "_", "%a%", "1%", "%-01-%"])
        elif operator in (Operator.STARTSWITH, Operator.ENDSWITH):
            one = TEXTS
        value: Any
        if operator is Operator.IN:
            value = draw(st.lists(one, max_size=3))
        elif operator is Operator.BETWEEN:
            value = [draw(one), draw(one)]
        elif operator in (Operator.IS_NULL, Operator.IS_NOT_NULL):
            value = draw(st.sampled_from([None, True, False]))
        elif operator in (Operator.EQ, Operator.NEQ):
            value = draw(one | st.none())
        else:
            value = draw(one)
        made.append(
            {
                "column": column.name,
                "operator": operator.value,
                "value": value,
                "logic_operator": draw(st.sampled_from([None, "AND", "OR", "or"])),
            }
        )
    return made


ROWS = st.fixed_dictionaries(
    {column.name: st.none() | VALUES[column.kind] for column in ASKED if column.kind is not Kind.OPAQUE}
    | {"json": st.none() | st.just({"a": 1})}
)


@pytest.fixture(scope="module")
def _databases(tmp_path_factory, django_db_blocker):
    postgres = PostgresServer().start()
    try:
        with django_db_blocker.unblock(), databases(tmp_path_factory.mktemp("samples"), postgres.url):
            yield
    finally:
        postgres.stop()
        postgres.cleanup()


@pytest.mark.usefixtures("_databases")
@settings(max_examples=40, derandomize=True)
@given(rows=st.lists(ROWS, min_size=1, max_size=6), asked=st.lists(filters(), min_size=1, max_size=8))
def test_the_three_agree(rows, asked):
    """On random rows and filters both databases and the compiled filter choose the same rows."""
    for alias in ALIASES:
        Sample.objects.using(alias).all().delete()
        Sample.objects.using(alias).bulk_create(
            Sample(id=number, **row) for number, row in enumerate(rows, 1)
        )
    for raw in asked:
        found = read_filters(raw, COLUMNS)
        fits = found.compile()
        chosen = []
        for alias in ALIASES:
            table = Sample.objects.using(alias)
            chosen.append(sorted(table.filter(found.q()).values_list("pk", flat=True)))
            chosen.append(sorted(row["id"] for row in table.values(*ATTNAMES) if fits(row)))
        assert chosen[0] == chosen[1] == chosen[2] == chosen[3], raw


@given(text=TEXTS, pattern=TEXTS)
def test_a_pattern_without_wildcards_matches_itself_only(text, pattern):
    assume(not set(pattern) & set("%_\\"))
    assert matches(text, pattern) == (text == pattern)


def test_a_hostile_pattern_costs_little():
    """Forty wildcards against ten thousand characters: a backtracking matcher would never end; and a long
    piece that nearly fits at each place would take one that compares anew half a minute."""
    assert not matches("a" * 10_000, "%a" * 40 + "%b")
    assert matches("a" * 10_000, "%a" * 40)
    for near in ("a" * 9_000 + "b", "_" + "a" * 9_000 + "b", "a_" * 4_500 + "b"):
        assert not matches("a" * 60_000, f"%{near}%")
        assert matches("a" * 60_000 + "b", f"%{near}%")


def test_case_is_ignored_character_by_character():
    """As towlower(3) does: the length stays, and neighbours don't count."""
    assert lower("AÉΣİ") == "aéσi"
    assert as_glob("a*[%_\\%") == "a[*][[]*?%"


def test_runs_of_or_form_one_group():
    """a OR b AND c OR d is (a OR b) AND (c OR d); the first filter's word joins nothing."""
    words = ["OR", "OR", None, "or"]
    raw = [
        {"column": "whole", "operator": "eq", "value": number, "logic_operator": word}
        for number, word in enumerate(words)
    ]
    groups = read_filters(raw, COLUMNS).groups
    assert [[condition.value for condition in group] for group in groups] == [[0, 1], [2, 3]]


def test_an_empty_list_matches_nothing():
    found = read_filters([{"column": "whole", "operator": "in", "value": []}], COLUMNS)
    assert not found.compile()({"whole": 1})
    assert found.key() == (("whole",), ())


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ("status", "filters"),
        ({"column": "text"}, "filters"),
        (["text"], "filter"),
        ([{"operator": "eq", "value": 1}], "column"),
        ([{"column": "password", "operator": "eq", "value": 1}], "column"),
        ([{"column": "text__startswith", "operator": "eq", "value": "a"}], "column"),
        ([{"column": "_connector", "operator": "eq", "value": "OR"}], "column"),
        ([{"column": "pk", "operator": "eq", "value": 1}], "column"),
        ([{"column": ["text"], "operator": "eq", "value": 1}], "column"),
        ([{"column": "text", "value": 1}], "operator"),
        ([{"column": "text", "operator": "regex", "value": "a"}], "operator"),
        ([{"column": "text", "operator": "exact; DROP TABLE", "value": "a"}], "operator"),
        ([{"column": "flag", "operator": "gt", "value": True}], "operator"),
        ([{"column": "real", "operator": "like", "value": "1%"}], "operator"),
        ([{"column": "json", "operator": "eq", "value": {}}], "operator"),
        ([{"column": "text", "operator": "eq", "value": "a", "logic_operator": "XOR"}], "logic_operator"),
        ([{"column": "text", "operator": "eq", "value": "a", "logic_operator": 1}], "logic_operator"),
        ([{"column": "text", "operator": "eq", "value": 7}], "value"),
        ([{"column": "text", "operator": "eq", "value": "a\0"}], "value"),
        ([{"column": "text", "operator": "eq", "value": "a" * 10_001}], "value"),
        ([{"column": "text", "operator": "in", "value": "a"}], "value"),
        ([{"column": "text", "operator": "in", "value": ["a", None]}], "value"),
        ([{"column": "whole", "operator": "in", "value": list(range(MAX_VALUES + 1))}], "value"),
        ([{"column": "whole", "operator": "in", "value": list(range(100_000))}], "value"),
        ([{"column": "whole", "operator": "between", "value": [1]}], "value"),
        ([{"column": "whole", "operator": "gt", "value": None}], "value"),
        ([{"column": "whole", "operator": "eq", "value": True}], "value"),
        ([{"column": "whole", "operator": "eq", "value": 2**63}], "value"),
        ([{"column": "whole", "operator": "eq", "value": "1 OR 1=1"}], "value"),
        ([{"column": "exact", "operator": "eq", "value": "1e999"}], "value"),
        ([{"column": "day", "operator": "eq", "value": "2025-02-30"}], "value"),
        ([{"column": "moment", "operator": "eq", "value": "yesterday"}], "value"),
        ([{"column": "moment", "operator": "eq", "value": "0001-01-01T00:00:00+23:00"}], "value"),
        ([{"column": "uuid", "operator": "eq", "value": "7"}], "value"),
        ([{"column": "text", "operator": "is_null"}] * (MAX_FILTERS + 1), "filters"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(raw, key):
    """The details name the key; nothing of it reached the ORM."""
    with pytest.raises(InvalidQuery) as refused:
        read_filters(raw, COLUMNS)
    assert key in refused.value.details


@pytest.mark.parametrize(("kind", "count"), [(Kind.TEXT, 16), (Kind.BOOLEAN, 5), (Kind.OPAQUE, 2)])
def test_a_column_says_what_may_be_asked(kind, count):
    column = next(column for column in COLUMNS.values() if column.kind is kind)
    assert len(operators_of(column)) == count


def test_every_kind_is_tried_here():
    assert {column.kind for column in COLUMNS.values()} == set(Kind) == set(VALUES)
    assert len(list(itertools.chain(*[operators_of(column) for column in ASKED]))) > 90
