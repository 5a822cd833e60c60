"""Model card: what does the model card of an export say? It is written from the run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from warmstart.errors import WarmstartError
from warmstart.inference.export.export import Exported
from warmstart.inference.model_store import StoredModel
from warmstart.models.model import reads_columns
from warmstart.models.pretrained.licences import licences_of
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
}
USE = {
    "onnx": """`predict.py` reads texts and runs the graph. It needs numpy, onnxruntime and what reads texts
(tokenizers or scikit-learn), and nothing of warmstart:

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
    base: str | None,
    refit: Refit | None = None,
) -> str:
    """README.md of an export. `comparison`: `comparison.json` of the study, if the run is part of one; `refit`: where
    the model was trained again, after the run that was scored.
    """
    licences = _licences(base) if base else ()
    front = ["---", f"library_name: {_library(done, stored)}", f"tags: [{stored.task.name}, warmstart]"]
    front += [f"license: {json.dumps(licences[0])}"] if len(licences) == 1 else []
    front += [f"base_model: {json.dumps(base)}"] if base and not Path(base).exists() else []
    schema = stored.schema
    target = f"`{_code(schema.target)}` from " if schema.target else ""
    reads = ", ".join(f"`{_code(name)}`" for name in schema.text)
    parts = [
        "\n".join([*front, "---"]),
        f"# {stored.task.name.capitalize()}: {target}{reads}",
        f"Trained as `{run.regime}` ({run.method}) on {refit.described if refit else f'{run.rows:,} rows'}, "
        f"seed {run.seed}, by warmstart.",
        f"## Use\n\n{_use(done, stored)}",
        f"## Rows\n\n{_reading(stored)}",
        f"## Score\n\n{_score(done, run, refit)}",
    ]
    if comparison:
        parts.append(f"## Rivals\n\n{_rivals(comparison)}")
    parts.append(f"## Forgetting\n\n{_forgetting(run)}")
    parts.append(f"## Limits\n\n{_limits(run)}")
    said = ", ".join(licences) or ("not stated" if base else "none: no pretrained weights")
    fingerprint = f" Fingerprint of the data and its split: `{comparison['fingerprint']}`." if comparison else ""
    parts.append(
        f"## Data and licenses\n\nLicense of the base{f' `{_code(base)}`' if base else ''}: {said}. The license of the "
        f"training data is not known to warmstart.{fingerprint}"
    )
    return "\n\n".join(parts) + "\n"


def _library(done: Exported, stored: StoredModel) -> str:
    """What loads it."""
    if done.format != "hf":
        return {"onnx": "onnx", "gguf": "gguf"}.get(done.format, "warmstart")
    network = stored.network
    return "transformers" if network and network.model.language_head is not None else "sentence-transformers"


def _licences(base: str) -> tuple[str, ...]:
    try:
        return licences_of(base, locate(base)[0])
    except WarmstartError:  # it is not on this machine any more
        return ()


def _code(text: str) -> str:
    """As it may stand between backticks, on one line."""
    return " ".join(text.replace("`", "'").split())


def _use(done: Exported, stored: StoredModel) -> str:
    if done.format != "hf":
        columns = stored.schema.columns if len(stored.schema.columns) > 1 else ()
        row = json.dumps({column.name: EXAMPLE_CELLS[column.kind] for column in columns}) if columns else ""
        return USE[done.format].replace("{row}", f"'{_code(row)}'" if row else '"a text"')
    task, network = stored.task.to_json(), stored.network
    if network is not None and network.model.language_head is not None:
        kind = getattr(network.model.body, "config", None)
        auto = "AutoModelForSeq2SeqLM" if getattr(kind, "is_encoder_decoder", False) else "AutoModelForCausalLM"
        return HF_LANGUAGE.format(auto="AutoModelForMaskedLM" if stored.task.name == "masked-lm" else auto)
    what = "logits, in the order of `id2label`" if "classes" in task else f"{_code(stored.task.units)}"
    return HF_POOLED.format(what=what)


def _reading(stored: StoredModel) -> str:
    schema, task = stored.schema, stored.task.to_json()
    lines = []
    if stored.network is not None and reads_columns(stored.network.model.head):
        lines.append("Columns are read by their kinds: texts by the body, all others beside them by the head.")
    if schema.labelled:
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
    if "temperature" in stored.calibration:
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


def _forgetting(run: Run) -> str:
    if not run.retention:
        return "Not measured: it does not start from pretrained weights, or nothing was measured."
    found = [
        f"- {name.replace('_', ' ')}: {value:.4g}"
        for name, value in run.retention.items()
        if isinstance(value, int | float)
    ]
    return "\n".join(found) or "See the report of the study."


def _limits(run: Run) -> str:
    lines = [f"- {_code(caveat)}" for caveat in run.caveats]
    lines.append("- The score holds for rows like the test rows. On other data it has to be measured again.")
    return "\n".join(lines)
