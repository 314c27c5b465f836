"""The fault tests' WebSocket paths."""

from django.urls import path

from tests.app.extending import Parallel
from tests.app.streaming import Streaming
from tests.faultapp.consumers import FaultConsumer
from tests.faultapp.exits import Exits, ExitsAtOnce

websocket_urlpatterns = [
    path("faults/ws", FaultConsumer.as_asgi()),
    path("faults/exits", Exits.as_asgi()),
    path("faults/exits-at-once", ExitsAtOnce.as_asgi()),
    path("faults/parallel/<slug:topic>", Parallel.as_asgi()),
    path("faults/streaming/<slug:topic>", Streaming.as_asgi()),
]
