"""The project's settings, with a look at everybody's credentials every second instead of every minute."""

from chatproject.settings import *  # noqa: F403
from chatproject.settings import REALTIME

REALTIME = {**REALTIME, "VERIFY_EVERY": 1}
