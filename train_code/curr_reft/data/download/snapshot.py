"""Released files on this disk: fetched from the hub, or in a folder that has them already."""

import logging
import os
from pathlib import Path, PurePosixPath

import httpx
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from curr_reft.data.download.released_files import ROW_SUFFIXES
from curr_reft.errors import InputError

logger = logging.getLogger(__name__)

# The first kind that an error is of counts: some are kinds of later ones.
_REASONS = {
    OfflineModeIsEnabled: "HF_HUB_OFFLINE is set; unset it, or give a folder with --source",
    HFValidationError: "no such folder, and no name of a dataset (OWNER/NAME)",
    GatedRepoError: "gated; accept its terms there, and set HF_TOKEN to a token that may read it",
    RevisionNotFoundError: "has no such branch, tag or commit; check --revision",
    RepositoryNotFoundError: "not found; check --source and HF_ENDPOINT, and set HF_TOKEN if it is private",
}


def fetch(source: str, revision: str | None, cache: Path, rows_only: bool) -> tuple[Path, str | None]:
    """The folder with the released files, and their commit on the hub, `None` when `source` is a folder.

    A dataset on the hub is fetched into `cache`, as far as that lacks it.

    Raises:
        InputError: when the source cannot be read or fetched whole, or a file differs from the hub's digest.
    """
    if not Path(source).is_dir():
        return cache, _fetch_from_hub(source, revision, cache, rows_only)
    if revision is not None:
        raise InputError(f"--revision: {source} is a folder; revisions are the hub's")
    return Path(source), None


def files_below(folder: Path) -> list[PurePosixPath]:
    """Relative paths of the files below a folder, sorted, without hidden ones and a Mac's doubles."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        place = PurePosixPath(Path(parent).relative_to(folder).as_posix())
        found += [place / name for name in names if not name.startswith(".")]
    return sorted(found)


def _fetch_from_hub(source: str, revision: str | None, cache: Path, rows_only: bool) -> str:
    """Fetch and check; the commit comes back."""
    api = HfApi()
    try:
        # All by commit, so that a push in between changes nothing.
        commit = api.dataset_info(source, revision=revision).sha
        snapshot_download(
            source,
            repo_type="dataset",
            revision=commit,
            local_dir=cache,
            allow_patterns=[f"*{suffix}" for suffix in ROW_SUFFIXES] if rows_only else None,
        )
        logger.info("checking digests")
        checked = api.verify_repo_checksums(source, repo_type="dataset", revision=commit, local_dir=cache)
    # OSError is httpx's and the disk's; RuntimeError is what hf_xet's transfers raise; ValueError an answer
    # that is not the hub's.
    except (*_REASONS, HfHubHTTPError, httpx.HTTPError, OSError, ValueError, RuntimeError) as error:
        reason = next((text for kind, text in _REASONS.items() if isinstance(error, kind)), None)
        page = f"{constants.ENDPOINT}/datasets/{source}"
        raise InputError(f"{page}: {reason or _interrupted(error)}") from error
    if checked.mismatches:
        files = ", ".join(str(cache / each["path"]) for each in checked.mismatches[:3])
        raise InputError(
            f"{files}: not as released, by the digest ({len(checked.mismatches)} files); delete them and run"
            " this command again"
        )
    return commit


def _interrupted(error: Exception) -> str:
    # The messages of huggingface_hub and httpx have many lines, and addresses that are signed.
    cause = error.__cause__ or error
    response = getattr(cause, "response", None)
    reason = f"HTTP {response.status_code}" if response is not None else getattr(cause, "strerror", None)
    return (
        f"could not be fetched whole ({reason or type(cause).__name__}); what is finished is kept; run the"
        " same command again"
    )
