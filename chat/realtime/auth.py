"""Who is it? The signed-in user behind a handshake's session cookie.

Channels' own middleware verifies a session against the current SECRET_KEY only and deletes it when that
fails, which signs people out of the whole site after a key rotation; this reads and never writes.
"""

from __future__ import annotations

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
from django.contrib.auth.models import AnonymousUser
from django.http.cookie import parse_cookie
from django.utils.crypto import constant_time_compare

from .database import in_database

Headers = list[tuple[bytes, bytes]]


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


def read_user(session_key: str) -> Any:
    """``user_of_session`` on a database thread."""
    store = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    backend_path = store.get(BACKEND_SESSION_KEY)
    if backend_path not in settings.AUTHENTICATION_BACKENDS:
        return AnonymousUser()
    try:
        user_id = get_user_model()._meta.pk.to_python(store.get(SESSION_KEY))
    except (TypeError, ValueError):
        return AnonymousUser()
    user = load_backend(backend_path).get_user(user_id)
    if user is None or not getattr(user, "is_active", True):
        return AnonymousUser()
    known = store.get(HASH_SESSION_KEY) or ""
    valid = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    if not any(constant_time_compare(known, candidate) for candidate in valid):
        return AnonymousUser()
    return user


def describe_user(user: Any) -> dict[str, Any] | None:
    """What others see of a user: ``{"id", "username"}``, or None for an anonymous one."""
    if user is None or not user.is_authenticated:
        return None
    return {"id": user.pk if isinstance(user.pk, int) else str(user.pk), "username": user.get_username()}
