"""The method as one program: ``python -m curr_reft.curriculum CONFIG.yaml``, ``… status DIR``."""

import sys
from collections.abc import Sequence
from importlib import import_module

from curr_reft.errors import command


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run a curriculum, or tell how far one is."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # A status has no use for torch and TRL, which take seconds to import.
    if arguments[:1] == ["status"]:
        import_module("curr_reft.curriculum.status").show(arguments[1:])
    else:
        import_module("curr_reft.curriculum.start").start(arguments)


if __name__ == "__main__":
    main()
