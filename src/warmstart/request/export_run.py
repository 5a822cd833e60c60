"""Export run: which rows is an exported model scored on, and what does its model card say?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from warmstart.data.rows.split import Rows
from warmstart.data.schema.label_columns import join_label_columns
from warmstart.data.tables.read import Table, read_table
from warmstart.inference.export.export import Exported, check_format, export_model, reads_table
from warmstart.inference.export.model_card import model_card
from warmstart.inference.export.scored_rows import kept_rows, rows_of_table
from warmstart.inference.model_store import StoredModel, load_model
from warmstart.inference.predict import model_folder
from warmstart.regimes.regimes import READ_WITH_BASE
from warmstart.request.request import holds_request, load_request
from warmstart.results.names import regime_of
from warmstart.results.record import Run, load_run
from warmstart.results.refit_record import load_refit
from warmstart.runtime.files import read_json


def export_run(
    folder: Path,
    to: str,
    out: Path,
    files: Sequence[str],
    table: Table | None,
    *,
    int8: bool,
    code: str | None,
) -> Exported:
    """Write the model of a run, or of a study's winner, in another format. Errors are those of `export_model`.

    `table` or `files`: the data of the study; neither: the files that it was made with, or the texts that it kept.
    """
    stored_in = model_folder(folder)
    run, refit = load_run(stored_in), load_refit(stored_in)
    stored = load_model(stored_in, code=code)
    check_format(stored, to, int8)
    comparison, advice = (_of_study(folder / name) for name in ("comparison.json", "advice.json"))
    bases = _bases_of(stored, run, comparison)
    studies = (folder, stored_in.parent.parent)  # of a study, or of one of its runs
    return export_model(
        stored_in,
        _rows_scored(studies, stored, run, files, table),
        out,
        to,
        int8=int8,
        code=code,
        recorded=refit.score if refit else run.test,
        learned=refit is not None and "test" in refit.parts,
        card=lambda done: model_card(done, stored, run, comparison, bases, refit, advice),
    )


def _of_study(path: Path) -> dict[str, Any] | None:
    return read_json(path, dict[str, Any], "write it again with `warmstart report`") if path.exists() else None


def _bases_of(stored: StoredModel, run: Run, comparison: dict[str, Any] | None) -> tuple[str, ...]:
    """The bases whose weights are in the model; of an ensemble, those of its members."""
    starts = {run.regime: (run.family, run.start)}
    members = [member.regime for member in stored.members]
    if members and comparison:
        starts = {row["name"]: (row["family"], row["start"]) for row in comparison["regimes"] if row["name"] in members}
    with_base = (
        start for name, (family, start) in starts.items() if family == "fine-tuned" or regime_of(name) in READ_WITH_BASE
    )
    return tuple(dict.fromkeys(with_base))


def _rows_scored(
    studies: Sequence[Path], stored: StoredModel, run: Run, files: Sequence[str], table: Table | None
) -> Rows:
    """The test rows of a run."""
    asked = next((load_request(each) for each in studies if holds_request(each)), None)
    if table is None and not files and asked and all(Path(file).exists() for file in asked.data):
        files = asked.data
    if table is None and files:
        table = read_table(files, table=asked.table if asked else None)
    if table is not None:
        table = join_label_columns(table, stored.schema.target)
        return rows_of_table(table, stored.schema, run)
    return kept_rows(studies, stored.schema, run, typed=reads_table(stored))
