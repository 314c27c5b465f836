"""What happens once, when the apps are ready."""

from . import changes, checks, registry  # noqa: F401  (checks registers itself)


def start() -> None:
    """Find every app's resources, and notice what changes in their models from now on."""
    registry.discover()
    registry.on_register(changes.follow)
