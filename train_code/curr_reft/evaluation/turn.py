"""What a backend answers."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from curr_reft.data.boxes import Size
from curr_reft.data.images import fit_to_budget, open_image
from curr_reft.stages import ImageBudget


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A user's turn of a chat, with a picture or without."""

    id: str
    prompt: str
    image: Path | None
    budget: ImageBudget | None = None
    shown: Size | None = None
    """Width and height of the picture that the processor gets."""
    content: str
    """Digest of prompt and picture: all that an answer depends on, apart from model, settings and seed."""
    seed: int = 0
    """Of the draws of a sampled answer."""

    def open_image(self) -> Image.Image | None:
        """The picture at its `shown` size."""
        return None if self.image is None else fit_to_budget(open_image(self.image), self.budget)
