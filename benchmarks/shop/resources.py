"""What clients may reach of the shop; the peer's consumer shows the same to the same clients."""

from rest_framework.permissions import AllowAny

from benchmarks.shop.models import Item
from benchmarks.shop.rows import FIELDS
from chat.resources import ModelResource, register


@register("shop.items")
class ItemResource(ModelResource):
    model = Item
    fields = FIELDS
    read_only_fields = ["created_at"]
    filter_fields = ["id", "title", "category", "status"]
    sort_fields = ["id", "title"]
    permission_classes = [AllowAny]
