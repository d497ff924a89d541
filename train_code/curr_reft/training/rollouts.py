"""What a rollout computes once for each distinct prompt instead of once for each of its completions."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin
from transformers.image_utils import make_flat_list_of_images

from curr_reft.models.decoding import Chooser, decode
from curr_reft.models.vision_tower import cut_into_patches


def distinct(prompts: Sequence[Any]) -> tuple[list[int], list[int]]:
    """The first of each run of equal prompts, and for every prompt its run's number."""
    firsts: list[int] = []
    origins: list[int] = []
    for index, prompt in enumerate(prompts):
        if not firsts or prompt != prompts[firsts[-1]]:
            firsts.append(index)
        origins.append(len(firsts) - 1)
    return firsts, origins


class _OncePerImage:
    """An image processor of the Qwen-VL families that processes an image object once."""

    def __init__(self, image_processor: Any) -> None:
        self._image_processor = image_processor
        # The image is kept as well: an id belongs to it only as long as it lives.
        self._processed: dict[int, tuple[Any, torch.Tensor, torch.Tensor]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._image_processor, name)

    def __call__(self, images: Any, **kwargs: Any) -> BatchFeature:
        flat = make_flat_list_of_images(images)
        new = {id(image): image for image in flat if id(image) not in self._processed}
        if new:
            made = cut_into_patches(self._image_processor, list(new.values()), **kwargs)
            for image, (patch, grid) in zip(new.values(), made, strict=True):
                self._processed[id(image)] = image, patch, grid
        _, patches, grids = zip(*(self._processed[id(image)] for image in flat), strict=True)
        return BatchFeature({"pixel_values": torch.cat(patches), "image_grid_thw": torch.stack(grids)})


@contextmanager
def once_per_image(processor: ProcessorMixin) -> Iterator[None]:
    """Process an image once however often the same object is asked for."""
    image_processor = processor.image_processor
    processor.image_processor = _OncePerImage(image_processor)
    try:
        yield
    finally:
        processor.image_processor = image_processor


def sampler(rows: int) -> Chooser:
    """Draws as transformers' sampling loop does, and from the same random numbers.

    That loop goes on drawing for rows that have ended, so numbers are drawn for these as well.
    """

    def choose(scores: torch.Tensor, going: torch.Tensor, step: int) -> torch.Tensor:
        probabilities = scores.new_zeros(rows, scores.shape[-1])
        probabilities[:, 0] = 1
        probabilities[going] = scores.softmax(dim=-1)
        return torch.multinomial(probabilities, num_samples=1)[going, 0]

    return choose


@contextmanager
def once_per_prompt(model: PreTrainedModel, origins: Sequence[int]) -> Iterator[None]:
    """Within, `model.generate` computes each prompt once and samples a completion for each origin.

    Args:
        origins: Which prompt each completion is to, `[completions]`.
    """
    ordinary: Callable[..., torch.Tensor] = model.generate

    @functools.wraps(ordinary)
    def generate(*args: Any, **kwargs: Any) -> torch.Tensor:
        places = torch.tensor(origins, device=model.device)
        loop = functools.partial(decode, choose=sampler(len(origins)), origins=places)
        return ordinary(*args, custom_generate=loop, **kwargs)

    model.generate = generate
    try:
        yield
    finally:
        del model.generate
