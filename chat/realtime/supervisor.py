"""N workers on one listening socket: started, replaced when they die, restarted one by one, stopped.

The parent process never serves; its children inherit the socket and are exec'ed, not forked with a reactor
inside. SIGTERM and SIGINT stop, SIGHUP restarts every worker after its successor is ready.
"""

from __future__ import annotations

import logging
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from typing import Any

from . import log

logger = logging.getLogger("chat.realtime.supervisor")

DIRECTORY_VARIABLE = "CHAT_RUN_DIRECTORY"  # in a worker's environment: a directory of all workers
READY_VARIABLE = "CHAT_WORKER_READY_FD"  # in a worker's environment: where to say that it listens
START_TIMEOUT = 30.0  # seconds for a worker to become ready
QUICK_DEATH = 3.0  # a worker that lived no longer has a fault that a restart does not mend
KILL_MARGIN = (
    0.05  # seconds before the time limit: a worker ends itself at 0.1 before it, if it can run at all
)
MAX_OPEN_FILES = 1_048_576  # a socket is a file, and the usual soft limit of 1,024 is soon reached
MAX_QUICK_DEATHS = 5  # in a row, before the supervisor gives up
LONGEST_PAUSE = 10.0  # seconds between attempts to replace a worker


class Worker:
    """One child process."""

    def __init__(self, command: list[str], listen_fd: int) -> None:
        self.ready_fd, child_fd = os.pipe()
        os.set_blocking(self.ready_fd, False)
        self.started = time.monotonic()
        self.ready = False
        self.process = subprocess.Popen(
            command,
            pass_fds=(listen_fd, child_fd),
            env={**os.environ, READY_VARIABLE: str(child_fd)},
            stdin=subprocess.DEVNULL,
        )
        os.close(child_fd)

    @property
    def pid(self) -> int:
        return self.process.pid

    def check_ready(self) -> bool:
        """Whether it listens by now."""
        if not self.ready:
            try:
                self.ready = os.read(self.ready_fd, 1) == b"1"
            except BlockingIOError:
                pass
        return self.ready

    def exited(self) -> bool:
        if self.process.poll() is None:
            return False
        if self.ready_fd >= 0:
            os.close(self.ready_fd)
            self.ready_fd = -1
            self.ready = True
        return True


class Supervisor:
    """``command`` starts a worker; ``listen_fd`` is the listening socket it inherits."""

    def __init__(self, command: list[str], listen_fd: int, workers: int, stop_timeout: float) -> None:
        self.command = command
        self.listen_fd = listen_fd
        self.count = workers
        self.stop_timeout = stop_timeout
        self.workers: list[Worker] = []
        self.retiring: list[Worker] = []  # asked to stop; replaced already
        self.quick_deaths = 0
        self.due: list[float] = []  # when replacements start
        self._signals: list[int] = []
        self._announced = False

    def _raise_open_files(self) -> None:
        """As many open files as the system allows; the workers inherit it."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

    def run(self, announce: Any = None) -> int:
        """Supervise until told to stop; returns the exit status. Calls ``announce()`` once all are ready."""
        # Where the workers keep what they count, for each other's metrics (metrics_files.py).
        with tempfile.TemporaryDirectory(prefix="chat-run-", ignore_cleanup_errors=True) as directory:
            os.environ[DIRECTORY_VARIABLE] = directory
            return self._run(announce)

    def _run(self, announce: Any) -> int:
        self._raise_open_files()
        read_fd, write_fd = os.pipe()
        os.set_blocking(write_fd, False)
        os.set_blocking(read_fd, False)
        signal.set_wakeup_fd(write_fd)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda got, frame: self._signals.append(got))
        self.workers = [self._start() for _ in range(self.count)]
        while True:
            select.select([read_fd], [], [], 0.1 if self._waiting() else 1.0)
            while True:
                try:
                    if not os.read(read_fd, 64):
                        break
                except BlockingIOError:
                    break
            while self._signals:
                received = self._signals.pop(0)
                if received in (signal.SIGTERM, signal.SIGINT):
                    return self._stop()
                if received == signal.SIGHUP:
                    self._roll()
            if not self._tend():
                self._stop()
                return 1
            ready = [worker.check_ready() for worker in self.workers]
            if not self._announced and len(ready) == self.count and all(ready):
                self._announced = True
                if announce is not None:
                    announce()

    def _start(self) -> Worker:
        return Worker(self.command, self.listen_fd)

    def _waiting(self) -> bool:
        return bool(self.retiring or self.due) or not self._announced

    def _tend(self) -> bool:
        """Replace the dead; False when that has no prospect and nobody else serves."""
        self.retiring = [worker for worker in self.retiring if not self._retired(worker)]
        now = time.monotonic()
        for worker in [worker for worker in self.workers if worker.exited()]:
            self.workers.remove(worker)
            status = worker.process.returncode
            log.event(logger, logging.ERROR, "worker_ended", worker_pid=worker.pid, status=status)
            self.quick_deaths = self.quick_deaths + 1 if now - worker.started < QUICK_DEATH else 0
            if self._hopeless(worker):
                log.event(logger, logging.ERROR, "workers_end_at_once", then="giving up")
                return False
            pause = min(LONGEST_PAUSE, 0.2 * 2**self.quick_deaths) if self.quick_deaths else 0.0
            self.due.append(now + pause)
        for moment in [moment for moment in self.due if moment <= now]:
            self.due.remove(moment)
            self.workers.append(self._start())
        return True

    def _hopeless(self, dead: Worker) -> bool:
        """Whether the service can't come up at all; while a worker serves, trying goes on."""
        if not self._announced:
            return bool(dead.process.returncode)
        serving = any(worker.ready and worker.process.poll() is None for worker in self.workers)
        return self.quick_deaths >= MAX_QUICK_DEATHS and not serving

    def _retired(self, worker: Worker) -> bool:
        if worker.exited():
            return True
        if time.monotonic() - worker.started > self.stop_timeout + 1:
            worker.process.kill()
        return False

    def _roll(self) -> None:
        """Restart one worker after the other: each is asked to stop when its successor listens."""
        log.event(logger, logging.INFO, "restarting", workers=len(self.workers))
        for old in list(self.workers):
            if old.exited():
                continue  # replaced already, or about to be
            new = self._start()
            if not self._becomes_ready(new):
                log.event(
                    logger, logging.ERROR, "new_worker_broken", worker_pid=new.pid, then="old workers stay"
                )
                new.process.kill()
                new.process.wait()
                return
            self.workers[self.workers.index(old)] = new
            old.process.terminate()
            old.started = time.monotonic()  # of its stopping
            self.retiring.append(old)
            while old in self.retiring and not self._stopping():
                self._tend()
                time.sleep(0.02)
            if self._stopping():
                return

    def _becomes_ready(self, worker: Worker) -> bool:
        limit = time.monotonic() + START_TIMEOUT
        while time.monotonic() < limit and not self._stopping():
            if worker.exited():
                return False
            if worker.check_ready():
                return True
            time.sleep(0.02)
        return False

    def _stopping(self) -> bool:
        return any(number in (signal.SIGTERM, signal.SIGINT) for number in self._signals)

    def _stop(self) -> int:
        """Ask all to stop, at once; whoever is still there after the time limit is killed."""
        everyone = [*self.workers, *self.retiring]
        os.close(self.listen_fd)  # nobody new waits in the backlog
        for worker in everyone:
            if not worker.exited():
                worker.process.terminate()
        limit = time.monotonic() + self.stop_timeout - KILL_MARGIN
        while not all([worker.exited() for worker in everyone]):  # noqa: C419 (each has to be asked)
            if time.monotonic() > limit:
                for worker in everyone:
                    if not worker.exited():
                        log.event(logger, logging.ERROR, "worker_killed", worker_pid=worker.pid)
                        worker.process.kill()
                        worker.process.wait()
            time.sleep(0.01)
        return 0


def worker_ready() -> None:
    """In a worker: tell the supervisor that it listens."""
    fd = os.environ.pop(READY_VARIABLE, None)
    if fd is not None:
        os.write(int(fd), b"1")
        os.close(int(fd))


def is_worker() -> bool:
    """Whether this process was started by a supervisor."""
    return READY_VARIABLE in os.environ


def worker_command(arguments: list[str]) -> list[str]:
    """The command line that starts this program again with other arguments."""
    return [sys.executable, sys.argv[0], *arguments]
