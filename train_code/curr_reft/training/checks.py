"""What is checked before a run: flags, weights, golds, and whether rows give test rows away."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from transformers.utils import is_bitsandbytes_available, is_flash_attn_2_available, is_flash_attn_3_available

from curr_reft.data.leaks import find_overlaps, read_suites, summaries
from curr_reft.data.mixture import Mixture
from curr_reft.data.schema import Example
from curr_reft.data.suites import load_suites
from curr_reft.errors import InputError
from curr_reft.models.adapters import adapter_model, check_adapter
from curr_reft.models.weights import check_finite, skeleton
from curr_reft.processes import ProcessGroup
from curr_reft.rewards.variants import find_variant
from curr_reft.stages import Stage, stage_of
from curr_reft.tasks.score import GoldError
from curr_reft.training.adapters import FLAG, StartingAdapter, lora_config
from curr_reft.training.arguments import CurriculumConfig, DataArguments, ModelArguments

_FLASH_ATTENTIONS = {
    "flash_attention_2": is_flash_attn_2_available,
    "flash_attention_3": is_flash_attn_3_available,
}
_ATTENTIONS = ("eager", "sdpa", *_FLASH_ATTENTIONS)


def held_out_warnings(mixture: Mixture, data: DataArguments) -> list[str]:
    """What training gives away of held-out rows: by their text and their images' paths, and by file names.

    Copies of images under other names are found by `python -m curr_reft.data.leaks`.

    Raises:
        InputError: when there is a leak, or a suite that cannot be compared, and `--forbid_leaks` is given.
    """
    warnings = [
        f"{file.path} is a test file: scores on it say nothing about a model trained with this mixture"
        for file in mixture.files
        if file.split == "train" and Path(file.path).stem.endswith("_test")
    ]
    if data.held_out_suites in (None, "", "none"):
        if data.forbid_leaks:
            raise InputError("--forbid_leaks: name what is held out with --held_out_suites configs/eval/…")
        return warnings
    suites, unread = read_suites(
        load_suites(Path(data.held_out_suites)), Path(data.data_root or data.image_root)
    )
    warnings += summaries(find_overlaps(mixture.train, suites), suites)
    warnings += [f"held-out suite not compared: {suite}" for suite in unread]
    if warnings and data.forbid_leaks:
        raise InputError(f"--forbid_leaks: {warnings[0]}")
    return warnings


def check_golds(examples: Iterable[Example], stage: Stage, variant: str) -> None:
    """Let the reward read every gold.

    Args:
        stage: Of the rows that name none.

    Raises:
        InputError: for the first one it cannot read.
    """
    check_gold = find_variant(variant).check_gold
    for example in examples:
        try:
            check_gold(stage_of(example.stage, stage).name, example.task, example.solution)
        except GoldError as error:
            raise InputError(f"{example.id}: {error}") from error


def rows_in_both(train: Iterable[Example], val: Iterable[Example]) -> int:
    """How many validation rows ask a training row's question about its image."""
    keys = Counter((row.problem, row.image) for row in val)
    found = {key for row in train if (key := (row.problem, row.image)) in keys}
    return sum(keys[key] for key in found)


def check_attention(model: ModelArguments) -> str | None:
    """What this machine lacks for the attention implementation asked for, or `None`.

    Raises:
        InputError: for an implementation that is none.
    """
    name = model.attn_implementation
    if name is not None and name not in _ATTENTIONS:
        raise InputError(f"--attn_implementation {name}: use one of {', '.join(_ATTENTIONS)}")
    if name in _FLASH_ATTENTIONS and not _FLASH_ATTENTIONS[name]():
        return (
            f"--attn_implementation {name}: not usable here; on a GPU 'bash scripts/setup.sh --flash-attn'"
            " installs flash_attention_2, elsewhere pass --attn_implementation sdpa"
        )
    return None


_OF_LORA = ("lora_r", "lora_alpha", "lora_target_modules")


def check_flags(data: DataArguments, config: CurriculumConfig, model: ModelArguments) -> None:
    """Refuse flags that contradict one another or need what is not there, before weights load.

    Raises:
        InputError: for the first one.
    """
    weights = config.reward_weights
    if weights is not None and len(weights) != len(data.reward_funcs):
        raise InputError(f"--reward_weights {weights}: expected one for each of {data.reward_funcs}")
    if config.max_packed_tokens is not None and not config.shared_prefix:
        raise InputError("--max_packed_tokens is for --shared_prefix true: without it, nothing is packed")
    steps = config.rollout_steps
    if steps > 1 and config.save_strategy == "steps" and config.save_steps % steps:
        raise InputError(
            f"--save_steps {config.save_steps:g}: a rollout is learned from in {steps} steps"
            " (--num_iterations, --steps_per_generation), and a run can go on from the last of them alone;"
            f" give a multiple of {steps}"
        )
    lora = [name for name in _OF_LORA if getattr(model, name) is not None]
    if lora and not model.use_peft:
        raise InputError(f"--{lora[0]} is for --use_peft true: without it, all weights are trained")
    if (model.load_in_4bit or model.load_in_8bit) and not model.use_peft:
        raise InputError("--load_in_4bit and --load_in_8bit keep weights as they are: give --use_peft true")


def check_quantization(model: ModelArguments) -> str | None:
    """What this machine lacks for weights of 4 or 8 bits, or `None`."""
    if (model.load_in_4bit or model.load_in_8bit) and not is_bitsandbytes_available():
        return "--load_in_4bit and --load_in_8bit need a GPU and 'uv pip install bitsandbytes'"
    return None


def check_weights(
    weights: Path, model: ModelArguments, start: StartingAdapter | None, processes: ProcessGroup
) -> None:
    """Refuse weights that are not all there, and adapters that fit nowhere.

    The first process also reads all of them.

    Args:
        weights: The folder of whole weights, the starting adapter's base included.

    Raises:
        InputError: for the first fault.
    """
    if start is not None:
        check_adapter(start.checkpoint.path, skeleton(weights, FLAG), FLAG)
    if start is None or start.merges:
        bones = skeleton(weights, FLAG)
        if model.use_peft:
            adapter_model(bones, lora_config(model), "--lora_target_modules")
    processes.shared(lambda: check_finite(weights, FLAG))
