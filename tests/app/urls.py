"""The project's paths, and views that publish while they are at work."""

import json
from dataclasses import asdict
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from chat import realtime


def publish(request: HttpRequest) -> JsonResponse:
    """A sync view: `?call=broadcast_room&args=[...]&options={...}` calls that function of `chat.realtime`."""
    function = getattr(realtime, request.GET["call"])
    return JsonResponse(asdict(function(*_args(request), **_options(request))))


async def apublish(request: HttpRequest) -> JsonResponse:
    """The same from an async view, with the async functions."""
    function = getattr(realtime, "a" + request.GET["call"])
    return JsonResponse(asdict(await function(*_args(request), **_options(request))))


def _args(request: HttpRequest) -> list[Any]:
    return json.loads(request.GET["args"])


def _options(request: HttpRequest) -> dict[str, Any]:
    return json.loads(request.GET.get("options", "{}"))


def count(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"count": realtime.connection_count({"metadata.plan": "pro"})})


async def acount(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"count": await realtime.aconnection_count({"metadata.plan": "pro"})})


urlpatterns = [
    path("test/count/sync", count),
    path("test/count/async", acount),
    path("test/publish/sync", publish),
    path("test/publish/async", apublish),
    path("test/blog/", include("tests.blog.urls")),
    path("", include("chatproject.urls")),
]
