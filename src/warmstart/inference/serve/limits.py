"""Limits: how much may be asked of a server?"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The limits of a server."""

    body_bytes: int = 4 << 20
    rows: int = 1_000  # of a request
    queued_rows: int = 10_000
    seconds: float = 60.0  # for an answer
    batch_rows: int = 64
    tokens: int = 2_048  # of a text that is written


USUAL_LIMITS = Limits()
