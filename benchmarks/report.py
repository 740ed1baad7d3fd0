"""Markdown for the results of benchmarks."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table, with a newline at its end."""
    lines = [head, *rows]
    text = ["| " + " | ".join(map(str, line)) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(head), *text[1:]]) + "\n"


def images_below(folder: str | Path) -> list[Path]:
    """The PNG and WebP files of a folder, by name."""
    return sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in (".png", ".webp"))


def summary(doc: str | None) -> str:
    """The first line of a module's docstring, for --help."""
    return (doc or "").split("\n")[0]
