"""A real `manage.py serve` with a database of its own."""

import asyncio
import atexit
import functools
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from .process import Process, project_root

SECRET_KEY = "a-key-for-tests-that-is-no-secret-at-all-0123456789"
START_LIMIT = 60.0  # seconds: a machine may have much else to do
_SETTINGS = "realtime_test_settings"  # the module that `write_settings` writes
_CLOCK = Path(__file__).with_name("clock")  # with a sitecustomize.py
# Not `python -m`: that imports the package before Django is set up.
_SHELL = "import django; django.setup(); from chat.realtime.testing.shell import main; main()"
MEMORY = "memory://"


def environment(database: Path, redis_url: str, **overrides: str) -> dict[str, str]:
    """What our programs are started with: nothing of the developer's environment but where things are."""
    where = ("PATH", "PYTHONPATH", "HOME", "TMPDIR", "LANG")
    kept = {name: os.environ[name] for name in where if name in os.environ}
    return kept | {
        "ENV_FILE": "",
        "DEBUG": "1",
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": f"sqlite:///{database}",
        "REDIS_URL": redis_url,
        "HOST": "127.0.0.1",
        "PORT": "0",
        "PYTHONUNBUFFERED": "1",
        **overrides,
    }


@functools.cache
def migrated_database(program: Path, settings: str) -> Path:
    """An empty, migrated SQLite database to copy; made once a test run and settings module (1.5 s)."""
    directory = tempfile.TemporaryDirectory(prefix="chat-database-")
    atexit.register(directory.cleanup)
    path = Path(directory.name) / "template.sqlite3"
    given = write_settings(Path(directory.name), settings, path, None, {})
    subprocess.run(
        [sys.executable, str(program), "migrate", "--noinput", "--verbosity", "0"],
        cwd=program.parent,
        env=environment(path, MEMORY, **given),
        check=True,
        timeout=60,
    )
    return path


def write_settings(
    directory: Path, settings: str, database: Path, redis_url: str | None, overrides: dict[str, Any]
) -> dict[str, str]:
    """A settings module on top of the project's: its own database, Redis and secrets, and ``overrides``.
    Returns the environment variables that make Django use it."""
    layer: dict[str, Any] = {"BACKEND": "chat.realtime.layers.MemoryLayer"}
    if redis_url is not None:
        layer = {"BACKEND": "chat.realtime.layers.RedisLayer", "CONFIG": {"hosts": [{"address": redis_url}]}}
    values = {
        "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(database)}},
        "CHANNEL_LAYERS": {"default": layer},
        "ALLOWED_HOSTS": ["127.0.0.1", "localhost"],
        "SECURE_SSL_REDIRECT": False,
        "SESSION_COOKIE_SECURE": False,
        "CSRF_COOKIE_SECURE": False,
        **overrides,
    }
    lines = [f"from {settings} import *", *[f"{name} = {value!r}" for name, value in values.items()]]
    (directory / f"{_SETTINGS}.py").write_text("\n".join(lines) + "\n")
    path = [str(directory), os.environ.get("PYTHONPATH", "")]
    return {"DJANGO_SETTINGS_MODULE": _SETTINGS, "PYTHONPATH": os.pathsep.join(filter(None, path))}


@dataclass(frozen=True)
class User:
    """A user with a session: ``cookie`` is the Cookie header of a signed-in browser."""

    id: int
    username: str
    password: str
    session_key: str
    cookie: str

    @property
    def shown(self) -> dict[str, Any]:
        """What others see of this user."""
        return {"id": self.id, "username": self.username}


class RealtimeServer(Process):
    """`manage.py serve` on a free port; with ``redis_url`` None on the in-memory layer.

    ``settings`` names the project's settings module (default: that of the tests); with ``overrides``, a dict
    of settings, the server has these on top, and its own database and Redis whatever the module says. ``env``
    goes before the defaults of ``environment``; ``arguments`` are further options of `serve`; ``manage`` is
    the project's manage.py (default: the nearest). With ``clock`` its time can be set (``advance``).
    """

    name = "server"

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        workers: int = 1,
        env: dict[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        settings: str | None = None,
        overrides: dict[str, Any] | None = None,
        manage: Path | str | None = None,
        clock: bool = False,
    ) -> None:
        super().__init__()
        self.worker_count = workers
        self.arguments = arguments
        self.program = Path(manage).resolve() if manage is not None else project_root() / "manage.py"
        self.cwd = self.program.parent
        self.database = self.directory / "db.sqlite3"
        settings = settings or os.environ["DJANGO_SETTINGS_MODULE"]
        shutil.copy(migrated_database(self.program, settings), self.database)
        given = {"DJANGO_SETTINGS_MODULE": settings}
        if overrides is not None:
            given = write_settings(self.directory, settings, self.database, redis_url, overrides)
        given |= env or {}
        self.clock = self.directory / "clock" if clock else None
        if self.clock is not None:
            self.clock.write_bytes(bytes(8))
            path = [str(_CLOCK), given.get("PYTHONPATH") or os.environ.get("PYTHONPATH", "")]
            given |= {
                "REALTIME_TEST_CLOCK": str(self.clock),
                "PYTHONPATH": os.pathsep.join(filter(None, path)),
            }
        self.environment = environment(self.database, redis_url or MEMORY, **given)
        self.port = 0
        self._shell: _Shell | None = None

    # --- life --------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Returns when every worker listens."""
        command = [sys.executable, str(self.program), "serve", "--port", str(self.port)]
        self.mark()
        self.spawn([*command, "--workers", str(self.worker_count), *self.arguments], self.environment)
        self.port = int(self.wait_for_output(r"Serving http://127\.0\.0\.1:(\d+)/", START_LIMIT)[1])
        return self

    def stop(self, limit: float = 15.0, *, allow_tracebacks: bool = False) -> int | None:
        """Stop it gracefully; returns its exit status. Fails when it has ever written a traceback."""
        if self._shell is not None:
            self._shell.close()
            self._shell = None
        status = super().stop(limit)
        if not allow_tracebacks:
            self.check_output(self.output())
        return status

    def check_output(self, text: str) -> None:
        assert "Traceback" not in text, f"the server wrote a traceback:\n{text}"

    def advance(self, seconds: float) -> None:
        """Set the clock of the server's processes forward: time.time(), time.monotonic() and the event loops'
        (not datetime.now(), which Python reads elsewhere). What is due then happens within a second."""
        assert self.clock is not None, "start the server with clock=True"
        with self.clock.open("r+b") as file:
            (before,) = struct.unpack("d", file.read(8))
            file.seek(0)
            file.write(struct.pack("d", before + seconds))

    def workers(self) -> list[int]:
        """The process ids of its workers."""
        return self.children()

    # --- addresses ---------------------------------------------------------------------------------------

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def http(self, path: str = "/") -> str:
        return self.origin + path

    def websocket(self, path: str = "/", query: str = "") -> str:
        """The address of a WebSocket."""
        return f"ws://127.0.0.1:{self.port}{path}" + (f"?{query}" if query else "")

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Ask by plain HTTP: status, headers (names in lower case), body. No redirect is followed."""
        return self.request("GET", path, None, **headers)

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """``get`` with another method and a body; underscores in the names of headers become dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.http(path), body, named, method=method)
        try:
            with _opener().open(request, timeout=10) as answer:
                return answer.status, _lower(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _lower(error.headers), error.read()

    # --- the same project in other processes -------------------------------------------------------------

    def manage(self, *arguments: str, limit: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a management command with the server's environment."""
        return subprocess.run(
            [sys.executable, str(self.program), *arguments],
            cwd=self.program.parent,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=limit,
        )

    def django(self, code: str, **names: Any) -> Any:
        """Run code in a second process with the server's environment, as a shell or a task worker would.

        ``names`` (JSON values) are its variables; the JSON value of its variable ``result`` comes back.
        The process stays for the next call, its variables don't. Raises RuntimeError with its traceback.
        """
        if self._shell is None:
            self._shell = _Shell(self)
        return self._shell.run(code, names)

    async def adjango(self, code: str, **names: Any) -> Any:
        """``django`` without blocking the test's event loop."""
        return await asyncio.to_thread(self.django, code, **names)

    # --- what is in the database -------------------------------------------------------------------------

    def create_user(self, username: str, password: str = "", **fields: Any) -> User:
        """A new user with a session. Without a password (hashing takes 0.3 s) there is no signing in anew."""
        made = self.django(
            """
from django.contrib.auth import get_user_model
user = get_user_model()(username=username, **fields)
user.set_password(password or None)
user.save()
result = user.pk
""",
            username=username,
            password=password,
            fields=fields,
        )
        key = self.create_session(made)
        return User(made, username, password, key, f"sessionid={key}")

    def create_session(self, user_id: int) -> str:
        """A session in which that user is signed in; returns its key."""
        key: str = self.django(
            """
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
user = get_user_model().objects.get(pk=user_id)
session = import_module(settings.SESSION_ENGINE).SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.create()
result = session.session_key
""",
            user_id=user_id,
        )
        return key


class _Shell:
    """A second process with the server's environment (shell.py); JSON lines in and out."""

    def __init__(self, server: RealtimeServer) -> None:
        with server.log.open("ab") as output:
            self.popen = subprocess.Popen(
                [sys.executable, "-c", _SHELL],
                cwd=server.program.parent,
                env=server.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )

    def run(self, code: str, names: dict[str, Any]) -> Any:
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        self.popen.stdin.write(json.dumps({"code": code, "names": names}) + "\n")
        self.popen.stdin.flush()
        line = self.popen.stdout.readline()
        assert line, "the shell process has ended; its last words are in the server's output"
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def close(self) -> None:
        """End it by closing its input."""
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        self.popen.stdin.close()
        self.popen.wait(10)
        self.popen.stdout.close()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        return None


@functools.cache
def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
