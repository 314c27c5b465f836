"""What /metrics says, read as Prometheus reads it."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.kit import ChatServer

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def scrape(server: ChatServer, **headers: str) -> Samples:
    """Sample name → labels → value."""
    status, _, body = server.get("/metrics", **headers)
    assert status == 200, body
    return parsed(body.decode())


def parsed(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in found.get(sample.name, {}), f"{sample.name} {labels} twice"
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def value(samples: Samples, name: str, **labels: Any) -> float:
    """The sum of the samples that have these labels; 0 where there are none."""
    wanted = {(key, str(text)) for key, text in labels.items()}
    return sum(number for found, number in samples.get(name, {}).items() if wanted <= set(found))
