"""docs/resources.md works as it is printed: its code becomes an app, and its messages are what is sent."""

import json
import os
import re
from collections.abc import Iterator

import pytest

from chat.resources.errors import ResourceError
from chat.resources.filters import Operator
from chat.resources.resource import OPERATIONS, ModelResource
from tests.kit import ChatServer, serving_app
from tests.pages import ROOT, blocks, code, read, table
from tests.resource_kit import ResourceClient
from tests.test_docs_extending import run

PAGE = read("resources.md")
FILE = re.compile(r"# (shop/\w+\.py)\n")
SETTINGS = """
from chatproject.settings import *
INSTALLED_APPS = [*INSTALLED_APPS, "shop"]
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatServer]:
    """A server of two workers with the page's app."""
    root = tmp_path_factory.mktemp("resources")
    printed = {FILE.match(block)[1]: block for block in blocks(PAGE, "python") if FILE.match(block)}
    for name, content in {"docs_shop.py": SETTINGS, "shop/__init__.py": "", **printed}.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(content)
    variables = {"PYTHONPATH": f"{root}{os.pathsep}{ROOT}", "DJANGO_SETTINGS_MODULE": "docs_shop"}
    run(variables, "manage.py", "makemigrations", "shop")
    with serving_app(variables) as server:
        yield server


async def test_the_app(shop):
    """The page's models, resources, hooks, raw SQL and counts do what the page says."""
    make = "from shop.models import Product\nresult = Product.objects.create(**fields).pk"
    tea = await shop.adjango(make, fields={"name": "Tea", "price": "3.50", "stock": 7, "cost": 1})
    empty = await shop.adjango(make, fields={"name": "Air", "price": "1.00", "cost": 0})
    user = shop.create_user("ada")
    ada = await ResourceClient.open(shop, cookie=user.cookie)
    visitor = await ResourceClient.open(shop)

    rows = await visitor.do("read", "products", options=example("request")["options"])
    assert rows == [{"id": tea, "name": "Tea", "price": "3.50 €", "stock": 7}]
    assert (await visitor.refused("create", "products", data={}))["code"] == "invalid_operation"
    assert (await visitor.refused("read", "baskets"))["code"] == "unauthorized"

    sold_out = await ada.refused("create", "baskets", data={"product": empty})
    assert (sold_out["code"], sold_out["message"]) == ("hook_error", "This is sold out.")
    basket = await ada.do("create", "baskets", data={"product": tea, "amount": 2})
    assert basket["owner"] == user.id
    (row,) = await ada.do("read", "baskets", options={"preload": ["product"]})
    assert row["product"]["name"] == "Tea"

    sent = {**example("subscription"), "id": 9}
    await visitor.send(sent)
    answer = await visitor.expect(type="response", id=9)
    assert [row["id"] for row in answer["data"]["snapshot"]] == [tea]
    await shop.adjango("from shop.prices import raise_prices\nraise_prices(10)")
    assert (await visitor.told("update"))["data"]["price"] == "3.85"
    importer = """
from django.db import connection
from shop.prices import told_by_the_importer
with connection.cursor() as cursor:
    cursor.execute("UPDATE shop_product SET stock = 0 WHERE id = %s", [key])
told_by_the_importer([key])
"""
    await shop.adjango(importer, key=tea)
    await visitor.told("delete")

    counted = await shop.adjango("from shop.monitor import stats\nresult = stats()")
    assert counted == {"connections": 2, "subscriptions": 1}
    close = "from django.contrib.auth import get_user_model as m\nfrom shop.monitor import close_the_shop\n"
    await shop.adjango(close + "close_the_shop(m().objects.get(pk=pk))", pk=user.id)
    await ada.expect(type="shop.closed")
    await ada.close()
    await visitor.close()


def example(kind: str, **keys: object) -> dict:
    """The first example message of a type."""
    for block in blocks(PAGE, "json"):
        found = json.loads(block)
        if found["type"] == kind and keys.items() <= found.items():
            return found
    raise AssertionError(f"no example of {kind}")


async def test_the_examples_have_the_shapes_of_real_messages(shop):
    """What the page shows of responses and notifications has exactly the keys of real ones."""
    make = "from shop.models import Product\nProduct.objects.create(name='Cup', price=2, stock=1, cost=1)"
    client = await ResourceClient.open(shop)
    await client.send({**example("subscription"), "id": 1})
    answer = await client.expect(type="response", id=1)
    shown = [json.loads(block) for block in blocks(PAGE, "json")]
    with_snapshot = next(one for one in shown if "subscription_id" in one.get("data", {}))
    assert (answer.keys(), answer["data"].keys()) == (with_snapshot.keys(), with_snapshot["data"].keys())
    await shop.adjango(make)
    told = await client.told("create")
    assert told.keys() == example("notification").keys()
    assert told["data"].keys() == example("notification")["data"].keys()
    refused = await client.ask("read", "nothing")
    assert refused.keys() == example("response", success=False).keys()
    await client.close()


def test_the_tables():
    """The page lists exactly the errors, the operators, the operations and what a class may say."""
    listed = {name for cell in table(PAGE, "code", "meaning").column() for name in code(cell)}
    known = {cls.code for cls in subclasses(ResourceError)} | {ResourceError.code}
    known |= {f"{operation}_error" for operation in ("read", "create", "update", "delete")}
    assert listed == known | {"rate_limited", "unavailable", "unauthenticated", "internal"}
    operators = {name for cell in table(PAGE, "operator", "fits").column() for name in code(cell)}
    assert operators == set(Operator)
    assert {name for cell in table(PAGE, "operation", "asks with").column() for name in code(cell)} | {
        "subscribe"
    } == set(OPERATIONS)
    said = [name for cell in table(PAGE, "in the class", "what it says").column() for name in code(cell)]
    for name in said:
        assert name == "model" or hasattr(ModelResource, name.partition("(")[0]), name
    limits = (ModelResource.default_limit, ModelResource.max_limit, ModelResource.max_followed)
    assert limits == (100, 1000, 10_000)


def subclasses(cls: type) -> list[type]:
    return [one for sub in cls.__subclasses__() for one in (sub, *subclasses(sub))]
