"""Who is it? What a connection knows of its user, and what a session cookie says.

Channels' own middleware verifies a session against the current SECRET_KEY only and deletes it when that
fails, which signs people out of the whole site after a key rotation; this reads and never writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
    load_backend,
)
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser
from django.http.cookie import parse_cookie
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from .database import in_database

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True, eq=False)
class Identity:
    """Who a connection is, and what says so.

    ``claims``: what a token says beside, for authorizers; ``expires_at``: when it ends, in seconds since the
    epoch; ``key``: names the sign-in (a session, a family of tokens), so that its end finds the connection.
    ``authenticator`` is asked now and then whether all this still holds; None: nobody is asked.
    """

    user: Any
    authenticator: Any = None
    claims: dict[str, Any] | None = None
    expires_at: float | None = None
    session_key: str | None = None

    @property
    def key(self) -> str | None:
        if self.session_key is not None:
            return session_name(self.session_key)
        return sign_in_name(self.claims["sid"]) if self.claims and "sid" in self.claims else None


NOBODY = Identity(AnonymousUser())


def session_key_of(headers: Headers) -> str | None:
    """The value of the session cookie, or None."""
    for name, value in headers:
        if name == b"cookie":
            # As Django's pages read it: http.cookies gives up all cookies of a header for one odd one.
            key = parse_cookie(value.decode("latin-1")).get(settings.SESSION_COOKIE_NAME)
            if key and key.isalnum():  # as Django makes them; a NUL would be an error of the database
                return str(key)
    return None


@in_database
def user_of_session(session_key: str) -> Any:
    """The session's user; AnonymousUser when there is no such session, or it no longer counts."""
    return read_user(session_key)


def session_digest(key: str) -> str:
    """What stands for a session key where others could read it: on the message bus."""
    return blake2b(key.encode(), digest_size=16).hexdigest()


def session_name(key: str) -> str:
    """The name of a session as a sign-in (``Identity.key``)."""
    return "session:" + session_digest(key)


def sign_in_name(sid: Any) -> str:
    """The name of the sign-in from which a family of tokens comes (``Identity.key``)."""
    return f"tokens:{sid}"


def read_user(session_key: str) -> Any:
    """``user_of_session`` on a database thread."""
    session = _store(session_key)
    return _user_in(session, lambda backend, pk: load_backend(backend).get_user(pk))


def read_users(session_keys: Iterable[str]) -> dict[str, Any]:
    """``read_user`` for many: two queries in all where sessions and users are in the database."""
    sessions = _sessions(list(session_keys))
    plain = {path for path in settings.AUTHENTICATION_BACKENDS if _is_plain(path)}
    model = get_user_model()
    wanted = {
        key
        for session in sessions.values()
        if session.get(BACKEND_SESSION_KEY) in plain and (key := _primary_key(session)) is not None
    }
    users = model._default_manager.in_bulk(wanted) if wanted else {}

    def find(backend: str, pk: Any) -> Any:
        return users.get(pk) if backend in plain else load_backend(backend).get_user(pk)

    return {key: _user_in(session, find) for key, session in sessions.items()}


def _is_plain(path: str) -> bool:
    """Whether a backend finds users by primary key, as Django's own does."""
    return type(load_backend(path)).get_user is ModelBackend.get_user


def _store(key: str) -> Any:
    return import_module(settings.SESSION_ENGINE).SessionStore(key)


def _sessions(keys: list[str]) -> dict[str, Mapping[str, Any]]:
    """What those of the sessions hold that are still there."""
    store = _store("")
    model = getattr(store, "model", None)
    if model is None or not hasattr(model, "get_decoded"):  # sessions in the cache, in files, in cookies
        return {key: _store(key) for key in keys}
    rows = model._default_manager.filter(session_key__in=keys, expire_date__gt=timezone.now())
    return {row.session_key: row.get_decoded() for row in rows}


def _primary_key(session: Mapping[str, Any]) -> Any:
    try:
        return get_user_model()._meta.pk.to_python(session.get(SESSION_KEY))
    except (TypeError, ValueError):
        return None


def _user_in(session: Mapping[str, Any], find: Callable[[str, Any], Any]) -> Any:
    """The user in a session; AnonymousUser when none is, or its password or status has changed."""
    backend = session.get(BACKEND_SESSION_KEY)
    pk = _primary_key(session)
    if pk is None or backend not in settings.AUTHENTICATION_BACKENDS:
        return AnonymousUser()
    user = find(str(backend), pk)
    if user is None or not getattr(user, "is_active", True):
        return AnonymousUser()
    known = session.get(HASH_SESSION_KEY) or ""
    valid = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    if not any(constant_time_compare(known, candidate) for candidate in valid):
        return AnonymousUser()
    return user


def describe_user(user: Any) -> dict[str, Any] | None:
    """What others see of a user: ``{"id", "username"}``, or None for an anonymous one."""
    if user is None or not user.is_authenticated:
        return None
    return {"id": user.pk if isinstance(user.pk, int) else str(user.pk), "username": user.get_username()}
