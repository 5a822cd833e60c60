"""Earlier study: which earlier model does a request name, and do the new rows fit it?

The new table is read by the earlier model's schema, so that both see the same texts and columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from warmstart.data.rows.split import Splits, text_hashes
from warmstart.data.schema.columns import Column
from warmstart.data.schema.schema import ColumnChoices, Schema
from warmstart.data.tables.read import Table
from warmstart.errors import InputError, UsageError, count_phrase, did_you_mean, join_phrases, shell_word
from warmstart.results.names import CONTINUED, CONTINUED_MIXED
from warmstart.results.refit_record import load_refit
from warmstart.runtime.files import read_json, reading_ours

if TYPE_CHECKING:
    from warmstart.inference.earlier_model import EarlierModel
    from warmstart.regimes.regimes import Regime

TABLE_TASKS = ("classification", "regression")
WITHOUT_OLD_ROWS = "With --previous-data none, regimes are trained on the new rows alone"


@dataclass(frozen=True)
class EarlierStudy:
    """What an earlier study or run left: a model, and how it reads a table."""

    folder: Path  # as it was named
    model: Path  # the folder that holds model.json
    schema: Schema
    classes: tuple[str, ...]  # of a regression, none


def find_earlier_study(name: str) -> EarlierStudy:
    """The earlier study in this folder. Raises UsageError where it left no model of a table."""
    folder = Path(name)
    places = (folder / "winner", folder)
    model = next((place for place in places if (place / "model.json").is_file()), None)
    if model is None:
        what = "holds no trained model" if folder.is_dir() else "is no folder"
        raise UsageError(f"--previous {name}: it {what}.", "name the folder of a finished study or run")
    facts = read_json(model / "model.json", dict[str, Any])
    with reading_ours(model / "model.json"):
        schema = Schema.from_json(facts["schema"])
        classes = tuple(facts["task"].get("classes", ()))
    if schema.task not in TABLE_TASKS:
        raise UsageError(
            f"--previous {name}: its task is {schema.task}; only models of classes and numbers are compared again.",
            f"start from it instead: --base {model / 'body'}",
        )
    return EarlierStudy(folder, model, schema, classes)


def columns_like(known: EarlierStudy, table: Table, asked: ColumnChoices) -> ColumnChoices:
    """What was said about the columns, completed by the earlier model's schema.

    Raises UsageError where something else was said, InputError where a column is missing.
    """
    schema, there = known.schema, table.columns.column_names
    for name, said, before in (
        ("target", asked.target, schema.target),
        ("task", asked.task, schema.task),
        ("scale", asked.scale, schema.scale),
        ("text", tuple(sorted(asked.text)), tuple(sorted(schema.text))),
    ):
        if said and said != before:
            raise UsageError(
                f"--previous {known.folder}: its {name} is {_plain(before)}, not {_plain(said)}.",
                f"leave out --{name}, or --previous",
            )
    missing = [column for column in (*schema.text, schema.target) if column not in there]
    if missing:
        what = "column" if len(missing) == 1 else "columns"
        raise InputError(
            f"{join_phrases(table.files, 3)}: the earlier model in {known.folder} needs {what} "
            f"{join_phrases(missing, quote=True)}, which {'is' if len(missing) == 1 else 'are'} not there",
            f"{did_you_mean(missing[0], there)}; if it has another name now: --rename {shell_word(missing[0])}=NAME",
        )
    kinds = {column.name: _kind(column) for column in schema.columns}
    return replace(
        asked,
        target=schema.target,
        task=schema.task,
        text=schema.text,
        kinds=kinds,
        scale=schema.scale if schema.task == "regression" else asked.scale,
        separator=asked.separator or schema.separator,
    )


def schema_like(known: EarlierStudy, found: Schema, renames: Mapping[str, str]) -> Schema:
    """The schema of the new table, whose inputs are read exactly as the earlier model reads them, by their old names.

    The new names (`renames`: new -> old) are kept, so that the models made from it read tables that have those.
    """
    before = known.schema
    if found.multi_label != before.multi_label:
        what = "sets of labels" if before.multi_label else "one class"
        raise UsageError(
            f"--previous {known.folder}: it predicts {what} for each row, and the new rows have something else.",
            "leave out --previous",
        )
    names = {**before.other_names, **renames}
    return replace(found, text=before.text, labelled=before.labelled, columns=before.columns, other_names=names)


def check_classes(known: EarlierStudy, splits: Splits) -> tuple[str, ...]:
    """Notes on classes. Raises UsageError where the new rows have one that the earlier model cannot name."""
    if not known.classes:
        return ()
    targets = [target for part in (splits.train, splits.val, splits.test) for target in part.targets]
    labels = [label for target in targets for label in (target if isinstance(target, tuple) else (target,))]
    new = {name: labels.count(name) for name in dict.fromkeys(labels) if name not in known.classes}
    if new:
        words = [f"{name!r} ({count_phrase(many, 'row', 'rows')})" for name, many in sorted(new.items())]
        raise UsageError(
            f"--previous {known.folder}: its model cannot name {count_phrase(len(new), 'new class', 'new classes')}: "
            f"{join_phrases(words, 5)}.",
            "leave these rows out, or compare without --previous",
        )
    gone = sorted(set(known.classes) - set(labels))
    if not gone:
        return ()
    many = count_phrase(len(gone), "class", "classes")
    return (
        f"{many} of the earlier model {'is' if len(gone) == 1 else 'are'} in none of the new rows "
        f"({join_phrases(gone, 5)}): it is scored as a model that knows that.",
    )


def recorded_fingerprint(folder: Path) -> str | None:
    """Of the rows that a study or run was made with; None: it recorded none."""
    for name in ("rows.json", "plan.json", "study.json"):
        if (folder / name).is_file():
            found = read_json(folder / name, dict[str, Any]).get("fingerprint")
            return found if isinstance(found, str) else None
    return None


def require_recorded(known: EarlierStudy, place: Path, rows: Splits) -> None:
    """Raises UsageError where these are not the rows that the earlier study in `place` was made with."""
    recorded = recorded_fingerprint(place)
    if recorded not in (None, rows.fingerprint):
        raise UsageError(
            f"--previous {known.folder}: its rows have changed since (fingerprint {recorded}, now {rows.fingerprint}).",
            f"name a file with the rows as they were: --previous-data FILE. {WITHOUT_OLD_ROWS}",
        )


def unseen_rows(known: EarlierStudy, splits: Splits, before: Splits | None) -> tuple[Splits, str]:
    """The splits without validation and test rows that the earlier model knows, and a sentence about that.

    `before`: the rows of the earlier study; None: they are not used.
    """
    if before is None:
        return splits, (
            "The rows of the earlier study were not used (--previous-data none): regimes are trained on the new rows "
            "alone, and test rows that the earlier model learned from would favor it."
        )
    parts, refit = [before.train, before.val], load_refit(known.model)
    if refit and "test" in refit.parts:
        parts.append(before.test)
    kept, dropped = splits.without_held_out(np.concatenate([text_hashes(part) for part in parts]))
    if not dropped:
        return kept, ""
    return kept, (
        f"Left out: {count_phrase(dropped, 'validation or test row', 'validation and test rows')} "
        "that the earlier model was trained with."
    )


def continued_regimes(earlier: "EarlierModel", old_rows: bool, shrink: float | None = None) -> "tuple[Regime, ...]":
    """Further training of a network on the new rows and, if there are `old_rows`, on both; none of another model."""
    if not earlier.is_network:
        return ()
    names = (CONTINUED, CONTINUED_MIXED) if old_rows else (CONTINUED,)
    return tuple(continued_regime(earlier, name, shrink) for name in names)


def continued_regime(earlier: "EarlierModel", name: str = CONTINUED, shrink: float | None = None) -> "Regime":
    """Further training of a network, with the defaults of its kind."""
    from warmstart.regimes.continued import Continued
    from warmstart.regimes.defaults import IMAGE_DEFAULTS, IMAGE_TRANSFORMER_DEFAULTS
    from warmstart.regimes.full import Full
    from warmstart.regimes.regimes import DEFAULTS, NUMBER_DEFAULTS, REFERENCE_DEFAULTS, Regime, Stage
    from warmstart.regimes.scratch_dnn import PathByPath

    stored, kind = earlier.stored, earlier.body_kind
    network = stored.network
    assert network is not None
    stage, defaults = Stage(Full()), DEFAULTS["full"]
    if kind == "wide and deep":
        stage = Stage(PathByPath(), margins=True)
        defaults = NUMBER_DEFAULTS if stored.schema.task == "regression" else DEFAULTS["scratch-dnn"]
    elif kind == "image network":
        body: Any = network.model.body
        attends = body.image_config.attends
        # lower than for a base: its weights already solve the task
        defaults = IMAGE_TRANSFORMER_DEFAULTS["full"] if attends else replace(IMAGE_DEFAULTS["full"], lr=5e-4)
    elif kind == "hashed network":
        defaults = REFERENCE_DEFAULTS
    start = Continued(
        load=earlier.network,
        task=stored.task,
        inputs=network.inputs,
        pooling=network.model.pooling,
        columns=earlier.columns,
        hugging_face=kind in ("transformers", "adapter"),
        size=earlier.hashed_size,
        shrink=shrink,
    )
    return Regime(name, start, (stage,), defaults)


def _kind(column: Column) -> str:
    """As `--column` has it."""
    if column.kind == "datetime":
        return f"datetime:{column.date_order}"
    return f"number:{column.decimal_mark}" if column.kind == "number" else column.kind


def _plain(value: object) -> str:
    return join_phrases([*value], quote=True) if isinstance(value, tuple) else repr(value)
