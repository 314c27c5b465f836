"""The tree of errors: each is data, and what it says holds together."""

import re

import pytest

from chat.realtime import CloseCode, Disconnect, LayerUnavailable, RealtimeError, Refused, errors
from chat.realtime.codes import comes_back


def tree(root: type[RealtimeError]) -> list[type[RealtimeError]]:
    found = [root]
    for derived in root.__subclasses__():
        found += tree(derived)
    return found


ALL = sorted(
    {error for error in tree(RealtimeError) if error.__module__ == errors.__name__}, key=lambda e: e.__name__
)


@pytest.mark.parametrize("error", ALL)
def test_each_error_is_data(error):
    """A code for machines, a text for people, an HTTP status, and whether to come back."""
    made = error()
    assert re.fullmatch(r"[a-z_]+", made.code)
    assert made.message
    assert made.message.endswith((".", "!"))
    assert 400 <= made.status <= 599
    assert isinstance(made.come_back, bool)
    assert isinstance(made, RealtimeError)


def test_those_who_may_come_back():
    """What may succeed later says so: full, too many, unavailable; what can't does not."""
    assert {error.__name__ for error in ALL if error.come_back} >= {"Full", "LayerUnavailable", "Unavailable"}
    final = [error for error in ALL if error.status in (401, 403, 404)]
    assert not any(error.come_back for error in final)
    assert RealtimeError("Later.", code="later", retry_after=3).come_back
    for code in CloseCode:
        assert Disconnect(code).come_back == comes_back(code)


def test_any_error_refuses_a_handshake():
    """With its own status where it has one, else 403; the layer's absence as 503 with a time to wait."""

    class Sold(RealtimeError):
        code, message, status = "sold_out", "Sold out.", 409

    class Plain(RealtimeError):
        code, message = "plain", "No."

    assert (Refused.of(Sold()).status, Refused.of(Sold()).code) == (409, "sold_out")
    assert (Refused.of(Plain()).status, Refused.of(Plain(retry_after=4)).retry_after) == (403, 4)
    assert (Refused.of(LayerUnavailable()).status, Refused.of(LayerUnavailable()).retry_after) == (503, 2)
    refusal = Refused(status=418)
    assert Refused.of(refusal) is refusal
