"""Static files, served by the application itself."""

from pathlib import Path

from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile


class StaticFilesMiddleware(WhiteNoiseMiddleware):
    """WhiteNoise, with answers that are whole.

    WhiteNoise streams each file from a synchronous iterator. Under ASGI Django can't stream that: it warns,
    and reads the whole file in a thread all the same. Our files are small, so they are read here.
    """

    def add_files(self, root: str, prefix: str | None = None) -> None:
        """Take in a directory, unless it is missing: what collectstatic has not copied, the finders find."""
        if Path(root).is_dir():
            super().add_files(root, prefix)

    @staticmethod
    def serve(static_file: StaticFile, request: HttpRequest) -> HttpResponse:
        found = static_file.get_response(request.method, request.META)
        body = b""
        if found.file is not None:
            with found.file as file:
                body = file.read()
        response = HttpResponse(body, status=int(found.status))
        del response["Content-Type"]
        for name, value in found.headers:
            response[name] = value
        return response
