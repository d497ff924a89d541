"""The parser of commands: a wrong flag is one line, like every other wrong input."""

import argparse
from typing import Any, NoReturn

from curr_reft.errors import InputError


class CommandParser(argparse.ArgumentParser):
    """An argument parser without abbreviations, whose errors are `InputError`s."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (--help lists the flags)")
