"""Consumers that differ in whom they let in."""

import asyncio

from chat.realtime import (
    Authenticator,
    Identity,
    Incoming,
    JWTAuthenticator,
    RealtimeConsumer,
    SessionAuthenticator,
    SignInConsumer,
    Unauthenticated,
    on,
)

_gate = asyncio.Event()
_arrived = asyncio.Event()


class KeyAuthenticator(Authenticator):
    """`X-Key: <user name>`: an authenticator as docs/authentication.md shows."""

    async def authenticate(self, consumer):
        from django.contrib.auth import get_user_model

        key = dict(consumer.scope["headers"]).get(b"x-key")
        if key is None:
            return None
        user = await get_user_model().objects.filter(username=key.decode("latin-1")).afirst()
        if user is None:
            raise Unauthenticated("There is no such key.")
        return Identity(user, self, claims={"shop": 7})


class Whoami(RealtimeConsumer):
    """Says who it takes the client for."""

    async def connected(self) -> None:
        identity = {
            "user": self.user.get_username(),
            "claims": self.claims,
            "same": self.claims == self.connection.claims,
            "tokens": self.handshake.tokens,
        }
        await self.reply("you", identity)


class Nobody(Whoami):
    auth = "none"


class Members(Whoami):
    auth = "required"


class TokensOnly(Whoami):
    auth = "required"
    authenticators = [JWTAuthenticator]


class SessionsOnly(Whoami):
    authenticators = [SessionAuthenticator]


class SessionsFirst(Whoami):
    authenticators = [SessionAuthenticator(), JWTAuthenticator()]


class Keys(Whoami):
    auth = "required"
    authenticators = [KeyAuthenticator, SessionAuthenticator]


class NoTokens(SignInConsumer):
    authenticators = [SessionAuthenticator]


class Gated(RealtimeConsumer):
    """Its handshake waits at the gate until another client opens that."""

    async def authorize(self) -> None:
        if self.url["who"] == "waits":
            _arrived.set()
            await _gate.wait()

    @on("arrived")
    async def arrived(self, message: Incoming) -> None:
        await _arrived.wait()
        await self.reply("arrived", None)

    @on("open")
    async def open(self, message: Incoming) -> None:
        _gate.set()
