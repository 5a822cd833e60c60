"""Structure: do capabilities replace type tests, does every name stand for one thing, are files short?"""

import ast
import functools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import warmstart

ROOT = Path(warmstart.__file__).parent
MOST_TOP_LEVEL_MODULES = 7
MOST_LINES = 420


def test_no_type_test_crosses_a_package() -> None:
    """A kind answers through its protocol: elsewhere nobody asks what kind it is (`task.writes`, not `isinstance`)."""
    assert [place for name in modules() for place in foreign_type_tests(name)] == []


def test_a_public_name_is_defined_once() -> None:
    """Commands have their name in Python and on the command line; everything else is defined in one module."""
    places = defaultdict(list)
    for name in modules():
        for defined in set(public_names(name)):  # overloads are one
            places[defined].append(name)
    twice = {defined: found for defined, found in sorted(places.items()) if len(found) > 1}
    commands = {defined for defined, found in twice.items() if found == ["api", "cli.app"]}
    assert {defined: found for defined, found in twice.items() if defined not in commands} == {}


def test_few_modules_lie_beside_the_packages() -> None:
    beside = [path.name for path in ROOT.glob("*.py") if path.name != "__init__.py"]
    assert len(beside) <= MOST_TOP_LEVEL_MODULES, sorted(beside)


def test_files_are_short() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert {name: n for name, n in lines.items() if n > MOST_LINES} == {}


@functools.cache
def modules() -> dict[str, Path]:
    """Dotted name below `warmstart` ('data.rows.split') and file of each module."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def tree(name: str) -> ast.Module:
    return ast.parse(modules()[name].read_text(encoding="utf-8"))


def public_names(name: str) -> Iterator[str]:
    """Functions, classes and constants at the top level of a module, those behind `if` and `try` too."""
    statements = list(tree(name).body)
    while statements:
        match statements.pop(0):
            case ast.FunctionDef(name=defined) | ast.AsyncFunctionDef(name=defined) | ast.ClassDef(name=defined):
                found = [defined]
            case ast.AnnAssign(target=ast.Name(id=defined)):
                found = [defined]
            case ast.Assign(targets=targets):
                found = [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
            case ast.If(body=body, orelse=other) | ast.Try(body=body, orelse=other):
                statements += body + other
                continue
            case _:
                continue
        yield from (defined for defined in found if not defined.startswith("_"))


def foreign_type_tests(name: str) -> Iterator[str]:
    """Each `isinstance`, `issubclass` and class pattern on a class, or a class of a module, of another package of ours.

    Exceptions are told apart by their classes, as everywhere in Python.
    """
    known = imported(name)
    for node in ast.walk(tree(name)):
        match node:
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, kinds]) | ast.MatchClass(cls=kinds):
                found = [known[part.id] for part in ast.walk(kinds) if isinstance(part, ast.Name) and part.id in known]
            case _:
                continue
        yield from (
            f"{name}:{node.lineno}: {module}.{kind}"
            for module, kind in found
            if package(module or kind) not in (package(name), "errors")
        )


def package(name: str) -> str:
    return name.split(".")[0]


def imported(name: str) -> dict[str, tuple[str, str]]:
    """What a module takes from others of ours, anywhere in it: by its name here, the module and its name there."""
    found = {}
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "warmstart":
            origin = (node.module or "").removeprefix("warmstart").removeprefix(".")
            found.update({alias.asname or alias.name: (origin, alias.name) for alias in node.names})
    return found
