"""Models as an app would have them, to be reached over WebSocket."""

import uuid

from django.conf import settings
from django.db import models

from chat.resources import LiveManager


class Person(models.Model):
    """``is_staff`` and ``password`` are no client's business."""

    name = models.CharField(max_length=100)
    email = models.EmailField(unique=True)
    status = models.CharField(
        max_length=20, default="active", choices=[("active", "Active"), ("inactive", "Inactive")]
    )
    age = models.IntegerField(null=True, blank=True)
    is_staff = models.BooleanField(default=False)
    password = models.CharField(max_length=100, default="s3cret", blank=True)

    objects = LiveManager()

    def __str__(self) -> str:
        return self.name


class Tag(models.Model):
    word = models.CharField(max_length=30, unique=True)

    def __str__(self) -> str:
        return self.word


class Post(models.Model):
    """With a relation of each kind."""

    title = models.CharField(max_length=200)
    content = models.TextField(blank=True, default="")
    author = models.ForeignKey(Person, models.CASCADE, related_name="posts")
    editor = models.ForeignKey(Person, models.SET_NULL, null=True, blank=True, related_name="edited")
    tags = models.ManyToManyField(Tag, blank=True, related_name="posts")
    price = models.DecimalField(max_digits=8, decimal_places=2, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = LiveManager()

    def __str__(self) -> str:
        return self.title


class Note(models.Model):
    """Everybody has their own."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    text = models.CharField(max_length=200)

    objects = LiveManager()

    def __str__(self) -> str:
        return self.text


class Passport(models.Model):
    """Whoever has one can't be deleted."""

    holder = models.OneToOneField(Person, models.PROTECT, related_name="passport")
    number = models.PositiveSmallIntegerField(unique=True)

    def __str__(self) -> str:
        return str(self.number)


class Parcel(models.Model):
    """A column of each kind, under a key that is a text."""

    code = models.CharField(max_length=20, primary_key=True)
    pieces = models.IntegerField(null=True, blank=True)
    small = models.SmallIntegerField(null=True, blank=True)
    weight = models.FloatField(null=True, blank=True)
    price = models.DecimalField(max_digits=6, decimal_places=2, null=True, blank=True)
    fragile = models.BooleanField(null=True, blank=True)
    day = models.DateField(null=True, blank=True)
    moment = models.DateTimeField(null=True, blank=True)
    time = models.TimeField(null=True, blank=True)
    span = models.DurationField(null=True, blank=True)
    reference = models.UUIDField(null=True, blank=True)
    address = models.GenericIPAddressField(null=True, blank=True)
    contents = models.JSONField(null=True, blank=True)
    words = models.TextField(blank=True, default="")

    def __str__(self) -> str:
        return self.code


class Audit(models.Model):
    """What hooks write down, in the transaction of what they write about."""

    words = models.CharField(max_length=200)

    def __str__(self) -> str:
        return self.words


class Plain(models.Model):
    """Registered with nobody: what saving costs by itself."""

    name = models.CharField(max_length=100)
    email = models.EmailField(unique=True)
    status = models.CharField(max_length=20, default="active")

    def __str__(self) -> str:
        return self.name
