"""Markdown for the reference pages: a page, a table, a docstring, the comments beside a struct's fields."""

from __future__ import annotations

import ast
import inspect
import io
import tokenize
from collections.abc import Iterable
from itertools import pairwise

NOTE = "<!-- Written by docs/generate.py from the code: do not edit. `make docs` writes it anew. -->"


def page(title: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", NOTE, *(part.strip("\n") for part in parts if part)]) + "\n"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *(list(row) for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines)


def text_of(thing: object) -> str:
    """A docstring as Markdown: double backticks become single ones."""
    return (inspect.getdoc(thing) or "").replace("``", "`")


def code(value: object) -> str:
    return f"`{value}`"


def comment_of(kind: type) -> dict[str, str]:
    """What the source says of each field of a struct: a comment behind it, or a docstring below it."""
    source = inspect.getsource(kind)
    found: dict[str, str] = {}
    name = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and token.line.strip().startswith(f"{token.string}:"):
            name = token.string
        elif token.type == tokenize.COMMENT and name and not token.line.strip().startswith("#"):
            found[name] = token.string.lstrip("# ").replace("``", "`")
    (tree,) = ast.parse(source).body
    lines = tree.body if isinstance(tree, ast.ClassDef) else []
    for line, below in pairwise(lines):
        about = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else None
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(about, str):
            found[line.target.id] = inspect.cleandoc(about).replace("``", "`")
    return found
