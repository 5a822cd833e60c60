"""Select images: which image bases does a request name, and may images be flipped?"""

from typing import TYPE_CHECKING

from warmstart.errors import UsageError, join_phrases
from warmstart.request.read_data import PreparedData
from warmstart.request.request import AUTO, Request
from warmstart.results.names import regime_of, split_name

if TYPE_CHECKING:
    from warmstart.models.pretrained.image_base import ImageBase


def image_sources(request: Request) -> tuple[str, ...]:
    """The bases that were named, with --base or in the names of regimes, or the usual one if it is installed."""
    from warmstart.models.pretrained.image_base import usual_image_base

    names = (*request.regimes, *([request.regime] if request.regime else []))
    named = tuple(dict.fromkeys((*request.base, *filter(None, (split_name(name)[1] for name in names)))))
    usual = usual_image_base() if request.pretrained else None
    return named or ((usual,) if usual else ())


def image_bases(request: Request, understood: PreparedData) -> "tuple[ImageBase, ...]":
    """At least one: what stands for a base where there is none. Raises UsageError where one is needed, and for what
    images do not have.
    """
    from warmstart.data.rows.mirror_images import mirrored_alike
    from warmstart.models.pretrained.image_base import LITE_INSTALL, find_image_base, no_image_base
    from warmstart.regimes.regimes import FOR_COLUMNS, IMAGE_WITHOUT_BASE, suits

    columns = understood.schema.columns
    pictures = next(column for column in columns if column.kind == "image")
    for flag, said in (("--model", request.model), ("--parameters", request.parameters), ("--tokens", request.tokens)):
        if said:
            raise UsageError(f"{flag} is for texts, but images are read here.", "leave it out")
    flips = mirrored_alike(understood.splits.train)
    sources = image_sources(request)
    _fetch_trusted(request, sources)
    if not sources:
        asked = [*request.regimes, *([request.regime] if request.regime and request.regime != AUTO else [])]
        needing = [
            name
            for name in map(regime_of, asked)
            if suits(name, understood.schema.task, columns) and name not in (*IMAGE_WITHOUT_BASE, *FOR_COLUMNS)
        ]
        if needing:
            raise UsageError(
                f"{join_phrases(needing, quote=True)}: a pretrained network for images is needed, for its weights or "
                "its shape, and none was named.",
                f"name one with --base, or install one: {LITE_INSTALL}",
            )
        return (no_image_base(pictures, request.image_size, flips),)
    return tuple(find_image_base(source, pictures, request.image_size, flips) for source in sources)


def _fetch_trusted(request: Request, sources: tuple[str, ...]) -> None:
    """Bring entries of PyTorch Hub to this machine.

    Raises UsageError where their code is not trusted, or where code is that none of them runs.
    """
    from warmstart.models.pretrained.torch_hub import fetch_entry, is_hub_entry, require_trust

    entries = [source for source in sources if is_hub_entry(source)]
    for source in entries:
        require_trust(source, request.trust_code)
    named = {source.split(":")[1] for source in entries}
    if unused := [name for name in request.trust_code if name not in named]:
        raise UsageError(f"--trust-code {join_phrases(unused)}: no base runs its code.", "leave it out")
    for source in entries:
        fetch_entry(source, offline=request.offline)
