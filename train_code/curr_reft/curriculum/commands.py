"""What a step runs: the same commands that the scripts of a single step start."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import yaml

from curr_reft.curriculum.document import Settings
from curr_reft.curriculum.nodes import Nodes
from curr_reft.curriculum.steps import (
    EVALUATION,
    FINE_TUNING,
    GOLD_ROWS,
    REJECTION_SAMPLING,
    Curriculum,
    Step,
)
from curr_reft.files.atomic import replacing
from curr_reft.models.weights import is_adapter

ROWS = "rows.jsonl"
SETTINGS = "settings.yaml"


@dataclass(frozen=True)
class Command:
    """One command of a step."""

    arguments: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)
    """What it finds in its environment besides what is there."""
    everywhere: bool = False
    """Whether it runs on every node, and not on the first alone."""

    @property
    def environment(self) -> dict[str, str]:
        """What it is run with."""
        return {**os.environ, **self.variables}


def write_settings(step: Step, folder: Path) -> Path:
    """Write a training step's settings as the YAML file that its command reads. Returns its path."""
    path = folder / SETTINGS
    with replacing(path) as file:
        yaml.safe_dump(step.settings, file, sort_keys=False, allow_unicode=True)
    return path


def commands_of(
    step: Step,
    curriculum: Curriculum,
    models: dict[str, str],
    nodes: Nodes,
    settings: Path,
    dry_run: bool = False,
) -> Iterator[Command]:
    """The commands of a step, one after the other.

    Args:
        models: Folder or hub id of the model of each step that it starts from or scores.
        settings: The YAML file that `write_settings` wrote.
        dry_run: Stages and fine-tuning then plan alone.
    """
    output = curriculum.folder(step.name)
    models = dict(models)
    if _needs_whole_models(step, nodes):
        for name, model in models.items():
            if is_adapter(Path(model)):
                models[name] = str(curriculum.records / step.name / f"merged_{name}")
                if not Path(models[name]).is_dir():
                    yield _python("-m", "curr_reft.models.merge", model, models[name])
    count = step.processes or curriculum.processes or 1
    if step.stage is not None:
        script = ("train_code/grpo/stage.py", step.stage.title)
        yield _launched(nodes, count, *script, *_stage_flags(step, curriculum, models, settings, dry_run))
    elif step.run in FINE_TUNING:
        yield _fine_tuning(step, curriculum, models, nodes, count, settings, dry_run)
    elif step.run == REJECTION_SAMPLING:
        yield from _rejection_sampling(step, curriculum, models, count)
    elif step.run == GOLD_ROWS:
        flags = {"image_root": curriculum.data_root, "output": output / ROWS, "image_dir": output / "images"}
        yield _python("-m", "curr_reft.sft.from_rows", step.config, *spelled({**flags, **step.settings}))
    elif step.run == EVALUATION:
        for name in step.of:
            flags = {
                "model": models[name],
                "suites_config": step.config,
                "data_root": curriculum.data_root,
                "output_dir": output / name,
                "final_only": True,
            }
            yield _sampling(step, count, ["eval/evaluate.py"], flags)
    else:
        yield _report(step, curriculum)


def _needs_whole_models(step: Step, nodes: Nodes) -> bool:
    return step.settings.get("backend") == "vllm" or (step.run in FINE_TUNING and nodes.count > 1)


def spelled(flags: Settings) -> list[str]:
    """Flags of a mapping: `true` is a bare flag, a list several values, `None` and `false` no flag at all."""
    words = []
    for name, value in flags.items():
        if value is None or value is False:
            continue
        if str(value).startswith("-"):
            words.append(f"--{name}={value}")
            continue
        words.append(f"--{name}")
        if value is not True:
            words += map(str, value if isinstance(value, list | tuple) else [value])
    return words


def _stage_flags(
    step: Step, curriculum: Curriculum, models: dict[str, str], settings: Path, dry_run: bool
) -> list[str]:
    own = {
        "config": settings,
        "output_dir": curriculum.folder(step.name),
        "model_name_or_path": models[step.start],
        "image_root": step.settings.get("image_root", curriculum.data_root),
        "run_name": step.settings.get("run_name", f"{curriculum.output_dir.name}-{step.name}"),
        "dry_run": dry_run,
    }
    return spelled(own)


def _fine_tuning(
    step: Step,
    curriculum: Curriculum,
    models: dict[str, str],
    nodes: Nodes,
    count: int,
    settings: Path,
    dry_run: bool,
) -> Command:
    own = {
        "config": settings,
        "model": models[step.start],
        "output_dir": curriculum.folder(step.name),
        "dataset": step.data and curriculum.folder(step.data) / ROWS,
        "data_root": step.settings.get("data_root", curriculum.data_root),
        "dry_run": dry_run,
    }
    variables = {"ROOT_IMAGE_DIR": os.environ.get("ROOT_IMAGE_DIR") or str(curriculum.query_root)}
    # Swift starts torchrun when it finds NPROC_PER_NODE; without, one process takes all GPUs for one model.
    if count > 1 or torch.cuda.is_available():
        variables["NPROC_PER_NODE"] = str(count)
    if nodes.count > 1:
        variables |= {
            "NNODES": str(nodes.count),
            "MASTER_ADDR": nodes.address,
            "MASTER_PORT": str(nodes.port),
        }
    return Command(
        _python(f"train_code/sft/{step.run}.py", *spelled(own)).arguments, variables, everywhere=True
    )


def _rejection_sampling(
    step: Step, curriculum: Curriculum, models: dict[str, str], count: int
) -> Iterator[Command]:
    work = {"output_dir": curriculum.folder(step.name)}
    tasks = {"tasks": step.settings.get("tasks")}
    sources = {"config": step.config}
    asked = {**work, **sources, "data_root": curriculum.query_root, "model": models[step.start]}
    yield _sampling(step, count, ["--module", "curr_reft.self_improvement.candidates"], asked)
    yield _python("-m", "curr_reft.self_improvement.judge", *spelled({**work, **tasks, **step.judge}))
    chosen = {**sources, **work, "output": curriculum.folder(step.name) / ROWS, **tasks}
    chosen["seed"] = step.settings.get("seed")
    yield _python("-m", "curr_reft.self_improvement.select", *spelled(chosen))


def _report(step: Step, curriculum: Curriculum) -> Command:
    scores = [
        f"{name}={curriculum.folder(each) / name}" for each in step.of for name in curriculum.step(each).of
    ]
    trained = [curriculum.folder(each.name) for each in curriculum.steps if each.trains]
    flags = {"output_dir": curriculum.folder(step.name), "domain": "all", **step.settings}
    return _python("eval/report.py", *scores, *map(str, filter(Path.is_dir, trained)), *spelled(flags))


def _sampling(step: Step, count: int, script: list[str], own: Settings) -> Command:
    """A command that answers rows: by several processes of one model's copy each, unless others serve it."""
    if step.settings.get("backend", "transformers") != "transformers":
        count = 1
    if step.settings.get("backend") == "endpoint":
        own = {**own, "model": None}
    return replace(_launched(Nodes(), count, *script, *spelled({**own, **step.settings})), everywhere=False)


def _launched(nodes: Nodes, count: int, *arguments: str) -> Command:
    launch = ("-m", "curr_reft.training.launch", *nodes.rendezvous(), f"--nproc_per_node={count}")
    return replace(_python(*launch, *arguments), everywhere=True)


def _python(*arguments: str | None) -> Command:
    return Command((sys.executable, *(word for word in arguments if word is not None)))
