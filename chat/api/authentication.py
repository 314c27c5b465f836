"""Who calls the API: the user of a Django session or a token, or one of this project's own commands."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.authentication import SessionAuthentication as DRFSessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from chat.operator import SCHEME, is_signed
from chat.realtime import InvalidToken, tokens

BEARER = 'Bearer realm="chat"'
REALM = 'Session realm="chat"'


class SessionAuthentication(DRFSessionAuthentication):
    """Django's session cookie; unsafe methods also need the CSRF token.

    A call without credentials is answered with 401, for which HTTP wants the scheme named.
    """

    def authenticate_header(self, _request: Request) -> str:
        return REALM


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>`, as on the WebSocket. No browser sends it by itself: no CSRF token."""

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        scheme, _, token = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            claims = tokens.read(token.strip())
            return tokens.owner(claims), claims
        except InvalidToken as error:
            raise AuthenticationFailed(error.message) from None

    def authenticate_header(self, _request: Request) -> str:
        return BEARER


class Command:
    """The caller behind a signed call: an operator with a shell on the server, who holds SECRET_KEY."""

    pk: ClassVar[None] = None
    is_authenticated: ClassVar[bool] = True
    is_active: ClassVar[bool] = True
    is_staff: ClassVar[bool] = True

    def __str__(self) -> str:
        return "management command"


class CommandAuthentication(BaseAuthentication):
    """`Authorization: ChatCommand <token>`: signed for this very call, not older than 30 seconds.

    No browser sends it by itself, so it needs no CSRF token.
    """

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        scheme, _, token = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != SCHEME.lower():
            return None
        # Without a Content-Length REST framework takes the body as empty, and so do we: it has no bound.
        content = request.body if request.META.get("CONTENT_LENGTH") else b""
        if not is_signed(token, request.method or "", request.get_full_path(), content):
            raise AuthenticationFailed("The command's signature is not valid, or it is too old.")
        return Command(), None

    def authenticate_header(self, _request: Request) -> str:
        return SCHEME
