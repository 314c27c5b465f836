"""A socket at which a worker measures what saving costs inside it."""

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.urls import re_path

from benchmarks.shop.saving import measure
from chat.realtime import in_database


class SavingConsumer(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(await in_database(measure)(**content, whole=False))


websocket_urlpatterns = [re_path(r"\Abenchmarks/saves\Z", SavingConsumer.as_asgi())]
