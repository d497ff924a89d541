"""What a backend answers."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from curr_reft.boxes import Size
from curr_reft.data.images import fit_to_budget, open_image
from curr_reft.stages import ImageBudget

# What servers take, whatever they count in.
_SEED_BITS = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A user's request of a chat, with an image or without."""

    id: str
    prompt: str
    image: Path | None
    budget: ImageBudget | None = None
    shown: Size | None = None
    """Width and height of the image that the processor gets."""
    content: str
    """From `content_digest`."""
    seed: int = 0
    """Of the draws of a sampled answer."""

    @property
    def image_key(self) -> tuple[Path, Size | None, str | None] | None:
        """What tells the image, as it is shown, from all others of a run."""
        if self.image is None:
            return None
        return self.image, self.shown, self.budget and self.budget.resample

    def open_image(self) -> Image.Image | None:
        """The image at its `shown` size."""
        return None if self.image is None else fit_to_budget(open_image(self.image), self.budget)


def content_digest(prompt: str, image: str | None, shown: Size | None) -> str:
    """Digest of all that an answer depends on, apart from model, settings and seed.

    Args:
        image: Digest of the stored image.
    """
    return hashlib.sha256(json.dumps([prompt, image, shown]).encode()).hexdigest()


def seed_of(text: str) -> int:
    """A seed that follows from a text, such as an id, and differs for others."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 2**_SEED_BITS
