"""Django's settings, read from the environment.

Production is the default; `DEBUG=1` is for development. README.md has the table of variables.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from chatproject import env, secret

BASE_DIR = Path(__file__).resolve().parent.parent

# A file of NAME=value lines; what the environment itself says goes first. ENV_FILE= (empty) reads no file.
ENV_FILE = os.environ.get("ENV_FILE", ".env")
if ENV_FILE and (BASE_DIR / ENV_FILE).is_file():
    environ.Env.read_env(BASE_DIR / ENV_FILE)

DEBUG = env.flag("DEBUG", False)

SECRET_KEY = env.text("SECRET_KEY")
if not SECRET_KEY and DEBUG:
    SECRET_KEY = secret.kept(BASE_DIR / ".secret_key")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "SECRET_KEY must be set to a long random text that stays the same (with DEBUG=1 one is made for you)"
    )

ALLOWED_HOSTS = env.hosts("ALLOWED_HOSTS")
if not ALLOWED_HOSTS and DEBUG:
    ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
if not ALLOWED_HOSTS:
    raise ImproperlyConfigured(
        "ALLOWED_HOSTS must be set to the host names of this service, separated by commas"
    )

# --- the chat -------------------------------------------------------------------------------------

AUTH_ENABLED = env.flag("AUTH_ENABLED", False)
ALLOWED_ORIGINS = env.origins("ALLOWED_ORIGINS")  # beside the request's own host

# Tokens (docs/authentication.md): signed with one algorithm, RS256 where there is a key file, else HS256.
TOKEN_IN_QUERY = env.flag("TOKEN_IN_QUERY", False)
JWT_PRIVATE_KEY, JWT_PUBLIC_KEY = env.private_key("JWT_PRIVATE_KEY_FILE", BASE_DIR)
SIMPLE_JWT: dict[str, Any] = {
    "ALGORITHM": "RS256" if JWT_PRIVATE_KEY else "HS256",
    "SIGNING_KEY": JWT_PRIVATE_KEY or env.text("JWT_SIGNING_KEY", SECRET_KEY),
    "VERIFYING_KEY": JWT_PUBLIC_KEY,
    "ISSUER": env.text("JWT_ISSUER", "chat"),
    "AUDIENCE": env.text("JWT_AUDIENCE", "chat"),
    "ACCESS_TOKEN_LIFETIME": timedelta(seconds=env.whole("JWT_LIFETIME", 900, 1, 604_800)),
    "REFRESH_TOKEN_LIFETIME": timedelta(seconds=env.whole("JWT_REFRESH_LIFETIME", 604_800, 60, 31_536_000)),
    "LEEWAY": 5,  # seconds by which the clocks of two machines may differ
}

REDIS_URL = env.redis_url("REDIS_URL")
if not REDIS_URL:
    REDIS_URL = "redis://localhost:6379" if not DEBUG or env.redis_answers() else env.MEMORY_URL
if REDIS_URL == env.MEMORY_URL and not DEBUG:
    raise ImproperlyConfigured("REDIS_URL must name a Redis: memory:// is for development, with DEBUG=1")
# Whether Redis is there is for `serve` and the system checks to say: migrate and collectstatic run without.
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "chat.realtime.layers.RedisLayer",
        "CONFIG": {"hosts": [{"address": REDIS_URL}], "prefix": "chat"},
    }
    if REDIS_URL != env.MEMORY_URL
    else {"BACKEND": "chat.realtime.layers.MemoryLayer"}
}

# What holds where the admin's settings leave a limit empty; 0: no limit. docs/limits.md.
MILLION = 1_000_000
REALTIME = {
    "LIMITS": {
        "max_connections": env.whole("MAX_CONNECTIONS", 50_000, 0, MILLION),
        "max_connections_per_worker": env.whole("MAX_CONNECTIONS_PER_WORKER", 0, 0, MILLION),
        "max_connections_per_address": env.whole("MAX_CONNECTIONS_PER_ADDRESS", 5_000, 0, MILLION),
        "max_connections_per_user": env.whole("MAX_CONNECTIONS_PER_USER", 100, 0, MILLION),
        "connect_rate": env.whole("CONNECT_RATE", 500, 0, MILLION),
        "max_rooms": env.whole("MAX_ROOMS_PER_CONNECTION", 50, 0, MILLION),
        "message_rate": env.whole("MESSAGE_RATE", 20, 0, MILLION),
        "message_burst": env.whole("MESSAGE_BURST", 100, 1, MILLION),
        "user_message_rate": env.whole("USER_MESSAGE_RATE", 0, 0, MILLION),
        "user_message_burst": env.whole("USER_MESSAGE_BURST", 200, 1, MILLION),
        "bytes_rate": env.whole("BYTES_RATE", 262_144, 0, 1000 * MILLION - 1),
    },
    # Who may read /metrics: these networks, and who has the token. docs/monitoring.md.
    "METRICS": env.metrics("METRICS") | {"TOKEN": env.text("METRICS_TOKEN")},
    # The system's buffers of each socket, in bytes; 0: as the system sees fit. docs/wire.md.
    "SOCKETS": {
        "socket_send_buffer": env.whole("SOCKET_SEND_BUFFER", 0, 0, 16 * MILLION),
        "socket_receive_buffer": env.whole("SOCKET_RECEIVE_BUFFER", 0, 0, 16 * MILLION),
    },
    "TRANSPORT": {
        "read_timeout": env.whole("READ_TIMEOUT", 60, 1, 3600),  # seconds
        "write_timeout": env.whole("WRITE_TIMEOUT", 60, 1, 3600),  # seconds
        "app_ping_interval": env.whole("APP_PING_INTERVAL", 0, 0, 3600),  # seconds
        "compression": env.flag("COMPRESSION", True),
        "compression_threshold": env.whole("COMPRESSION_THRESHOLD", 512, 0, 65_536),  # bytes
    },
}

# Failed sign-ins are counted here, for all workers together.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "chat",
        "OPTIONS": {"socket_timeout": 3, "socket_connect_timeout": 3},  # seconds
    }
    if REDIS_URL != env.MEMORY_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}

# --- the server -----------------------------------------------------------------------------------

HOST = env.text("HOST", "127.0.0.1" if DEBUG else "0.0.0.0")
PORT = env.whole("PORT", 8000, 0, 65535)  # 0: any free one
WEB_CONCURRENCY = env.whole("WEB_CONCURRENCY", 1, 1, 64)
SHUTDOWN_TIMEOUT = env.whole("SHUTDOWN_TIMEOUT", 10, 1, 600)  # seconds
ECHO_ENDPOINT = env.flag("ECHO_ENDPOINT", False)  # /api/echo/ws, for first steps and conformance tools
TRUSTED_PROXIES = env.whole("TRUSTED_PROXIES", 0, 0, 16)

# --- Django ---------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "chat",
    "channels",
    "rest_framework",
    "rest_framework_simplejwt.token_blacklist",
    "simple_history",
    "csp",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "chatproject.static.StaticFilesMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
]

ROOT_URLCONF = "chatproject.urls"
ASGI_APPLICATION = "chatproject.asgi.application"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": env.database("DATABASE_URL", "sqlite:///db.sqlite3", BASE_DIR)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en"
TIME_ZONE = env.time_zone("TIME_ZONE", "UTC")
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"  # filled by collectstatic
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
# Files that collectstatic has not copied are found where they are, so a page never lacks its style.
WHITENOISE_USE_FINDERS = True

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "chat.api.errors.handle",
}

# --- security -------------------------------------------------------------------------------------

HTTPS_ONLY = env.flag("HTTPS_ONLY", not DEBUG)
SECURE_SSL_REDIRECT = HTTPS_ONLY
# A load balancer asks these over plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^api/chat-api/(health|ready)/?$"]
SECURE_HSTS_SECONDS = env.whole("HSTS_SECONDS", 31_536_000, 0, 63_072_000) if HTTPS_ONLY else 0
SESSION_COOKIE_SECURE = HTTPS_ONLY
CSRF_COOKIE_SECURE = HTTPS_ONLY
CSRF_TRUSTED_ORIGINS = ALLOWED_ORIGINS
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"
# HSTS for all subdomains and for the browsers' preload lists are promises about a whole domain: its owner may
# give them at the proxy, this service can't.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "connect-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}

# --- logging --------------------------------------------------------------------------------------

LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
LOG_FORMAT = env.choice("LOG_FORMAT", "TEXT", ("TEXT", "JSON")).lower()
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"()": "chatproject.logs.LineFormatter", "fold_tracebacks": not DEBUG},
        "json": {"()": "chatproject.logs.JsonFormatter"},
    },
    "filters": {"refusals": {"()": "chatproject.logs.RefusalFilter"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT, "filters": ["refusals"]},
    },
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # Django brings handlers of its own: without this each of its events would come twice.
        "django": {"handlers": [], "level": "INFO" if LOG_LEVEL == "DEBUG" else LOG_LEVEL, "propagate": True},
        "asyncio": {"level": "WARNING"},
        # A line for each attempt to connect: ten a second while the database is away, which others say once.
        "psycopg.pool": {"level": "ERROR"},
    },
}
