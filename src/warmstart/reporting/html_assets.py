"""HTML assets: which templates, scripts and security policy make up an HTML page?"""

import base64
import hashlib
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from warmstart.quantities import (
    format_duration,
    format_effort,
    format_flops,
    format_latency,
    format_percent,
    format_size,
)
from warmstart.reporting.formatting import (
    confidence_phrase,
    format_count,
    format_factor,
    format_interval,
    format_metric,
    format_probability,
    format_rate,
    format_score,
    format_settings,
    format_signed,
    format_weights,
)


@cache
def templates() -> Environment:
    """What the pages are written with: all that a user wrote is escaped, and a name that is missing is an error."""
    templates = Environment(
        loader=PackageLoader("warmstart.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
    )
    for written in (
        format_count,
        format_score,
        format_signed,
        format_interval,
        format_probability,
        format_weights,
        format_flops,
        format_rate,
        format_settings,
        confidence_phrase,
        format_factor,
        format_metric,
        format_size,
        format_duration,
        format_effort,
        format_percent,
        format_latency,
    ):
        templates.filters[written.__name__] = written
    templates.filters["coded"] = _coded
    templates.filters["bits"] = _bits
    return templates


def _bits(score: float | None) -> float | None:
    """Bits per byte, of what answers are chosen by before they are written."""
    return None if score is None else -score


def _coded(text: str) -> Markup:
    """Sentences that name regimes and commands in `backticks`, with the names set as code."""
    parts = [str(escape(part)) for part in text.split("`")]
    if len(parts) % 2 == 0:  # a backtick without its partner is only a backtick
        parts[-2:] = ["`".join(parts[-2:])]
    return Markup("".join(_code(part) if i % 2 else part for i, part in enumerate(parts)))


def _code(text: str) -> str:
    """A name, or a command of which no word is broken at its hyphens."""
    words = text.split(" ")
    return f"<code>{text if len(words) == 1 else ' '.join(f'<span>{word}</span>' for word in words)}</code>"


def policy(*scripts: str) -> str:
    """A page may load nothing and run only these very scripts, even if markup slipped into it."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def asset(name: str) -> str:
    """The text of a file that lies beside the templates."""
    return resources.files("warmstart.reporting").joinpath("templates", name).read_text(encoding="utf-8")


def _library() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
