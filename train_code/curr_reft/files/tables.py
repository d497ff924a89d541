"""A table of text, and how it is written for the terminal, as Markdown and as HTML."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import rich.table
from markupsafe import Markup
from rich.console import Console
from rich.text import Text

from curr_reft.files.html import render_template
from curr_reft.files.text import visible

_TEMPLATE = Path(__file__).with_name("table.html.j2")


@dataclass(frozen=True)
class Table:
    """The first `names` columns name a row, the others hold its numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 1
    quoted: int = 0
    """Rows at the end that others measured, which a page sets back."""


def console(width: int = 120) -> Console:
    """Standard output, which takes no text for markup, `width` characters wide where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else width, markup=False, emoji=False, highlight=False)


def to_rich(table: Table) -> rich.table.Table:
    """The table for a terminal, without a header where the columns have no names."""
    made = rich.table.Table(
        title=Text(visible(table.title), style="table.title"),
        title_justify="left",
        show_header=any(table.columns),
    )
    for index, column in enumerate(table.columns):
        made.add_column(Text(visible(column)), justify="left" if index < table.names else "right")
    for row in table.rows:
        made.add_row(*(Text(visible(cell)) for cell in row))
    return made


def to_markdown(table: Table) -> str:
    """The table as Markdown, under its title."""
    rule = ["---" if index < table.names else "---:" for index in range(len(table.columns))]
    lines = [map(markdown_text, table.columns), rule, *(map(markdown_text, row) for row in table.rows)]
    return "\n".join(
        [f"**{markdown_text(table.title)}**", "", *(f"| {' | '.join(line)} |" for line in lines)]
    )


def markdown_text(text: str) -> str:
    """Text that Markdown shows unchanged, on one line and in a table too."""
    for mark in ("\\", "|", "`", "*", "_", "<", "](", "~", "$", "&"):
        text = text.replace(mark, f"\\{mark}")
    return " ".join(visible(text).split())


def to_html(table: Table) -> Markup:
    """The table as HTML; in a cell ``1.0 [0.8, 1.2] (0.9)`` brackets and parentheses are marked as asides."""
    return Markup(render_template(_TEMPLATE, table=table))
