"""Where this project's worker spends its time: one workload with the server under a sampling profiler."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from .peers import HERE, PEERS, PROJECT, Place, Running, start_ours
from .processes import StartError, raise_file_limit
from .resources.servers import SERVERS, SQLITE, start_shop
from .runner import SPARE_FILES, Cores, measure, place
from .wire import Dialect
from .workloads import Plan, Values, Workload

ROWS = 40
WRITE_SECONDS = 5.0


def profile(workload: Workload, plan: Plan) -> str:
    """Runs `workload` once with one worker; returns its busiest lines and functions as text.

    Samples are taken from the end of the start to the end of the workload, connecting included.
    Raises StartError when the workload failed.
    """
    raise_file_limit(workload.connections(plan) + SPARE_FILES)
    cores = Cores.of_machine()
    os.sched_setaffinity(0, cores.load)
    pages: list[str] = []

    def sampled(server: Running, dialect: Dialect, plan: Plan) -> Values:
        worker = server.pids[-1]
        os.kill(worker, signal.SIGUSR2)
        before = _threads(worker)
        values = workload.run(server, dialect, plan)
        spent = {name: seconds - before.get(name, 0.0) for name, seconds in _threads(worker).items()}
        pages.append(_page(_collect(worker, directory), spent))
        return values

    with place(cores) as where:
        directory = where.scratch / "profiles"
        directory.mkdir()

        def start(where: Place, workers: int, limit: int) -> Running:
            env = {"PYTHONPATH": str(HERE / "profiled"), "PROFILE_DIRECTORY": str(directory)}
            if workload.key.startswith("resources"):
                return start_shop("ours", SQLITE, where, workers, limit, **env)
            return start_ours(where, workers, **env)

        ours = SERVERS["ours_sqlite"] if workload.key.startswith("resources") else PEERS["ours"]
        peer = dataclasses.replace(ours, launcher=start)
        sample = measure(peer, dataclasses.replace(workload, run=sampled), plan, where, 1)
    if sample.problem:
        raise StartError(sample.problem)
    return pages[0]


def _collect(worker: int, directory: Path) -> dict[str, dict[str, int]]:
    os.kill(worker, signal.SIGUSR1)
    deadline = time.monotonic() + WRITE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            counts: dict[str, dict[str, int]] = json.loads((directory / f"{worker}.json").read_text())
            return counts
        time.sleep(0.02)
    raise StartError("the worker wrote no profile")


def _threads(worker: int) -> dict[str, float]:
    """CPU seconds by thread; Python names none of them for the kernel, so by number, the main one first."""
    tasks = sorted(Path(f"/proc/{worker}/task").iterdir(), key=lambda task: int(task.name))
    names = ["the main thread", *(f"thread {number}" for number in range(2, len(tasks) + 1))]
    return {
        name: int((task / "schedstat").read_text().split()[0]) / 1e9
        for name, task in zip(names, tasks, strict=True)
    }


def _page(counts: dict[str, dict[str, int]], threads: dict[str, float]) -> str:
    total = sum(counts["lines"].values())
    parts = [
        "CPU by thread",
        *(f"{seconds:7.3f} s  {name}" for name, seconds in threads.items()),
        "",
        f"{total} samples of the main thread, one for each kernel tick of the worker's CPU. While another",
        "thread works, the main one is seen to wait (`select`, `poll`).",
        "",
        "CPU by line (C code belongs to the line that called it)",
        *_rows(counts["lines"].items(), total),
        "",
        "CPU by function, with all that it called",
        *_rows(counts["within"].items(), total),
    ]
    return "\n".join(parts)


def _rows(counts: Iterable[tuple[str, int]], total: int) -> list[str]:
    ordered = sorted(counts, key=lambda row: -row[1])[:ROWS]
    return [f"{count / total:6.1%}  {_short(where)}" for where, count in ordered]


def _short(where: str) -> str:
    """A path without what is the same for all."""
    return where.removeprefix(f"{PROJECT}/").rpartition("site-packages/")[2]
