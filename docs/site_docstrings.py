"""Site docstrings: how are docstrings read for the site? An extension of griffe, which reads code without running it.

Two things that Python does and griffe does not: a `__doc__` that is an f-string of constants is put together, and
examples (`>>>`) that stand in a text without a heading get one, because Markdown would take them for quotes.
"""

import ast
import inspect
import re
from typing import Any

import griffe

EXAMPLES = "Examples\n--------\n"


def with_heading(text: str) -> str:
    """A docstring whose examples are a section."""
    if EXAMPLES in text:
        return text
    return re.sub(r"^(?=>>> )", EXAMPLES, text, count=1, flags=re.MULTILINE)


def class_docstring(source: str, name: str) -> str | None:
    """The `__doc__` that the class `name` assigns itself, as an f-string of constants of its module."""
    body = ast.parse(source).body
    constants = {
        node.targets[0].id: node.value.value
        for node in body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for line in node.body:
                match line:
                    case ast.Assign(targets=[ast.Name(id="__doc__")], value=ast.JoinedStr(values=parts)):
                        return "".join(_text(part, constants) for part in parts)
    return None


def _text(part: ast.expr, constants: dict[str, Any]) -> str:
    match part:
        case ast.Constant(value=value):
            return str(value)
        case ast.FormattedValue(value=ast.Name(id=name)):
            return str(constants[name])
    raise ValueError(f"{ast.unparse(part)} is no constant of the module")


class Docstrings(griffe.Extension):
    """See above."""

    def on_class(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        if cls.docstring is None and "__doc__" in cls.members:
            text = class_docstring(cls.filepath.read_text(encoding="utf-8"), cls.name)  # type: ignore[union-attr]
            if text is not None:
                cls.docstring = griffe.Docstring(
                    inspect.cleandoc(text), parent=cls, parser=griffe.Parser.numpy, lineno=cls.lineno
                )

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = with_heading(obj.docstring.value)
