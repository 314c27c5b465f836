from django.urls import path

from tests.app import consumers

websocket_urlpatterns = [
    path("test/habits/<slug:topic>", consumers.Habits.as_asgi()),
    path("test/counter/<slug:topic>", consumers.Counter.as_asgi()),
    path("test/stock/<slug:topic>", consumers.Stock.as_asgi()),
    path("test/stock-json/<slug:topic>", consumers.StockJson.as_asgi()),
    path("test/stock-sync/<slug:topic>", consumers.StockSync.as_asgi()),
    path("test/members", consumers.MembersOnly.as_asgi()),
]
