"""What a model is given for requests: the tokens of their prompts, and what it sees of their images.

Several rows ask about one image (RefCOCO describes some seven objects in each), and several suites about
the same images. What the vision tower makes of an image depends on nothing else, so it is kept: the next
row about it neither decodes, resizes nor computes it again.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from transformers import BatchFeature, PreTrainedModel, ProcessorMixin

from curr_reft.data.prompts import Request, render_prompt
from curr_reft.evaluation.backends.memory import in_halves
from curr_reft.models.vision_tower import FAMILIES, cut_into_patches

# Decoding an image takes some ten times as long as shrinking it for the processor.
_DECODE_THREADS = 4
# A thousand images of the training budget take 2.2 GB with the 3B model.
_KEPT_BYTES = 4 * 2**30


class Features(NamedTuple):
    """An image as the vision tower leaves it, on the CPU."""

    grid: torch.Tensor
    """Patches in time, height and width, `[3]`."""
    embeddings: torch.Tensor
    """One per token, `[tokens, width of the language model]`."""


class KeptFeatures:
    """Features of images, those that were longest not asked for given up first; threads may share it."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._features: OrderedDict[Hashable, Features] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, images: Iterable[Hashable]) -> dict[Hashable, Features]:
        """Those that are there."""
        with self._lock:
            found = {image: self._features[image] for image in images if image in self._features}
            for image in found:
                self._features.move_to_end(image)
            return found

    def keep(self, image: Hashable, features: Features) -> None:
        """Keep an image's features, and no more than fit."""
        with self._lock:
            if image in self._features:
                return
            self._features[image] = features
            self._bytes += features.embeddings.nbytes
            while self._bytes > self._most_bytes:
                self._bytes -= self._features.popitem(last=False)[1].embeddings.nbytes


class ModelInputs:
    """Prompts and images as the processor gives them, which any family of models takes."""

    def __init__(self, processor: ProcessorMixin) -> None:
        self._processor = processor
        self._decoders = ThreadPoolExecutor(_DECODE_THREADS)

    def prepare(self, requests: Sequence[Request]) -> Any:
        """All that the CPU does ahead of the model; another thread may call it."""
        with_image = [request for request in requests if request.image_key]
        return self._processor(
            text=[
                render_prompt(self._processor, request.prompt, request.image is not None)
                for request in requests
            ],
            images=list(self._decoders.map(Request.open_image, with_image)) or None,
            padding=True,
            return_tensors="pt",
        )

    def finish(self, prepared: Any) -> BatchFeature:
        """The arguments of `generate`."""
        return prepared


@dataclass(frozen=True)
class _Prepared:
    """Prompts whose images were seen before, or are ready for the vision tower."""

    tokens: BatchFeature
    images: list[Hashable]
    """Of the prompts that have one."""
    seen: dict[Hashable, Features]
    unseen: list[tuple[Hashable, torch.Tensor, torch.Tensor]]
    """Images with their grids `[3]` and patches `[patches, values]`."""


class KeptImages(ModelInputs):
    """The same, with images as embeddings, each computed once while `KeptFeatures` holds it."""

    def __init__(self, processor: ProcessorMixin, model: PreTrainedModel) -> None:
        super().__init__(processor)
        self._model = model
        self._kept = KeptFeatures(_KEPT_BYTES)

    def prepare(self, requests: Sequence[Request]) -> _Prepared:
        """Decode and cut into patches what has not been seen, or is no longer kept."""
        with_image = {request.image_key: request for request in requests if request.image_key}
        seen = self._kept.find(with_image)
        unseen = [request for image, request in with_image.items() if image not in seen]
        images = self._processor.image_processor
        made = (
            cut_into_patches(images, list(self._decoders.map(Request.open_image, unseen))) if unseen else []
        )
        grid_of = {request.image_key: grid for request, (_, grid) in zip(unseen, made, strict=True)}
        grid_of |= {image: features.grid for image, features in seen.items()}
        texts = []
        for request in requests:
            text = render_prompt(self._processor, request.prompt, request.image is not None)
            if request.image_key:
                count = int(grid_of[request.image_key].prod()) // images.merge_size**2
                # The template's placeholder comes before the text, whatever that says.
                text = text.replace(self._processor.image_token, self._processor.image_token * count, 1)
            texts.append(text)
        return _Prepared(
            self._processor(text=texts, padding=True, return_tensors="pt"),
            [request.image_key for request in requests if request.image_key],
            seen,
            [
                (request.image_key, grid, patches)
                for request, (patches, grid) in zip(unseen, made, strict=True)
            ],
        )

    @torch.inference_mode()
    def finish(self, prepared: _Prepared) -> BatchFeature:
        """Run the vision tower on what was not seen, and put embeddings in the places of images."""
        if not prepared.images:
            return prepared.tokens
        features = dict(prepared.seen)
        for (image, _, _), found in zip(
            prepared.unseen, in_halves(self._look, prepared.unseen, "images"), strict=True
        ):
            features[image] = found
            self._kept.keep(image, found)
        shown = [features[image] for image in prepared.images]
        tokens = prepared.tokens.to(self._model.device)
        embeddings = self._model.get_input_embeddings()(tokens["input_ids"])
        places = tokens["input_ids"] == self._model.config.image_token_id
        embeddings[places] = torch.cat([each.embeddings for each in shown]).to(embeddings)
        grids = torch.stack([each.grid for each in shown])
        return BatchFeature({**tokens, "image_grid_thw": grids, "inputs_embeds": embeddings})

    def _look(self, images: Sequence[tuple[Hashable, torch.Tensor, torch.Tensor]]) -> list[Features]:
        grids = torch.stack([grid for _, grid, _ in images])
        patches = torch.cat([patches for _, _, patches in images])
        device = self._model.device
        seen = self._model.get_image_features(patches.to(device), grids.to(device)).pooler_output
        # Copies, for each is a part of one tensor, which it would keep whole.
        return [Features(grid, each.to("cpu", copy=True)) for grid, each in zip(grids, seen, strict=True)]


def model_inputs(processor: ProcessorMixin, model: PreTrainedModel) -> ModelInputs:
    """What fits the model's family."""
    if model.config.model_type in FAMILIES:
        return KeptImages(processor, model)
    return ModelInputs(processor)
