"""Tokens over HTTP: made, exchanged, ended; and nobody guesses a password."""

import asyncio
import json
import secrets

import pytest

from tests.token_support import claims_of, mint, post

TOKEN, REFRESH, REVOKE = (f"/api/chat-api/token{path}" for path in ("", "/refresh", "/revoke"))
PASSWORD = "correct horse battery staple"
BAD_CREDENTIALS = {
    "error": {
        "code": "unauthenticated",
        "message": "There is no active user with this name and password.",
    }
}


def new_name() -> str:
    return f"user-{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def ada(_server):
    """A user with a password."""
    return _server.create_user(new_name(), PASSWORD)


def csrf(user, token: str | None = None) -> dict[str, str]:
    """The headers of a page's request with the session and a CSRF token."""
    given = secrets.token_hex(16)
    return {"Cookie": f"{user.cookie}; csrftoken={given}", "X_CSRFToken": token or given}


def pair_of(server, user):
    """A pair for a user that has a session."""
    status, pair = post(server, TOKEN, {}, **csrf(user))
    assert status == 200, pair
    return pair


# --- making them --------------------------------------------------------------------------------------


def test_credentials_make_a_pair(server, ada):
    """Name and password give an access and a refresh token, and say for how long each is good."""
    status, pair = post(server, TOKEN, {"username": ada.username, "password": PASSWORD})
    assert status == 200
    assert set(pair) == {"token_type", "access", "refresh", "expires_in", "refresh_expires_in"}
    assert (pair["token_type"], pair["expires_in"], pair["refresh_expires_in"]) == ("Bearer", 900, 604_800)
    claims = claims_of(pair["access"])
    assert claims["exp"] - claims["iat"] == 900
    assert (claims["user_id"], claims["iss"], claims["aud"]) == (str(ada.id), "chat", "chat")
    assert claims["token_type"] == "access"
    assert claims_of(pair["refresh"])["sid"] == claims["sid"]


def test_a_session_makes_a_pair(server, ada):
    """A page whose user has signed in gets a pair for that user; the same sign-in each time."""
    first, second = pair_of(server, ada), pair_of(server, ada)
    assert claims_of(first["access"])["user_id"] == str(ada.id)
    assert claims_of(first["access"])["sid"] == claims_of(second["access"])["sid"]
    assert ada.session_key not in json.dumps(claims_of(first["access"]))


@pytest.mark.parametrize("token", [None, "x" * 32])
def test_a_session_needs_the_csrf_token(server, ada, token):
    """Another site's page can't have a token made with a visitor's cookie."""
    headers = {"Cookie": ada.cookie} if token is None else csrf(ada, token)
    status, answer = post(server, TOKEN, {}, **headers)
    assert (status, answer["error"]["code"]) == (403, "forbidden")


def test_nobody_gets_no_token(server):
    """Without a session and without credentials it is 401."""
    status, answer = post(server, TOKEN, {})
    assert (status, answer["error"]["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("kind", ["wrong password", "no such user", "inactive", "without a password"])
def test_every_failure_looks_the_same(server, ada, kind):
    """Whether a name exists, or is inactive, can't be told from the answer."""
    name, password = ada.username, PASSWORD
    if kind == "wrong password":
        password = "wrong"
    elif kind == "no such user":
        name = new_name()
    elif kind == "inactive":
        name = server.create_user(new_name(), PASSWORD, is_active=False).username
    else:
        name = server.create_user(new_name()).username
    assert post(server, TOKEN, {"username": name, "password": password}) == (401, BAD_CREDENTIALS)


@pytest.mark.parametrize(
    "body",
    [
        {"username": "ada"},
        {"password": "x"},
        {"username": 7, "password": "x"},
        {"username": "a\0b", "password": "x"},
        {"username": "", "password": "x"},
        {"username": "ada", "password": "x" * 1025},
        {"username": "x" * 151, "password": "x"},
        {"username": "ada", "password": "x", "admin": True},
        [],
        "ada",
        None,
    ],
)
def test_bad_bodies_are_refused(server, body):
    """What is no pair of texts is a 400 that says so."""
    status, answer = post(server, TOKEN, body)
    assert (status, answer["error"]["code"]) == (400, "invalid_request")


# --- guessing -----------------------------------------------------------------------------------------


def test_ten_failures_a_minute_and_name_are_looked_at_and_no_more(start_server, own_redis):
    """The eleventh guess is 429 with Retry-After, on whatever worker, also with the right password; another
    name is not affected; a success does not count."""
    server = start_server(own_redis.url, workers=2)
    ada, bob = server.create_user(new_name(), PASSWORD), server.create_user(new_name(), PASSWORD)
    right = {"username": ada.username, "password": PASSWORD}
    assert post(server, TOKEN, right)[0] == 200
    guesses = [post(server, TOKEN, {**right, "password": f"guess {n}"})[0] for n in range(11)]
    assert guesses == [401] * 10 + [429]
    status, headers, body = server.request(
        "POST", TOKEN, json.dumps(right).encode(), Content_Type="application/json"
    )
    assert status == 429
    assert json.loads(body)["error"]["code"] == "too_many_attempts"
    assert 1 <= int(headers["retry-after"]) <= 60
    assert post(server, TOKEN, {"username": bob.username, "password": PASSWORD})[0] == 200


async def test_thirty_attempts_a_minute_and_address_are_looked_at_and_no_more(start_server, own_redis):
    """Of forty guesses at once, for forty names over two workers, exactly thirty are looked at."""
    server = start_server(own_redis.url, workers=2, env={"TRUSTED_PROXIES": "1"})

    def guess(number: int) -> int:
        body = {"username": f"nobody-{number}", "password": "x"}
        return post(server, TOKEN, body, X_Forwarded_For="192.0.2.7")[0]

    statuses = await asyncio.gather(*(asyncio.to_thread(guess, number) for number in range(40)))
    assert (statuses.count(401), statuses.count(429)) == (30, 10)
    body = {"username": "nobody", "password": "x"}
    assert post(server, TOKEN, body, X_Forwarded_For="192.0.2.7, 192.0.2.8")[0] == 401


def test_nobody_guesses_while_redis_is_away(start_server, own_redis):
    """Attempts that can't be counted are refused: 503, and the session's own way goes on."""
    server = start_server(own_redis.url)
    ada = server.create_user(new_name(), PASSWORD)
    own_redis.kill()
    status, answer = post(server, TOKEN, {"username": ada.username, "password": PASSWORD})
    assert (status, answer["error"]["code"]) == (503, "unavailable")
    assert pair_of(server, ada)["access"]


# --- exchanging ---------------------------------------------------------------------------------------


def test_a_refresh_token_is_good_for_one_exchange(server, ada):
    """It gives a new pair of the same sign-in; a second time it is refused, and its successor goes on."""
    pair = pair_of(server, ada)
    status, fresh = post(server, REFRESH, {"refresh": pair["refresh"]})
    assert status == 200
    assert set(fresh) == set(pair)
    assert claims_of(fresh["access"])["sid"] == claims_of(pair["access"])["sid"]
    status, answer = post(server, REFRESH, {"refresh": pair["refresh"]})
    assert (status, answer["error"]["code"]) == (401, "unauthenticated")
    assert post(server, REFRESH, {"refresh": fresh["refresh"]})[0] == 200


async def test_of_two_exchanges_at_once_one_is_first(server, ada):
    """Eight at once on two workers: exactly one gets a pair."""
    refresh = pair_of(server, ada)["refresh"]
    answers = await asyncio.gather(
        *(asyncio.to_thread(post, server, REFRESH, {"refresh": refresh}) for _ in range(8))
    )
    assert sorted(status for status, _ in answers) == [200] + [401] * 7


@pytest.mark.parametrize("kind", ["access", "garbage", "", "ü", "x" * 8192])
def test_only_a_refresh_token_is_exchanged(server, ada, kind):
    """An access token, or anything else, is 401 (or 400 where it is no text of that length)."""
    refresh = pair_of(server, ada)["access"] if kind == "access" else kind
    status, answer = post(server, REFRESH, {"refresh": refresh})
    assert (status, answer["error"]["code"]) in {(401, "unauthenticated"), (400, "invalid_request")}


@pytest.mark.parametrize("change", ["user.is_active = False", "user.set_password('new')"])
def test_a_refresh_token_ends_with_its_users_credentials(server, change):
    """After deactivation or a new password it is refused."""
    user = server.create_user(new_name())
    refresh = pair_of(server, user)["refresh"]
    server.django(
        f"from django.contrib.auth.models import User\nuser = User.objects.get(pk=pk)\n{change}\nuser.save()",
        pk=user.id,
    )
    assert post(server, REFRESH, {"refresh": refresh})[0] == 401


def test_revoking_ends_the_sign_in(server, ada):
    """A revoked sign-in's tokens are refused, its successors' too; a bad token is no error (RFC 7009)."""
    pair = pair_of(server, server.create_user(new_name()))
    _, fresh = post(server, REFRESH, {"refresh": pair["refresh"]})
    assert post(server, REVOKE, {"refresh": fresh["refresh"]})[0] == 204
    assert post(server, REFRESH, {"refresh": fresh["refresh"]})[0] == 401
    assert post(server, REVOKE, {"refresh": "garbage"})[0] == 204


def test_a_session_makes_new_tokens_after_its_last_were_revoked(server):
    """Revoking ends the tokens, not the session: the next ones that it makes are good."""
    user = server.create_user(new_name())
    first = pair_of(server, user)
    assert post(server, REVOKE, {"refresh": first["refresh"]})[0] == 204
    second = pair_of(server, user)
    assert post(server, REFRESH, {"refresh": second["refresh"]})[0] == 200
    assert post(server, REFRESH, {"refresh": first["refresh"]})[0] == 401


def test_what_has_expired_is_forgotten(server, ada):
    """The table of ended tokens is tidied as it grows: what has expired anyway goes."""
    count = (
        "from rest_framework_simplejwt.token_blacklist.models import OutstandingToken\n"
        "from django.utils import timezone\n"
        "result = OutstandingToken.objects.filter(expires_at__lt=timezone.now()).count()"
    )
    server.django(
        "from rest_framework_simplejwt.token_blacklist.models import OutstandingToken\n"
        "from datetime import timedelta\n"
        "from django.utils import timezone\n"
        "past = timezone.now() - timedelta(seconds=1)\n"
        "OutstandingToken.objects.bulk_create("
        "    [OutstandingToken(jti=f'old-{n}', expires_at=past) for n in range(150)])"
    )
    assert server.django(count) == 150
    post(server, REFRESH, {"refresh": pair_of(server, ada)["refresh"]})
    assert server.django(count) == 0


def test_a_token_calls_the_api(server):
    """A staff user's token is as good as a session, and needs no CSRF token; another user's is 403, a bad one
    401, whatever session comes beside it."""
    staff, other = server.create_user(new_name(), is_staff=True), server.create_user(new_name())
    message = {"type": "notification", "data": {"content": "hello"}}
    answers = {}
    for name, given in (
        ("staff", mint(server, staff)),
        ("other", mint(server, other)),
        ("bad", {"access": "x"}),
    ):
        bearer = {"Authorization": f"Bearer {given['access']}", "Cookie": staff.cookie}
        answers[name] = post(server, "/api/chat-api/broadcast", message, **bearer)[0]
    assert answers == {"staff": 202, "other": 403, "bad": 401}
    refresh = {"Authorization": f"Bearer {mint(server, staff)['refresh']}"}
    assert post(server, "/api/chat-api/broadcast", message, **refresh)[0] == 401


def test_no_token_and_no_password_reaches_the_log(server, ada):
    """The server's output has none of what was sent and given."""
    pair = pair_of(server, ada)
    post(server, TOKEN, {"username": ada.username, "password": "a wrong secret"})
    post(server, REFRESH, {"refresh": pair["refresh"] + "x"})
    output = server.recent_output()
    assert "a wrong secret" not in output
    assert pair["access"] not in output
    assert pair["refresh"] not in output
