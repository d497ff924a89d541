"""The flags that every builder's command has."""

import argparse
from pathlib import Path


def builder_parser(description: str, image_prefix: str | None) -> argparse.ArgumentParser:
    """A parser with the flags for the rows to write; `image_prefix` is that flag's default."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--output", type=Path, required=True, help=".jsonl file (one row a line) or .json file (an array)"
    )
    parser.add_argument(
        "--image_prefix",
        default=image_prefix,
        help=f"folder of the pictures under the image root (default {image_prefix or 'images/DATASET'})",
    )
    parser.add_argument(
        "--drop_bad_rows", action="store_true", help="leave bad records out instead of stopping"
    )
    return parser
