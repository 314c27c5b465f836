"""`python -m benchmarks`: measures this project beside plain Channels and Socket.IO, and stores the table."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from collections.abc import Sequence

from . import machine
from .peers import CACHE, HERE, PEERS, Peer
from .processes import StartError
from .profiling import profile
from .report import Results, markdown, store
from .runner import Unable, run, say
from .workloads import FULL, QUICK, WORKLOADS

TIME_LIMIT = 30 * 60
"""Seconds after which a run begins nothing new."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes: one repetition, fewer sockets")
    parser.add_argument("--only", metavar="WORKLOADS", help=f"of {','.join(w.key for w in WORKLOADS)}")
    parser.add_argument("--servers", metavar="SERVERS", help=f"of {','.join(PEERS)}")
    parser.add_argument("--workers", default="1,2", help="numbers of workers; plain Channels always has one")
    parser.add_argument("--repetitions", type=int, metavar="N", help="instead of five, or one with --quick")
    parser.add_argument(
        "--time-limit", type=float, default=TIME_LIMIT, metavar="S", help="begin nothing new then"
    )
    parser.add_argument("--profile", metavar="WORKLOAD", help="sample our worker's time instead")
    return parser


def _picked(parser: argparse.ArgumentParser, text: str | None, known: Sequence[str]) -> list[str]:
    asked = text.split(",") if text else list(known)
    if unknown := [name for name in asked if name not in known]:
        parser.error(f"{', '.join(unknown)}: expected some of {','.join(known)}")
    return [name for name in known if name in asked]


def _line_up(names: Sequence[str], workers: Sequence[int], missing: dict[str, str]) -> list[Peer]:
    """The servers of a run; one that can't run here goes to `missing` with the reason."""
    line: list[Peer] = []
    for count in workers:
        for name in names:
            peer = PEERS[name]
            if why := peer.missing():
                missing[name] = why
            elif count == 1 or name != "plain":
                line.append(dataclasses.replace(peer, workers=count))
    return line


def main(arguments: list[str]) -> int:
    """Runs what was asked for; 0: every sample was valid, 1: one was not, 2: nothing could be run."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    parser = _parser()
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else FULL
    if options.repetitions:
        plan = dataclasses.replace(plan, repetitions=options.repetitions)
    by_key = {workload.key: workload for workload in WORKLOADS}
    names = _picked(parser, options.servers, list(PEERS))
    workloads = [by_key[key] for key in _picked(parser, options.only, list(by_key))]
    try:
        if options.profile:
            (key,) = _picked(parser, options.profile, list(by_key))
            print(profile(by_key[key], plan))
            return 0
        results = Results(machine.describe(arguments), plan)
        peers = _line_up(names, sorted({int(count) for count in options.workers.split(",")}), results.missing)
        run(results, peers, workloads, options.time_limit)
    except (Unable, StartError) as problem:
        say(f"benchmarks: {problem}")
        return 2
    complete = not (options.quick or options.only or options.servers or results.missing)
    paths = store(results, HERE / "results" if complete else CACHE / "results", "latest")
    print(markdown(results))
    say("stored in " + " and ".join(map(str, paths)))
    return 1 if any(sample.problem for sample in results.samples) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
