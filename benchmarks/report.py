"""The samples of a run, their medians, and the tables made of them."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .machine import Machine
from .metrics import Metric, Target
from .parts import Part
from .workloads import Plan, Values

NOISY = 0.1
"""Cores that a quiet machine's housekeeping stays below."""
QUIETEST = 3
"""Repetitions that a median is made of."""


@dataclass(frozen=True)
class Sample:
    """One workload done once by one server; without `values` it was invalid, and `problem` says why."""

    server: str
    workload: str
    repetition: int
    values: Values = field(default_factory=dict)
    noise: float = 0.0
    """Cores that other processes of the machine used meanwhile."""
    problem: str | None = None


@dataclass
class Results:
    """All samples of one run of a part."""

    machine: Machine
    plan: Plan
    part: Part
    samples: list[Sample] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    """By server: why it wasn't run."""
    notes: list[str] = field(default_factory=list)

    def servers(self) -> list[str]:
        """The servers with samples, peers first, one worker before two."""
        order = self.part.order
        found = {sample.server for sample in self.samples}
        return sorted(found, key=lambda name: ("-" in name, order.index(name.partition("-")[0])))

    def all(self, server: str, metric: str) -> list[float]:
        """The values of one metric, one for each repetition that was valid, the quietest first."""
        found = [s for s in self.samples if s.server == server and metric in s.values]
        return [s.values[metric] for s in sorted(found, key=lambda s: s.noise)]

    def median(self, server: str, metric: str) -> float | None:
        """The middle one of those that other processes disturbed least."""
        values = self.all(server, metric)[:QUIETEST]
        return statistics.median(values) if values else None

    def ratio(self, target: Target) -> float | None:
        """This project's median over that of the target's peer."""
        ours = self.median(target.ours, target.metric)
        base = self.median(target.peer, target.metric) if target.peer else 1.0
        return ours / base if ours is not None and base else None

    def title(self, server: str) -> str:
        """A server's name for people."""
        key, _, workers = server.partition("-")
        return self.part.servers[key].title + (f", {workers} workers" if workers else "")

    def as_json(self) -> str:
        """Everything, for programs."""
        servers = self.servers()
        medians = {
            s: {m.key: value for m in self.part.metrics if (value := self.median(s, m.key)) is not None}
            for s in servers
        }
        content = {
            "machine": self.machine.as_dict(),
            "plan": asdict(self.plan),
            "missing": self.missing,
            "notes": self.notes,
            "medians": medians,
            "targets": [asdict(target) | {"ratio": self.ratio(target)} for target in self.part.targets],
            "samples": [asdict(sample) for sample in self.samples],
        }
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def markdown(results: Results) -> str:
    """The page that is stored beside the JSON."""
    machine = results.machine
    libraries = ", ".join(f"{name} {version}" for name, version in machine.libraries.items())
    lines = [
        f"# {results.part.heading}",
        "",
        f"- Measured {machine.date} at commit {machine.commit} with `{machine.command}`.",
        f"- Machine: {machine.cores} cores of {machine.cpu}, {machine.memory_gib} GiB, {machine.system}.",
        f"- {machine.python}, Node {machine.node or 'missing'}, Redis {machine.redis_server}; {libraries}.",
        f"- Repetitions: {results.plan.repetitions}, the servers taking turns. Each figure is the median of "
        f"the {QUIETEST} that the machine's other work disturbed least; in brackets the lowest and the "
        "highest of all. [benchmarks/README.md](../README.md) says how it is measured.",
        "",
        *_table(results),
        "",
        *_targets(results),
        "",
        *(f"- {line}" for line in [*_absent(results), *results.notes, *_invalid(results), _noise(results)]),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _table(results: Results) -> list[str]:
    servers = results.servers()
    names = _numbers(results.plan)
    rows = ["| | " + " | ".join(map(results.title, servers)) + " |", "| --- |" + " ---: |" * len(servers)]
    for metric in results.part.metrics:
        cells = [_cell(results, server, metric) for server in servers]
        if any(cells):
            label = metric.label.format(**names)
            rows.append(f"| {label} | " + " | ".join(cell or "-" for cell in cells) + " |")
    return rows


def _numbers(plan: Plan) -> dict[str, str]:
    """What the labels of the metrics name."""
    few, many, idle_few, idle_many = (f"{number:,}" for number in (*plan.scale, *plan.idle))
    return {"few": few, "many": many, "idle_few": idle_few, "idle_many": idle_many}


def _cell(results: Results, server: str, metric: Metric) -> str:
    values = results.all(server, metric.key)
    median = results.median(server, metric.key)
    if median is None:
        return ""
    text = f"{_number(median, metric)}{metric.unit and ' '}{metric.unit}"
    if len(values) > 1:
        text += f" ({_number(min(values), metric)} to {_number(max(values), metric)})"
    return text


def _number(value: float, metric: Metric) -> str:
    return f"{value:,.{metric.digits}f}"


def _targets(results: Results) -> list[str]:
    rows = ["| target, one worker | asked | measured | |", "| --- | ---: | ---: | --- |"]
    names = _numbers(results.plan)
    labels = {metric.key: metric.label.format(**names) for metric in results.part.metrics}
    for target in results.part.targets:
        ratio = results.ratio(target)
        if ratio is None:
            continue
        against = f" x {results.title(target.peer)}" if target.peer else ""
        met = "met" if ratio <= target.factor else "**missed**"
        label = target.label or labels[target.metric]
        rows.append(f"| {label} | ≤ {target.factor:g}{against} | {ratio:.3g} | {met} |")
    return rows if len(rows) > 2 else []


def _absent(results: Results) -> list[str]:
    return [f"{results.title(server)} was not run: {why}." for server, why in results.missing.items()]


def _invalid(results: Results) -> list[str]:
    problems = Counter((s.server, s.workload, s.problem) for s in results.samples if s.problem)
    return [
        f"Not counted: {results.title(server)}, {workload}: {problem}"
        + (f", {times} times." if times > 1 else ".")
        for (server, workload, problem), times in problems.items()
    ]


def _noise(results: Results) -> str:
    shares = [sample.noise for sample in results.samples if not sample.problem] or [0.0]
    usual = statistics.median(shares)
    line = f"Other processes of the machine used {usual:.2f} of a core (median), at most {max(shares):.2f}."
    if usual > NOISY:
        line += " **Too much to rely on latencies and throughput; CPU and memory hold.**"
    return line


def store(results: Results, directory: Path, name: str) -> Sequence[Path]:
    """Writes `name`.md and `name`.json and returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    page, data = directory / f"{name}.md", directory / f"{name}.json"
    page.write_text(markdown(results), encoding="utf-8")
    data.write_text(results.as_json(), encoding="utf-8")
    return page, data
