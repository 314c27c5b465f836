"""Filters: read once from what a client wrote, then asked of the database and of rows in memory alike.

    [{"column": "status", "operator": "eq", "value": "active"},
     {"column": "age", "operator": "gte", "value": 18, "logic_operator": "OR"}]

``logic_operator`` "OR" joins a filter to the one before it; runs of OR form a group, all groups must hold.
Null fits no operator but ``is_null``, and ``eq`` null, as in SQL. Texts compare by code points. No text of a
client's reaches the ORM but as a value: columns and operators are looked up in tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.db.models import F, Q

from .columns import Column, Kind
from .errors import InvalidQuery
from .lookups import Compared, Like, as_text, literally, lower, matches

MAX_FILTERS = 50
MAX_VALUES = 1000  # of one ``in``

Row = Mapping[str, Any]  # a model's attname → the value that the database gave
Test = Callable[[Any], bool]  # of a value that is not null


class Operator(StrEnum):
    EQ = "eq"
    NEQ = "neq"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    LIKE = "like"
    ILIKE = "ilike"
    IN = "in"
    CONTAINS = "contains"
    ICONTAINS = "icontains"
    STARTSWITH = "startswith"
    ENDSWITH = "endswith"
    BETWEEN = "between"
    IS_NULL = "is_null"
    IS_NOT_NULL = "is_not_null"


_NULL = frozenset({Operator.IS_NULL, Operator.IS_NOT_NULL})
_EQUAL = frozenset({Operator.EQ, Operator.NEQ, Operator.IN})
_ORDER = frozenset({Operator.GT, Operator.GTE, Operator.LT, Operator.LTE, Operator.BETWEEN})
_TEXT = frozenset(Operator) - _NULL - _EQUAL - _ORDER

# Text operators also fit what has the same text on every database.
_AS_TEXT = frozenset({Kind.INTEGER, Kind.DATE})


def operators_of(column: Column) -> list[Operator]:
    """What may be asked of a column, in the order of the list above."""
    fits = set(_NULL)
    if column.kind is not Kind.OPAQUE:
        fits |= _EQUAL
    if column.kind not in (Kind.OPAQUE, Kind.BOOLEAN):
        fits |= _ORDER
    if column.kind is Kind.TEXT or column.kind in _AS_TEXT:
        fits |= _TEXT
    return [operator for operator in Operator if operator in fits]


@dataclass(frozen=True, slots=True)
class Condition:
    """One filter, checked: ``value`` is the column's Python value, or a tuple of them."""

    column: Column
    operator: Operator
    value: Any

    def q(self) -> Q:
        """The same for the ORM."""
        return _Q[self.operator](self)

    def test(self) -> Callable[[Row], bool]:
        """The same for a row in memory."""
        name = self.column.attname
        if self.operator is Operator.IS_NULL:
            return lambda row: row[name] is None
        if self.operator is Operator.IS_NOT_NULL:
            return lambda row: row[name] is not None
        holds = _TESTS[self.operator](self)

        def test(row: Row) -> bool:
            value = row[name]
            return value is not None and holds(value)

        return test


@dataclass(frozen=True, slots=True)
class Filters:
    """Groups of alternatives, all of which must hold; none: every row fits."""

    groups: tuple[tuple[Condition, ...], ...] = ()

    def q(self) -> Q:
        found = Q()
        for group in self.groups:
            alternatives = group[0].q()
            for condition in group[1:]:
                alternatives |= condition.q()
            found &= alternatives
        return found

    def compile(self) -> Callable[[Row], bool]:
        """A function that tells whether a row fits, as the database would."""
        groups = [[condition.test() for condition in group] for group in self.groups]
        if not groups:
            return lambda row: True
        if all(len(group) == 1 for group in groups):
            tests = [group[0] for group in groups]
            return tests[0] if len(tests) == 1 else lambda row: all(test(row) for test in tests)
        return lambda row: all(any(test(row) for test in group) for group in groups)

    def columns(self) -> set[str]:
        """The attnames that a row must have to be tested."""
        return {condition.column.attname for group in self.groups for condition in group}

    def key(self) -> tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]] | None:
        """Columns and the values of which one combination must be there, where the filters ask for that: what
        fits can be found by it instead of being tested. None where they don't."""
        single = [group[0] for group in self.groups if len(group) == 1]
        equal = {one.column.attname: one.value for one in single if one.operator is Operator.EQ}
        if equal:
            names = tuple(sorted(equal))
            return names, (tuple([equal[name] for name in names]),)
        for one in single:
            if one.operator is Operator.IN:
                return (one.column.attname,), tuple([(value,) for value in one.value])
        return None


def read_filters(raw: Any, columns: Mapping[str, Column]) -> Filters:
    """Check a client's list of filters against the columns it may use. Raises InvalidQuery."""
    if raw is None:
        return Filters()
    if not isinstance(raw, list):
        raise InvalidQuery("options.filters must be a list.", details={"filters": "must be a list"})
    if len(raw) > MAX_FILTERS:
        raise InvalidQuery(f"There may be at most {MAX_FILTERS} filters.", details={"filters": "too many"})
    groups: list[list[Condition]] = []
    for place, entry in enumerate(raw):
        if not isinstance(entry, dict):
            raise _wrong(place, "filter", None, "must be an object")
        condition = _read_condition(place, entry, columns)
        if _joins(place, entry) and groups:
            groups[-1].append(condition)
        else:
            groups.append([condition])
    return Filters(tuple(tuple(group) for group in groups))


def _joins(place: int, entry: dict[str, Any]) -> bool:
    """Whether a filter is an alternative to the one before it."""
    word = entry.get("logic_operator")
    if word is None or word == "":
        return False
    if isinstance(word, str) and word.upper() in ("AND", "OR"):
        return word.upper() == "OR"
    raise _wrong(place, "logic_operator", word, 'must be "AND" or "OR"')


def _read_condition(place: int, entry: dict[str, Any], columns: Mapping[str, Column]) -> Condition:
    name = entry.get("column")
    column = columns.get(name) if isinstance(name, str) else None
    if column is None:
        raise _wrong(place, "column", name, "is not a column to filter by")
    word = entry.get("operator")
    try:
        operator = Operator(word.lower()) if isinstance(word, str) else None
    except ValueError:
        operator = None
    if operator is None:
        raise _wrong(place, "operator", word, "is not an operator")
    if operator not in operators_of(column):
        raise _wrong(place, "operator", word, f"does not fit a {column.kind} column")
    try:
        return _condition(column, operator, entry.get("value"))
    except ValueError as error:
        raise InvalidQuery(
            f"The value of filter {place + 1} does not fit its column.",
            details={"filter": place, "column": column.name, "value": str(error)},
        ) from None


def _condition(column: Column, operator: Operator, value: Any) -> Condition:
    """Raises ValueError for a value that does not fit."""
    if operator in _NULL:
        # {"operator": "is_null", "value": false} asks for the opposite.
        if value is False:
            operator = Operator.IS_NOT_NULL if operator is Operator.IS_NULL else Operator.IS_NULL
        return Condition(column, operator, None)
    if operator is Operator.EQ and value is None:
        return Condition(column, Operator.IS_NULL, None)
    if operator is Operator.NEQ and value is None:
        return Condition(column, Operator.IS_NOT_NULL, None)
    if operator is Operator.IN:
        if not isinstance(value, list):
            raise ValueError("must be a list")
        if len(value) > MAX_VALUES:
            raise ValueError(f"must have at most {MAX_VALUES:,} values")
        return Condition(column, operator, tuple(dict.fromkeys([column.parse(one) for one in value])))
    if operator is Operator.BETWEEN:
        if not isinstance(value, list) or len(value) != 2:
            raise ValueError("must be a list of two values")
        return Condition(column, operator, (column.parse(value[0]), column.parse(value[1])))
    if operator in _TEXT and column.kind is not Kind.TEXT:
        value = str(value) if type(value) is int else value
        return Condition(column, operator, Column("", "", Kind.TEXT, False).parse(value))
    return Condition(column, operator, column.parse(value))


def _wrong(place: int, key: str, given: Any, words: str) -> InvalidQuery:
    shown = given if isinstance(given, str) and len(given) <= 100 else None
    return InvalidQuery(
        f"Filter {place + 1}: its {key} {words}.", details={"filter": place, key: shown, "reason": words}
    )


# --- for the database -----------------------------------------------------------------------------


def _compare(lookup: str) -> Callable[[Condition], Q]:
    """Texts compare by code points, whatever the database's collation is."""

    def build(condition: Condition) -> Q:
        return _lookup(condition, lookup, condition.value)

    return build


def _lookup(condition: Condition, lookup: str, value: Any) -> Q:
    name = condition.column.attname
    if condition.column.kind is Kind.TEXT:
        return Q(Compared(F(name), lookup, value))
    found = Q(**{f"{name}__{lookup}": value})
    if condition.column.kind is Kind.INTEGER and condition.column.null:
        # Beyond what the column holds Django takes all rows, or none: the empty ones too.
        found &= Q(**{f"{name}__isnull": False})
    return found


def _like(pattern: Callable[[str], str], ignore_case: bool = False) -> Callable[[Condition], Q]:
    def build(condition: Condition) -> Q:
        text: Any = F(condition.column.attname)
        if condition.column.kind is not Kind.TEXT:
            text = as_text(text)
        return Q(Like(text, pattern(condition.value), ignore_case))

    return build


_Q: dict[Operator, Callable[[Condition], Q]] = {
    Operator.EQ: lambda one: Q(**{one.column.attname: one.value}),
    Operator.NEQ: lambda one: (
        ~Q(**{one.column.attname: one.value}) & Q(**{f"{one.column.attname}__isnull": False})
    ),
    Operator.GT: _compare("gt"),
    Operator.GTE: _compare("gte"),
    Operator.LT: _compare("lt"),
    Operator.LTE: _compare("lte"),
    Operator.BETWEEN: lambda one: _lookup(one, "gte", one.value[0]) & _lookup(one, "lte", one.value[1]),
    Operator.IN: lambda one: Q(**{f"{one.column.attname}__in": list(one.value)}),
    Operator.IS_NULL: lambda one: Q(**{f"{one.column.attname}__isnull": True}),
    Operator.IS_NOT_NULL: lambda one: Q(**{f"{one.column.attname}__isnull": False}),
    Operator.LIKE: _like(lambda text: text),
    Operator.ILIKE: _like(lambda text: text, ignore_case=True),
    Operator.CONTAINS: _like(lambda text: f"%{literally(text)}%"),
    Operator.ICONTAINS: _like(lambda text: f"%{literally(text)}%", ignore_case=True),
    Operator.STARTSWITH: _like(lambda text: f"{literally(text)}%"),
    Operator.ENDSWITH: _like(lambda text: f"%{literally(text)}"),
}


# --- in memory ------------------------------------------------------------------------------------


def _on_text(condition: Condition, test: Callable[[str], bool]) -> Test:
    if condition.column.kind is Kind.TEXT:
        return test
    return lambda value: test(str(value))


_TESTS: dict[Operator, Callable[[Condition], Test]] = {
    Operator.EQ: lambda one: lambda value: bool(value == one.value),
    Operator.NEQ: lambda one: lambda value: bool(value != one.value),
    Operator.GT: lambda one: lambda value: bool(value > one.value),
    Operator.GTE: lambda one: lambda value: bool(value >= one.value),
    Operator.LT: lambda one: lambda value: bool(value < one.value),
    Operator.LTE: lambda one: lambda value: bool(value <= one.value),
    Operator.BETWEEN: lambda one: lambda value: bool(one.value[0] <= value <= one.value[1]),
    Operator.IN: lambda one: frozenset(one.value).__contains__,
    Operator.LIKE: lambda one: _on_text(one, lambda text: matches(text, one.value)),
    Operator.ILIKE: lambda one: _on_text(one, _ignoring_case(one.value)),
    Operator.CONTAINS: lambda one: _on_text(one, lambda text: one.value in text),
    Operator.ICONTAINS: lambda one: _on_text(one, _holding(lower(one.value))),
    Operator.STARTSWITH: lambda one: _on_text(one, lambda text: text.startswith(one.value)),
    Operator.ENDSWITH: lambda one: _on_text(one, lambda text: text.endswith(one.value)),
}


def _ignoring_case(pattern: str) -> Callable[[str], bool]:
    small = lower(pattern)
    return lambda text: matches(lower(text), small)


def _holding(small: str) -> Callable[[str], bool]:
    return lambda text: small in lower(text)
