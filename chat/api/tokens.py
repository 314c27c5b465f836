"""Tokens for the WebSocket, from a session or from credentials. docs/authentication.md shows each call."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from django.contrib.auth import authenticate
from rest_framework import serializers, status
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, Throttled
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from chat import guessing
from chat.api.authentication import BEARER, SessionAuthentication
from chat.api.serializers import MAX_USER, StrictSerializer, TextField
from chat.api.views import PublicView, View
from chat.credentials import SESSION_SID, end_sign_in
from chat.realtime import InvalidToken, log, tokens
from chat.realtime.auth import sign_in_name

MAX_PASSWORD = 1024  # characters; hashing a longer one is work for nothing

logger = logging.getLogger("chat.api")

_NO_CREDENTIALS = "Sign in first, or send username and password."
_BAD_CREDENTIALS = "There is no active user with this name and password."


class CredentialsSerializer(StrictSerializer):
    """`{"username", "password"}`, or `{}` for the session's user."""

    username = TextField(required=False, max_length=MAX_USER, trim_whitespace=False)
    password = TextField(required=False, max_length=MAX_PASSWORD, trim_whitespace=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if len(attrs) == 1:
            raise serializers.ValidationError("Send username and password, or neither.")
        return attrs


class Nobody(BaseAuthentication):
    """Looks at no credentials, and names the scheme that a 401 has to name."""

    def authenticate(self, _request: Request) -> None:
        return None

    def authenticate_header(self, _request: Request) -> str:
        return BEARER


class RefreshSerializer(StrictSerializer):
    """`{"refresh"}`"""

    refresh = TextField(max_length=tokens.MAX_LENGTH, trim_whitespace=False)


class Token(View):
    """A pair of tokens, for who is signed in or says who they are.

    With a session cookie a request needs the CSRF token, like every other that does something.
    """

    authentication_classes = [SessionAuthentication]
    permission_classes = [AllowAny]

    def post(self, request: Request) -> Response:
        body = CredentialsSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        if body.validated_data:
            return _answer(tokens.mint(_who(request, **body.validated_data)))
        if not request.user.is_authenticated:
            raise NotAuthenticated(_NO_CREDENTIALS)
        pair, sid = tokens.mint_for(request.user, request.session.get(SESSION_SID))
        request.session[SESSION_SID] = sid  # so that the tokens end when the session is signed out
        return _answer(pair)


class Refresh(PublicView):
    """Exchange a refresh token for a new pair. It is good for one exchange."""

    authentication_classes = [Nobody]

    def post(self, request: Request) -> Response:
        body = RefreshSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            return _answer(tokens.rotate(body.validated_data["refresh"]))
        except InvalidToken as error:
            raise AuthenticationFailed(error.message) from None


class Revoke(PublicView):
    """Sign out: the sign-in's tokens end, and its sockets are closed (RFC 7009: 2xx for a bad token too)."""

    def post(self, request: Request) -> Response:
        body = RefreshSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        try:
            end_sign_in(sign_in_name(tokens.revoke(body.validated_data["refresh"])))
        except InvalidToken:
            pass
        return Response(status=status.HTTP_204_NO_CONTENT)


def _who(request: Request, username: str, password: str) -> Any:
    """The user with these credentials; all failures look the same. Raises AuthenticationFailed, Throttled."""
    address = guessing.address_of_request(request.META)
    wait = guessing.attempt(address, username)
    if wait is not None:
        log.event(logger, logging.WARNING, "sign_in_throttled", address=address)
        raise Throttled(wait)
    user = authenticate(request._request, username=username, password=password)
    if user is None or not user.is_active:
        # Not the name: people type their password there.
        log.event(logger, logging.INFO, "sign_in_failed", address=address)
        raise AuthenticationFailed(_BAD_CREDENTIALS)
    guessing.succeeded(address, username)
    return user


def _answer(pair: tokens.Pair) -> Response:
    return Response({"token_type": "Bearer", **asdict(pair)})
