"""Push: is only an export uploaded, only when asked, and is what goes wrong said?"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

from tests.cli_base import call
from warmstart.errors import WarmstartError
from warmstart.inference.export.push import push_export


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlibrary_name: onnx\ntags: [regression, warmstart]\n---\n\n# Price\n")
    (folder / "model.onnx").write_bytes(b"x")
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {"error": None}

    class Stub:
        def __init__(self, **_: Any) -> None: ...

        def create_repo(self, name: str, **more: Any) -> None:
            if seen["error"]:
                raise seen["error"]
            seen["created"] = name, more

        def upload_folder(self, **given: Any) -> Any:
            seen["uploaded"] = given
            return SimpleNamespace(commit_url=f"https://hub.test/{given['repo_id']}/commit/1")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub, "HfApi", Stub)
    return seen


def test_an_export_is_uploaded_with_its_card(export: Path, hub: dict[str, Any]) -> None:
    answer = call("push", export, "someone/prices")
    assert answer.code == 0 and "uploaded 2 files to https://hub.test/someone/prices/commit/1 (private)" in answer.out
    assert hub["created"] == ("someone/prices", {"private": True, "exist_ok": True})
    assert hub["uploaded"]["folder_path"] == str(export) and hub["uploaded"]["repo_id"] == "someone/prices"
    assert call("push", export, "someone/prices", "--public").code == 0 and hub["created"][1]["private"] is False


def test_a_dry_run_uploads_nothing(export: Path, hub: dict[str, Any]) -> None:
    answer = call("push", export, "someone/prices", "--dry-run")
    assert answer.code == 0 and "README.md\nmodel.onnx" in answer.out and "uploaded" not in hub


@pytest.mark.parametrize("wrong", ["folder", "card", "name", "offline"])
def test_what_cannot_be_pushed_is_said_first(
    wrong: str, export: Path, hub: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, name = export, "someone/prices"
    if wrong == "folder":
        folder = export / "none"
    elif wrong == "card":
        (export / "README.md").write_text("# Something else")
    elif wrong == "name":
        name = "prices"
    else:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    answer = call("push", folder, name)
    assert answer.code == 2 and "hint: " in answer.err and "created" not in hub


def test_what_the_hub_says_is_told(export: Path, hub: dict[str, Any]) -> None:
    hub["error"] = LocalTokenNotFoundError("no token")
    with pytest.raises(WarmstartError, match="nobody is logged in"):
        push_export(export, "someone/prices")
    hub["error"] = HfHubHTTPError("403 Forbidden", response=SimpleNamespace(headers={}, request=None))  # type: ignore[arg-type]
    with pytest.raises(WarmstartError, match="403 Forbidden"):
        push_export(export, "someone/prices")
    hub["error"] = ConnectionError("no route")
    with pytest.raises(WarmstartError, match="cannot be reached"):
        push_export(export, "someone/prices")
