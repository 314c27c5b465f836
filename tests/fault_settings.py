"""The project's settings and, for the fault tests only, an app that misbehaves on demand."""

from chatproject.settings import *  # noqa: F403
from chatproject.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.faultapp"]
