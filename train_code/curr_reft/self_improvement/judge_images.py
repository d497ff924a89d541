"""The images of candidates, as the judged model saw them."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from curr_reft.boxes import Size
from curr_reft.data.images import fit_to_budget, open_image
from curr_reft.errors import InputError
from curr_reft.files.manifest import sha256_of
from curr_reft.self_improvement.records import Candidate
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import asking_of


def image_digests(candidates: Sequence[Candidate]) -> dict[Path, str]:
    """The digest of each stored image that candidates are about.

    Raises:
        InputError: when one cannot be read.
    """
    paths = dict.fromkeys(candidate.image for candidate in candidates if candidate.image is not None)
    digests = {}
    for path in paths:
        try:
            digests[path] = sha256_of(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); candidates are about it") from error
    return digests


def shown_image(path: Path, stage: str, task: str | None, shown: Size) -> Image.Image:
    """A stored image at the size at which the model saw it.

    Raises:
        InputError: when it cannot be decoded, or is another than the one that was shown.
    """
    image = fit_to_budget(open_image(path), asking_of(STAGES[stage], task).budget)
    if image.size != shown:
        sizes = " and ".join("{}x{}".format(*size) for size in (shown, image.size))
        raise InputError(f"{path}: another image than the model was shown ({sizes} pixels); sample again")
    return image
