"""One run: a Redis of its own, the servers in turn, each workload on a server that has just started."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from .peers import RAISED_LIMIT, STOCK_LIMIT, Peer, Place, Running
from .processes import (
    Process,
    StartError,
    cpu_seconds_with_children,
    environment,
    free_port,
    machine_cpu_seconds,
    raise_file_limit,
)
from .report import NOISY, Results, Sample
from .sockets import SwarmError
from .workloads import Invalid, Plan, Workload

SPARE_FILES = 500
QUIET_SECONDS, QUIET_LOOK = 10.0, 0.25
WORKERS_COMPARED = ("fanout", "small")
"""The workloads that servers with more than one worker are given."""


class Unable(Exception):
    """The machine lacks something that the benchmark needs."""


@dataclasses.dataclass(frozen=True)
class Cores:
    """Which cores run what."""

    server: set[int]
    load: set[int]
    redis: set[int]

    @classmethod
    def of_machine(cls) -> Cores:
        """The first core for the server, the next for the load, a third for Redis where there is one."""
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise Unable("the benchmark needs two cores: one for the server, one for the load")
        return cls({cores[0]}, {cores[1]}, {cores[2 if len(cores) > 2 else 1]})

    @classmethod
    def anywhere(cls) -> Cores:
        """All on all cores: for runs that measure nothing."""
        every = os.sched_getaffinity(0)
        return cls(every, every, every)


def say(text: str) -> None:
    """Progress, kept apart from the result on standard output."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def place(cores: Cores) -> Iterator[Place]:
    """A scratch directory and a Redis without persistence, both gone afterwards."""
    if shutil.which("redis-server") is None:
        raise Unable("redis-server is not installed (Debian: apt-get install redis-server)")
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        scratch = Path(directory)
        port = free_port()
        argv = [
            "redis-server",
            "--bind",
            "127.0.0.1",
            "--port",
            str(port),
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        redis = Process(argv, cores=cores.redis, log=scratch / "redis.log", cwd=scratch, env=environment())
        try:
            redis.wait_for_port(port)
            where = Place(cores.server, port, scratch, cores.redis)
            with where.kept:
                yield where
        finally:
            redis.stop()


@contextlib.contextmanager
def started(peer: Peer, where: Place) -> Iterator[Running]:
    """The peer, running; stopped afterwards, and its keys in Redis gone."""
    server = peer.start(where)
    try:
        yield server
    finally:
        server.stop()
        _flush(where)


def _flush(where: Place) -> None:
    import redis

    with redis.Redis(port=where.redis_port) as client:
        client.flushall()


class _Noise:
    """How much of the machine something else than this benchmark uses meanwhile."""

    def __init__(self) -> None:
        self._before = self._others()
        self._since = time.monotonic()

    def share(self) -> float:
        """CPU of others in cores, 0.0 on a quiet machine."""
        used = self._others() - self._before
        return max(0.0, used / (time.monotonic() - self._since))

    def _others(self) -> float:
        # All that the benchmark starts is below this process.
        return machine_cpu_seconds() - cpu_seconds_with_children(os.getpid())


def _wait_for_quiet() -> None:
    """Lets the machine's other work pass, as far as it does within QUIET_SECONDS."""
    deadline = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < deadline:
        before = machine_cpu_seconds()
        time.sleep(QUIET_LOOK)
        if machine_cpu_seconds() - before < NOISY * QUIET_LOOK:
            return


def measure(peer: Peer, workload: Workload, plan: Plan, where: Place, repetition: int) -> Sample:
    """One sample; a server that fails in any way gives one with a problem instead of values."""
    _wait_for_quiet()
    began = time.monotonic()
    try:
        with started(peer, where) as server:
            noise = _Noise()
            values = workload.run(server, peer.dialect, plan)
            sample = Sample(peer.name, workload.key, repetition, values, noise.share())
    except (Invalid, SwarmError, StartError) as problem:
        if isinstance(problem, StartError):
            say(problem.log)
        sample = Sample(peer.name, workload.key, repetition, problem=str(problem))
    figures = sample.problem or " ".join(f"{name}={value:.4g}" for name, value in sample.values.items())
    say(f"{repetition}  {peer.name:<13} {workload.key:<8} {time.monotonic() - began:5.1f} s  {figures}")
    if sample.noise > NOISY:
        say(f"   (other processes used {sample.noise:.2f} of a core meanwhile)")
    return sample


def run(results: Results, peers: Sequence[Peer], workloads: Sequence[Workload], seconds: float) -> None:
    """Fills `results`, the servers taking turns; stops beginning new samples after `seconds`."""
    plan = results.plan
    files = max(workload.connections(plan) for workload in workloads) + SPARE_FILES
    if (got := raise_file_limit(files)) < files:
        raise Unable(
            f"{files} open files are needed and {got} allowed: raise `ulimit -n`, or leave `scale` out"
        )
    cores = Cores.of_machine()
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores.load)
    deadline = time.monotonic() + seconds
    raised: set[str] = set()
    try:
        with place(cores) as where:
            for repetition in range(1, plan.repetitions + 1):
                for workload in workloads:
                    if repetition > 1 and not workload.repeated:
                        continue
                    for peer in peers:
                        if peer.workers > 1 and workload.key not in WORKERS_COMPARED:
                            continue
                        if workload.servers is not None and peer.key not in workload.servers:
                            continue
                        if time.monotonic() > deadline:
                            results.notes.append(
                                f"Cut short after {seconds:.0f} s, in repetition {repetition}."
                            )
                            return
                        _sample(results, peer, workload, where, repetition, raised)
    finally:
        os.sched_setaffinity(0, allowed)


def _sample(
    results: Results, peer: Peer, workload: Workload, where: Place, repetition: int, raised: set[str]
) -> None:
    """One sample, and for plain Channels another with higher limits where the stock ones lose messages."""
    if workload.key in raised and peer.key == "plain":
        peer = dataclasses.replace(peer, limit=RAISED_LIMIT)
    sample = measure(peer, workload, results.plan, where, repetition)
    if sample.problem and peer.key == "plain" and peer.limit == STOCK_LIMIT:
        raised.add(workload.key)
        results.notes.append(
            f"Plain Channels, {workload.key}: invalid with the stock limits, 100 waiting messages and 100 "
            f"connections to Redis ({sample.problem}); the figures are with limits of {RAISED_LIMIT:,}."
        )
        peer = dataclasses.replace(peer, limit=RAISED_LIMIT)
        sample = measure(peer, workload, results.plan, where, repetition)
    results.samples.append(sample)
