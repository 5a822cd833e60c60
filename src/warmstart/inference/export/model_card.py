"""Model card: what does the model card of an export say? It is written from the run."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from warmstart.errors import WarmstartError
from warmstart.inference.export.export import Exported
from warmstart.inference.model_store import StoredModel
from warmstart.models.pretrained.licenses import licenses_of
from warmstart.models.pretrained.locate import locate
from warmstart.results.bootstrap import mean_interval
from warmstart.results.record import Run
from warmstart.results.refit_record import Refit

RIVALS_SHOWN = 10
EXAMPLE_CELLS: dict[str, Any] = {
    "text": "a text",
    "category": "one",
    "number": 2.5,
    "boolean": True,
    "datetime": "2024-05-31",
    "image": "photo.jpg",
}
USE = {
    "onnx": """`predict.py` reads rows and runs the graph. It needs numpy, onnxruntime and {reader}, but not warmstart:

```
python predict.py {row}
```""",
    "merged": """```
warmstart predict DIR rows.csv
```

`body/` also loads with transformers.""",
    "gguf": """`model.gguf` is for llama.cpp and what is built on it:

```
llama-cli -m DIR/model.gguf
```""",
}
HF_LANGUAGE = """```python
from transformers import AutoTokenizer, {auto}

model, tokenizer = {auto}.from_pretrained("DIR"), AutoTokenizer.from_pretrained("DIR")
```"""
HF_POOLED = """```python
from sentence_transformers import SentenceTransformer

SentenceTransformer("DIR").encode(["a text"])  # {what}
```

It is no `AutoModelForSequenceClassification`: that class pools in another way and would give other numbers."""


def model_card(
    done: Exported,
    stored: StoredModel,
    run: Run,
    comparison: Mapping[str, Any] | None,
    bases: Sequence[str],
    refit: Refit | None = None,
    advice: Mapping[str, Any] | None = None,
) -> str:
    """README.md of an export. `comparison`, `advice`: `comparison.json` and `advice.json` of the study, if the run is
    part of one; `bases`: those with weights in the model; `refit`: where the model was trained again, after the run
    that was scored.
    """
    licenses = tuple(dict.fromkeys(license for base in bases for license in _licenses(base)))
    public = [base for base in bases if not Path(base).exists()]
    front = ["---", f"library_name: {_library(done, stored)}", f"tags: [{stored.task.name}, warmstart]"]
    front += [f"license: {json.dumps(licenses[0])}"] if len(licenses) == 1 else []
    front += [f"base_model: {json.dumps(public[0] if len(public) == 1 else public)}"] if public else []
    schema = stored.schema
    target = f"`{_code(schema.target)}` from " if schema.target else ""
    reads = ", ".join(f"`{_code(name)}`" for name in schema.text)
    parts = [
        "\n".join([*front, "---"]),
        f"# {stored.task.name.capitalize()}: {target}{reads}",
        f"Trained as `{run.regime}` ({run.method}) on {refit.described if refit else f'{run.rows:,} rows'}, "
        f"seed {run.seed}, by warmstart.",
        f"## Use\n\n{_use(done, stored)}",
        f"## Rows\n\n{_reading(done, stored)}",
        f"## Score\n\n{_score(done, run, refit)}",
    ]
    if comparison:
        reason = f"{_plain_line(advice['reason'])}\n\n" if advice else ""
        parts.append(f"## Other regimes\n\n{reason}{_rivals(comparison)}")
    parts.append(f"## Forgetting\n\n{_forgetting(run, bases)}")
    parts.append(f"## Limits\n\n{_limits(run, advice)}")
    named = ", ".join(f"`{_code(base)}`" for base in bases)
    said = f"License of the base {named}: {', '.join(licenses) or 'not stated'}." if bases else "No pretrained weights."
    fingerprint = f" Fingerprint of the data and its split: `{comparison['fingerprint']}`." if comparison else ""
    parts.append(
        f"## Data and licenses\n\n{said} The license of the training data is not known to warmstart.{fingerprint}"
    )
    return "\n\n".join(parts) + "\n"


def _library(done: Exported, stored: StoredModel) -> str:
    """The library that loads this format."""
    if done.format != "hf":
        return {"onnx": "onnx", "gguf": "gguf"}.get(done.format, "warmstart")
    network = stored.network
    return "transformers" if network and network.model.language_head is not None else "sentence-transformers"


def _licenses(base: str) -> tuple[str, ...]:
    try:
        return licenses_of(base, locate(base)[0])
    except WarmstartError:  # it is not on this machine any more
        return ()


def _code(text: str) -> str:
    """As it may stand between backticks, on one line."""
    return " ".join(text.replace("`", "'").split())


def _plain_line(text: str) -> str:
    """On one line."""
    return " ".join(text.split())


def _use(done: Exported, stored: StoredModel) -> str:
    if done.format != "hf":
        columns = stored.schema.columns if len(stored.schema.columns) > 1 else ()
        row = json.dumps({column.name: EXAMPLE_CELLS[column.kind] for column in columns}) if columns else ""
        if not row and any(column.kind == "image" for column in stored.schema.columns):
            row = EXAMPLE_CELLS["image"]
        else:
            row = f"'{_code(row)}'" if row else '"a text"'
        return USE[done.format].replace("{row}", row).replace("{reader}", _reader(stored))
    task, network = stored.task.to_json(), stored.network
    if network is not None and network.model.language_head is not None:
        kind = getattr(network.model.body, "config", None)
        auto = "AutoModelForSeq2SeqLM" if getattr(kind, "is_encoder_decoder", False) else "AutoModelForCausalLM"
        return HF_LANGUAGE.format(auto="AutoModelForMaskedLM" if stored.task.name == "masked-lm" else auto)
    what = "logits, in the order of `id2label`" if "classes" in task else f"{_code(stored.task.units)}"
    return HF_POOLED.format(what=what)


def _reader(stored: StoredModel) -> str:
    """The packages with which `predict.py` reads a row."""
    if any(column.kind == "image" for column in stored.schema.columns):
        return "Pillow (beside words, scikit-learn too)"
    return "what reads texts (tokenizers, scikit-learn)"


def _reading(done: Exported, stored: StoredModel) -> str:
    schema, task = stored.schema, stored.task.to_json()
    lines = []
    graph = done.format == "onnx"
    if graph and schema.columns:
        kinds = ", ".join(f"`{_code(column.name)}` ({column.kind})" for column in schema.columns)
        lines.append(f"`predict.py` reads these columns: {kinds}.")
    elif schema.labelled:
        lines.append(
            "A text is written as one line `column: value` for each column, in this order; missing ones are "
            f"left out: {', '.join(f'`{_code(name)}`' for name in schema.text)}."
        )
    elif len(schema.text) > 1:
        lines.append("A text is the columns joined by newlines.")
    else:
        lines.append("A text is read as it is.")
    if "scale" in task:
        lines.append(
            f"Learned as (y - {task['mean']:.6g}) / {task['deviation']:.6g} of y = {_code(stored.task.units)}."
        )
        if "quantile" in stored.calibration:
            lines.append(f"90 % interval: plus and minus {stored.calibration['quantile']:.4g} of these deviations.")
    if graph and "classes" in task:
        lines.append("The output `probabilities` is calibrated; `outputs` holds the logits.")
    elif "temperature" in stored.calibration:
        lines.append(f"Divide logits by {stored.calibration['temperature']:.4g} for calibrated probabilities.")
    if task.get("costs"):
        costs = "; ".join(
            f"{_code(name)}: {', '.join(map(str, row))}"
            for name, row in zip(task["classes"], task["costs"], strict=True)
        )
        lines.append(
            "The class with the lowest expected cost is predicted, not the most likely one. Costs of predicting "
            f"{', '.join(map(_code, task['classes']))}, where the true class is: {costs}."
        )
    if "threshold" in stored.calibration:
        lines.append(f"A label is predicted from a probability of {stored.calibration['threshold']:.2g} on.")
    return "\n".join(lines)


def _score(done: Exported, run: Run, refit: Refit | None) -> str:
    units = f" of {_code(run.units)}" if run.units else ""
    interval = mean_interval([run.scores]) if len(run.scores) > 1 else None
    within = f" (95 % interval {interval.low:.4g} to {interval.high:.4g})" if interval else ""
    lines = [f"{run.metric.capitalize()}{units} on {len(run.scores):,} test rows: {run.test:.4g}{within}."]
    if refit:
        learned = ", which it has learned from: the figures below only show that the export is the same model"
        lines.append(
            f"That is the score of the study's run, which was trained on {run.rows:,} rows. This model was trained "
            f"again with its settings, on {refit.described}{learned if 'test' in refit.parts else ''}."
        )
    lines.append(
        f"This export was scored again on {done.rows:,} test rows: {done.after:.6g}, where the model scores "
        f"{done.before:.6g}{' (weights in int8)' if done.int8 else ''}."
    )
    lines += [f"- {_code(name)}: {value:.4g}" for name, value in run.metrics.items()]
    return "\n".join(lines)


def _rivals(comparison: Mapping[str, Any]) -> str:
    lines = ["| regime | score | 95 % interval | training rows |", "|---|---|---|---|"]
    for row in comparison["regimes"][:RIVALS_SHOWN]:
        score, interval = row.get("score"), row.get("interval")
        if score is not None and interval:
            low, high = interval
            shown = f"{low:.4g} to {high:.4g}" if low is not None and high is not None else ""
            lines.append(f"| {row['name']} | {score:.4g} | {shown} | {row['rows']:,} |")
    return "\n".join(lines)


def _forgetting(run: Run, bases: Sequence[str]) -> str:
    if not bases:
        return "It does not start from pretrained weights."
    if not run.retention:
        return "Not measured." if run.family == "fine-tuned" else "The weights of the base are unchanged."
    found = [
        f"- {name.replace('_', ' ')}: {value:.4g}"
        for name, value in run.retention.items()
        if isinstance(value, int | float)
    ]
    return "\n".join(found) or "See the report of the study."


def _limits(run: Run, advice: Mapping[str, Any] | None) -> str:
    said = [*run.caveats, *(advice["caveats"] if advice else ())]
    lines = [f"- {_plain_line(caveat)}" for caveat in dict.fromkeys(said)]
    lines.append("- The score holds for rows like the test rows. On other data it has to be measured again.")
    return "\n".join(lines)
