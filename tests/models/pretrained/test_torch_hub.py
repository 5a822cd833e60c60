"""PyTorch Hub: code runs once, after it was trusted by name; then its weights are a file, and nothing runs it again."""

from pathlib import Path

import pytest
import torch

from tests.pictures import save_folder
from warmstart import compare
from warmstart.data.schema.columns import Column
from warmstart.errors import InputError, MissingError, UsageError
from warmstart.models.pretrained.image_base import find_image_base, read_image_body
from warmstart.models.pretrained.torch_hub import HubEntry, fetch_entry, kept_entry, require_trust

PHOTO = Column("photo", "image", image_size=12)
SOURCE = "torchhub:someone/vision-models:resnet18"
HUBCONF = """
from pathlib import Path

import torch

def resnet18(pretrained=False):
    count = Path(__file__).with_name("runs")
    count.write_text(count.read_text() + "x" if count.exists() else "x")
    from warmstart.models.resnet import SHAPES
    from tests.models.test_resnet import published

    class Usual(torch.nn.Module):
        def state_dict(self):
            with torch.random.fork_rng():
                torch.manual_seed(0)  # as if read from a file
                weights = published("ResNet-18")
            weights["conv1.weight"] = torch.full_like(weights["conv1.weight"], 2.0 if pretrained else 1.0)
            return weights

    return Usual()

def without_argument():
    return resnet18()

def untrained():
    return torch.nn.Linear(2, 3)

def linear(pretrained=False):
    return torch.nn.Linear(2, 3)

def number(pretrained=False):
    return 7

def broken(pretrained=False):
    raise KeyError("weights")
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository as PyTorch Hub keeps it once it was downloaded, and an empty cache of ours."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "someone_vision-models_main"
    folder.mkdir(parents=True)
    (folder / "hubconf.py").write_text(HUBCONF)
    return folder


def runs(repository: Path) -> int:
    count = repository / "runs"
    return len(count.read_text()) if count.exists() else 0


def test_an_entry_is_run_once_and_its_pretrained_weights_are_kept(repository: Path) -> None:
    with pytest.raises(MissingError, match="not on this machine"):
        find_image_base(SOURCE, PHOTO, 32, True)
    path = fetch_entry(SOURCE, offline=True)
    assert path == kept_entry(SOURCE) == fetch_entry(SOURCE, offline=True) and runs(repository) == 1
    base = find_image_base(SOURCE, PHOTO, 32, True)
    weights = read_image_body(base).state_dict()["network.conv1.weight"]
    assert torch.equal(weights, torch.full_like(weights, 2.0)) and runs(repository) == 1
    plain = fetch_entry("torchhub:someone/vision-models:without_argument", offline=True)
    assert plain != path and runs(repository) == 3, "twice, to see whether its weights are random"


@pytest.mark.parametrize(
    ("entry", "error", "words"),
    [
        ("linear", InputError, "a network that is not known"),
        ("number", UsageError, "gives int, not a model"),
        ("broken", MissingError, "could not be loaded: KeyError"),
        ("absent", MissingError, "Cannot find callable absent"),
    ],
)
def test_what_an_entry_cannot_give_is_one_sentence(
    entry: str, error: type[Exception], words: str, repository: Path
) -> None:
    source = f"torchhub:someone/vision-models:{entry}"
    with pytest.raises(error, match=words):
        fetch_entry(source, offline=True)
    assert not HubEntry.of(source).kept.exists()


def test_nothing_is_downloaded_offline(repository: Path) -> None:
    with pytest.raises(MissingError, match="not on this machine"):
        fetch_entry("torchhub:someone/other:resnet18", offline=True)


@pytest.mark.parametrize("source", ["torchhub:resnet18", "torchhub:a/b", "torchhub:a/../b:c", "torchhub:a/b:c:d"])
def test_other_names_are_refused(source: str) -> None:
    with pytest.raises(UsageError, match="names no entry of PyTorch Hub"):
        require_trust(source, ())


def test_code_runs_only_where_it_was_trusted_by_name(repository: Path, tmp_path: Path) -> None:
    save_folder(tmp_path / "photos", 40)

    def studied(out: str, **more: object) -> None:
        named = {"base": SOURCE, "regimes": ["constant", "embedded"], "seeds": 1, "log": False, "offline": True}
        compare(tmp_path / "photos", "label", out=tmp_path / out, image_size=32, **named | more)  # type: ignore[arg-type]

    for trusted in ((), ("someone/vision",), ("someone",)):
        with pytest.raises(UsageError, match="runs the code of the GitHub repository someone/vision-models"):
            studied("refused", trust_code=trusted)
    assert runs(repository) == 0
    studied("study", trust_code="someone/vision-models")
    assert runs(repository) == 1
    with pytest.raises(UsageError, match="no base runs its code"):
        studied("unused", base=(), regimes=["constant", "linear"], trust_code="someone/vision-models")
    table = tmp_path / "texts.csv"
    table.write_text("text,label\n" + "".join(f"words of row {i},{'ab'[i % 2]}\n" for i in range(60)))
    with pytest.raises(UsageError, match="is for images"):
        compare(table, "label", regimes=["linear"], trust_code="a/b", out=tmp_path / "texts", log=False)


def test_random_weights_are_no_base(repository: Path) -> None:
    with pytest.raises(InputError, match=r"vision-models:untrained' has random weights, and takes no argument"):
        fetch_entry("torchhub:someone/vision-models:untrained", offline=True)
