"""The project's settings and an app as a developer would write one on the realtime layer (`tests.app`)."""

from chatproject.settings import *  # noqa: F403
from chatproject.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.app"]
ROOT_URLCONF = "tests.app.urls"
