"""Read one and read a page, as its documentation says: `retrieve` and `list` of its own mixins.

Source: https://djangochannelsrestframework.readthedocs.io/en/stable/examples/
"""

from djangochannelsrestframework.generics import GenericAsyncAPIConsumer
from djangochannelsrestframework.mixins import PaginatedModelListMixin, RetrieveModelMixin
from djangochannelsrestframework.pagination import WebsocketLimitOffsetPagination
from djangochannelsrestframework.permissions import AllowAny
from rest_framework import serializers

from benchmarks.shop.models import Item
from benchmarks.shop.rows import FIELDS


class ItemSerializer(serializers.ModelSerializer):
    class Meta:
        model = Item
        fields = FIELDS


class ItemPagination(WebsocketLimitOffsetPagination):
    default_limit = 100
    max_limit = 1000


class ItemConsumer(PaginatedModelListMixin, RetrieveModelMixin, GenericAsyncAPIConsumer):
    queryset = Item.objects.order_by("pk")
    serializer_class = ItemSerializer
    permission_classes = (AllowAny,)
    pagination_class = ItemPagination
