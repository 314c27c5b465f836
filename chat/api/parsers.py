"""JSON, as strict as on the WebSocket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

import msgspec
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser


class StrictJSONParser(BaseParser):
    """One JSON value in UTF-8. What other languages' clients could not read back is refused: NaN and lone
    surrogates. The view has bounded the body's length.
    """

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        _media_type: str | None = None,
        _parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        try:
            return msgspec.json.decode(stream.read())
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise ParseError("The request's body is not valid JSON.") from error
