"""Nobody guesses a user's password on the pages to sign in either."""

import secrets
from urllib.parse import urlencode

import pytest
from django.core.cache.backends.locmem import LocMemCache

from chat import guessing
from tests.token_support import post

TOKEN = "/api/chat-api/token"
PASSWORD = "correct horse battery staple"
TOO_MANY = "Too many attempts to sign in. Try again in 60 seconds."


def new_name() -> str:
    return f"user-{secrets.token_hex(4)}"


PAGES = ["/accounts/login/", "/admin/login/"]


@pytest.fixture
def own_counts(monkeypatch):
    """Counts of this test alone, in this process."""
    monkeypatch.setattr(
        guessing, "cache", LocMemCache(secrets.token_hex(8), {"OPTIONS": {"MAX_ENTRIES": 10_000}})
    )


def sign_in(server, page: str, username: str, password: str, address: str = "192.0.2.7") -> tuple[int, str]:
    """Send the page's form. Returns the status, 302 for who is in, and the page."""
    token = secrets.token_hex(16)
    fields = {"username": username, "password": password, "csrfmiddlewaretoken": token}
    status, _, body = server.request(
        "POST",
        page,
        urlencode(fields).encode(),
        Content_Type="application/x-www-form-urlencoded",
        Cookie=f"csrftoken={token}",
        X_Forwarded_For=address,
    )
    return status, body.decode()


def test_the_pages_and_the_tokens_count_together(start_server, own_redis):
    """Ten failures of a name from one address are looked at, wherever; then the right password too gets
    words with the seconds. From another address the same name signs in: strangers lock nobody out.
    So does another name from the first one."""
    server = start_server(own_redis.url, workers=2, env={"TRUSTED_PROXIES": "1"})
    ada = server.create_user(new_name(), PASSWORD, is_staff=True)
    bob = server.create_user(new_name(), PASSWORD, is_staff=True)
    for page in PAGES:  # a success does not count
        assert sign_in(server, page, ada.username, PASSWORD)[0] == 302
    for number in range(10):
        if number % 3 == 2:
            body = {"username": ada.username, "password": "guess"}
            assert post(server, TOKEN, body, X_Forwarded_For="192.0.2.7")[0] == 401
            continue
        status, shown = sign_in(server, PAGES[number % 3], ada.username, f"guess {number}")
        assert (status, TOO_MANY in shown) == (200, False)
    for page in PAGES:
        status, shown = sign_in(server, page, ada.username, PASSWORD)
        assert (status, TOO_MANY in shown) == (200, True)
        assert sign_in(server, page, ada.username, PASSWORD, "192.0.2.8")[0] == 302
        assert sign_in(server, page, bob.username, PASSWORD)[0] == 302
    right = {"username": ada.username, "password": PASSWORD}
    assert post(server, TOKEN, right, X_Forwarded_For="192.0.2.7")[0] == 429


def test_who_may_not_enter_the_admin_is_counted_there(start_server, own_redis):
    """A right password of somebody without the right to enter is a failure too."""
    server = start_server(own_redis.url)
    ada = server.create_user(new_name(), PASSWORD)
    shown = [sign_in(server, PAGES[1], ada.username, PASSWORD)[1] for _ in range(11)]
    assert [TOO_MANY in page for page in shown] == [False] * 10 + [True]


def test_people_sign_in_on_pages_while_redis_is_away(start_server, own_redis):
    """An operator gets into the admin on a bad day; the worker counts alone, and a guesser is held up."""
    server = start_server(own_redis.url)
    ada = server.create_user(new_name(), PASSWORD, is_staff=True)
    own_redis.kill()
    for page in PAGES:
        assert sign_in(server, page, ada.username, PASSWORD)[0] == 302
    shown = [sign_in(server, PAGES[0], ada.username, f"guess {number}")[1] for number in range(11)]
    assert [TOO_MANY in page for page in shown] == [False] * 10 + [True]


def test_what_an_address_sends_beyond_its_limit_uses_up_no_name(own_counts):
    """Strangers: one address can spend thirty attempts, of a name ten; a hundred from many spend the name."""
    for number in range(200):
        guessing.attempt("192.0.2.7", f"somebody {number}")
    for _ in range(200):
        assert guessing.attempt("192.0.2.7", "admin") == guessing.WINDOW
    answers = [guessing.attempt(f"198.51.100.{n // 10}", "admin") for n in range(101)]
    assert answers == [None] * 100 + [guessing.WINDOW]
    assert guessing.attempt("192.0.2.9", "somebody else") is None


def test_a_success_is_given_back_and_an_ipv6_network_is_one_address(own_counts):
    """Ten failures are left after any number of successes; 2^64 addresses of one customer count as one."""
    for number in range(20):
        assert guessing.attempt(f"2001:db8::{number:x}", "ada") is None
        guessing.succeeded(f"2001:db8::{number:x}", "ada")
    answers = [guessing.attempt(f"2001:db8::{number:x}", "ada") for number in range(11)]
    assert answers == [None] * 10 + [guessing.WINDOW]
