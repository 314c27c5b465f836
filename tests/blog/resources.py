"""What clients may reach of the blog."""

from typing import Any

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from rest_framework import serializers
from rest_framework.permissions import AllowAny, BasePermission, IsAuthenticated, IsAuthenticatedOrReadOnly

from chat.realtime import hook
from chat.resources import ModelResource, ResourceHook, register
from tests.blog.models import Note, Parcel, Passport, Person, Post, Tag


@register("public.users")
class UserResource(ModelResource):
    model = Person
    fields = ["id", "name", "email", "status", "age"]
    filter_fields = ["id", "name", "email", "status", "age"]
    sort_fields = ["id", "name", "age"]
    preload = {"posts": "public.posts", "passport": "public.passports"}
    permission_classes = [AllowAny]


@register("public.colleagues")
class ColleagueResource(ModelResource):
    """Those of the people whom a hook leaves, by a column that no client sees."""

    model = Person
    fields = ["id", "name"]
    filter_fields = ["name"]


@hook(ResourceHook.BEFORE_SUBSCRIBE, scope=ColleagueResource)
async def only_staff(context: Any) -> None:
    context.options.filters.append({"column": "is_staff", "operator": "eq", "value": True})


@register("failing.people")
class FailingResource(ModelResource):
    """Fails for one of its users, once the row is there that makes it."""

    model = Person
    fields = ["id", "name"]
    filter_fields = ["name"]

    def get_queryset(self, user: Any) -> Any:
        if user.is_authenticated and Person.objects.filter(name=f"breaks {user.username}").exists():
            raise RuntimeError("secret of the server")
        return Person.objects.all()


@register("public.posts")
class PostResource(ModelResource):
    model = Post
    fields = ["id", "title", "content", "author", "editor", "price", "created_at"]
    read_only_fields = ["created_at"]
    filter_fields = ["id", "title", "author", "editor", "price", "created_at"]
    sort_fields = ["id", "title", "price", "created_at"]
    preload = {"author": "public.users", "editor": "public.users", "tags": "public.tags"}
    permission_classes = [IsAuthenticatedOrReadOnly]


@register("public.tags")
class TagResource(ModelResource):
    """Read only: nothing says that anybody may write."""

    model = Tag
    fields = ["id", "word"]
    filter_fields = ["word"]
    sort_fields = ["word"]
    preload = {"posts": "public.posts"}


@register("public.groups")
class GroupResource(ModelResource):
    """Under a key of 32 bits."""

    model = Group
    fields = ["id", "name"]
    filter_fields = ["id"]
    permission_classes = [AllowAny]


@register("public.words")
class WordResource(ModelResource):
    """The same table, for reading alone."""

    model = Tag
    fields = ["id", "word"]
    permission_classes = [AllowAny]
    operations = ["read", "meta"]


@register("public.notes")
class NoteResource(ModelResource):
    """Each user's own."""

    model = Note
    fields = ["id", "text", "owner"]
    read_only_fields = ["owner"]
    filter_fields = ["text"]
    sort_fields = ["text"]
    permission_classes = [IsAuthenticated]

    def get_queryset(self, user: Any) -> Any:
        return Note.objects.filter(owner=user.pk)

    def perform_create(self, serializer: Any, user: Any) -> Any:
        return serializer.save(owner=user)


@register("public.passports")
class PassportResource(ModelResource):
    model = Passport
    fields = ["id", "holder", "number"]
    filter_fields = ["number", "holder"]
    preload = {"holder": "public.users"}
    permission_classes = [AllowAny]


@register("public.parcels")
class ParcelResource(ModelResource):
    """A column of each kind, all of which may be asked and written."""

    model = Parcel
    fields = [field.name for field in Parcel._meta.fields]
    filter_fields = fields
    sort_fields = [name for name in fields if name not in ("address", "contents")]
    permission_classes = [AllowAny]


class MayPublish(BasePermission):
    message = "Only those who may add posts see drafts."

    def has_permission(self, request: Any, view: Any) -> bool:
        return request.user.has_perm("blog.add_post")


@register("staff.drafts")
class DraftResource(ModelResource):
    """For those with a permission, which may be withdrawn."""

    model = Post
    fields = ["id", "title"]
    filter_fields = ["id"]
    permission_classes = [MayPublish]


class TaggedPost(serializers.ModelSerializer):
    """No columns alone: a relation's words and a method's."""

    tags = serializers.SlugRelatedField(slug_field="word", many=True, queryset=Tag.objects.all())
    shout = serializers.SerializerMethodField()

    class Meta:
        model = Post
        fields = ["id", "title", "author", "tags", "shout"]

    def get_shout(self, post: Post) -> str:
        return post.title.upper()

    def validate_title(self, title: str) -> str:
        if title == "forbidden":
            raise serializers.ValidationError("Not this one.")
        return title


@register("made.stories")
class MadePostResource(ModelResource):
    model = Post
    serializer_class = TaggedPost
    filter_fields = ["id", "title"]
    sort_fields = ["title"]
    permission_classes = [AllowAny]


class OwnPosts(BasePermission):
    """Posts about others are nobody else's."""

    def has_object_permission(self, request: Any, view: Any, obj: Any) -> bool:
        if obj.title.startswith("hidden"):
            return False
        return request.method == "GET" or not obj.title.startswith("fixed")


@register("guarded.entries")
class GuardedResource(ModelResource):
    model = Post
    fields = ["id", "title", "author"]
    filter_fields = ["id", "title"]
    sort_fields = ["id"]
    permission_classes = [OwnPosts]


@register("guarded.authors")
class GuardedAuthorResource(ModelResource):
    """With rows beside them that not everybody sees: each, and all of them."""

    model = Person
    fields = ["id", "name"]
    filter_fields = ["id"]
    preload = {"posts": "guarded.entries", "edited": "staff.drafts"}


@register("published.labels")
class PublishedTagResource(ModelResource):
    """The tags of public posts: found by the relation that they are also preloaded by."""

    model = Tag
    fields = ["id", "word"]
    filter_fields = ["word"]
    sort_fields = ["word"]

    def get_queryset(self, user: Any) -> Any:
        return Tag.objects.filter(posts__title__startswith="public").distinct()


@register("published.articles")
class PublishedPostResource(ModelResource):
    model = Post
    fields = ["id", "title"]
    filter_fields = ["id", "title"]
    preload = {"tags": "published.labels"}


@register("public.people")
class PeopleResource(ModelResource):
    model = Person
    fields = ["id", "name"]


@register("archive.people")
class ArchivedPeopleResource(ModelResource):
    model = Person
    fields = ["id", "email"]


@register("faulty.broken")
class BrokenResource(UserResource):
    """An app's own mistakes: with a column that is none, and by the name that is written."""

    preload = {}

    def get_queryset(self, user: Any) -> Any:
        return Person.objects.extra(where=["secret_column = 1"])

    def perform_create(self, serializer: Any, user: Any) -> Any:
        match serializer.validated_data["name"]:
            case "conflict":
                return Person.objects.create(name=None)
            case "invalid":
                raise ValidationError({"name": ["Taken."]})
            case "words":
                raise ValidationError("Not so.")
        raise RuntimeError("secret of the server")


@register("faulty.fragile")
class FragileResource(UserResource):
    """Fails when all is done."""

    preload = {}

    def perform_update(self, serializer: Any, user: Any) -> Any:
        serializer.save()
        raise RuntimeError("secret of the server")

    def perform_delete(self, instance: Any, user: Any) -> None:
        instance.delete()
        raise RuntimeError("secret of the server")
