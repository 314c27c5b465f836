"""The environment of the tests' own process, set before Django reads its settings.

What the developer's shell or `.env` file says must not change what the tests prove, and a Redis or a database
that is already running is none of theirs.
"""

import os

OURS = (
    "ALLOWED_HOSTS",
    "ALLOWED_ORIGINS",
    "APP_PING_INTERVAL",
    "AUTH_ENABLED",
    "BYTES_RATE",
    "COMPRESSION",
    "COMPRESSION_THRESHOLD",
    "CONNECT_RATE",
    "DATABASE_URL",
    "ECHO_ENDPOINT",
    "HOST",
    "HSTS_SECONDS",
    "HTTPS_ONLY",
    "JWT_AUDIENCE",
    "JWT_ISSUER",
    "JWT_LIFETIME",
    "JWT_PRIVATE_KEY_FILE",
    "JWT_REFRESH_LIFETIME",
    "JWT_SIGNING_KEY",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "METRICS",
    "METRICS_TOKEN",
    "MAX_CONNECTIONS",
    "MAX_CONNECTIONS_PER_ADDRESS",
    "MAX_CONNECTIONS_PER_USER",
    "MAX_CONNECTIONS_PER_WORKER",
    "MAX_ROOMS_PER_CONNECTION",
    "MESSAGE_BURST",
    "MESSAGE_RATE",
    "PORT",
    "READ_TIMEOUT",
    "SECRET_KEY",
    "SHUTDOWN_TIMEOUT",
    "SOCKET_RECEIVE_BUFFER",
    "SOCKET_SEND_BUFFER",
    "TIME_ZONE",
    "TOKEN_IN_QUERY",
    "TRUSTED_PROXIES",
    "USER_MESSAGE_BURST",
    "USER_MESSAGE_RATE",
    "WEB_CONCURRENCY",
    "WRITE_TIMEOUT",
)

for name in OURS:
    os.environ.pop(name, None)
os.environ.update(DEBUG="1", ENV_FILE="", REDIS_URL="memory://")
