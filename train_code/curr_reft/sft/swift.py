"""ms-swift's executable: where it is, which versions it runs on, and running it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from curr_reft.errors import InputError
from curr_reft.lifetime import ONE_SIGNAL_SECONDS

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
    """Run swift to its end; what it prints goes on to standard output and is added to `log`.

    An interrupt, termination or hang-up of this process goes to the processes that train, which end with a
    checkpoint; one more, some seconds later, kills all that swift started.

    Args:
        lock: A file descriptor that swift holds as well, even when this process is killed.

    Returns:
        Its exit code, 128 + N after its end by signal N, and the signal that this process received, if any.
    """
    # A session of its own, so that Ctrl-C, which a terminal sends to all, reaches it once.
    process = subprocess.Popen(
        command,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=() if lock is None else (lock,),
    )
    received: list[signal.Signals] = []
    began: list[float] = []

    def pass_on(number: int, _frame: object) -> None:
        received.append(signal.Signals(number))
        again = len(received) > 1 and time.monotonic() - began[0] > ONE_SIGNAL_SECONDS
        began.append(time.monotonic())
        if again or not _signal_trainers(process.pid, number):
            _kill_all(process)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        assert process.stdout is not None
        with log.open("ab") as file:
            while part := os.read(process.stdout.fileno(), 65536):
                file.write(part)
                file.flush()
                sys.stdout.buffer.write(part)
                sys.stdout.flush()
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if process.poll() is None:
            _kill_all(process)
    return code if code >= 0 else 128 - code, received[0] if received else None


def _signal_trainers(swift: int, number: int) -> bool:
    """Signal the processes below swift that train: neither itself nor torchrun, which would kill them
    soon after.

    Returns whether there are any.
    """
    trainers = [
        process
        for process in psutil.Process(swift).children(recursive=True)
        if any(part.endswith(_TRAINING_SCRIPT) for part in process.cmdline()[1:3])
    ]
    for process in trainers:
        process.send_signal(number)
    return bool(trainers)


def _kill_all(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
