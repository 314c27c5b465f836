"""A table with a column of each kind, in SQLite and in PostgreSQL, to ask both the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db import connections, models
from django.db.utils import ConnectionHandler

from chat.resources.columns import Column, column_of

ALIASES = ("samples_sqlite", "samples_postgres")


class Sample(models.Model):
    """Each kind, nullable where a database can have null."""

    text = models.CharField(max_length=200, null=True)  # noqa: DJ001 (null is what is tried here)
    whole = models.IntegerField(null=True)
    real = models.FloatField(null=True)
    exact = models.DecimalField(max_digits=12, decimal_places=3, null=True)
    flag = models.BooleanField(null=True)
    day = models.DateField(null=True)
    moment = models.DateTimeField(null=True)
    time = models.TimeField(null=True)
    span = models.DurationField(null=True)
    uuid = models.UUIDField(null=True)
    json = models.JSONField(null=True)

    class Meta:
        app_label = "samples"
        managed = False

    def __str__(self) -> str:
        return f"sample {self.pk}"


COLUMNS: dict[str, Column] = {field.name: column_of(field.name, field) for field in Sample._meta.fields}
ATTNAMES = [field.attname for field in Sample._meta.fields]


@contextlib.contextmanager
def databases(directory: Path, postgres_url: str) -> Iterator[None]:
    """Both databases, with the table, for as long as the context lasts."""
    from chatproject import env

    with contextlib.ExitStack() as stack:
        for alias, url in zip(ALIASES, (f"sqlite:///{directory}/samples.sqlite3", postgres_url), strict=True):
            config = _config(env, alias, url)
            connections.databases[alias] = config
            stack.callback(connections.databases.pop, alias)
            stack.callback(_close, alias)
            with connections[alias].schema_editor() as editor:
                editor.create_model(Sample)
        yield


def _config(env: Any, alias: str, url: str) -> dict[str, Any]:
    import os

    os.environ["SAMPLES_URL"] = url
    try:
        config: dict[str, Any] = env.database("SAMPLES_URL", "", Path("/"))
    finally:
        del os.environ["SAMPLES_URL"]
    handler = ConnectionHandler({"default": {"ENGINE": "django.db.backends.dummy"}, alias: config})
    settings: dict[str, Any] = handler.settings[alias]
    settings["TIME_ZONE"] = None
    return settings


def _close(alias: str) -> None:
    connection = connections[alias]
    connection.close()
    if hasattr(connection, "close_pool"):
        connection.close_pool()
    del connections[alias]
