"""The test app with hooks around everything that clients do."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.blog.hooked"]
ROOT_URLCONF = "tests.blog.hooked.urls"
