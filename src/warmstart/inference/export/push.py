"""Push: how does an export get to the Hugging Face Hub? Only by this command; nothing else uploads anything."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from warmstart.errors import MissingError, UsageError, WarmstartError, shell_word

OWN_CARD = "README.md"
MADE_HERE = re.compile(r"^tags: \[.*\bwarmstart\]$", re.MULTILINE)  # in the front matter of our model cards
REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)


@dataclass(frozen=True)
class Pushed:
    """What was uploaded, and where it is now."""

    repository: str
    url: str
    files: int
    private: bool


def push_export(folder: Path, repository: str, *, private: bool = True) -> Pushed:
    """Upload a folder that `export` wrote, with its model card, to `org/name`, which is created if it is not there.

    Raises UsageError for anything but an export and for a name that is none, MissingError where the Hub cannot be
    reached, and WarmstartError for what the Hub refuses.
    """
    files = check_export(folder)
    if not REPOSITORY.fullmatch(repository):
        raise UsageError(f"{repository!r} is no name of a repository.", "write it as org/name")
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise UsageError("HF_HUB_OFFLINE forbids uploads.", "unset it")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    hub = HfApi(library_name="warmstart")
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        done = hub.upload_folder(
            repo_id=repository, folder_path=str(folder), commit_message="Upload of a warmstart export"
        )
    except LocalTokenNotFoundError as error:
        raise MissingError("nobody is logged in to the Hub.", "run `hf auth login`, or set HF_TOKEN") from error
    except HfHubHTTPError as error:
        said = " ".join(str(error).split())
        hint = "check the name, and that the token may write: `hf auth login`"
        raise WarmstartError(f"the Hub refused the upload to {repository!r}: {said}", hint) from error
    except OSError as error:  # the network
        raise MissingError(f"the Hub cannot be reached: {error}.", "check the network, and try again") from error
    return Pushed(repository, str(done.commit_url), len(files), private)


def check_export(folder: Path) -> list[Path]:
    """The files of an export. Raises UsageError for a folder that `export` did not write."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {str(folder)!r}.", "name a folder that `warmstart export` wrote")
    card = folder / OWN_CARD
    if not card.is_file() or not MADE_HERE.search(card.read_text(encoding="utf-8", errors="replace")):
        raise UsageError(
            f"{str(folder)!r} is no export: it has no model card of warmstart.",
            f"export it first: warmstart export {shell_word(folder)} --to onnx --out export",
        )
    files = [path for path in folder.rglob("*") if path.is_file()]
    links = [path for path in folder.rglob("*") if path.is_symlink()]
    if links:
        raise UsageError(f"{str(links[0])!r} is a link.", "push a folder without links")
    return files
