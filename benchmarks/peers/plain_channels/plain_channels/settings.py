"""Settings of the peer: the Channels tutorial's, in production mode.

`REDIS_HOST_PORT` ("127.0.0.1:6379") names the Redis. Two things differ from the tutorial:

- `socket_timeout`: channels-redis 4.3 with redis-py 8 and the tutorial's own lines closes every
  idle socket after six seconds (the client's new default of 5 s equals the layer's blocking read).
- `PEER_LIMIT`: the layer's capacity and redis-py's number of connections, both 100 by default as in
  the tutorial. With more messages in flight that loses messages and closes sockets with 1011, so a run
  in which it happens is repeated with a larger limit, and the result says so.
"""

import os

SECRET_KEY = "benchmark-peer-only"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
INSTALLED_APPS = [
    "daphne",
    "plain_channels",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
]
ROOT_URLCONF = "plain_channels.urls"
ASGI_APPLICATION = "plain_channels.asgi.application"
# The benchmark's clients have no session cookie, so nothing is ever read from it.
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

LIMIT = int(os.environ.get("PEER_LIMIT", "100"))
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {
            "hosts": [
                {
                    "address": "redis://" + os.environ["REDIS_HOST_PORT"],
                    "socket_timeout": None,
                    "max_connections": LIMIT,
                }
            ],
            "capacity": LIMIT,
        },
    },
}
