"""What a stage is about to do, printed before it does it (``--dry_run`` prints this alone)."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Any

from rich.console import Console
from transformers import ProcessorMixin

from curr_reft.answers.region import extract_answer
from curr_reft.data.dataset import Split, open_shown
from curr_reft.data.prompts import render_prompt
from curr_reft.files.tables import Table, to_rich
from curr_reft.rewards.functions import reward_functions
from curr_reft.stages import STAGES, Stage
from curr_reft.training.arguments import CurriculumConfig, DataArguments
from curr_reft.training.memory_parts import MemoryPlan

WRONG_ANSWER = "<think>I do not know.</think><answer>wrong</answer>"


@dataclass(frozen=True)
class Plan:
    """A stage's data and arithmetic; every number is for the processes this command was started with."""

    stage: Stage
    train: Split
    val: Split | None
    dropped: Mapping[str, str]
    """Why rows were left out, by their ids: an unusable image or a bad gold box."""
    solved: Mapping[str, int]
    """How many training rows `--filter_solved` left out for which reason, or kept; empty without it."""
    shared_rows: int
    prompts_per_step: int
    completions_per_step: int
    steps: int
    processes: int
    memory: MemoryPlan | None
    """`None` for a family whose layers are not known."""
    time_left: timedelta | None
    """Of a run that goes on, where its steps were timed."""
    notes: Sequence[str]


def step_counts(config: CurriculumConfig, rows: int) -> tuple[int, int, int]:
    """Prompts and completions per optimizer step, and optimizer steps of the run.

    Prompts per step are processes x prompts per device x accumulation. TRL's sampler draws whole generation
    batches only, and repeats each `num_iterations` times.
    """
    prompts = config.world_size * config.prompts_per_device * config.gradient_accumulation_steps
    generations = rows // (config.generation_batch_size // config.num_generations)
    batches = generations * config.num_iterations * config.steps_per_generation
    per_epoch = math.ceil(batches / config.gradient_accumulation_steps)
    steps = config.max_steps if config.max_steps > 0 else math.ceil(per_epoch * config.num_train_epochs)
    return prompts, prompts * config.num_generations, steps


def time_left(state: Mapping[str, Any], total_steps: int) -> timedelta | None:
    """How long the steps that are left will take, at the median of those that were logged.

    Args:
        state: A checkpoint's `trainer_state.json`; TRL logs `step_time`, in seconds per optimizer step.
        total_steps: Optimizer steps of the whole run.

    Returns:
        `None` when no step was timed.
    """
    times = [entry["step_time"] for entry in state.get("log_history", []) if "step_time" in entry]
    left = max(0, total_steps - state.get("global_step", 0))
    return timedelta(seconds=round(left * median(times))) if times else None


def stages_of(split: Split) -> list[str]:
    """The names of the stages that a split has rows of, in the order of the curriculum."""
    found = split.dataset.unique("stage")
    return [name for name in STAGES if name in found]


def rows_by_task(split: Split) -> str:
    """How many rows a split has, and of which tasks, such as ``3 (detection 2, math 1)``.

    Where they are of several stages, also how many of each: ``3 (detection 2, math 1; judge 1, open 2)``.
    """
    plain, stages = split.dataset.with_format(None), stages_of(split)
    counts = _counts(plain["task"], sorted(split.dataset.unique("task")))
    if len(stages) > 1:
        counts += f"; {_counts(plain['stage'], stages)}"
    return f"{len(split.dataset)} ({counts})"


def _counts(values: Iterable[str], order: Sequence[str]) -> str:
    counts = Counter(values)
    return ", ".join(f"{value} {counts[value]}" for value in order)


def gold_completion(solution: str) -> str:
    """A well-formed completion that gives a row's gold answer."""
    return f"<think>This is the gold answer.</think><answer>{extract_answer(solution)}</answer>"


def rewards_of(
    row: Mapping[str, Any], names: Sequence[str], variant: str
) -> list[tuple[str, dict[str, float | None]]]:
    """The gold completion of a split's row and a wrong one, each with the named rewards it earns."""
    completions = [gold_completion(row["solution"]), WRONG_ANSWER]
    scores = {
        function.__name__: function(
            prompts=[row["prompt"]] * 2,
            completions=[[{"role": "assistant", "content": text}] for text in completions],
            completion_ids=[[]] * 2,
            solution=[row["solution"]] * 2,
            task=[row["task"]] * 2,
            stage=[row["stage"]] * 2,
            id=[row["id"]] * 2,
            image=[open_shown(row["image"], row["stage"], row["task"])] * 2,
            image_path=[row["image"]] * 2,
            log_metric=lambda name, value: None,
            log_extra=lambda column, values: None,
        )
        for function in reward_functions(STAGES[row["stage"]], names, variant)
    }
    return [
        (text, {name: values[place] for name, values in scores.items()})
        for place, text in enumerate(completions)
    ]


def spell_rewards(rewards: Mapping[str, float | None]) -> str:
    """Rewards as text, such as ``1 accuracy + 0 format``."""
    return " + ".join(f"{'no' if value is None else f'{value:g}'} {name}" for name, value in rewards.items())


def _reward_rows(plan: Plan, data: DataArguments) -> list[tuple[str, str, str, str]]:
    rows, seen = [], set()
    plain = plan.train.dataset.with_format(None)
    several = len(stages_of(plan.train)) > 1
    for index, (stage, task) in enumerate(zip(plain["stage"], plain["task"], strict=True)):
        if (stage, task) not in seen:
            seen.add((stage, task))
            row = plain[index]
            answers = rewards_of(row, data.reward_funcs, data.reward_variant)
            gold, wrong = (spell_rewards(rewards) for _, rewards in answers)
            rows.append((f"{stage} {task}" if several else task, row["solution"], gold, wrong))
    return rows


def _spread(values: Sequence[int]) -> str:
    return f"{min(values)} to {max(values)}, mean {sum(values) / len(values):.0f}"


def _checkpoints(config: CurriculumConfig) -> str:
    if config.save_strategy == "no":
        return "none: a run that is killed begins again"
    often = (
        f"every {config.save_steps:g} steps"
        if config.save_strategy == "steps"
        else config.save_strategy.value
    )
    if config.save_only_model:
        return f"{often}, weights only: a run that is killed begins again"
    kept = "each" if config.resumable_checkpoints is None else f"the newest {config.resumable_checkpoints}"
    return f"{often}; a run that is killed goes on from {kept}"


def print_plan(
    plan: Plan, config: CurriculumConfig, processor: ProcessorMixin, data: DataArguments, console: Console
) -> None:
    """Print the plan: rows, what was dropped, arithmetic, one prompt, and the rewards of two answers."""
    facts: dict[str, str] = {}
    for name, split in (("train", plan.train), ("val", plan.val)):
        if split is not None:
            facts[f"{name} rows"] = rows_by_task(split)
            facts[f"{name} rows dropped, prompt too long"] = str(len(split.too_long))
    facts["rows dropped, bad image or bad box"] = str(len(plan.dropped))
    facts.update({f"train rows {kind}": str(count) for kind, count in plan.solved.items()})
    facts["val rows that are also train rows"] = str(plan.shared_rows)
    facts["prompts per optimizer step"] = (
        f"{plan.prompts_per_step} = {plan.processes} processes x {config.prompts_per_device} per device"
        f" x {config.gradient_accumulation_steps} accumulation"
    )
    facts["completions per optimizer step"] = f"{plan.completions_per_step} ({config.num_generations} each)"
    reason = "--max_steps" if config.max_steps > 0 else f"{config.num_train_epochs:g} epochs"
    facts["optimizer steps"] = f"{plan.steps} ({reason})"
    if config.dynamic_sampling:
        facts["groups without signal"] = f"drawn again in at most {config.max_resampling} rounds"
    if config.early_stopping_patience is not None:
        facts["early stopping"] = (
            f"after {config.early_stopping_patience} evaluations without a better"
            f" {config.metric_for_best_model}"
        )
    facts["checkpoints"] = _checkpoints(config)
    facts["image tokens per prompt"] = _spread(plan.train.image_tokens)
    facts["prompt tokens, image included"] = _spread(plan.train.prompt_tokens)
    if config.shared_prefix:
        longest = max(plan.train.prompt_tokens) + config.num_generations * config.max_completion_length
        facts["tokens of a prompt with all its completions"] = f"{longest} at most"
    facts.update(plan.memory.rows() if plan.memory else ())
    if plan.time_left is not None:
        facts["time left"] = f"{plan.time_left}, as fast as before"
    title = f"Stage {plan.stage.number}, {plan.stage.name}"
    console.print(to_rich(Table(title, ["", ""], list(facts.items()), names=2)))

    for row, reason in list(plan.dropped.items())[:5]:
        console.print(f"dropped {row}: {reason}")
    first = plan.train.dataset.with_format(None)[0]
    text = render_prompt(processor, first["prompt"][0]["content"])
    console.rule(f"first prompt ({first['id']})", align="left")
    console.print(text)
    console.rule(f"rewards, {data.reward_variant}", align="left")
    columns = ["task", "gold", "reward of the gold answer", "of a wrong one"]
    console.print(to_rich(Table("", columns, _reward_rows(plan, data), names=4)))
    for note in plan.notes:
        console.print(f"note: {note}")
