from chat.resources import register
from tests.blog.resources import UserResource


@register("hooked.items")
class ItemResource(UserResource):
    """With hooks of its own."""

    preload = {}


@register("hooked.others")
class OtherResource(UserResource):
    """With those for all resources only."""

    preload = {}
