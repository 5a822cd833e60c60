"""Request body: how is the body of a request read, within a bound, as JSON or as an image?"""

import json
from typing import Any

IMAGE_BODY_BYTES = 32 << 20  # of a request to a model that reads images


class RefusedError(Exception):
    """A request that is not carried out, with its status."""

    def __init__(self, status: int, message: str, hint: str = ""):
        super().__init__(message)
        self.status, self.message, self.hint = status, message, hint


class BodyReader:
    """Reads bodies of at most `most` bytes, or of more where they may be `images`."""

    def __init__(self, most: int, *, images: bool):
        self.most = max(most, IMAGE_BODY_BYTES) if images else most
        self.images = images

    async def content(self, request: Any) -> bytes:
        """The bytes of the body. Never holds more than the bound in memory. Raises RefusedError for a longer body."""
        length = request.headers.get("content-length", "")
        too_long = RefusedError(413, f"the body has more than {self.most:,} bytes.", "send fewer rows at a time")
        if length.isdigit() and int(length) > self.most:
            raise too_long
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > self.most:
                raise too_long
            parts.append(part)
        return b"".join(parts)

    async def parsed(self, request: Any) -> Any:
        """What the body holds: JSON, or the bytes of an image. Raises RefusedError for anything else."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if self.images and kind.startswith("image/"):
            return await self.content(request)
        if kind != "application/json":  # which no form of another site can send
            raise RefusedError(415, "the body must be JSON.", "send `Content-Type: application/json`")
        return _json(await self.content(request))


def _json(content: bytes) -> Any:
    def number(name: str) -> Any:
        raise ValueError(f"{name} is no JSON number")

    try:
        return json.loads(content.decode("utf-8"), parse_constant=number)
    except (ValueError, RecursionError) as error:
        raise RefusedError(
            400, f"the body is no JSON: {error}.", "send a row as an object, or a list of rows"
        ) from error
