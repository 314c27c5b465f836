"""A wrong declaration fails when the server starts, by the resource's name."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from chat.resources import ModelResource, registered
from tests.kit import ChatServer

# What a developer may write, each under a name; the system check says what is wrong with each.
DECLARE = """
from django.db import models
from rest_framework import serializers
from rest_framework.permissions import AllowAny, IsAdminUser
from chat.resources import ModelResource, registered
from chat.resources.checks import check_resources
from tests.blog.models import Parcel, Person, Tag

class Misspelt(serializers.ModelSerializer):
    class Meta:
        model = Person
        fields = ["id", "nme"]

class OfTags(serializers.ModelSerializer):
    class Meta:
        model = Tag
        fields = ["id"]

class Lost(serializers.ModelSerializer):
    nickname = serializers.CharField()
    class Meta:
        model = Person
        fields = ["id", "nickname"]

class Failing(serializers.ModelSerializer):
    class Meta:
        model = Person
        fields = ["id"]
    def get_fields(self):
        raise KeyError("request")

class Fine(serializers.ModelSerializer):
    short = serializers.CharField(source="name")
    posts = serializers.SerializerMethodField()
    class Meta:
        model = Person
        fields = ["id", "short", "posts", "__str__", "password"]
        extra_kwargs = {"password": {"write_only": True}}

names = {name: value for name, value in globals().items() if isinstance(value, type)}
result = {}
for source in cases:
    attributes = eval(source, {"AllowAny": AllowAny, "models": models, **names})
    with registered("test.thing", type("ThingResource", (ModelResource,), attributes)) as resource:
        errors = check_resources(None)
    result[source] = [[error.id, error.msg] for error in errors]
"""
PERSON = "dict(model=Person, fields=['id', 'name'], {})"

# What it writes → the id of the error, and what its text names; None: nothing is wrong.
CASES: dict[str, tuple[str, str] | None] = {
    "dict(fields=['id'])": ("E001", "`model`"),
    "dict(model='blog.Person', fields=['id'])": ("E001", "`model`"),
    "dict(model=models.Model, fields=['id'])": ("E001", "`model`"),
    "dict(model=Person)": ("E002", "nothing is shown by itself"),
    "dict(model=Person, fields='name')": ("E002", "`fields` is 'name'"),
    "dict(model=Person, fields='__all__')": ("E002", "`fields` is '__all__'"),
    "dict(model=Person, fields=None)": ("E002", "`fields`"),
    "dict(model=Person, fields=['id', 7])": ("E002", "`fields`"),
    "dict(model=Person, fields=['id', 'nme'])": ("E003", "'nme', which Person has not"),
    "dict(model=Person, fields=['id', 'posts__title'])": ("E003", "'posts__title'"),
    PERSON.format("read_only_fields=['nme']"): ("E003", "`read_only_fields` has 'nme'"),
    PERSON.format("read_only_fields='name'"): ("E002", "`read_only_fields`"),
    "dict(model=Person, serializer_class=Misspelt)": ("E004", "nme"),
    "dict(model=Person, serializer_class=OfTags)": ("E004", "shows Tag, not Person"),
    "dict(model=Person, serializer_class=Lost)": ("E004", "'nickname', which Person has not"),
    "dict(model=Person, serializer_class=Failing)": ("E004", "request"),
    "dict(model=Person, serializer_class=Person)": ("E004", "no class of serializers"),
    PERSON.format("serializer_class=Fine"): ("E002", "not in `fields`"),
    PERSON.format("filter_fields=['password']"): ("E005", "`filter_fields` has 'password'"),
    PERSON.format("filter_fields=['name__startswith']"): ("E005", "'name__startswith'"),
    PERSON.format("filter_fields='name'"): ("E002", "`filter_fields`"),
    PERSON.format("sort_fields=['age']"): ("E005", "`sort_fields` has 'age'"),
    "dict(model=Person, serializer_class=Fine, filter_fields=['password'])": ("E005", "'password'"),
    "dict(model=Person, serializer_class=Fine, filter_fields=['posts'])": ("E006", "'posts'"),
    "dict(model=Person, fields=['id', 'posts'], filter_fields=['posts'])": ("E006", "no column of Person"),
    "dict(model=Parcel, fields=['code', 'contents'], sort_fields=['contents'])": ("E006", "no order"),
    PERSON.format("preload={'nope': 'public.posts'}"): ("E007", "Person has no relation 'nope'"),
    PERSON.format("preload={'name': 'public.posts'}"): ("E007", "'name' is no relation of Person"),
    PERSON.format("preload={'posts': 'public.nope'}"): ("E007", "'public.nope' is not registered"),
    PERSON.format("preload={'posts': 'public.tags'}"): ("E007", "'posts' leads to Post"),
    PERSON.format("preload={'posts__tags': 'public.tags'}"): ("E007", "'posts__tags'"),
    PERSON.format("preload=['posts']"): ("E002", "`preload`"),
    PERSON.format("preload={'posts': Person}"): ("E002", "`preload`"),
    PERSON.format("permission_classes=AllowAny"): ("E002", "`permission_classes`"),
    PERSON.format("permission_classes=['AllowAny']"): ("E002", "`permission_classes`"),
    PERSON.format("permission_classes=[AllowAny()]"): ("E002", "`permission_classes`"),
    PERSON.format("operations=['read', 'destroy']"): ("E008", "'destroy'"),
    PERSON.format("operations='read'"): ("E002", "`operations`"),
    PERSON.format("default_limit=0"): ("E009", "`default_limit`"),
    PERSON.format("default_limit=2000"): ("E009", "`max_limit`"),
    PERSON.format("max_limit='many'"): ("E009", "`max_limit`"),
    PERSON.format("max_followed=0"): ("E009", "`max_followed`"),
    PERSON.format("preload={'posts': 'public.posts'}, filter_fields=('name',), operations=()"): None,
    PERSON.format("permission_classes=[AllowAny | IsAdminUser, ~IsAdminUser]"): None,
    "dict(model=Person, serializer_class=Fine, filter_fields=['short'], sort_fields=['id'])": None,
}


def test_each_wrong_declaration_is_an_error(app_server: ChatServer) -> None:
    """With the resource's class and name, and what is wrong; the resources of the test app are right."""
    found: dict[str, Any] = app_server.django(DECLARE, cases=list(CASES))
    for source, wanted in CASES.items():
        if wanted is None:
            assert found[source] == [], source
            continue
        ((ident, text),) = found[source]
        assert ident == f"resources.{wanted[0]}", (source, text)
        assert "ThingResource (test.thing): " in text
        assert wanted[1] in text, source


WRONG = """
from chat.resources import ModelResource, register
from tests.blog.models import Person

@register("shop.people")
class ShopPeople(ModelResource):
    model = Person
    fields = ["id", "nme"]
"""


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["check"]])
def test_a_server_with_one_does_not_start(app_server: ChatServer, tmp_path: Path, command: list[str]) -> None:
    """It says in one line which, and why."""
    shop = tmp_path / "wrong_shop"
    shop.mkdir()
    (shop / "__init__.py").touch()
    (shop / "resources.py").write_text(WRONG)
    (tmp_path / "wrong_settings.py").write_text(
        "from tests.settings import *\nINSTALLED_APPS = [*INSTALLED_APPS, 'wrong_shop']\n"
    )
    own = {"DJANGO_SETTINGS_MODULE": "wrong_settings", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(app_server.program), *command],
        cwd=app_server.program.parent,
        env=app_server.environment | own,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode != 0
    words = "wrong_shop.resources.ShopPeople (shop.people): `fields` has 'nme', which Person has not"
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["", "a b", "a.b.c", "públic.users", "public.", "x" * 65])
def test_a_name_is_checked_at_once(name: str) -> None:
    """And so is one that is taken."""

    class Thing(ModelResource):
        pass

    with pytest.raises(ImproperlyConfigured, match="can't name a resource"), registered(name, Thing):
        pass
    with (
        registered("test.thing", Thing),
        pytest.raises(ImproperlyConfigured, match="Thing already"),
        registered("test.thing", Thing),
    ):
        pass
