"""`python -m benchmarks`: measures this project beside others, and stores a table for each part."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from collections.abc import Sequence

from . import machine
from .parts import PARTS, Part
from .peers import CACHE, HERE, Peer
from .processes import StartError
from .profiling import profile
from .report import Results, markdown, store
from .runner import Unable, run, say
from .workloads import FULL, QUICK, Plan, Workload

TIME_LIMIT = 30 * 60
"""Seconds after which a part begins nothing new."""
WORKLOADS = {workload.key: workload for part in PARTS for workload in part.workloads}
SERVERS = {key: peer for part in PARTS for key, peer in part.servers.items()}


def _parser() -> argparse.ArgumentParser:
    keys = [part.key for part in PARTS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seven minutes: one repetition, fewer sockets")
    parser.add_argument("--only", metavar="WORKLOADS", help=f"of {','.join([*keys, *WORKLOADS])}")
    parser.add_argument("--servers", metavar="SERVERS", help=f"of {','.join(SERVERS)}")
    parser.add_argument(
        "--workers", default="1,2", help="numbers of workers, of the chat's servers but plain"
    )
    parser.add_argument("--repetitions", type=int, metavar="N", help="instead of five, or one with --quick")
    parser.add_argument(
        "--time-limit", type=float, default=TIME_LIMIT, metavar="S", help="of a part: begin nothing new then"
    )
    parser.add_argument("--profile", metavar="WORKLOAD", help="sample our worker's time instead")
    return parser


def _picked(parser: argparse.ArgumentParser, text: str | None, known: Sequence[str]) -> list[str]:
    asked = text.split(",") if text else list(known)
    if unknown := [name for name in asked if name not in known]:
        parser.error(f"{', '.join(unknown)}: expected some of {','.join(known)}")
    return [name for name in known if name in asked]


def _workloads(parser: argparse.ArgumentParser, only: str | None) -> list[str]:
    """The keys of the workloads that were asked for; the name of a part stands for all of its."""
    keys = [part.key for part in PARTS]
    picked = set(_picked(parser, only, [*keys, *WORKLOADS]))
    return [
        workload.key
        for part in PARTS
        for workload in part.workloads
        if part.key in picked or workload.key in picked
    ]


def _line_up(part: Part, names: Sequence[str], workers: Sequence[int], missing: dict[str, str]) -> list[Peer]:
    """The servers of a run; one that can't run here goes to `missing` with the reason."""
    line: list[Peer] = []
    for count in workers:
        for name in names:
            peer = part.servers[name]
            if why := peer.missing():
                missing[name] = why
            elif count == 1 or (part.compares_workers and name != "plain"):
                line.append(dataclasses.replace(peer, workers=count))
    return line


def _run(
    part: Part, plan: Plan, names: list[str], workloads: list[Workload], options: argparse.Namespace
) -> Results:
    """Runs one part and stores its page."""
    results = Results(machine.describe(sys.argv[1:]), plan, part)
    workers = sorted({int(count) for count in options.workers.split(",")})
    run(results, _line_up(part, names, workers, results.missing), workloads, options.time_limit)
    complete = len(workloads) == len(part.workloads) and len(names) == len(part.servers)
    complete = complete and not (options.quick or results.missing)
    paths = store(results, HERE / "results" if complete else CACHE / "results", part.file)
    print(markdown(results))
    say("stored in " + " and ".join(map(str, paths)))
    return results


def main(arguments: list[str]) -> int:
    """Runs what was asked for; 0: every sample was valid, 1: one was not, 2: nothing could be run."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    parser = _parser()
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else FULL
    if options.repetitions:
        plan = dataclasses.replace(plan, repetitions=options.repetitions)
    names = _picked(parser, options.servers, list(SERVERS))
    keys = _workloads(parser, options.only)
    valid = True
    try:
        if options.profile:
            (key,) = _picked(parser, options.profile, list(WORKLOADS))
            print(profile(WORKLOADS[key], plan))
            return 0
        for part in PARTS:
            workloads = [workload for workload in part.workloads if workload.key in keys]
            servers = [name for name in part.servers if name in names]
            if workloads and servers:
                results = _run(part, plan, servers, workloads, options)
                valid = valid and not any(sample.problem for sample in results.samples)
    except (Unable, StartError) as problem:
        say(f"benchmarks: {problem}")
        return 2
    return 0 if valid else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
