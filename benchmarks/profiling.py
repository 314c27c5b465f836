"""Where this project's worker spends its time: one workload with the server under cProfile.

The profiler itself costs most of the CPU, so a profile ranks functions and says nothing about speed.
"""

from __future__ import annotations

import dataclasses
import io
import os
import pstats
import sys

from .peers import PEERS, PROJECT, Place, Running, _launch, migrate, our_command, our_environment
from .processes import free_port, raise_file_limit
from .runner import SPARE_FILES, Cores, measure, place
from .workloads import Plan, Workload

FUNCTIONS = 60
"""How many are listed, by the time spent in themselves."""


def profile(workload: Workload, plan: Plan) -> str:
    """Runs `workload` once with one worker and returns the profiler's table."""
    raise_file_limit(workload.connections(plan) + SPARE_FILES)
    cores = Cores.of_machine()
    os.sched_setaffinity(0, cores.load)
    with place(cores) as where:
        output = where.scratch / "profile"

        def launch(where: Place, workers: int, limit: int) -> Running:
            migrate(where)
            port = free_port()
            argv = [sys.executable, "-m", "cProfile", "-o", str(output), *our_command(port, workers)]
            return _launch(where, [argv], [port], our_environment(where), PROJECT)

        peer = dataclasses.replace(PEERS["ours"], launch=launch)
        sample = measure(peer, workload, plan, where, 1)
        if sample.problem:
            return f"The workload failed: {sample.problem}"
        table = io.StringIO()
        pstats.Stats(str(output), stream=table).sort_stats("tottime").print_stats(FUNCTIONS)
        return table.getvalue()
