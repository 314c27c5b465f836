"""The wiring of the project: settings, URLs and the ASGI application."""
