from django.apps import AppConfig


class TestAppConfig(AppConfig):
    name = "tests.app"
    label = "testapp"

    def ready(self) -> None:
        # Predicates are known to every process, so also to a shell that serves nobody.
        from tests.app import reach  # noqa: F401 (registers one)
