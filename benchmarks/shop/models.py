"""Two models of the same shape: one that is registered as a resource, and one that nobody knows of."""

from django.db import models

from chat.resources import LiveManager


class Shape(models.Model):
    """A number, texts, a decimal, times: what rows usually have. Subscriptions filter by `category`."""

    title = models.CharField(max_length=200)
    category = models.IntegerField(db_index=True)
    status = models.CharField(max_length=20, default="active")
    price = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    stock = models.IntegerField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.title


class Item(Shape):
    """Registered: clients read it and follow it."""

    objects = LiveManager()


class PlainItem(Shape):
    """Registered with nobody: what saving costs by itself."""
