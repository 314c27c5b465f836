"""A real Redis on a free port, without persistence, that can be killed, restarted and frozen."""

import os
import shutil
import signal

from redis import Redis
from redis.exceptions import RedisError

from .process import Process, free_port
from .waiting import wait_until


class RedisServer(Process):
    """``start`` and ``restart`` keep the port, so that clients find the server again."""

    name = "redis"

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self, *arguments: str) -> "RedisServer":
        """Start with further redis-server arguments; returns when it answers."""
        program = shutil.which("redis-server")
        assert program, "redis-server is not installed"
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.directory),
            "save": "",
            "appendonly": "no",
            "loglevel": "warning",
        }
        flags = [part for name, value in options.items() for part in (f"--{name}", value)]
        self.spawn([program, *flags, *arguments], {"PATH": os.environ["PATH"]})
        wait_until(self.answers, "a PONG", 10)
        return self

    def answers(self) -> bool:
        """Whether it answers a PING."""
        assert self.running, f"redis-server ended\n{self.output()}"
        try:
            with self.client(socket_timeout=0.5) as client:
                return bool(client.ping())
        except RedisError:
            return False

    def restart(self, *arguments: str) -> None:
        """Kill it, lose all data, come back on the same port."""
        self.kill()
        self.start(*arguments)

    def freeze(self) -> None:
        """Stop it from running; its sockets stay open and silent."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def client(self, **options: object) -> Redis:
        """A sync client; use it as a context manager, so that its connection is closed."""
        return Redis.from_url(self.url, decode_responses=True, **options)

    def channels(self) -> list[str]:
        """The pub/sub channels that anybody is subscribed to."""
        with self.client() as client:
            return sorted(client.pubsub_channels())
