"""The chat's rooms over WebSocket: what the page's list of rooms follows."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet

from chat.models import Access, Room
from chat.resources.registry import register
from chat.resources.resource import ModelResource


@register("chat.rooms")
class RoomResource(ModelResource):
    """Rooms that have a row and that the visitor may find. Nobody writes them but in the admin."""

    model = Room
    fields = ["id", "name", "title", "access", "closed"]
    filter_fields = ["id", "name", "title", "access", "closed"]
    sort_fields = ["id", "name", "title"]

    def get_queryset(self, user: Any) -> QuerySet[Room]:
        """Everyone's rooms; to the signed in also theirs, and those that they are members of."""
        found = Q(access=Access.EVERYONE)
        if user.is_authenticated:
            mine = Room.members.through._default_manager.filter(user_id=user.pk).values("room_id")
            found |= Q(access=Access.SIGNED_IN) | Q(access=Access.MEMBERS, pk__in=mine)
        return Room.objects.filter(found)
