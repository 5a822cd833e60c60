"""Draw architecture: which packages are there, and which imports which? Read from the code, written into docs/.

    python docs/draw_architecture.py

writes docs/architecture.svg and the list of files in docs/architecture.md. A test fails if they differ from the code.
"""

import ast
import re
import tomllib
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "warmstart"
PICTURE = ROOT / "docs" / "architecture.svg"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- files: written by docs/draw_architecture.py -->", "<!-- end of files -->"

Arrow = tuple[str, str]  # the package that imports, the package that is imported

BOX_WIDTH, BOX_HEIGHT, GAP, MARGIN = 560, 30, 14, 190


@dataclass(frozen=True)
class Package:
    """A package or a module of its own, as the picture shows it."""

    name: str
    answers: str  # first line of its docstring
    files: int


def layers(pyproject: Path = ROOT / "pyproject.toml") -> list[str]:
    """Names of all packages, from the top of the import order to its bottom."""
    settings = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    contract = next(c for c in settings["tool"]["importlinter"]["contracts"] if c["containers"] == ["warmstart"])
    return [layer for layer in contract["layers"] if not layer.startswith("(")]


def files_of(name: str, source: Path = SOURCE) -> list[Path]:
    """The Python files of a package, or the one of a module; `__init__.py` comes first in each folder."""
    if (source / f"{name}.py").exists():
        return [source / f"{name}.py"]
    return sorted((source / name).rglob("*.py"), key=lambda path: (path.parent, path.name != "__init__.py", path.name))


def first_line(path: Path) -> str:
    """The first line of a file's docstring, without the module's name in front of it."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, f"{path} does not say which question it answers: begin it with a docstring"
    line = docstring.splitlines()[0]
    name, colon, rest = line.partition(": ")
    spelled = re.sub(r"[^a-z0-9]", "", name.lower())
    named = spelled and spelled in re.sub(r"[^a-z0-9]", "", f"{path.parent.name}{path.stem}".lower())
    line = rest if colon and (named or len(name.split()) <= 3) else line
    return line[0].upper() + line[1:]


def packages() -> list[Package]:
    """From the top of the import order to its bottom."""
    found = []
    for name in layers():
        files = files_of(name)
        found.append(Package(name, first_line(files[0]), len([path for path in files if path.name != "__init__.py"])))
    return found


def imported(path: Path, known: set[str]) -> set[str]:
    """Packages of ours that a file imports, at any depth of its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "warmstart" and len(parts) > 1 and parts[1] in known:
                found.add(parts[1])
    return found


def arrows() -> set[Arrow]:
    """Which package imports which."""
    names = layers()
    known = set(names)
    return {(name, other) for name in names for path in files_of(name) for other in imported(path, known) - {name}}


def essential(all_arrows: set[Arrow]) -> set[Arrow]:
    """The arrows that do not follow from a longer way: if a imports b and b imports c, then a -> c is left out."""
    below: dict[str, set[str]] = {}

    def reach(name: str) -> set[str]:
        if name not in below:
            direct = {to for start, to in all_arrows if start == name}
            below[name] = direct | {further for each in direct for further in reach(each)}
        return below[name]

    return {
        (start, to)
        for start, to in all_arrows
        if not any(to in reach(middle) for first, middle in all_arrows if first == start and middle != to)
    }


def drawn(svg: str) -> tuple[set[Arrow], list[tuple[str, int]]]:
    """What a picture shows: its arrows, and its packages with their numbers of files, from top to bottom."""
    found = set(re.findall(r'<path data-from="(\w+)" data-to="(\w+)"', svg))
    boxes = [(name, int(files)) for name, files in re.findall(r'<g data-package="(\w+)" data-files="(\d+)"', svg)]
    return found, boxes


def svg() -> str:
    """The picture: packages from top to bottom, essential arrows on the right, all others pale on the left."""
    shown, all_arrows = packages(), arrows()
    strong = essential(all_arrows)
    middle = {package.name: 20 + i * (BOX_HEIGHT + GAP) + BOX_HEIGHT / 2 for i, package in enumerate(shown)}
    height = 20 + len(shown) * (BOX_HEIGHT + GAP) + 30
    width = BOX_WIDTH + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        "<title>Packages of warmstart and their imports</title>",
        "<defs>",
        *(
            f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0 L8 4 L0 8 z" fill="{color}"/></marker>'
            for name, color in (("dark", "#1f5f8b"), ("pale", "#b9c4cc"))
        ),
        "</defs>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    lines += [_arrow(arrow, middle, arrow in strong) for arrow in sorted(all_arrows, key=lambda a: (a in strong, a))]
    lines += [_box(package, middle[package.name]) for package in shown]
    note = "Right: imports that no longer path implies. Left: all other imports. Every arrow points down."
    lines += [
        f'<text x="{width / 2}" y="{height - 10}" font-size="12" text-anchor="middle" fill="#55636d">{note}</text>'
    ]
    return "\n".join([*lines, "</svg>", ""])


def _arrow(arrow: Arrow, middle: dict[str, float], strong: bool) -> str:
    start, end = middle[arrow[0]] + 6, middle[arrow[1]] - 6
    side = 1 if strong else -1
    edge = MARGIN + BOX_WIDTH if strong else MARGIN
    reach = edge + side * min(MARGIN * 1.2, 22 + (end - start) * 0.28)
    kind, color, thickness = ("dark", "#1f5f8b", 1.6) if strong else ("pale", "#b9c4cc", 0.8)
    curve = f"M{edge} {start:g} C{reach:g} {start:g} {reach:g} {end:g} {edge + side * 2} {end:g}"
    return (
        f'<path data-from="{arrow[0]}" data-to="{arrow[1]}" d="{curve}" fill="none" stroke="{color}" '
        f'stroke-width="{thickness}" marker-end="url(#{kind})"/>'
    )


def _box(package: Package, middle: float) -> str:
    top, baseline = middle - BOX_HEIGHT / 2, middle + 4
    files = f"{package.files} file{'s' * (package.files != 1)}"
    answers = re.split(r"(?<=[?.]) ", package.answers.replace("`", ""))[0]
    answers = answers if len(answers) <= 60 else answers[:57].rsplit(" ", 1)[0] + " ..."
    return (
        f'<g data-package="{package.name}" data-files="{package.files}">'
        f'<rect x="{MARGIN}" y="{top:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="5" fill="#eef4f8" '
        'stroke="#1f5f8b"/>'
        f'<text x="{MARGIN + 12}" y="{baseline:g}" font-size="14" font-weight="bold" fill="#12384f">'
        f"{package.name}</text>"
        f'<text x="{MARGIN + 115}" y="{baseline:g}" font-size="12" fill="#33434e">{escape(answers)}</text>'
        f'<text x="{MARGIN + BOX_WIDTH - 12}" y="{baseline:g}" font-size="12" text-anchor="end" fill="#55636d">'
        f"{files}</text></g>"
    )


def file_list() -> str:
    """One line for each file, by folder, in the import order from top to bottom."""
    lines: list[str] = []
    for name in layers():
        folder: Path | None = None
        for path in files_of(name):
            relative = path.relative_to(SOURCE)
            if path.name == "__init__.py" or len(relative.parts) == 1:
                title = relative.parent if path.name == "__init__.py" else relative
                heading = f"**`{title.as_posix()}`** {first_line(path)}"
                lines += ["", heading] if folder != path.parent else [heading]
                folder = path.parent
                if path.name == "__init__.py":
                    lines.append("")
                continue
            lines.append(f"- `{path.name}`: {first_line(path)}")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def placed(page: str, content: str) -> str:
    """The page with this content between its two markers."""
    before, found, rest = page.partition(BEGIN)
    _, closed, after = rest.partition(END)
    assert found and closed, "docs/architecture.md has lost the markers of its list of files"
    return f"{before}{BEGIN}\n\n{content}\n{END}{after}"


def main() -> None:
    """Write the picture and the list of files."""
    PICTURE.write_text(svg(), encoding="utf-8")
    PAGE.write_text(placed(PAGE.read_text(encoding="utf-8"), file_list()), encoding="utf-8")


if __name__ == "__main__":
    main()
