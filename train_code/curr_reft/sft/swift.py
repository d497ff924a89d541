"""ms-swift's executable: where it is, which versions it runs on, and running it."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from curr_reft.errors import InputError
from curr_reft.lifetime import kill_session, run_child

SWIFT_VARIABLE = "SWIFT"
_ENVIRONMENT = Path(__file__).resolve().parents[3] / ".venv-sft"
# `swift sft` runs this file in each of the processes that train, through torchrun where there are several.
_TRAINING_SCRIPT = "swift/cli/sft.py"
_SET_UP = "make its environment with 'bash scripts/setup.sh'"
_PACKAGES = (
    *("ms-swift", "transformers", "torch", "trl", "accelerate", "deepspeed", "peft", "datasets"),
    "flash-attn",
)
_ASK_VERSIONS = """
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def find_swift() -> Path:
    """The executable: the one that `SWIFT` names, else that of the repository's `.venv-sft`, else of PATH.

    Raises:
        InputError: when there is none.
    """
    named = os.environ.get(SWIFT_VARIABLE)
    if named:
        if not os.access(named, os.X_OK) or not Path(named).is_file():
            raise InputError(f"{SWIFT_VARIABLE}={named}: no such executable")
        return Path(named).absolute()
    own = _ENVIRONMENT / "bin" / "swift"
    if os.access(own, os.X_OK):
        return own
    found = shutil.which("swift")
    if found is None:
        raise InputError(f"ms-swift is not installed; {_SET_UP}")
    return Path(found).absolute()


def versions_beside(swift: Path) -> dict[str, str]:
    """The versions of ms-swift and what it runs on, from its environment's metadata; imports nothing.

    Raises:
        InputError: when the executable is another program of that name, or of before 4.1, whose flags differ.
    """
    python = swift.parent / "python"
    try:
        command = [str(python), "-c", _ASK_VERSIONS, *_PACKAGES]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        versions = json.loads(answer)
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise InputError(f"{swift}: no Python of its environment beside it; {_SET_UP}") from error
    version = versions.get("ms-swift")
    if version is None:
        raise InputError(f"{swift}: not the one of ms-swift; {_SET_UP}, or name it as {SWIFT_VARIABLE}")
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < (4, 1):
        raise InputError(f"{swift}: ms-swift {version}, whose flags differ from those of 4.6.0; {_SET_UP}")
    return versions


def environment_of(swift: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """The environment to run swift in: this one with `variables`, and its own programs found first."""
    path = os.pathsep.join(filter(None, [str(swift.parent), os.environ.get("PATH")]))
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONHOME")
    }
    return {**inherited, **variables, "PATH": path}


def run_swift(
    command: Sequence[str], environment: Mapping[str, str], log: Path, lock: int | None = None
) -> tuple[int, signal.Signals | None]:
    """Run swift by `run_child`; signals go to the processes that train, which end with a checkpoint.

    One more signal, some seconds later, kills all that swift started.
    """
    return run_child(command, environment, log, lock, _signal_trainers)


def _signal_trainers(swift: int, number: int, again: bool) -> None:
    """Signal the processes below swift that train: neither itself nor torchrun, which would kill them
    soon after. Without any, and for one more signal, all are killed."""
    trainers = [
        process
        for process in psutil.Process(swift).children(recursive=True)
        if any(part.endswith(_TRAINING_SCRIPT) for part in process.cmdline()[1:3])
    ]
    for process in trainers:
        process.send_signal(number)
    if again or not trainers:
        kill_session(swift)
