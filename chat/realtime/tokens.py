"""JSON Web Tokens (RFC 7519): made at a sign-in, checked at the door, ended before their time.

djangorestframework-simplejwt makes and checks them: one algorithm, from the settings, whatever a token's
header says; signature, expiry, not-before, issuer, audience and type. Beside that each token carries

- ``sid``: the sign-in from which it and its successors come. Ending the sign-in ends them all.
- ``pwd``: a digest that changes with the user's password, as sessions have one.

A refresh token is good for one use: it is exchanged for a new pair. What was used or ended is remembered in
the tables of simplejwt's blacklist app until it would have expired anyway.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, TypeVar

from django.contrib.auth import get_user_model
from django.db import Error as DatabaseError
from django.db import transaction
from django.utils.crypto import constant_time_compare
from rest_framework_simplejwt.exceptions import ExpiredTokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, Token

from .auth import sign_in_name
from .errors import InvalidToken

MAX_LENGTH = 8192  # characters; ours have about 500
PRUNED_AT_ONCE = 200  # rows of the blacklist that have expired, at each row that is added

T = TypeVar("T", bound=Token)
Claims = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pair:
    """What a sign-in gives: tokens, and for how many seconds each is good."""

    access: str
    refresh: str
    expires_in: int
    refresh_expires_in: int


def mint(user: Any, sid: str | None = None) -> Pair:
    """A new pair for a user; ``sid``: of a sign-in that is there already."""
    return _pair(user, sid or secrets.token_hex(16))


def mint_for(user: Any, sid: str | None) -> tuple[Pair, str]:
    """``mint``, and the ``sid`` of the sign-in: a new one where there was none, or it has ended."""
    if sid is None or _ended([sign_in_name(sid)]):
        sid = secrets.token_hex(16)
    return _pair(user, sid), sid


def _pair(user: Any, sid: str) -> Pair:
    refresh = RefreshToken()
    refresh[api_settings.USER_ID_CLAIM] = str(user.pk)
    refresh["sid"] = sid
    refresh["pwd"] = _digest(user.get_session_auth_hash())
    return Pair(
        str(refresh.access_token),
        str(refresh),
        int(api_settings.ACCESS_TOKEN_LIFETIME.total_seconds()),
        int(api_settings.REFRESH_TOKEN_LIFETIME.total_seconds()),
    )


def read(token: str) -> Claims:
    """What an access token says, its signature and times checked; no database. Raises InvalidToken."""
    return _decode(AccessToken, token)


def owner(claims: Claims) -> Any:
    """The user behind checked claims, on a database thread. Raises InvalidToken when they no longer count."""
    user = owners([claims])[0]
    if user is None:
        raise InvalidToken()
    return user


def owners(every: list[Claims]) -> list[Any]:
    """``owner`` for many, in two queries; None where the claims no longer count."""
    field = get_user_model()._meta.pk
    keys: list[Any] = []
    for claims in every:
        try:
            key = field.to_python(claims[api_settings.USER_ID_CLAIM])
            field.run_validators(key)  # SQLite raises an OverflowError for too big a number
            keys.append(key)
        except Exception:  # noqa: BLE001 (whatever a key type makes of another issuer's text)
            keys.append(None)
    users = get_user_model()._default_manager.in_bulk({key for key in keys if key is not None})
    ended = _ended(sign_in_name(claims["sid"]) for claims in every)
    return [
        user
        if (user := users.get(key)) is not None
        and user.is_active
        and _same_password(user, claims["pwd"])
        and sign_in_name(claims["sid"]) not in ended
        else None
        for key, claims in zip(keys, every, strict=True)
    ]


def rotate(refresh: str) -> Pair:
    """Exchange a refresh token for a new pair; it can't be used again. Raises InvalidToken."""
    claims = _decode(RefreshToken, refresh)
    user = owner(claims)
    if not _end(claims[api_settings.JTI_CLAIM], claims["exp"], user):
        raise InvalidToken()  # of two at once, one was first
    return mint(user, claims["sid"])


def revoke(refresh: str) -> str:
    """End the sign-in that a refresh token belongs to. Returns its ``sid``. Raises InvalidToken."""
    claims = _decode(RefreshToken, refresh)
    end_sign_in(claims["sid"])
    return str(claims["sid"])


def end_sign_in(sid: str) -> None:
    """Its tokens count no longer, those that are exchanged from now on included."""
    lifetime = api_settings.REFRESH_TOKEN_LIFETIME + api_settings.ACCESS_TOKEN_LIFETIME
    _end(sign_in_name(sid), time.time() + lifetime.total_seconds(), None)


def _decode(kind: type[T], token: str) -> Claims:
    if len(token) > MAX_LENGTH or not token.isascii():
        raise InvalidToken()
    try:
        claims: Claims = kind(token).payload  # type: ignore[arg-type]  # simplejwt says Token, and means text
        expires = float(claims["exp"])
        complete = all(isinstance(claims[name], str) for name in ("sid", "pwd", api_settings.JTI_CLAIM))
    except ExpiredTokenError:
        raise InvalidToken("The token has expired.") from None
    except DatabaseError:
        raise
    except Exception:  # noqa: BLE001 (a forged token may make a parser raise anything, RecursionError included)
        raise InvalidToken() from None
    if not complete:
        raise InvalidToken()
    if expires <= time.time():  # the leeway is for clocks that differ at the beginning, not for the end
        raise InvalidToken("The token has expired.")
    return claims


def _digest(hashed: str) -> str:
    return blake2b(hashed.encode(), digest_size=16).hexdigest()


def _same_password(user: Any, known: str) -> bool:
    valid = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return any(constant_time_compare(known, _digest(candidate)) for candidate in valid)


def _ended(names: Iterable[str]) -> set[str]:
    found = BlacklistedToken.objects.filter(token__jti__in=set(names))
    return set(found.values_list("token__jti", flat=True))


def _end(name: str, expires: float, user: Any) -> bool:
    """Remember that a token or a sign-in has ended; False when it was known."""
    now = datetime.now(UTC)
    with transaction.atomic():
        token, _ = OutstandingToken.objects.get_or_create(
            jti=name,
            defaults={"user": user, "created_at": now, "expires_at": datetime.fromtimestamp(expires, UTC)},
        )
        _, added = BlacklistedToken.objects.get_or_create(token=token)
    over = OutstandingToken.objects.filter(expires_at__lt=now).order_by("pk")
    OutstandingToken.objects.filter(pk__in=list(over.values_list("pk", flat=True)[:PRUNED_AT_ONCE])).delete()
    return bool(added)
