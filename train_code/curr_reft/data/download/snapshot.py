"""Released files on this disk, every digest checked: from the hub, or from a folder that has them already.

Finished files are kept and not fetched again. A file that a lost connection cut goes on where it was; one
that the end of the process cut starts again, for huggingface_hub keeps no halves.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from huggingface_hub.hf_api import RepoFile
from tqdm import tqdm

from curr_reft.data.download.released_files import ROW_SUFFIXES
from curr_reft.errors import InputError

_SUMS = "SHA256SUMS"
_SUM_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Files as released, in a folder, of known digests."""

    source: str
    commit: str | None
    """The hub's; `None` for a folder."""
    folder: Path
    digests: dict[PurePosixPath, str]
    """SHA-256 of each file, by its path in the folder."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """What a source says of a file. The hub gives a SHA-256 for large files, for others git's blob hash."""

    sha256: str | None = None
    git_blob: str | None = None


def fetch(source: str, revision: str | None, cache: Path, rows_only: bool) -> Snapshot:
    """The files of a folder, or of a dataset on the hub after fetching what `cache` lacks.

    A token for the hub comes from the environment (`HF_TOKEN`), nowhere else. A folder's digests are checked
    against its `SHA256SUMS` when it has one.

    Raises:
        InputError: when the source cannot be read or fetched whole, or a file differs from its digest.
    """
    if Path(source).is_dir():
        if revision is not None:
            raise InputError(f"--revision: {source} is a folder; revisions are the hub's")
        folder, commit = Path(source), None
        listed = _list_folder(folder, rows_only)
    else:
        with _one_line_errors(source, revision):
            commit, listed = _list_hub(source, revision or constants.DEFAULT_REVISION, rows_only)
            # Asked for by commit, so that a push in between changes nothing.
            snapshot_download(
                source,
                repo_type="dataset",
                revision=commit,
                local_dir=cache,
                token=_token(),
                allow_patterns=[f"*{suffix}" for suffix in ROW_SUFFIXES] if rows_only else None,
            )
        folder = cache
    mend = "fetch it into the folder again" if commit is None else "delete it and run this command again"
    return Snapshot(source, commit, folder, _checked_digests(folder, listed, mend))


def _token() -> str | bool:
    # False, for None would make huggingface_hub look for a stored one.
    return os.environ.get("HF_TOKEN") or False


def _wanted(path: PurePosixPath, rows_only: bool) -> bool:
    return not rows_only or path.suffix in ROW_SUFFIXES


def _list_hub(source: str, revision: str, rows_only: bool) -> tuple[str, dict[PurePosixPath, _Listed]]:
    api = HfApi(token=_token())
    commit = api.dataset_info(source, revision=revision).sha
    entries = api.list_repo_tree(source, recursive=True, revision=commit, repo_type="dataset")
    files = [entry for entry in entries if isinstance(entry, RepoFile)]
    return commit, {
        path: _Listed(sha256=file.lfs.sha256) if file.lfs else _Listed(git_blob=file.blob_id)
        for file in files
        if _wanted(path := PurePosixPath(file.path), rows_only)
    }


def _list_folder(folder: Path, rows_only: bool) -> dict[PurePosixPath, _Listed]:
    found = {}
    for parent, folders, names in os.walk(folder):
        # .git, and the records that huggingface_hub keeps in .cache.
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = PurePosixPath((Path(parent) / name).relative_to(folder).as_posix())
            if not name.startswith(".") and path != PurePosixPath(_SUMS):
                found[path] = _Listed()
    if (folder / _SUMS).is_file():
        for path, listed in _read_sums(folder / _SUMS).items():
            if path in found:
                found[path] = listed
            elif _wanted(path, rows_only) and not (folder / path).is_file():
                raise InputError(
                    f"{folder / path}: not there, but {_SUMS} lists it; fetch it into the folder"
                )
    return {path: listed for path, listed in found.items() if _wanted(path, rows_only)}


def _read_sums(path: Path) -> dict[PurePosixPath, _Listed]:
    sums = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        match = _SUM_LINE.fullmatch(line)
        if match is None:
            raise InputError(f"{path}:{number}: not a line of sha256sum (digest, two spaces, path)")
        sums[PurePosixPath(match[2])] = _Listed(sha256=match[1].lower())
    return sums


def _checked_digests(
    folder: Path, listed: dict[PurePosixPath, _Listed], mend: str
) -> dict[PurePosixPath, str]:
    digests, differing = {}, []
    for path, expected in tqdm(sorted(listed.items()), desc="checking digests", unit="file"):
        try:
            sha256, git_blob = _digests(folder / path, with_git=expected.git_blob is not None)
        except OSError as error:
            raise InputError(f"{folder / path}: cannot be read ({error.strerror}); {mend}") from error
        if sha256 != (expected.sha256 or sha256) or git_blob != expected.git_blob:
            differing.append(f"{folder / path}: its digest is not the one it was released with; {mend}")
        digests[path] = sha256
    if differing:
        more = f" (and {len(differing) - 1} more files)" if len(differing) > 1 else ""
        raise InputError(differing[0] + more)
    return digests


def _digests(path: Path, with_git: bool) -> tuple[str, str | None]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if not with_git:
            return sha256, None
        file.seek(0)
        content = file.read()
    return sha256, hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def _one_line_errors(source: str, revision: str | None) -> Iterator[None]:
    # The messages of huggingface_hub and httpx have many lines, and addresses that are signed.
    page = f"{constants.ENDPOINT}/datasets/{source}"
    again = "what is finished is kept; run the same command again"
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise InputError("HF_HUB_OFFLINE is set; unset it, or give a folder with --source") from error
    except HFValidationError as error:
        raise InputError(
            f"--source {source}: no such folder, and no name of a dataset (OWNER/NAME)"
        ) from error
    except GatedRepoError as error:
        raise InputError(
            f"{page}: gated; accept its terms there, and set HF_TOKEN to a token that may read it"
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(f"--revision {revision}: {page} has no such branch, tag or commit") from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{page}: not found; check --source and HF_ENDPOINT, and set HF_TOKEN if it is private"
        ) from error
    except HfHubHTTPError as error:
        raise InputError(f"{page}: the hub answered {error.response.status_code}; {again}") from error
    except (httpx.HTTPError, OSError, ValueError, RuntimeError) as error:
        # RuntimeError is what hf_xet's transfers raise; ValueError an answer that is not the hub's.
        cause = error.__cause__ or error
        response = getattr(cause, "response", None)
        reason = f"HTTP {response.status_code}" if response is not None else None
        reason = reason or getattr(cause, "strerror", None) or type(cause).__name__
        raise InputError(f"{page}: could not be fetched whole ({reason}); {again}") from error
