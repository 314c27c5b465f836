"""Ways to say who you are at a handshake: a session, a token, or one of your own.

A consumer names them (``authenticators``); they are asked in order, and the first that finds credentials of
its kind decides. docs/authentication.md shows their use.
"""

from __future__ import annotations

import asyncio
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import Error as DatabaseError

from . import config, tokens
from .auth import NOBODY, Identity, read_users, user_of_session
from .database import in_database
from .errors import BadRequest, InvalidToken, Unauthenticated, Unavailable

QUERY_NAMES = ("token", "access_token")  # under which people put tokens into URLs
_IN_QUERY = (
    "A token does not belong in a URL, which logs and histories keep: send it in the Authorization header, "
    "or as a subprotocol."
)


class Authenticator:
    """One way. It is made once for a consumer class and keeps nothing of a request."""

    def offered(self, consumer: Any) -> bool:
        """Whether the request may hold credentials of this kind: a quick look, for most are visitors."""
        return True

    async def authenticate(self, consumer: Any) -> Identity | None:
        """Who asks (``consumer.handshake``, ``consumer.scope``); None without credentials of this kind.

        Raises Unauthenticated for bad ones. A database that fails, or does not answer in time, is a 503.
        """
        raise NotImplementedError

    def still_valid(self, identities: list[Identity]) -> list[bool]:
        """Which of up to 500 identities still count. On a database thread, after a change of their users and
        about once a minute. As it is here: the user is there and active."""
        manager = get_user_model()._default_manager
        users = manager.in_bulk([identity.user.pk for identity in identities])
        found = [users.get(identity.user.pk) for identity in identities]
        return [user is not None and user.is_active for user in found]


class SessionAuthenticator(Authenticator):
    """Django's session cookie. A session that no longer counts makes an anonymous visitor, as on the site."""

    def offered(self, consumer: Any) -> bool:
        return consumer.handshake.session_key is not None

    async def authenticate(self, consumer: Any) -> Identity | None:
        key = consumer.handshake.session_key
        user = await user_of_session(key)
        return Identity(user, self, session_key=key) if user.is_authenticated else None

    def still_valid(self, identities: list[Identity]) -> list[bool]:
        users = read_users({str(identity.session_key) for identity in identities})
        return [
            (user := users.get(str(identity.session_key))) is not None and user.pk == identity.user.pk
            for identity in identities
        ]


class JWTAuthenticator(Authenticator):
    """A JSON Web Token: ``Authorization: Bearer <token>``, or the offered subprotocol ``bearer.<token>``.

    A bad token is refused, also where anonymous users are welcome.
    """

    def offered(self, consumer: Any) -> bool:
        return bool(consumer.handshake.tokens or consumer.handshake.query)

    async def authenticate(self, consumer: Any) -> Identity | None:
        handshake = consumer.handshake
        offered = [*handshake.tokens, *_from_query(handshake.query)]
        if not offered:
            return None
        if len(offered) > 1:
            raise BadRequest("Send one token.")
        handshake.tokens = ()  # a connection lives long; its token need not be in memory
        try:
            return await self.identify(offered[0])
        except InvalidToken as error:
            raise Unauthenticated(error.message) from None

    async def identify(self, token: str) -> Identity:
        """Who a token says. Raises InvalidToken."""
        claims = tokens.read(token)
        return Identity(await _owner(claims), self, claims, float(claims["exp"]))

    def still_valid(self, identities: list[Identity]) -> list[bool]:
        owners = tokens.owners([identity.claims or {} for identity in identities])
        return [owner is not None for owner in owners]


async def identify(consumer: Any) -> Identity:
    """Who is at a consumer's door. Raises Unauthenticated, BadRequest, Unavailable."""
    if "user" in consumer.scope:  # whoever has put it there vouches for it: a test, a middleware of Channels
        return Identity(consumer.scope["user"])
    if consumer.auth == "none":
        return NOBODY
    for authenticator in consumer.authenticators:
        if authenticator.offered(consumer):
            found = await _ask(authenticator, consumer)
            if found is not None:
                return found
    return NOBODY


async def _ask(authenticator: Authenticator, consumer: Any) -> Identity | None:
    try:
        async with asyncio.timeout(config.current().query_timeout):
            return await authenticator.authenticate(consumer)
    except (TimeoutError, DatabaseError):
        raise Unavailable("The database does not answer.", retry_after=5) from None


def _from_query(query: dict[str, str]) -> list[str]:
    found = [query.pop(name) for name in QUERY_NAMES if name in query]
    if found and not getattr(settings, "TOKEN_IN_QUERY", False):
        raise BadRequest(_IN_QUERY)
    return found


_owner = in_database(tokens.owner)
