"""Signing in on an open socket: the message ``auth`` with a token."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from django.db import Error as DatabaseError

from . import config, envelope, limits
from .auth import Identity, describe_user
from .authenticators import JWTAuthenticator
from .consumer import RealtimeConsumer, ref_of
from .envelope import Incoming
from .errors import EnvelopeError, InvalidToken, TooManyConnections
from .groups import user_group
from .handlers import on
from .verification import verifier_of


class SignInConsumer(RealtimeConsumer):
    """A consumer whose clients may send a token while they are connected: a fresh one before theirs expires,
    or the first one of a visitor. From then on that token counts, in place of what there was before.
    """

    @on("auth")
    async def take_token(self, message: Incoming) -> None:
        """``data.token`` → ``ack``, or ``error`` ``unauthenticated``, and everything stays as it was."""
        data = message.data
        token = data.get("token") if type(data) is dict else None
        if type(token) is not str:
            raise EnvelopeError("An auth message needs data.token, a text.")
        ref = ref_of(message)
        if ref is not None and (type(ref) is not str or len(ref) > envelope.MAX_ID_LENGTH):
            raise EnvelopeError(f"A message's id is a text of at most {envelope.MAX_ID_LENGTH} characters.")
        await self.reply("ack", {"ref": ref, **await self.renew(token)})

    async def renew(self, token: str) -> dict[str, Any]:
        """Go on with this token: ``{"user", "expires_in"}``. Raises InvalidToken and other RealtimeErrors."""
        began = self.hub.loop.time()
        identity = await self._identify(token)
        await self.sign_in(identity)
        verifier_of(self.hub).admitted(self.connection, began)
        expires_in = int((identity.expires_at or 0) - time.time())
        return {"user": self.connection.user, "expires_in": expires_in}

    async def sign_in(self, identity: Identity) -> None:
        """Go on as this user. Raises InvalidToken where the socket is another user's already."""
        connection = self.connection
        user = describe_user(identity.user)
        if user is None or (connection.user is not None and connection.user["id"] != user["id"]):
            raise InvalidToken("This socket belongs to another user.")
        if connection.user is None:
            await self._count(user["id"])
            group = user_group(str(user["id"]))
            await self.hub.join(group, connection)
            if connection.id not in self.hub.connections:  # gone meanwhile
                self.hub.leave(group, connection)
        self.take_identity(identity)
        await self.signed_in()

    async def signed_in(self) -> None:
        """``self.user`` and ``self.claims`` are new. Rights may have grown, or shrunk: look at them here."""

    async def _count(self, user_id: Any) -> None:
        """The connection is one of the user's now, of whom there may be a limit."""
        try:
            await self.count_in(limits.places_of_user(user_id))
        except TooManyConnections as full:
            words = "This user has as many connections as a user may have."
            raise EnvelopeError(words, code="too_many_connections", retry_after=full.retry_after) from None

    async def _identify(self, token: str) -> Identity:
        for authenticator in self.authenticators:
            if isinstance(authenticator, JWTAuthenticator):
                try:
                    async with asyncio.timeout(config.current().query_timeout):
                        return await authenticator.identify(token)
                except (TimeoutError, DatabaseError):
                    words = "The database does not answer. Try again."
                    raise EnvelopeError(words, code="unavailable", retry_after=5) from None
        raise InvalidToken("Tokens are not taken here.")
