"""One stage from command line to checkpoint: check everything, print the plan, load weights, train."""

import logging
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from transformers import ProcessorMixin
from trl import get_quantization_config

from curr_reft.data.dataset import Split, build_split
from curr_reft.data.gold_boxes import check_boxes
from curr_reft.data.images import check_images
from curr_reft.data.mixture import Mixture, load_mixture
from curr_reft.data.schema import Example
from curr_reft.data.solved import find_solved
from curr_reft.errors import CommandError, DivergedError, InputError, StoppedError, command
from curr_reft.files.journal import sole_writer
from curr_reft.files.json import read_object
from curr_reft.files.manifest import checkpoints_below, mark_ended, mark_finished, sha256_of, write_manifest
from curr_reft.files.tables import console
from curr_reft.models.adapters import weights_fault
from curr_reft.models.merge import merged_start
from curr_reft.models.packing_budget import check_budget
from curr_reft.models.processor import load_processor
from curr_reft.models.vllm_support import check_served
from curr_reft.models.weights import local_folder
from curr_reft.processes import ProcessGroup
from curr_reft.rewards.functions import reward_files, reward_functions
from curr_reft.stages import Stage
from curr_reft.training.adapters import (
    FLAG,
    StartingAdapter,
    find_starting_adapter,
    load_adapted,
    lora_config,
    settled,
)
from curr_reft.training.arguments import CurriculumConfig, DataArguments, ModelArguments, parse_arguments
from curr_reft.training.checkpoint_state import STATE_FILE
from curr_reft.training.checks import (
    check_attention,
    check_flags,
    check_golds,
    check_quantization,
    check_weights,
    held_out_warnings,
    rows_in_both,
)
from curr_reft.training.early_stopping import check_early_stopping
from curr_reft.training.failures import failures_in_words
from curr_reft.training.memory_plan import memory_of
from curr_reft.training.plan import Plan, print_plan, step_counts, time_left
from curr_reft.training.resume import Start, check_unfinished, find_start, started
from curr_reft.training.stopping import stopped_by_signals
from curr_reft.training.surroundings import check_tracker_login, check_writable
from curr_reft.training.trainer import CurriculumGRPOTrainer
from curr_reft.training.vllm_rollouts import check_vllm

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """Everything a stage needs, checked, before weights load."""

    data: DataArguments
    config: CurriculumConfig
    model: ModelArguments
    processes: ProcessGroup
    mixture: Mixture
    processor: ProcessorMixin
    plan: Plan
    record: dict[str, Any]
    """What the manifest will hold."""
    weights: Path | None
    """The folder of the whole weights it starts from, an adapter's base included; `None` where a dry run
    would have to download it."""
    adapter: StartingAdapter | None
    """What it starts from, where that is an adapter."""
    start: Start

    @property
    def resume_from(self) -> str | None:
        """The checkpoint it goes on from, `None` for the beginning."""
        return None if self.start.checkpoint is None else str(self.start.checkpoint)


def prepare(stage: Stage, argv: Sequence[str]) -> Run:
    """Parse flags and check data, images, processor and golds; loads no weights.

    Raises:
        InputError: for the first thing that is wrong.
    """
    data, config, model = parse_arguments(argv)
    adapter = find_starting_adapter(model)
    model = settled(model, adapter)
    processes = ProcessGroup(config.process_index, config.world_size)
    rewards = reward_functions(stage, data.reward_funcs, data.reward_variant)
    check_flags(data, config, model)
    output_dir = Path(config.output_dir)
    processes.shared(lambda: check_tracker_login(config.report_to))
    processes.shared(lambda: check_writable(output_dir, "--output_dir"))
    check_unfinished(output_dir)
    lacks = [check_vllm(data, config), check_attention(model), check_quantization(model)]
    unsupported = [*config.machine_notes, *filter(None, lacks)]
    if unsupported and not config.dry_run:
        raise InputError(unsupported[0])

    mixture = load_mixture(
        Path(data.dataset_name),
        Path(data.data_root or data.image_root),
        Path(data.image_root),
        config.data_seed,
    )
    if config.eval_strategy != "no" and not mixture.val:
        strategy = config.eval_strategy.value
        raise InputError(f"--eval_strategy {strategy}: {data.dataset_name} lists no val_datasets")
    solved = find_solved(data.filter_solved, mixture.train, data.data_root or data.image_root)
    warnings = held_out_warnings(mixture, data)
    pixels = data.min_pixels, data.max_pixels
    if adapter is None:
        processor = load_processor(model.model_name_or_path, model.model_revision, *pixels)
        weights = local_folder(model.model_name_or_path, FLAG, model.model_revision, config.dry_run)
    else:
        processor, weights = adapter.checkpoint.processor(*pixels, FLAG), adapter.base
        warnings.append(str(adapter))
    if weights is None:
        warnings.append(f"{model.model_name_or_path} is not on this machine yet: its weights are not checked")
    else:
        check_weights(weights, model, adapter, processes)
        if config.use_vllm and config.vllm_mode == "colocate" and not unsupported:
            check_served(weights, FLAG, max_model_len=config.vllm_max_model_length)
    examples = mixture.rows
    sizes, missing = check_images(examples, data.allow_missing_images)
    faults = check_boxes(examples, stage, sizes, data.drop_bad_boxes)
    dropped = {**missing, **faults}

    def kept(rows: Iterable[Example]) -> Iterable[Example]:
        return (row for row in rows if row.id not in dropped)

    def split(rows: Iterable[Example]) -> Split:
        return build_split(
            kept(rows),
            stage,
            sizes,
            processor,
            data.max_prompt_length,
            data.strict_prompt_length,
            data.box_frame,
        )

    check_golds(kept(examples), stage, data.reward_variant)
    train = split(row for row in mixture.train if row.id not in solved.left_out)
    val = split(mixture.val) if mixture.val else None
    check_early_stopping(config, [reward.__name__ for reward in rewards], val, stage)
    if config.max_packed_tokens is not None:
        longest = max(max(each.prompt_tokens) for each in (train, val) if each)
        check_budget(config.max_packed_tokens, longest, config.max_completion_length)
    prompts, completions, steps = step_counts(config, len(train.dataset))
    needed = max(prompts, config.generation_batch_size // config.num_generations)
    if len(train.dataset) < needed:
        raise InputError(
            f"{data.dataset_name}: {len(train.dataset)} rows are fewer than the {needed} prompts of one step"
            " or rollout; lower --per_device_train_batch_size, --gradient_accumulation_steps or"
            " --steps_per_generation"
        )
    record = {
        "stage": stage.name,
        "reward_variant": data.reward_variant,
        "config": {
            **asdict(data),
            **config.to_dict(),
            **asdict(model),
            # `to_dict` leaves out what no flag sets.
            "deepspeed_file": config.deepspeed_file,
        },
        "starting_adapter": adapter.record() if adapter else None,
        "processes": config.world_size,
        "prompts_per_device": config.prompts_per_device,
        "data": [asdict(file) for file in mixture.files],
        "code": {
            str(path): sha256_of(path) for path in (*map(Path, data.tasks), *reward_files(data.reward_funcs))
        },
    }
    if data.filter_solved:
        record["solved"] = {**solved.counts(), "sha256": sha256_of(Path(data.filter_solved))}
    start = processes.shared(lambda: _find_start(config, record, weights, steps))
    plan = Plan(
        stage=stage,
        train=train,
        val=val,
        dropped=dropped,
        solved=solved.counts() if data.filter_solved else {},
        shared_rows=rows_in_both(kept(mixture.train), kept(mixture.val)),
        prompts_per_step=prompts,
        completions_per_step=completions,
        steps=steps,
        processes=config.world_size,
        memory=memory_of(
            *(config, model, config.world_size, max(train.prompt_tokens), max(train.image_tokens)),
            weights=weights,
        ),
        time_left=start.checkpoint and time_left(read_object(start.checkpoint / STATE_FILE), steps),
        notes=[*unsupported, *warnings],
    )
    return Run(data, config, model, processes, mixture, processor, plan, record, weights, adapter, start)


def _find_start(config: CurriculumConfig, record: dict[str, Any], weights: Path | None, steps: int) -> Start:
    output_dir = Path(config.output_dir)
    start = find_start(
        output_dir,
        record,
        lambda checkpoint: weights_fault(checkpoint, weights),
        config.accept_changes,
        _requested(config, output_dir),
    )
    if start.step > steps:
        raise InputError(
            f"--output_dir {output_dir}: its run has done {start.step} steps, over the {steps} asked for"
        )
    return start


def _requested(config: CurriculumConfig, output_dir: Path) -> str | None:
    """The checkpoint that `--resume_from_checkpoint` names; `true` asks for the newest one."""
    requested = config.resume_from_checkpoint
    if requested not in ("true", "True"):
        return requested
    if not checkpoints_below(output_dir):
        raise InputError(f"--resume_from_checkpoint {requested}: no checkpoint in {output_dir}")
    return None


def build_trainer(run: Run, trainer_class: type[CurriculumGRPOTrainer]) -> CurriculumGRPOTrainer:
    """Load the weights of policy and reference and make the stage's trainer."""
    config, model = run.config, run.model
    if config.deepspeed is None and model.dtype in ("bfloat16", "float16") and not model.use_peft:
        logger.warning(
            "--torch_dtype %s without DeepSpeed keeps no float32 master weights: updates at learning rate %g"
            " are partly lost to rounding; --torch_dtype float32 --bf16 true trains with autocast instead",
            model.dtype,
            config.learning_rate,
        )
    config.model_init_kwargs = {
        "dtype": model.dtype,
        "attn_implementation": model.attn_implementation,
        "revision": model.model_revision,
    }
    policy = model.model_name_or_path
    peft_config, quantization_config = lora_config(model), get_quantization_config(model)
    if run.adapter is not None and run.adapter.merges:
        merging = run.adapter.checkpoint.path, Path(config.output_dir), run.start.checkpoint, FLAG
        policy = str(run.processes.shared(lambda: merged_start(*merging)))
    elif run.adapter is not None:
        policy = load_adapted(run.adapter, model, config)
        # How to make a model, where one is given, is something TRL warns about or refuses.
        peft_config = quantization_config = config.model_init_kwargs = None
    return trainer_class(
        model=policy,
        args=config,
        train_dataset=run.plan.train.dataset,
        eval_dataset=run.plan.val.dataset if run.plan.val else None,
        processing_class=run.processor,
        rewards=run.data.reward_funcs,
        reward_variant=run.data.reward_variant,
        freeze_vision=model.freeze_vision,
        peft_config=peft_config,
        quantization_config=quantization_config,
    )


def train(run: Run, trainer_class: type[CurriculumGRPOTrainer]) -> None:
    """Train, and leave the final model, processor and manifest in the output directory.

    Raises:
        StoppedError: when a signal ended it before the last step.
        DivergedError: when it cannot go on learning.
        InputError: when the directory is another run's, memory or disk do not suffice.
    """
    output_dir = Path(run.config.output_dir)
    with ExitStack() as held:
        run = replace(run, start=run.processes.shared(lambda: _take(run, output_dir, held)))
        try:
            _train(run, trainer_class, output_dir)
        except BaseException as error:
            if run.processes.rank == 0:
                _record_end(output_dir, error)
            raise


def _take(run: Run, output_dir: Path, held: ExitStack) -> Start:
    """Take the output directory for this run alone, and write down that it runs.

    Returns where it starts, as the directory is now: an earlier start may have been at its last checkpoint
    while this one prepared itself.
    """
    held.enter_context(sole_writer(output_dir))
    start = _find_start(run.config, run.record, run.weights, run.plan.steps)
    start.clear(output_dir)
    resumed_from = None if start.checkpoint is None else str(start.checkpoint)
    write_manifest(output_dir, run.record | started(resumed_from, start.changes))
    return start


def _train(run: Run, trainer_class: type[CurriculumGRPOTrainer], output_dir: Path) -> None:
    with failures_in_words(output_dir):
        trainer = build_trainer(run, trainer_class)
        if run.resume_from is not None:
            logger.info("going on from %s", run.resume_from)
        result = trainer.train(resume_from_checkpoint=run.resume_from)
        state = trainer.state
        if not trainer.has_ended:
            raise StoppedError(
                f"stopped by {trainer.stopped_by} after step {state.global_step} of {state.max_steps}; the"
                f" same command goes on from {output_dir / f'checkpoint-{state.global_step}'}"
            )
        trainer.save_model()
        trainer.save_state()
    if trainer.is_world_process_zero():
        early = {} if trainer.stopped_early is None else {"stopped_early": trainer.stopped_early}
        mark_finished(output_dir, result.metrics, **early)
        logger.info("stage %s is done: %s", run.plan.stage.name, output_dir)


def _record_end(output_dir: Path, error: BaseException) -> None:
    statuses = {StoppedError: "stopped", KeyboardInterrupt: "stopped", DivergedError: "diverged"}
    reason = str(error) if isinstance(error, CommandError) else f"{type(error).__name__}: {error}"
    try:
        mark_ended(output_dir, statuses.get(type(error), "failed"), reason=reason)
    except InputError as unwritten:
        # On a full disk; what ended the run is to be said, not this.
        logger.error("%s", unwritten)


@command
def run_stage(trainer_class: type[CurriculumGRPOTrainer], argv: Sequence[str] | None = None) -> None:
    """The main function of a stage script."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with stopped_by_signals():
        run = prepare(trainer_class.stage, sys.argv[1:] if argv is None else argv)
        if run.processes.rank == 0:
            print_plan(run.plan, run.config, run.processor, run.data, console(140))
        if run.config.dry_run:
            return
        train(run, trainer_class)
