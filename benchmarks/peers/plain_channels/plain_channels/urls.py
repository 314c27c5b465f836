"""The peer serves WebSockets only."""

urlpatterns: list[object] = []
