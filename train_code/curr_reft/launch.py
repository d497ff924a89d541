"""torchrun, with the exit code of a command that was given something wrong: ``python -m curr_reft.launch …``.

torchrun turns every failure into exit code 1 and a traceback. Here a stage script that exits with 2,
after its one line, makes this exit with 2; other failures are reported as torchrun does.
"""

import logging
import sys
from collections.abc import Sequence

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


def main(argv: Sequence[str] | None = None) -> None:
    """Take torchrun's flags, the script and the script's flags."""
    elastic = logging.getLogger("torch.distributed.elastic")
    elastic.setLevel(logging.CRITICAL)
    try:
        run.main(argv)
    except ChildFailedError as error:
        if any(failure.exitcode == 2 for failure in error.failures.values()):
            sys.exit(2)
        raise


if __name__ == "__main__":
    main()
