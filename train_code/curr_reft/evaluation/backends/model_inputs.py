"""What a model is given for turns: the tokens of their prompts, and what it sees of their pictures.

Several rows ask about one picture (RefCOCO describes some seven objects in each), and several suites about
the same pictures. What the vision tower makes of a picture depends on nothing else, so it is kept: the next
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

from curr_reft.data.dataset import render_prompt
from curr_reft.evaluation.backends.memory import in_halves
from curr_reft.evaluation.request import Turn
from curr_reft.models.vision_tower import FAMILIES, cut_into_patches

# Decoding a picture takes some ten times as long as shrinking it for the processor.
_DECODE_THREADS = 4
# A thousand pictures of the training budget take 2.2 GB with the 3B model.
_KEPT_BYTES = 4 * 2**30


class Features(NamedTuple):
    """A picture as the vision tower leaves it, on the CPU."""

    grid: torch.Tensor
    """Patches in time, height and width, `[3]`."""
    embeddings: torch.Tensor
    """One per token, `[tokens, width of the language model]`."""


class KeptFeatures:
    """Features of pictures, those that were longest not asked for given up first; threads may share it."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._features: OrderedDict[Hashable, Features] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, pictures: Iterable[Hashable]) -> dict[Hashable, Features]:
        """Those that are there."""
        with self._lock:
            found = {picture: self._features[picture] for picture in pictures if picture in self._features}
            for picture in found:
                self._features.move_to_end(picture)
            return found

    def keep(self, picture: Hashable, features: Features) -> None:
        """Keep a picture's features, and no more than fit."""
        with self._lock:
            if picture in self._features:
                return
            self._features[picture] = features
            self._bytes += features.embeddings.nbytes
            while self._bytes > self._most_bytes:
                self._bytes -= self._features.popitem(last=False)[1].embeddings.nbytes


class ModelInputs:
    """Prompts and pictures as the processor gives them, which any family of models takes."""

    def __init__(self, processor: ProcessorMixin) -> None:
        self._processor = processor
        self._decoders = ThreadPoolExecutor(_DECODE_THREADS)

    def prepare(self, turns: Sequence[Turn]) -> Any:
        """All that the CPU does ahead of the model; another thread may call it."""
        pictured = [turn for turn in turns if turn.picture]
        return self._processor(
            text=[render_prompt(self._processor, turn.prompt, turn.image is not None) for turn in turns],
            images=list(self._decoders.map(Turn.open_image, pictured)) or None,
            padding=True,
            return_tensors="pt",
        )

    def finish(self, prepared: Any) -> BatchFeature:
        """The arguments of `generate`."""
        return prepared


@dataclass(frozen=True)
class _Prepared:
    """Prompts whose pictures were seen before, or are ready for the vision tower."""

    tokens: BatchFeature
    pictures: list[Hashable]
    """Of the prompts that have one."""
    seen: dict[Hashable, Features]
    unseen: list[tuple[Hashable, torch.Tensor, torch.Tensor]]
    """Pictures with their grids `[3]` and patches `[patches, values]`."""


class KeptPictures(ModelInputs):
    """The same, with pictures as embeddings, each computed once while `KeptFeatures` holds it."""

    def __init__(self, processor: ProcessorMixin, model: PreTrainedModel) -> None:
        super().__init__(processor)
        self._model = model
        self._kept = KeptFeatures(_KEPT_BYTES)

    def prepare(self, turns: Sequence[Turn]) -> _Prepared:
        """Decode and cut into patches what has not been seen, or is no longer kept."""
        pictured = {turn.picture: turn for turn in turns if turn.picture}
        seen = self._kept.find(pictured)
        unseen = [turn for picture, turn in pictured.items() if picture not in seen]
        images = self._processor.image_processor
        made = cut_into_patches(images, list(self._decoders.map(Turn.open_image, unseen))) if unseen else []
        grid_of = {turn.picture: grid for turn, (_, grid) in zip(unseen, made, strict=True)}
        grid_of |= {picture: features.grid for picture, features in seen.items()}
        texts = []
        for turn in turns:
            text = render_prompt(self._processor, turn.prompt, turn.image is not None)
            if turn.picture:
                count = int(grid_of[turn.picture].prod()) // images.merge_size**2
                # The template's placeholder comes before the text, whatever that says.
                text = text.replace(self._processor.image_token, self._processor.image_token * count, 1)
            texts.append(text)
        return _Prepared(
            self._processor(text=texts, padding=True, return_tensors="pt"),
            [turn.picture for turn in turns if turn.picture],
            seen,
            [(turn.picture, grid, patches) for turn, (patches, grid) in zip(unseen, made, strict=True)],
        )

    @torch.inference_mode()
    def finish(self, prepared: _Prepared) -> BatchFeature:
        """Run the vision tower on what was not seen, and put embeddings in the places of pictures."""
        if not prepared.pictures:
            return prepared.tokens
        features = dict(prepared.seen)
        for (picture, _, _), found in zip(
            prepared.unseen, in_halves(self._look, prepared.unseen, "pictures"), strict=True
        ):
            features[picture] = found
            self._kept.keep(picture, found)
        shown = [features[picture] for picture in prepared.pictures]
        tokens = prepared.tokens.to(self._model.device)
        embeddings = self._model.get_input_embeddings()(tokens["input_ids"])
        places = tokens["input_ids"] == self._model.config.image_token_id
        embeddings[places] = torch.cat([each.embeddings for each in shown]).to(embeddings)
        grids = torch.stack([each.grid for each in shown])
        return BatchFeature({**tokens, "image_grid_thw": grids, "inputs_embeds": embeddings})

    def _look(self, pictures: Sequence[tuple[Hashable, torch.Tensor, torch.Tensor]]) -> list[Features]:
        grids = torch.stack([grid for _, grid, _ in pictures])
        patches = torch.cat([patches for _, _, patches in pictures])
        device = self._model.device
        seen = self._model.get_image_features(patches.to(device), grids.to(device)).pooler_output
        # Copies, for each is a part of one tensor, which it would keep whole.
        return [Features(grid, each.to("cpu", copy=True)) for grid, each in zip(grids, seen, strict=True)]


def model_inputs(processor: ProcessorMixin, model: PreTrainedModel) -> ModelInputs:
    """What fits the model's family."""
    if model.config.model_type in FAMILIES:
        return KeptPictures(processor, model)
    return ModelInputs(processor)
