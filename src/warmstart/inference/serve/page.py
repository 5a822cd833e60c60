"""Page: how can a person try a model in a browser? With a form of its columns, without scripts."""

import base64
import hashlib
from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import parse_qsl

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from warmstart.data.schema.schema import Schema
from warmstart.inference.explain import can_explain, explain
from warmstart.inference.predict import NewRows, TrainedModel, model_folder
from warmstart.quantities import capitalize_first, format_number
from warmstart.regimes.regimes import reads_images
from warmstart.results.bootstrap import mean_interval
from warmstart.results.record import load_run

MAX_FIELDS = 500
MOVED, SEEN_IMAGE = "moved", "its image"  # beside a prediction: the influences on it, and the image as a `data:` URI
TEXT_FIELD = "text"  # the field of a model that reads no columns
STYLE = resources.files("warmstart.inference.serve").joinpath("templates/serve.css").read_text(encoding="utf-8")
# Nothing from elsewhere, no scripts: whatever stands in a row stays text.
PAGE_POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("warmstart.inference.serve"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )


def fields_of(schema: Schema) -> list[tuple[str, str]]:
    """Name and kind of each field."""
    return [(column.name, column.kind) for column in schema.columns] or [(TEXT_FIELD, "text")]


async def form_row(content: bytes, headers: Any, schema: Schema) -> dict[str, Any]:
    """The row that the form was sent with: texts, and the bytes of images; cells that were left empty are missing."""
    sent: dict[str, Any] = {}
    if reads_images(schema.columns):
        sent = await _parts_of(content, headers)
    else:
        with suppress(ValueError):
            sent = dict(parse_qsl(content.decode("ascii"), max_num_fields=MAX_FIELDS))
    row: dict[str, Any] = {}
    for i, (name, kind) in enumerate(fields_of(schema)):
        cell = sent.get(f"c{i}") or None
        if kind == "image":
            row[name] = cell
        else:
            row[name] = cell if isinstance(cell, str) else ""
    return row


async def _parts_of(content: bytes, headers: Any) -> dict[str, Any]:
    """The fields of a form with files, by their names."""
    from starlette.datastructures import UploadFile
    from starlette.formparsers import MultiPartException, MultiPartParser

    async def stream() -> AsyncGenerator[bytes, None]:
        yield content

    try:
        form = await MultiPartParser(headers, stream(), max_files=MAX_FIELDS, max_fields=MAX_FIELDS).parse()
    except (MultiPartException, KeyError):  # the second one: without a boundary
        return {}
    try:
        return {
            name: await part.read() if isinstance(part, UploadFile) else str(part) for name, part in form.multi_items()
        }
    finally:
        await form.close()


def with_influences(trained: TrainedModel, rows: NewRows) -> list[dict[str, Any]]:
    """The predictions, each with what moved it most, where that can be told, and with its image."""
    found = list(trained.stream(rows))
    if can_explain(trained.stored):
        influences = explain(trained, rows)
        found = [row | {MOVED: moved} if moved else row for row, moved in zip(found, influences, strict=True)]
    if (images := rows.columns.images) is not None:
        found = [row | {SEEN_IMAGE: uri} for row, uri in zip(found, images.thumbnails(), strict=True)]
    return found


def score_sentence(trained: TrainedModel) -> str:
    """How well it predicted test rows; "" where the folder of the model has no record of it."""
    folder = model_folder(trained.folder)
    if not all((folder / name).exists() for name in ("run.json", "scores.parquet")):
        return ""
    run = load_run(folder)
    if run.test is None:
        return ""
    interval = mean_interval([run.scores]) if len(run.scores) > 1 else None
    within = f" (95 % interval {format_number(interval.low)} to {format_number(interval.high)})" if interval else ""
    unit = f" of {run.units}" if run.units else ""
    return f"{capitalize_first(run.metric)}{unit} on {len(run.scores):,} test rows: {format_number(run.test)}{within}."


def render_page(
    trained: TrainedModel,
    row: dict[str, Any] | None,
    found: dict[str, Any],
    *,
    score: str,
    error: str | None,
    said: list[str],
) -> str:
    """The page, with the prediction for `row` where one was sent."""
    schema = trained.stored.schema
    fields = [
        {"id": f"c{i}", "name": name, "long": kind == "text", "kind": kind, "value": (row or {}).get(name, "")}
        for i, (name, kind) in enumerate(fields_of(schema))
    ]
    if "low" in found and "high" in found:
        between = f"{_written(found['low'])} to {_written(found['high'])}"
        found = {name: value for name, value in found.items() if name not in ("low", "high")}
        found["90 % interval"] = between
    moved = [(each.column, each.part, f"{each.effect:+.3g}") for each in found.get(MOVED, ())]
    shown = [(name, _written(value)) for name, value in found.items() if name not in (MOVED, SEEN_IMAGE)]
    return (
        _templates()
        .get_template("serve.html.j2")
        .render(
            regime=trained.regime,
            target=schema.target or trained.stored.task.name,
            fields=fields,
            shown=shown,
            moved=moved,
            image=found.get(SEEN_IMAGE),
            effect="probability of this class" if trained.classes else "prediction",
            score=score,
            error=error,
            said=said,
            style=Markup(STYLE),
        )
    )


def _written(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list):
        return ", ".join(map(_written, value)) or "none"
    return "none" if value is None else str(value)
