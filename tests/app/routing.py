from django.urls import path

from tests.app import consumers, extending, identity, reach

websocket_urlpatterns = [
    path("test/habits/<slug:topic>", consumers.Habits.as_asgi()),
    path("test/counter/<slug:topic>", consumers.Counter.as_asgi()),
    path("test/stock/<slug:topic>", consumers.Stock.as_asgi()),
    path("test/stock-json/<slug:topic>", consumers.StockJson.as_asgi()),
    path("test/stock-sync/<slug:topic>", consumers.StockSync.as_asgi()),
    path("test/guarded/<slug:topic>", extending.Guarded.as_asgi()),
    path("test/censored/<slug:topic>", extending.Censored.as_asgi()),
    path("test/uncensored/<slug:topic>", extending.Uncensored.as_asgi()),
    path("test/hooked/<slug:topic>", extending.Hooked.as_asgi()),
    path("test/reports/<slug:topic>", extending.Reports.as_asgi()),
    path("test/strict", extending.Strict.as_asgi()),
    path("test/shipped", extending.Shipped.as_asgi()),
    path("test/members-area", extending.MembersArea.as_asgi()),
    path("test/typed", extending.Typed.as_asgi()),
    path("test/parallel/<slug:topic>", extending.Parallel.as_asgi()),
    path("test/serial/<slug:topic>", extending.Serial.as_asgi()),
    path("test/described/<slug:room>", reach.Described.as_asgi()),
    path("test/identity/nobody", identity.Nobody.as_asgi()),
    path("test/identity/members", identity.Members.as_asgi()),
    path("test/identity/tokens-only", identity.TokensOnly.as_asgi()),
    path("test/identity/sessions-only", identity.SessionsOnly.as_asgi()),
    path("test/identity/sessions-first", identity.SessionsFirst.as_asgi()),
    path("test/identity/keys", identity.Keys.as_asgi()),
    path("test/identity/no-tokens", identity.NoTokens.as_asgi()),
    path("test/identity/gated/<who>", identity.Gated.as_asgi()),
    path("test/members", consumers.MembersOnly.as_asgi()),
]
