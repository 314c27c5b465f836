"""The fault tests' WebSocket paths."""

from django.urls import path

from tests.faultapp.consumers import FaultConsumer

websocket_urlpatterns = [path("faults/ws", FaultConsumer.as_asgi())]
