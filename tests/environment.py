"""The environment of the tests' own process, set before Django reads its settings.

What the developer's shell or `.env` file says must not change what the tests prove, and a Redis or a database
that is already running is none of theirs.
"""

import os

OURS = (
    "ALLOWED_HOSTS",
    "ALLOWED_ORIGINS",
    "AUTH_ENABLED",
    "DATABASE_URL",
    "HOST",
    "HSTS_SECONDS",
    "HTTPS_ONLY",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "PORT",
    "SECRET_KEY",
    "SHUTDOWN_TIMEOUT",
    "TIME_ZONE",
    "TRUSTED_PROXIES",
    "WEB_CONCURRENCY",
)

for name in OURS:
    os.environ.pop(name, None)
os.environ.update(DEBUG="1", ENV_FILE="", REDIS_URL="memory://")
