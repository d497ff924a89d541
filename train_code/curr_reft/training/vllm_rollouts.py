"""Rollouts by vLLM (``--use_vllm true``; an optional package): checks of flags, and what TRL leaves undone.

TRL 1.16 hands vLLM prompts whose image tokens are expanded already. In colocate mode vLLM 0.25.1 expands the
first of them again (https://github.com/huggingface/trl/issues/6294): the model would answer another prompt
than the one trained on. There TRL also sends a prompt once per completion, and vLLM keeps the pixel limits of
the checkpoint. In both modes image tokens can be sampled, and vLLM keeps what the vision tower of earlier
weights made of an image. Nothing here imports vLLM.
"""

import copy
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from PIL import Image
from transformers import ProcessorMixin

from curr_reft.data.prompts import image_token_count
from curr_reft.errors import InputError
from curr_reft.models.vllm_support import vllm_fault
from curr_reft.training.arguments import CurriculumConfig, DataArguments

if TYPE_CHECKING:  # TRL's modules import vLLM wherever it is installed
    from trl.generation.vllm_client import VLLMClient
    from trl.generation.vllm_generation import VLLMGeneration

MODES = ("colocate", "server")
_NEVER = -100.0
"""The lowest `logit_bias` that vLLM takes."""


def check_vllm(data: DataArguments, config: CurriculumConfig) -> str | None:
    """What this machine lacks for `--use_vllm`, or `None`.

    Raises:
        InputError: for a mode that is none, a context too short for the longest prompt and completion, or a
            tensor parallel size that does not divide the processes.
    """
    if not config.use_vllm:
        return None
    if config.vllm_mode not in MODES:
        raise InputError(f"--vllm_mode {config.vllm_mode}: use one of {', '.join(MODES)}")
    longest = data.max_prompt_length + config.max_completion_length
    if config.vllm_max_model_length is not None and config.vllm_max_model_length < longest:
        raise InputError(
            f"--vllm_max_model_length {config.vllm_max_model_length}: must be {longest} or more, for"
            f" --max_prompt_length {data.max_prompt_length} and"
            f" --max_completion_length {config.max_completion_length}"
        )
    if config.vllm_mode == "colocate" and config.world_size % config.vllm_tensor_parallel_size:
        raise InputError(
            f"--vllm_tensor_parallel_size {config.vllm_tensor_parallel_size}: must divide the number of"
            f" processes, {config.world_size}"
        )
    fault = vllm_fault(config.vllm_gpu_memory_utilization if config.vllm_mode == "colocate" else 0)
    return f"--use_vllm: {fault}, or pass --use_vllm false" if fault else None


def pixel_limits(processor: ProcessorMixin) -> dict[str, int]:
    """The processor's pixel limits, under the names that vLLM takes as `mm_processor_kwargs`."""
    size = processor.image_processor.size
    return {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}


def one_token_per_image(prompt: Sequence[int], image_token: int) -> list[int]:
    """A tokenized prompt with every run of image tokens cut to one, which vLLM expands by itself."""
    tokens: list[int] = []
    for token, run in groupby(prompt):
        tokens += [token] if token == image_token else run
    return tokens


def _different_images(read: Sequence[int], trained: Sequence[int], where: str) -> InputError:
    return InputError(
        f"vLLM reads {list(read)} tokens of a prompt's images where training reads {list(trained)}: {where}"
    )


class GroupEngine:
    """vLLM's `LLM` as TRL calls it in colocate mode; asks once for a prompt's group of completions.

    Args:
        engine: The `vllm.LLM`.
        processor: The trainer's, whose pixel limits vLLM gets with each prompt.
    """

    def __init__(self, engine: Any, processor: ProcessorMixin) -> None:
        self._engine = engine
        self._image_token = processor.image_token_id
        self._limits = pixel_limits(processor)
        self.group_size = 1
        """How many copies of each prompt follow one another in the next call."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def reset_prefix_cache(self) -> None:
        """Forget what old weights made of prompts and, which TRL leaves out, of images."""
        self._engine.reset_prefix_cache()
        self._engine.llm_engine.reset_encoder_cache()

    def generate(self, prompts: Sequence[dict[str, Any]], sampling_params: Any, use_tqdm: bool) -> list[Any]:
        """One output of one completion for each prompt, as from prompts that were all sent.

        Raises:
            InputError: when vLLM made other tokens of a prompt than the trainer did.
        """
        sampling_params.n = self.group_size
        sampling_params.logit_bias = {**(sampling_params.logit_bias or {}), self._image_token: _NEVER}
        requests = [
            {
                **prompt,
                "prompt_token_ids": one_token_per_image(prompt["prompt_token_ids"], self._image_token),
                "mm_processor_kwargs": self._limits,
            }
            for prompt in prompts[:: self.group_size]
        ]
        outputs = self._engine.generate(requests, sampling_params=sampling_params, use_tqdm=use_tqdm)
        singles = []
        for output in outputs:
            for completion in output.outputs:
                single = copy.copy(output)
                single.outputs = [completion]
                singles.append(single)
        for prompt, single in zip(prompts, singles, strict=True):
            trained, read = list(prompt["prompt_token_ids"]), list(single.prompt_token_ids)
            if trained != read:
                counts = ([tokens.count(self._image_token)] for tokens in (read, trained))
                raise _different_images(*counts, "its processor is not the trainer's; use the pinned vLLM")
        return singles


class GroupClient:
    """TRL's client of a vLLM server, which refuses a server of other pixel limits.

    Args:
        client: TRL's, which sends each prompt once by itself.
        processor: The trainer's.
    """

    def __init__(self, client: "VLLMClient", processor: ProcessorMixin) -> None:
        self._client = client
        self._processor = processor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def reset_prefix_cache(self) -> None:
        """Forget what old weights made of prompts and, which TRL leaves out, of images."""
        self._client.reset_prefix_cache()
        self._client.session.post(f"{self._client.base_url}/reset_encoder_cache").raise_for_status()

    def image_features(self, images: Sequence[Sequence[Image.Image] | None]) -> list[dict[str, Any] | None]:
        """What the server makes of each prompt's images.

        Raises:
            InputError: when it makes more or fewer tokens of one than the trainer's processor.
        """
        features = self._client.image_features(images)
        for row_images, feature in zip(images, features, strict=True):
            if not row_images or feature is None:
                continue
            read = [place["length"] for place in feature["mm_placeholders"]["image"]]
            trained = [image_token_count(image.size, self._processor) for image in row_images]
            if read != trained:
                limits = pixel_limits(self._processor)
                raise _different_images(
                    read,
                    trained,
                    f"start scripts/vllm_server.sh with MIN_PIXELS={limits['min_pixels']}"
                    f" MAX_PIXELS={limits['max_pixels']}",
                )
        return features

    def generate(self, *, generation_kwargs: dict[str, Any] | None = None, **request: Any) -> dict[str, Any]:
        """TRL's request, without image tokens in the answers, which no image would stand behind."""
        kwargs = generation_kwargs or {}
        bias = {**kwargs.get("logit_bias", {}), str(self._processor.image_token_id): _NEVER}
        return self._client.generate(generation_kwargs={**kwargs, "logit_bias": bias}, **request)


class GroupRollouts:
    """TRL's `VLLMGeneration` for prompts with images: each is sent once, with the trainer's pixel limits.

    Args:
        generation: What `GRPOTrainer` has made; it is changed to go through this.
        processor: The trainer's.
    """

    def __init__(self, generation: "VLLMGeneration", processor: ProcessorMixin) -> None:
        self._generation = generation
        if generation.mode == "colocate":
            generation.llm = GroupEngine(generation.llm, processor)
        elif hasattr(generation, "vllm_client"):  # the main process alone has one
            generation.vllm_client = GroupClient(generation.vllm_client, processor)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generation, name)

    def generate(
        self,
        prompts: list[list[int]],
        images: list[list[Image.Image] | None] | None,
        num_generations: int,
        profiler: Any = None,
    ) -> tuple:
        """TRL's `generate`; `prompts` hold each prompt `num_generations` times in a row."""
        if self._generation.mode == "colocate":
            self._generation.llm.group_size = num_generations
        return self._generation.generate(prompts, images, num_generations, profiler)
