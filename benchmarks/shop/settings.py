"""The project's production settings with the shop in them."""

from chatproject.settings import *  # noqa: F403
from chatproject.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.shop"]
