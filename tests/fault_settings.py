"""The project's settings and, for the fault tests only, an app that misbehaves on demand.

FAULT_BROKEN in the environment: a file; while it exists, no process with these settings starts.
"""

import os

from django.core.exceptions import ImproperlyConfigured

from chatproject.settings import *  # noqa: F403
from chatproject.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.faultapp"]

if os.path.exists(os.environ.get("FAULT_BROKEN", "")):
    raise ImproperlyConfigured("this version does not start, made for the test")
