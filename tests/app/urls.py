"""The project's paths, and views that publish while they are at work."""

import json
from dataclasses import asdict

from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from chat import realtime


def publish(request: HttpRequest) -> JsonResponse:
    """A sync view: `?call=broadcast_room&args=[...]` calls that function of `chat.realtime`."""
    function = getattr(realtime, request.GET["call"])
    return JsonResponse(asdict(function(*json.loads(request.GET["args"]))))


async def apublish(request: HttpRequest) -> JsonResponse:
    """The same from an async view, with the async functions."""
    function = getattr(realtime, "a" + request.GET["call"])
    return JsonResponse(asdict(await function(*json.loads(request.GET["args"]))))


urlpatterns = [
    path("test/publish/sync", publish),
    path("test/publish/async", apublish),
    path("", include("chatproject.urls")),
]
