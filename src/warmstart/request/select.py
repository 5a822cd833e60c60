"""Select: which bases and regimes does a request name?"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from warmstart.data.schema.schema import TEXT_OUT, Schema, TaskName
from warmstart.errors import UsageError
from warmstart.request.read_data import OwnRegimes, PreparedData
from warmstart.request.request import Request
from warmstart.results.names import (
    ENDPOINT_REGIME,
    ENSEMBLE,
    PREVIOUS,
    TRAIN_BASE_WEIGHTS,
    name_at_base,
    regime_of,
    short_names,
    split_name,
)

if TYPE_CHECKING:
    from torch import nn

    from warmstart.models.pretrained.base import Base
    from warmstart.regimes.regimes import Regime


def _check_room(base: "Base", schema: Schema) -> None:
    """Raises UsageError or InputError where a document cannot be read in parts, or next to nothing at a time."""
    from warmstart.data.encoding.language_inputs import Conversations

    if base.kind == "encoder-decoder":
        raise UsageError(f"--long chunks is for decoders; {base.name!r} is an encoder-decoder.", "leave it out")

    _ = Conversations(base.inputs.folder, base.inputs.max_length, schema.instruction or "").room


def bases_of(request: Request, understood: PreparedData, folder: Path) -> "tuple[tuple[Base, ...], Base | None]":
    """The bases, and what is built from random weights instead of them, with --parameters: made in `folder`.

    No base is looked for where nothing starts from one. Raises UsageError for a base that cannot do the task.
    """
    from warmstart.models.causal_lm import BaseKind
    from warmstart.models.pretrained.base import find_base, suited
    from warmstart.models.pretrained.new_architecture import new_architecture
    from warmstart.regimes.regimes import reads_images
    from warmstart.request.select_images import image_bases
    from warmstart.runtime.device import gpu_memory

    if reads_images(understood.schema.columns):
        return image_bases(request, understood), None
    task, length = understood.schema.task, request.max_length
    needed: dict[TaskName, BaseKind] = {"causal-lm": "decoder", "masked-lm": "encoder"}
    needed |= dict.fromkeys(TEXT_OUT, "decoder")
    texts, parameters = understood.splits.train.texts, request.parameters
    if parameters and needs_no_base(request):
        alone = new_architecture(folder / "base", needed.get(task, "encoder"), parameters, texts, length, None)
        return (alone,), alone
    bases: dict[str, Base] = {}
    for source in sources_of(request, task, gpu_memory()):
        base = suited(find_base(source, max_length=length, offline=request.offline), task)
        if base.location in bases:
            raise UsageError(
                f"base {base.name!r} is the same as base {bases[base.location].name!r}.", "name each base once"
            )
        bases[base.location] = base
    first, *others = bases.values()
    if not parameters:
        return tuple(bases.values()), None
    kind = first.kind if first.kind == "encoder-decoder" else needed.get(task, first.kind)
    return (first, *others), new_architecture(
        folder / "base", kind, parameters, texts, length, None if others else first
    )


def needs_no_base(request: Request) -> bool:
    """Whether nothing that was asked for starts from a base, and what is built has a size and tokens of its own."""
    from warmstart.regimes.regimes import NO_BASE_NEEDED

    names = {*map(regime_of, request.regimes), *([regime_of(request.regime)] if request.regime else [])}
    return bool(request.parameters and names) and names <= NO_BASE_NEEDED and not request.base


def require_keepable(request: Request, task: TaskName, base: "Base", regimes: Sequence[str]) -> None:
    """Raises UsageError for a --reduce-forgetting that can do nothing for what is to be trained."""
    if not request.reduce_forgetting:
        return
    if TRAIN_BASE_WEIGHTS.isdisjoint(regimes):
        raise UsageError(
            f"--reduce-forgetting {','.join(request.reduce_forgetting)}: nothing can be forgotten by "
            f"{' and '.join(regimes)}: no weight of a base learns there.",
            "leave it out, or choose a regime such as full or lora",
        )
    if request.forgetting.replay and (task not in (*TEXT_OUT, "causal-lm") or base.kind != "decoder"):
        asked = f"base {base.name!r} is an {base.kind}" if base.kind != "decoder" else f"the task here is {task}"
        raise UsageError(
            f"--reduce-forgetting replay is for decoders that learn to write; {asked}.",
            "use --reduce-forgetting l2-sp or --reduce-forgetting interpolation",
        )


def sources_of(request: Request, task: TaskName, gpu_bytes: int | None = None) -> tuple[str, ...]:
    """The bases that were named, with --base or in the names of regimes, or what is usual for the task.

    Of several, `fit` needs the one that its regime names. `gpu_bytes`: the memory of the GPU that is to train it.
    """
    from warmstart.models.pretrained.locate import usual

    named = tuple(dict.fromkeys(request.base))
    of_regimes = [split_name(name)[1] for name in (*request.regimes, *([request.regime] if request.regime else []))]
    if not named:
        named = tuple(dict.fromkeys(filter(None, of_regimes)))
    elif request.command == "fit" and of_regimes and of_regimes[0]:
        each = zip(short_names(named), named, strict=True)
        named = tuple(source for short, source in each if of_regimes[0] in (short, source)) or named
    return named or (usual(task, gpu_bytes),)


def added_floors(request: Request, schema: Schema) -> tuple[str, ...]:
    """What every comparison holds though other regimes were named: without a floor a score says little."""
    from warmstart.regimes.regimes import ALIASES, floors_for

    if not request.regimes or request.command == "fit" or request.races:
        return ()
    named = {ALIASES.get(regime_of(name), regime_of(name)) for name in request.regimes}  # names of your own as well
    return tuple(name for name in floors_for(schema.task, not needs_no_base(request)) if name not in named)


def chosen_regimes(
    request: Request, own: "Sequence[Regime]", schema: Schema, bases: "Sequence[Base]"
) -> tuple[str, ...]:
    """The names to compare, or the one to fit. Raises UsageError for one that is not known, or not for this task.

    By default a base is asked in words only where each of the `bases` is a decoder.
    """
    from warmstart.regimes.regimes import PROMPTED, default_for, suits
    from warmstart.request.select_images import image_sources

    mine, task = tuple(regime.name for regime in own), schema.task
    usual_names = default_for(task, schema.columns, bool(image_sources(request)), bool(request.base))
    if any(base.kind != "decoder" for base in bases):
        usual_names = tuple(name for name in usual_names if name not in PROMPTED)
    elif request.base and task in ("classification", "regression") and not schema.multi_label:
        usual_names = (*usual_names[:-1], "prompted", *usual_names[-1:])  # whoever names a decoder may prompt it
    if request.command == "fit" and not request.races:
        names = (request.regime,) if request.regime else mine[:1]
        if not names:
            raise UsageError(
                "no regime was named.", "say how to train, e.g. --regime full; `warmstart regimes` lists them"
            )
    else:
        named = (*added_floors(request, schema), *(request.regimes or usual_names))
        names = tuple(dict.fromkeys((*named, *mine, *((PREVIOUS,) if request.previous else ()))))
    found = tuple(name if name in mine else _known(name) for name in names)
    if ENSEMBLE in found and (set(found) == {ENSEMBLE} or (request.races and ENSEMBLE in request.regimes)):
        raise UsageError(
            "an ensemble is made of other regimes, when `compare` has run them on all rows.",
            "warmstart compare ... --regimes linear,full,ensemble",
        )
    if PREVIOUS in found and not request.previous:
        raise UsageError("regime 'previous' is an earlier model.", "name its folder with --previous")
    if request.prompted_endpoint and ENDPOINT_REGIME not in found and request.command != "fit":
        found = (*found, ENDPOINT_REGIME)
    if ENDPOINT_REGIME in found and not request.prompted_endpoint:
        raise UsageError(
            f"regime {ENDPOINT_REGIME!r} sends rows to another machine, and none was named.",
            "allow it with --prompted-endpoint URL --prompted-model NAME, or leave it out",
        )
    for name in found:
        if name not in mine and not suits(regime_of(name), task, schema.columns):
            raise UsageError(
                f"regime {name!r} is not for the task {task}.", f"choose among others: {', '.join(usual_names)}"
            )
        if regime_of(name) in ("prompted", ENDPOINT_REGIME) and schema.multi_label:
            raise UsageError(f"regime {name!r} names one class; rows here have sets of labels.", "leave it out")
    return found


def _known(name: str) -> str:
    """The same at a base, with the regime's own name. Raises UsageError for a regime that is not known."""
    from warmstart.regimes.regimes import known_regime

    regime, base = split_name(name)
    return name_at_base(known_regime(regime), base) if base else known_regime(regime)


def own_regimes(request: Request, base: "Base", own: OwnRegimes, run_code: bool = True) -> "tuple[Regime, ...]":
    """Regimes for architectures of the user's own, trained from random weights on the base's tokens.

    `run_code` False: the file of --model is only looked at, for a function of that name.
    """
    from warmstart.regimes.full import Full
    from warmstart.regimes.regimes import DEFAULTS, Regime, Stage
    from warmstart.regimes.starts import Scratch, from_file, named_in_file

    vocabulary = len(base.inputs.tokenizer) if own or request.model else 0
    builds: dict[str, Callable[[], nn.Module]] = {n: functools.partial(build, vocabulary) for n, build in own.items()}
    if request.model:
        read = from_file if run_code else named_in_file
        builds[request.model.rpartition(":")[2]] = read(request.model, vocabulary)
    defaults = replace(DEFAULTS["scratch"], lr=1e-3)
    return tuple(
        Regime(f"scratch-{name}", Scratch(build, base.inputs, base.pooling, request.init), (Stage(Full()),), defaults)
        for name, build in builds.items()
    )
