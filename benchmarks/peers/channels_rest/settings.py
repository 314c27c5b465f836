"""The same settings, database and server class as this project's side; only the application differs."""

from benchmarks.shop.settings import *  # noqa: F403

ASGI_APPLICATION = "channels_rest.asgi.application"
