"""monitoring.md, the dashboard and the alerts name metrics that a real scrape has."""

import json
import re
from collections.abc import Iterator

import pytest

from chat.realtime.counters import MAX_KEYS
from chat.realtime.metrics import MEASURES
from tests.kit import ChatServer, RedisServer, eventually
from tests.pages import ROOT, blocks, code, read, table
from tests.scraping import Samples, scrape, value

DASHBOARD = ROOT / "deploy" / "grafana" / "chat.json"
RULES = ROOT / "deploy" / "prometheus" / "chat.rules.yml"
RULES_TEST = RULES.with_name("chat.rules.test.yml")


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    redis = RedisServer().start()
    server = ChatServer(redis.url).start()
    yield server
    server.stop()
    redis.stop()
    server.cleanup()
    redis.cleanup()


async def samples(server: ChatServer, connect) -> Samples:
    """A scrape after some of everything has happened."""
    client = await connect(server.ws("tea"))
    await client.send_chat("tea")
    await client.send("{")
    await client.expect(type="error")
    await client.expect(type="chat")
    server.get("/api/chat-api/ws/tea")
    await client.close()
    await eventually(lambda: value(scrape(server), "realtime_closes_total"), "a closed connection")
    return scrape(server)


def queries() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def alerts() -> dict[str, str]:
    """Name → expression."""
    return dict(re.findall(r"- alert: (\w+)\n +expr: (.+)", RULES.read_text()))


def test_the_table_is_the_code():
    """Each metric is in monitoring.md with its kind, its label and its words, and no other is."""
    listed = table(read("monitoring.md"), "metric", "kind", "label").rows
    told = [(code(name)[0], kind, code(label), words) for name, kind, label, words in listed]
    versions = ["python", "django", "channels", "daphne"]
    expected = [
        (m.exposed, m.kind, versions if m.name.endswith("_info") else m.labels, m.help) for m in MEASURES
    ]
    assert told == expected
    assert f"A counter has {MAX_KEYS} values" in read("monitoring.md")


async def test_every_query_finds_its_metric_and_labels(server, connect):
    """What the dashboard and the alerts ask for is in a real scrape, with the labels that they group by."""
    found = await samples(server, connect)
    asked = [*queries(), *alerts().values()]
    assert len(queries()) > 20
    assert len(alerts()) > 5
    # Nothing was: labels unknown yet.
    unseen = {
        "realtime_dropped_messages_total",
        "realtime_message_outcomes_total",
        "realtime_refusals_total",
    }
    for query in asked:
        names = set(re.findall(r"realtime_\w+", query))
        assert names or query == 'up{job="chat"} == 0', query
        for name in names:
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            assert family in {measure.exposed for measure in MEASURES}, query
            labels = {label for sample in found.get(name, ()) for label, _ in sample}
            assert found.get(name) or name in unseen, name
            grouped = set(re.findall(r"[\w]+", " ".join(re.findall(r"by \(([^)]*)\)", query))))
            if found.get(name):
                assert grouped - {"instance"} <= labels, query


def test_the_page_has_the_alerts_and_the_job_that_they_ask_for():
    """Each alert is in the page's table, and Prometheus' configuration has its file and its job."""
    page = read("monitoring.md")
    assert [code(name)[0] for name in table(page, "alert").column()] == list(alerts())
    config = next(block for block in blocks(page, "yaml") if "scrape_configs:" in block)
    assert f"rule_files: [{RULES.name}]" in config
    assert "job_name: chat\n" in config


def test_every_alert_is_tested_silent_and_firing():
    """promtool's tests have for each alert a moment at which it must not fire, and one at which it must."""
    text = RULES_TEST.read_text()
    assert f"rule_files: [{RULES.name}]" in text
    for name in alerts():
        asked = re.findall(rf"alertname: {name},(.+)", text)
        assert {"exp_alerts" in one for one in asked} == {True, False}, name


async def test_every_metric_is_on_the_dashboard():
    """Whoever imports the dashboard sees all that is measured."""
    shown = " ".join(queries())
    assert [m.exposed for m in MEASURES if not re.search(rf"\b{m.exposed}(_bucket)?\b", shown)] == []


def test_the_dashboard_has_panels_beside_each_other():
    """No two panels overlap, each has an id of its own, and each asks the chosen Prometheus."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
            assert panel["fieldConfig"]["defaults"]["unit"]
            # A legend shows labels that the query leaves.
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            grouped = re.search(r"by \(([^)]*)\)", target["expr"])
            left = set(re.findall(r"\w+", grouped[1])) if grouped else {"instance"}
            assert shown <= left, target
