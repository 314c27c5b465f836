"""The chat's WebSocket paths. Whether a room's name is valid is the consumer's to say (``invalid_room``)."""

from django.conf import settings
from django.urls import re_path

from chat.consumers import ChatResourceConsumer, GlobalChatConsumer, RoomChatConsumer
from chat.realtime.echo import EchoConsumer

websocket_urlpatterns = [
    re_path(r"\Aapi/chat-api/ws/?\Z", GlobalChatConsumer.as_asgi()),
    re_path(r"\Aapi/chat-api/ws/(?P<room>[\s\S]+?)/?\Z", RoomChatConsumer.as_asgi()),
    re_path(r"\Aapi/resources/ws/?\Z", ChatResourceConsumer.as_asgi()),
]
if settings.ECHO_ENDPOINT:
    websocket_urlpatterns.append(re_path(r"\Aapi/echo/ws/?\Z", EchoConsumer.as_asgi()))
