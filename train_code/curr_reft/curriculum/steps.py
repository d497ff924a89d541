"""The steps of a curriculum, resolved: what each runs, starts from and leaves."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curr_reft.curriculum.document import (
    Settings,
    StepKeys,
    checked,
    checked_step,
    located,
    read_document,
)
from curr_reft.errors import InputError
from curr_reft.files.yaml import read_mapping
from curr_reft.stages import STAGES, Stage

BASE = "base"
REJECTION_SAMPLING, GOLD_ROWS = "rejection_sampling", "gold_rows"
FINE_TUNING = ("reject_sft", "normal_sft")
EVALUATION, REPORT = "evaluation", "report"
KINDS = (*STAGES, REJECTION_SAMPLING, GOLD_ROWS, *FINE_TUNING, EVALUATION, REPORT)
RECORDS = "curriculum"
"""The folder, below the output directory, of the records of a curriculum."""
# What the curriculum tells a step's command; the files of single steps name some of it, for their scripts.
_GIVEN = {"output_dir", "model_name_or_path", "model", "config", "dry_run"}
_TAKEN = {"run", "name", "flags", "processes"}
_TAKEN_BY = {
    "training": {"start", "checkpoint", "config", "overlays"},
    **{kind: {"start", "checkpoint", "config", "overlays", "data"} for kind in FINE_TUNING},
    REJECTION_SAMPLING: {"start", "checkpoint", "config", "judge"},
    GOLD_ROWS: {"config"},
    EVALUATION: {"config", "of"},
    REPORT: {"of", "config"},
}
"""Which keys a step may have, besides those of all."""
_PLACES = ("judge_url", "judge_model")
_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_CHOICE = re.compile(r"last|best|best:\S+|[1-9]\d*")


def trains(run: str) -> bool:
    """Whether a step that runs this leaves a model."""
    return run in STAGES or run in FINE_TUNING


@dataclass(frozen=True)
class Step:
    """One step, with nothing left to a default."""

    name: str
    run: str
    """A stage's name, or one of the other `KINDS`."""
    start: str
    """The step whose model it starts from, or `base`; the empty text where it needs none."""
    checkpoint: str
    settings: Settings
    """Of stages and fine-tuning all that its files and flags say; of other kinds the flags alone."""
    config: str | None
    """Of other kinds: a file with sources, suites or a mixture."""
    data: str | None
    of: tuple[str, ...]
    judge: Settings
    processes: int | None

    @property
    def stage(self) -> Stage | None:
        """The stage that it trains."""
        return STAGES.get(self.run)

    @property
    def trains(self) -> bool:
        """Whether it leaves a model."""
        return trains(self.run)

    @property
    def makes_rows(self) -> bool:
        """Whether it leaves rows for fine-tuning."""
        return self.run in (REJECTION_SAMPLING, GOLD_ROWS)

    def keys(self) -> Settings:
        """The step as a curriculum's file would spell it out."""
        config = [] if self.config is None else [self.config]
        keys = {"run": self.run, "name": self.name, "config": config, "flags": self.settings}
        if self.start:
            keys |= {"from": self.start, "checkpoint": self.checkpoint}
        if self.run == EVALUATION or self.run == REPORT:
            keys["of"] = list(self.of)
        optional = {"data": self.data, "judge": self.judge, "processes": self.processes}
        return keys | {key: value for key, value in optional.items() if value}


@dataclass(frozen=True)
class Curriculum:
    """The method as a list of steps."""

    model: str
    """The base: a folder, absolute, or a hub id."""
    output_dir: Path
    data_root: Path
    query_root: Path
    processes: int | None
    steps: tuple[Step, ...]

    @property
    def records(self) -> Path:
        """The folder of the records."""
        return self.output_dir / RECORDS

    def folder(self, name: str) -> Path:
        """Where a step writes."""
        return self.output_dir / name

    def step(self, name: str) -> Step:
        """The step of a name.

        Raises:
            InputError: when there is none.
        """
        for step in self.steps:
            if step.name == name:
                return step
        raise InputError(f"{name}: no step of this curriculum: {', '.join(step.name for step in self.steps)}")

    def handed_on(self, name: str) -> str:
        """Which checkpoint of a step later ones start from; the last one, where none does."""
        return next((step.checkpoint for step in self.steps if step.start == name), "last")

    def document(self) -> Settings:
        """The curriculum as a file of one's own would spell it out; a run can be repeated from it."""
        return {
            "model": self.model,
            "output_dir": str(self.output_dir),
            "data_root": str(self.data_root),
            "query_root": str(self.query_root),
            **({"processes": self.processes} if self.processes else {}),
            "steps": [step.keys() for step in self.steps],
        }


def load_curriculum(
    path: Path, overrides: Settings, stage_flags: Settings, stage_overlays: Sequence[str] = ()
) -> Curriculum:
    """Read a curriculum's file and resolve its steps.

    Args:
        path: The YAML file, or the manifest of a curriculum.
        overrides: Keys of the file, with values that beat its own.
        stage_flags: Flags for every stage, which beat all others.
        stage_overlays: YAML files on top of those of every stage.

    Raises:
        InputError: for whatever is wrong in the file, or in those of its steps, with the step's name.
    """
    keys = checked({**read_document(path), **overrides}, str(path))
    titles = {name: stage.name for stage in STAGES.values() for name in (stage.name, stage.title)}
    defaults = {titles.get(kind, kind): values for kind, values in keys.defaults.items()}
    if unknown := defaults.keys() - {"stage", *KINDS}:
        raise InputError(f"{path}: defaults: {min(unknown)}: expected stage or one of {', '.join(KINDS)}")
    steps: list[Step] = []
    if keys.seed is not None:
        stage_flags = {"seed": keys.seed, "data_seed": keys.seed, **stage_flags}
    for number, written in enumerate(keys.steps):
        where = f"{path}: steps[{number}]"
        run = written if isinstance(written, str) else str(written.get("run", ""))
        kind = titles.get(run, run)
        if run and kind not in KINDS:
            raise InputError(f"{where}: run: {run!r} is none of {', '.join(KINDS)}")
        ground = defaults.get("stage", {}) if kind in STAGES else {}
        step = checked_step(written, {**ground, **defaults.get(kind, {})}, where)
        forced = stage_flags if kind in STAGES else _seeds(kind, keys.seed)
        if kind in STAGES:
            step = step.model_copy(update={"overlays": [*step.overlays, *stage_overlays]})
        steps.append(_resolved(step, kind, steps, keys.configs, forced, where))
    return Curriculum(
        model=_place(keys.model),
        output_dir=located(keys.output_dir),
        data_root=located(keys.data_root),
        query_root=located(keys.query_root),
        processes=keys.processes,
        steps=tuple(steps),
    )


def _place(model: str) -> str:
    """A folder's absolute path, or the hub id that it is."""
    return str(located(model)) if located(model).exists() or model.startswith((".", "/", "~")) else model


def _judge(flags: Settings) -> Settings:
    """The judge's flags; the place of a model's server may be in the environment."""
    flags = {"judge": "llm", **flags}
    places = {name: os.environ.get(name.upper()) for name in _PLACES if flags["judge"] == "llm"}
    return {**{name: place for name, place in places.items() if place}, **flags}


def _seeds(kind: str, seed: int | None) -> Settings:
    return (
        {"seed": seed} if seed is not None and kind in (*FINE_TUNING, REJECTION_SAMPLING, GOLD_ROWS) else {}
    )


def _resolved(
    keys: StepKeys, kind: str, before: Sequence[Step], configs: str | None, forced: Settings, where: str
) -> Step:
    """A step with its defaults filled in; `forced` are flags that beat all others."""
    stage = STAGES.get(kind)
    name = keys.name or (stage.title if stage else kind)
    where = f"{where} ({name})"
    if unused := keys.model_fields_set - _TAKEN - _TAKEN_BY.get(kind, _TAKEN_BY["training"]):
        raise InputError(f"{where}: {kind} takes no {'from' if 'start' in unused else min(unused)}")
    if not _NAME.fullmatch(name) or name in (BASE, RECORDS):
        raise InputError(
            f"{where}: name: letters, digits, '.', '-' and '_', and neither {BASE} nor {RECORDS}"
        )
    if name in [step.name for step in before]:
        raise InputError(f"{where}: a step of this name stands above it; give it another `name`")
    if not _CHOICE.fullmatch(str(keys.checkpoint)):
        raise InputError(f"{where}: checkpoint: {keys.checkpoint!r}: last, a step, best or best:METRIC")
    if own := {**keys.flags, **forced}.keys() & _GIVEN:
        raise InputError(
            f"{where}: flags: {min(own)} is the curriculum's to give; see `model`, `from` and `output_dir`"
        )
    config, settings = _settings(keys, kind, stage, configs, where)
    own_rows = kind not in FINE_TUNING or "dataset" in keys.flags
    return Step(
        name=name,
        run=kind,
        start=_start(keys, before, where) if trains(kind) or kind == REJECTION_SAMPLING else "",
        checkpoint=str(keys.checkpoint),
        settings={**settings, **forced},
        config=config,
        data=None if own_rows else _data(keys, before, where),
        of=_of(keys, kind, before, where),
        judge=_judge(keys.judge) if kind == REJECTION_SAMPLING else {},
        processes=keys.processes,
    )


def _settings(
    keys: StepKeys, kind: str, stage: Stage | None, configs: str | None, where: str
) -> tuple[str | None, Settings]:
    """The one file of a kind that takes one, and the flags, with those of the other kinds' files."""
    files = keys.config
    if stage is None and kind not in FINE_TUNING:
        if files and len(files) > 1:
            raise InputError(f"{where}: config: {kind} takes one file")
        if not files and kind in (REJECTION_SAMPLING, GOLD_ROWS):
            raise InputError(f"{where}: config: name its file, of sources or of a mixture")
        config = str(_found(files[0], where)) if files else None
        return config, keys.flags
    if files is None:
        if configs is None:
            raise InputError(f"{where}: config: name its files here, or their folder as `configs`")
        files = [f"{configs}/{stage.title if stage else kind}.yaml"]
    merged: Settings = {}
    read = [read_mapping(_found(file, where)) for file in (*files, *keys.overlays)]
    for settings in [*read, keys.flags]:
        for name, value in settings.items():
            # One flag may have two names, of which the later is to win.
            merged.pop(name, None)
            merged[name] = value
    return None, {name: value for name, value in merged.items() if name not in _GIVEN}


def _found(file: str, where: str) -> Path:
    path = located(file)
    if not path.is_file():
        raise InputError(f"{where}: config: {path}: no such file")
    return path


def _start(keys: StepKeys, before: Sequence[Step], where: str) -> str:
    models = [BASE, *(step.name for step in before if step.trains)]
    if keys.start is None:
        return models[-1]
    return _named(keys.start, models, "from", where)


def _data(keys: StepKeys, before: Sequence[Step], where: str) -> str | None:
    written = [step.name for step in before if step.makes_rows]
    if keys.data is None:
        return written[-1] if written else None
    return _named(keys.data, written, "data", where)


def _of(keys: StepKeys, kind: str, before: Sequence[Step], where: str) -> tuple[str, ...]:
    """For an evaluation the models to score, for a report the evaluations."""
    if kind == EVALUATION:
        known = [BASE, *(step.name for step in before if step.trains)]
    elif kind == REPORT:
        known = [step.name for step in before if step.run == EVALUATION]
    else:
        return ()
    return tuple(known if keys.of is None else [_named(name, known, "of", where) for name in keys.of])


def _named(name: str, known: Sequence[str], key: str, where: str) -> str:
    titles = {stage.name: stage.title for stage in STAGES.values()}
    for each in (name, titles.get(name)):
        if each in known:
            return each
    raise InputError(
        f"{where}: {key}: {name!r} is no such step above it: {', '.join(known) or 'there is none'}"
    )
