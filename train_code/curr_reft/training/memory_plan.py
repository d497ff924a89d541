"""How much memory a stage needs on each device.

    python -m curr_reft.training.memory_plan --config FILE.yaml --prompt_tokens N --image_tokens N

Arithmetic from shapes, flags and lengths; nothing is loaded. It is what tensors hold at the longest rows, not
what an allocator reserves around them: leave a tenth free.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoConfig

from curr_reft.errors import InputError, command
from curr_reft.files.cli import CommandParser
from curr_reft.models.vision_tower import FAMILIES
from curr_reft.training.adapters import find_starting_adapter, settled
from curr_reft.training.arguments import CurriculumConfig, parse_arguments
from curr_reft.training.memory_parts import FLOAT32, MemoryPlan, Sharing, Work, plan_memory, shape_of
from curr_reft.training.model_arguments import ModelArguments

logger = logging.getLogger(__name__)

_DEEPSPEED_LIVE = 10**9
"""DeepSpeed's own `stage3_max_live_parameters`."""


def sharing_of(config: CurriculumConfig, model: ModelArguments, processes: int) -> Sharing:
    """How the flags keep and spread weights."""
    settings = json.loads(Path(config.deepspeed_file).read_text()) if config.deepspeed_file else {}
    zero = settings.get("zero_optimization", {})
    half = config.bf16 or config.fp16
    loaded = FLOAT32 if model.dtype == "float32" else 2
    # DeepSpeed turns a model into the type it computes in, whatever it was loaded as.
    weights = 2 if settings and half else loaded
    compute = 2 if half else weights
    # Blocks of 64 numbers of 4 bits have a scale in float32, or one of 8 bits where scales are quantized too.
    quantized = 0.5 + (1 if model.use_bnb_nested_quant else FLOAT32) / 64 if model.load_in_4bit else 0.0
    if model.load_in_8bit:
        quantized = 1.0

    def on_host(part: str) -> bool:
        return zero.get(part, {}).get("device", "none") != "none"

    return Sharing(
        processes=processes,
        deepspeed=bool(settings),
        zero=zero.get("stage", 0),
        host_optimizer=on_host("offload_optimizer"),
        host_weights=on_host("offload_param"),
        live_parameters=int(zero.get("stage3_max_live_parameters", _DEEPSPEED_LIVE)),
        gathers=config.ds3_gather_for_generation,
        weight_bytes=weights,
        # PEFT makes adapters in float32; over quantized weights TRL turns them into bfloat16.
        trained_bytes=FLOAT32 if model.use_peft and not settings and not quantized else weights,
        quantized_bytes=quantized,
        compute_bytes=compute,
        autocast=half and weights == FLOAT32,
        reference=config.beta != 0 and not model.use_peft,
        checkpointing=config.gradient_checkpointing,
    )


def work_of(config: CurriculumConfig, prompt_tokens: int, image_tokens: int, patches_per_token: int) -> Work:
    """The most that flags and the longest prompt, its image's tokens included, make a device compute."""
    rows, completion = config.per_device_train_batch_size, config.max_completion_length
    if config.shared_prefix:
        group = prompt_tokens + config.num_generations * completion
        images = config.prompts_per_device
        tokens = images * group
        if config.max_packed_tokens is not None and config.max_packed_tokens < tokens:
            tokens = config.max_packed_tokens
            # Whole groups, and parts of one before and of one after them.
            images = min(images, tokens // group + 2)
    else:
        tokens, images = rows * (prompt_tokens + completion), rows
    beside_vllm = config.use_vllm and config.vllm_mode == "colocate"
    return Work(
        tokens=tokens,
        patches=images * image_tokens * patches_per_token,
        predicted=rows * completion,
        cached=0 if config.use_vllm else rows * config.steps_per_generation * (prompt_tokens + completion),
        vllm_share=config.vllm_gpu_memory_utilization if beside_vllm else 0,
        device=_device_memory() if beside_vllm else 0,
    )


def _device_memory() -> int:
    """Bytes of this machine's first GPU, 0 without one."""
    return torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0


def memory_of(
    config: CurriculumConfig,
    model: ModelArguments,
    processes: int,
    prompt_tokens: int,
    image_tokens: int,
    weights: Path | None = None,
) -> MemoryPlan | None:
    """The plan of a run whose longest prompt and largest image have so many tokens.

    `None` for families whose layers are not known here.

    Args:
        model: With all flags of LoRA (`curr_reft.training.adapters.settled`).
        weights: The folder of the whole weights, where the model is not one; an adapter's base.

    Raises:
        InputError: when the model's configuration cannot be read.
    """
    name = str(weights or model.model_name_or_path)
    try:
        shape = shape_of(AutoConfig.from_pretrained(name, revision=model.model_revision), model)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--model_name_or_path {name}: no configuration ({reason})") from error
    if shape is None:
        return None
    work = work_of(config, prompt_tokens, image_tokens, shape.patches_per_token)
    return plan_memory(shape, sharing_of(config, model, processes), work)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Print the plan of a stage's flags for given lengths."""
    parser = CommandParser(
        prog="python -m curr_reft.training.memory_plan",
        description="What a stage needs on each device; all other flags are those of the stage scripts.",
    )
    parser.add_argument("--processes", type=int, default=1, help="devices of all nodes together")
    parser.add_argument(
        "--prompt_tokens", type=int, required=True, help="of the longest, its image's included"
    )
    parser.add_argument("--image_tokens", type=int, required=True, help="of the largest image")
    own, flags = parser.parse_known_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if own.processes < 1 or not 0 <= own.image_tokens <= own.prompt_tokens:
        raise InputError("--processes must be at least 1, and --image_tokens are a part of --prompt_tokens")
    _, config, model = parse_arguments(["--image_root", ".", "--dry_run", *flags])
    adapter = find_starting_adapter(model)
    model = settled(model, adapter)
    lengths = own.prompt_tokens, own.image_tokens
    plan = memory_of(config, model, own.processes, *lengths, weights=adapter.base if adapter else None)
    if plan is None:
        raise InputError(
            f"--model_name_or_path {model.model_name_or_path}: one of {', '.join(FAMILIES)} alone"
        )
    for name, value in plan.rows():
        logger.info("%s: %s", name, value)


if __name__ == "__main__":
    main()
