"""Site hooks: what does `make docs` add to the pages in docs/? mkdocs calls the functions that begin with on_.

Links in docs/ are those of a Git host: some lead out of docs/, to the README, to scripts, to results. So every file
that a page links to becomes a page of the site too, and the links are written anew for it. The site makes no request
to another host, and its policy forbids any.
"""

import html
import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BESIDE = "repository"  # folder of the site for files outside docs/
LINK = re.compile(r"(?<=\]\()([^()\s]+)(?=\))")
FENCE = re.compile(r"^ {0,3}```.*?^ {0,3}```\s*?$", re.MULTILINE | re.DOTALL)
API = re.compile(r"^<!-- site: (\S+) -->$", re.MULTILINE)
# What a browser would load from elsewhere, in HTML and in style sheets; a link that a reader may follow is none of it.
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed|object|input|track)\b[^>]*?(?:src|srcset|data)\s*=\s*["']?((?:https?:)?//[^\s"'>]+)"""
    r"""|<link\b[^>]*?href\s*=\s*["']?((?:https?:)?//[^\s"'>]+)"""
    r"""|url\(\s*["']?((?:https?:)?//[^\s"')]+)"""
    r"""|@import\s+["']((?:https?:)?//[^\s"']+)""",
    re.IGNORECASE,
)
# Everything comes from the site itself, or from the folder it was copied to; no script or font from elsewhere.
POLICY = (
    "default-src 'self' file: data: blob:; script-src 'self' file: blob: 'unsafe-inline'; "
    "style-src 'self' file: 'unsafe-inline'"
)


def place(path: str) -> str:
    """Where a file or folder of the repository is on the site, as a source of mkdocs: both as POSIX paths."""
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/") and not path.endswith(".py"):
        return path.removeprefix("docs/")
    if (ROOT / path).is_dir():
        readme = f"{path}/README.md"
        return place(readme) if (ROOT / readme).exists() else f"{BESIDE}/{path}/index.md"
    return f"{BESIDE}/{path}.md" if path.endswith(".py") else f"{BESIDE}/{path}"


def pieces(markdown: str) -> Iterator[tuple[str, bool]]:
    """A page in pieces, and whether each is code."""
    at = 0
    for fence in FENCE.finditer(markdown):
        yield markdown[at : fence.start()], False
        yield fence[0], True
        at = fence.end()
    yield markdown[at:], False


def target_of(link: str, path: str) -> str | None:
    """The file of the repository that a link in the file or folder `path` leads to; None: an address, or `path`."""
    name = link.partition("#")[0]
    if not name or ":" in name:
        return None
    folder = path if (ROOT / path).is_dir() else posixpath.dirname(path)
    return posixpath.normpath(posixpath.join(folder, name))


def relinked(markdown: str, path: str) -> str:
    """A page of the repository, with its links as the site needs them."""
    here = posixpath.dirname(place(path)) or "."

    def moved(found: re.Match[str]) -> str:
        target = target_of(found[0], path)
        if target is None:
            return found[0]
        _, mark, anchor = found[0].partition("#")
        return posixpath.relpath(place(target), here) + mark + anchor

    return "".join(text if code else LINK.sub(moved, text) for text, code in pieces(markdown))


def deeper(markdown: str) -> str:
    """What belongs to an item of a list indented by four, as the site's Markdown wants it, instead of two or three."""
    lines, inside, fenced = [], False, False
    for line in markdown.split("\n"):
        if re.match(r"(-|\d+\.) ", line):
            inside = True
        elif line and not line.startswith("  "):
            inside = False
        step = re.match(r" {2,3}(?=\S)", line) if inside and not fenced else None
        fenced ^= line.startswith("```")
        lines.append(f"    {line[step.end() :]}" if step else line)
    return "\n".join(lines)


def page_of(path: str) -> str | None:
    """The Markdown of a file or folder outside docs/, with the links of the repository; None: no page, copy it."""
    file = ROOT / path
    if file.is_dir():
        names = sorted(each.name for each in file.iterdir() if not each.name.startswith((".", "_")))
        return f"# {path}\n\n" + "\n".join(f"- [{name}]({name})" for name in names) + "\n"
    if file.suffix == ".py":
        return f"# {path}\n\n```python\n{file.read_text(encoding='utf-8')}```\n"
    return file.read_text(encoding="utf-8") if file.suffix == ".md" else None


def outside(docs: Iterable[tuple[str, str]]) -> dict[str, str | None]:
    """The README and all that it and the pages of docs/ lead to outside docs/, directly or through each other.

    `docs`: pages by their path in the repository. Gives for each path what `page_of` gives.
    """
    found: dict[str, str | None] = {}
    todo = [("README.md", page_of("README.md")), *docs]
    while todo:
        path, text = todo.pop()
        if path not in found and place(path).startswith((BESIDE, "index.md")):
            found[path] = text
        links = [link for piece, code in pieces(text or "") if not code for link in LINK.findall(piece)]
        for link in links:
            target = target_of(link, path)
            if target is None or target in found or not (ROOT / target).exists():
                continue
            target = f"{target}/README.md" if (ROOT / target / "README.md").exists() else target
            if place(target).startswith(BESIDE) and target not in found:
                found[target] = page_of(target)
                todo.append((target, found[target]))
    return found


def loaded(text: str) -> list[str]:
    """Addresses on other hosts from which a page or a style sheet of the site would load something."""
    return ["".join(found) for found in LOADED.findall(text)]


def undescribed(markdown: str, page: str) -> list[str]:
    """Names in the tables of api.md whose first line is not a second time on the built page, as a docstring."""
    said = " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).split())
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", markdown, re.MULTILINE)
    return [name for name, line in rows if said.count(html.unescape(line.replace("`", ""))) < 2]


# --- what mkdocs calls ------------------------------------------------------------------------------------------------


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from outside docs/."""
    from mkdocs.structure.files import File

    docs = [(f"docs/{each.src_uri}", each.content_string) for each in files if each.src_uri.endswith(".md")]
    config["extra"]["outside"] = {}
    for path, text in outside(docs).items():
        config["extra"]["outside"][place(path)] = path
        said = {"abs_src_path": str(ROOT / path)} if text is None else {"content": text}
        files.append(File.generated(config, place(path), **said))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Write links anew, and put the docstrings in their places."""
    path = config["extra"]["outside"].get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return API.sub(r"::: \1", deeper(relinked(markdown, path)))


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Forbid every request to another host. Docstrings of the public names must be there."""
    if page.file.src_uri == "api.md" and (missing := undescribed(page.markdown, output)):
        from mkdocs.exceptions import PluginError

        raise PluginError(f"the docstrings of these are not on the page: {', '.join(missing)}")
    return output.replace("<head>", f'<head><meta http-equiv="Content-Security-Policy" content="{POLICY}">', 1)


def on_post_build(config: Any) -> None:
    """Refuse a site that would load anything from another host."""
    from mkdocs.exceptions import PluginError

    site = Path(config["site_dir"])
    for path in sorted([*site.rglob("*.html"), *site.rglob("*.css"), *site.rglob("*.svg")]):
        if found := loaded(path.read_text(encoding="utf-8")):
            raise PluginError(f"{path.relative_to(site)} loads from another host: {', '.join(found)}")
