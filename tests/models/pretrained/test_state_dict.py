"""Files of weights: a network is known by their names, nothing in them runs, one sentence says what is wrong."""

import pickle
from pathlib import Path

import pytest
import torch

from tests.models.test_resnet import published
from tests.pictures import picture_splits, picture_table
from warmstart.data.encoding.pixels import IMAGENET_MEAN, Pixels
from warmstart.data.schema.columns import Column
from warmstart.errors import InputError, MissingError
from warmstart.inference.predict import load_model_for_prediction
from warmstart.models.efficientnet import LITE_MEAN, EfficientNetLite
from warmstart.models.pretrained.image_base import find_image_base, read_image_body
from warmstart.planning.problem import Options, Problem
from warmstart.request.launch import run_to_end
from warmstart.study.compare import run_comparison

PHOTO = Column("photo", "image", image_size=12)


def saved(path: Path, weights: object) -> str:
    torch.save(weights, path)
    return str(path)


@pytest.mark.parametrize("form", ["plain", "nested", "parallel"])
def test_a_resnet_is_known_by_its_weights(form: str, tmp_path: Path) -> None:
    weights = published("ResNet-18")
    known: dict[str, object] = {"plain": weights, "nested": {"epoch": 3, "state_dict": weights}}
    known["parallel"] = {f"module.{name}": each for name, each in weights.items()}
    base = find_image_base(saved(tmp_path / "resnet18.pth", known[form]), PHOTO, None, True)
    assert base.inputs == Pixels("photo", 64, IMAGENET_MEAN, base.std, True)
    body = read_image_body(base)
    assert torch.equal(body.state_dict()["network.blocks.7.conv2.weight"], weights["layer4.1.conv2.weight"])


def test_lite_weights_may_lie_in_a_file(tmp_path: Path) -> None:
    base = find_image_base(saved(tmp_path / "lite.pt", EfficientNetLite().state_dict()), PHOTO, 32, False)
    assert base.network is not None and base.network.family == "efficientnet-lite0" and base.mean == (LITE_MEAN,) * 3
    read_image_body(base)


class Runs:
    """Code that a pickle runs when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("__import__('pathlib').Path('ran').write_text('x')",)


def test_no_code_is_run_and_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused = {
        "code.pth": pickle.dumps(Runs()),
        "cut.pth": Path(saved(tmp_path / "whole.pth", published("ResNet-18"))).read_bytes()[:5_000],
        "text.pth": b"no weights",
        "empty.pth": b"",
    }
    for name, content in refused.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="holds no plain weights"):
            find_image_base(str(tmp_path / name), PHOTO, None, True)
    saved(tmp_path / "wrapped.pth", {"model": Runs()})
    with pytest.raises(InputError, match="holds no plain weights"):
        find_image_base(str(tmp_path / "wrapped.pth"), PHOTO, None, True)
    assert not (tmp_path / "ran").exists()
    for number, odd in enumerate(([1, 2], {"layer1.0.conv1.weight": "x"})):
        with pytest.raises(InputError, match="not the weights of a model by name"):
            find_image_base(saved(tmp_path / f"odd{number}.pth", odd), PHOTO, None, True)
    with pytest.raises(InputError, match="a network that is not known"):
        find_image_base(saved(tmp_path / "other.pth", {"a.weight": torch.zeros(2)}), PHOTO, None, True)
    wrong = published("ResNet-18") | {"layer1.0.conv1.weight": torch.zeros(64, 32, 3, 3)}
    base = find_image_base(saved(tmp_path / "wide.pth", wrong), PHOTO, None, True)
    with pytest.raises(InputError, match="do not fit resnet"):
        read_image_body(base)
    with pytest.raises(MissingError, match="there is no file"):
        find_image_base(str(tmp_path / "absent.pth"), PHOTO, None, True)


@pytest.mark.parametrize(("images", "asked", "own"), [(12, 32, 12), (12, None, 12), (200, None, 64), (200, 96, 96)])
def test_networks_of_ours_never_enlarge_images(images: int, asked: int | None, own: int, tmp_path: Path) -> None:
    column = Column("photo", "image", image_size=images)
    base = find_image_base(saved(tmp_path / "resnet18.pth", published("ResNet-18")), column, asked, True)
    assert base.own_side == own
    if asked:
        assert base.network is not None and base.network.side == asked


def test_regimes_start_from_a_file_of_weights(tmp_path: Path) -> None:
    base = find_image_base(saved(tmp_path / "resnet18.pth", published("ResNet-18")), PHOTO, 32, True)
    schema, splits = picture_splits(rows=40)
    options = Options(
        regimes=("embedded", "frozen", "lora"), seeds=1, trials=1, length=0.01, training={"augment": "auto"}
    )
    (tmp_path / "study").mkdir()
    comparison = run_to_end(run_comparison(Problem(splits, schema, (base,)), options, tmp_path / "study"))
    for run in comparison.runs:
        found = load_model_for_prediction(tmp_path / "study" / "runs" / run.id).predict(picture_table(40))
        assert [found[number - 1]["prediction"] for number in run.predictions["row"]] == run.predictions["prediction"]
