"""The flags that every builder's command has."""

from argparse import ArgumentTypeError
from pathlib import Path

from curr_reft.data.sources.annotations import leads_below
from curr_reft.files.cli import CommandParser


def builder_parser(description: str, image_prefix: str | None) -> CommandParser:
    """A parser with the flags for the rows to write; `image_prefix` is that flag's default."""
    parser = CommandParser(description=description.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, required=True, help=".jsonl file (one row a line) or .json file (an array)"
    )
    parser.add_argument(
        "--image_prefix",
        type=_image_prefix,
        default=image_prefix,
        help=f"folder of the images under the image root (default {image_prefix or 'images/DATASET'})",
    )
    parser.add_argument(
        "--drop_bad_rows", action="store_true", help="leave bad records out instead of stopping"
    )
    return parser


def _image_prefix(text: str) -> str:
    if not leads_below(text):
        raise ArgumentTypeError(
            f"{text!r} must be a relative path of printable characters, without .. and backslashes"
        )
    return text
