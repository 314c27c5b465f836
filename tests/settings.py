"""The project's settings and apps as a developer would write them: on the realtime layer (`tests.app`),
and with models over WebSocket (`tests.blog`)."""

from chatproject.settings import *  # noqa: F403
from chatproject.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.app", "tests.blog"]
ROOT_URLCONF = "tests.app.urls"
