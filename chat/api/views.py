"""The HTTP API's calls. docs/operating.md shows each with its answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ValidationError
from rest_framework import status
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chat.api import errors
from chat.api.authentication import CommandAuthentication, SessionAuthentication, TokenAuthentication
from chat.api.parsers import StrictJSONParser
from chat.api.permissions import IsStaff, IsStaffOrInRoom
from chat.api.serializers import (
    BroadcastSerializer,
    CloseSerializer,
    ConnectionsQuerySerializer,
    DeleteQuerySerializer,
    LimitSerializer,
)
from chat.operator import Workers
from chat.realtime.health import readiness
from chat.validators import validate_room_name

# A broadcast's data may be 65,536 bytes, and JSON may write each as \u00xx.
LARGEST_BODY = 512 * 1024  # bytes

CONNECTION_ID = re.compile(r"[0-9a-zA-Z_-]{1,64}")


class View(APIView):
    """One call. Steps: the body's size, who calls (401, 403), what is sent (400), then the work.

    Every refusal has the shape that `chat.api.errors` describes. The layer out of reach is a 503.
    """

    authentication_classes = [TokenAuthentication, SessionAuthentication, CommandAuthentication]
    permission_classes = [IsStaff]
    parser_classes = [StrictJSONParser]
    renderer_classes = [JSONRenderer]
    throttle_classes = []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            raise errors.TooLarge()
        super().initial(request, *args, **kwargs)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Every answer is of this moment, and for this caller."""
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        return response

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response | None]:
        return errors.handle


class PublicView(View):
    """For anyone, load balancers first of all: it looks at no session, so it needs no database."""

    authentication_classes = []
    permission_classes = [AllowAny]


class Health(PublicView):
    def get(self, _request: Request) -> Response:
        """The process is alive: it asks nothing of database or Redis."""
        return Response({"status": "ok"})


class Ready(PublicView):
    def get(self, _request: Request) -> Response:
        """Able to serve: the layer is reachable, and the worker is not draining; else 503 with the reason."""
        ready, reason = readiness()
        if ready:
            return Response({"status": "ready"})
        raise errors.Draining() if reason == "draining" else errors.Unavailable(f"Not ready: {reason}.")


class Stats(View):
    def get(self, _request: Request) -> Response:
        """Connections, rooms, messages and rates, per worker and in all."""
        return Response(Workers().stats())


class Rooms(View):
    def get(self, request: Request) -> Response:
        """Rooms with somebody in them, the largest first."""
        query = LimitSerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        return Response(Workers().rooms(**query.validated_data))


class Members(View):
    """The members of one room, on all workers."""

    permission_classes = [IsStaffOrInRoom]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        try:
            validate_room_name(kwargs["room"])
        except ValidationError:
            raise errors.InvalidRoom() from None
        super().initial(request, *args, **kwargs)

    def get(self, _request: Request, room: str) -> Response:
        return Response(Workers().members(room))


class Connections(View):
    def get(self, request: Request) -> Response:
        """Live connections with their state and metadata, the oldest first."""
        query = ConnectionsQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        return Response(Workers().connections(**query.validated_data))


class Connection(View):
    def delete(self, request: Request, connection: str) -> Response:
        """Close one connection (4510)."""
        query = DeleteQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        closed = CONNECTION_ID.fullmatch(connection) and Workers().close(
            {"connection": connection}, **query.validated_data
        )
        if not closed or not closed["closed"]:
            raise NotFound("There is no such connection.")
        return Response(status=status.HTTP_204_NO_CONTENT)


class Close(View):
    def post(self, request: Request) -> Response:
        """Close the connections of a room or of a user, one, or all."""
        body = CloseSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return Response(Workers().close(**body.validated_data))


class Broadcast(View):
    def post(self, request: Request) -> Response:
        """Send a notification or a system message to a room or to everybody."""
        body = BroadcastSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        sent = body.validated_data
        receipt = Workers().broadcast(sent["room"], sent["type"], sent["data"])
        return Response(receipt, status=status.HTTP_202_ACCEPTED)


class Nothing(PublicView):
    """Any other path under the API: a 404 in the API's own shape, whatever the method."""

    def initial(self, *_args: Any, **_kwargs: Any) -> None:
        raise NotFound("There is nothing at this address.")
