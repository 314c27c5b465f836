"""A real PostgreSQL of a test's own, on a free port, that can be killed, restarted and frozen."""

import contextlib
import glob
import os
import pwd
import shutil
import signal
import subprocess

import psycopg

from chat.realtime.testing import Process, free_port, wait_until

# It refuses to run as root; Debian's package makes this user.
UNPRIVILEGED = "postgres"
ADDRESS = "127.0.0.1"


class PostgresServer(Process):
    """`start` and `restart` keep the port and the data. `url` is a DATABASE_URL."""

    name = "postgres"

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()
        self.url = f"postgres://chat@{ADDRESS}:{self.port}/postgres"
        self.data = self.directory / "data"
        self.data.mkdir()
        self._user: int | None = None
        if os.getuid() == 0:
            user = pwd.getpwnam(UNPRIVILEGED)
            self._user = user.pw_uid
            self.directory.chmod(0o755)
            os.chown(self.data, user.pw_uid, user.pw_gid)
        self._run("initdb", "-A", "trust", "-U", "chat", "-E", "UTF8", "--locale=C.UTF-8", "-N")

    def start(self) -> "PostgresServer":
        """Returns when it takes connections."""
        options = ["-k", str(self.data), "-p", str(self.port), "-c", f"listen_addresses={ADDRESS}", "-F"]
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                [_program("postgres"), "-D", str(self.data), *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                user=self._user,
            )
        wait_until(self.answers, "PostgreSQL's answer", 20)
        return self

    def answers(self) -> bool:
        assert self.running, f"postgres ended\n{self.output()}"
        try:
            with psycopg.connect(self.url, connect_timeout=2) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    def crash(self) -> None:
        """SIGKILL to the postmaster: the others end without a word as soon as they notice."""
        self.kill()

    def freeze(self) -> None:
        """Stop all of its processes; its sockets stay open and silent."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def stop(self, limit: float = 15.0) -> int | None:
        """A fast shutdown: SIGINT."""
        if self.popen is None or not self.running:
            return None
        self.thaw()
        self.signal(signal.SIGINT)
        return self.popen.wait(limit)

    def _signal_all(self, number: int) -> None:
        for pid in [self.pid, *self.children()]:  # each leads a session of its own
            with contextlib.suppress(ProcessLookupError):  # one that served a client has just ended
                self.signal(number, pid)

    def _run(self, program: str, *arguments: str) -> None:
        command = [_program(program), "-D", str(self.data), *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=60, cwd="/", user=self._user)


def _program(name: str) -> str:
    """Debian keeps them out of PATH, one directory a version: the newest."""
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
    path = found[-1] if found else shutil.which(name)
    assert path, f"PostgreSQL's {name} is not installed"
    return path
