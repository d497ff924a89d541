"""What a run needs around it beside data and weights: trackers that take its metrics, a place to write to."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    get_available_reporting_integrations,
)

from curr_reft.errors import InputError

_NO_TRACKER = ("none", "all")
_WANDB_WITHOUT_LOGIN = ("offline", "dryrun", "disabled")


def check_trackers(names: Iterable[str]) -> None:
    """Refuse trackers that transformers does not know, or whose package is not installed.

    Raises:
        InputError: for the first one.
    """
    available = get_available_reporting_integrations()
    for name in names:
        if name not in (*_NO_TRACKER, *INTEGRATION_TO_CALLBACK):
            known = ", ".join((*_NO_TRACKER, *INTEGRATION_TO_CALLBACK))
            raise InputError(f"--report_to {name}: use one of {known}")
        if name not in (*_NO_TRACKER, *available):
            raise InputError(
                f"--report_to {name}: its package is not installed; install it, or use one of"
                f" {', '.join((*available, 'none'))}"
            )


def check_tracker_login(names: Iterable[str]) -> None:
    """Refuse wandb without a key, for which it would ask when training begins; asks no server.

    Raises:
        InputError: when there is no key where wandb looks for one, or one that cannot be one.
    """
    if "wandb" not in names:
        return
    # Half a second that runs without wandb need not take.
    from wandb.errors import AuthenticationError
    from wandb.sdk import wandb_setup
    from wandb.sdk.lib import wbauth

    settings = wandb_setup.singleton().settings
    if settings.mode in _WANDB_WITHOUT_LOGIN:
        return
    try:
        found = wbauth.authenticate_session(
            host=settings.base_url, source="curr_reft", prompt=False, update_session=False
        )
    except AuthenticationError as error:
        raise InputError(f"--report_to wandb: {error}") from error
    if found is None:
        raise InputError(
            "--report_to wandb: not logged in; run 'wandb login', set WANDB_MODE=offline, or pass"
            " --report_to none"
        )


def check_writable(directory: Path, flag: str) -> None:
    """Try to write where a directory is or will be; leaves nothing behind.

    Raises:
        InputError: when nothing can be written there.
    """
    try:
        parent = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise InputError(f"{flag} {directory}: cannot be written ({error.strerror})") from error
