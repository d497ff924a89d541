"""Going on with an unfinished run: which checkpoint, and whether it may."""

from pathlib import Path
from typing import Any

from curr_reft.arguments import CurriculumConfig
from curr_reft.errors import InputError
from curr_reft.manifest import can_go_on, checkpoints_below, read_manifest
from curr_reft.stages import Stage


def find_resume_point(config: CurriculumConfig, model: str, stage: Stage) -> str | None:
    """The checkpoint to go on from, or `None` for a fresh start.

    An unfinished run in the output directory goes on by itself, from its last checkpoint that was written to
    the end.

    Raises:
        InputError: when the directory holds a finished run or one of another stage or model, or when what is
            to be resumed lacks the optimizer's state (`--save_only_model true`).
    """
    output_dir, requested = Path(config.output_dir), config.resume_from_checkpoint
    if output_dir.exists() and not output_dir.is_dir():
        raise InputError(f"--output_dir {output_dir}: not a directory")
    manifest = read_manifest(output_dir)
    if manifest is not None and manifest["status"] == "finished":
        raise InputError(f"--output_dir {output_dir}: holds a finished run; choose another or remove it")
    if requested not in (None, "true", "True"):
        checkpoint = Path(requested)
        if not checkpoint.is_dir():
            raise InputError(f"--resume_from_checkpoint {requested}: no such directory")
        checkpoints = [checkpoint]
    else:
        checkpoints = checkpoints_below(output_dir)
        if not checkpoints:
            if requested is not None:
                raise InputError(f"--resume_from_checkpoint {requested}: no checkpoint in {output_dir}")
            return None
    if manifest is not None:
        _check_same_run(output_dir, manifest, model, stage)
    complete = [path for path in checkpoints if can_go_on(path)]
    if not complete:
        raise InputError(
            f"{checkpoints[-1]}: holds weights only (--save_only_model true) or was not written to the end,"
            " and cannot be resumed; start from it with --model_name_or_path in another --output_dir"
        )
    return str(complete[-1])


def _check_same_run(output_dir: Path, manifest: dict[str, Any], model: str, stage: Stage) -> None:
    before = manifest.get("stage"), str(manifest.get("config", {}).get("model_name_or_path"))
    if before[0] != stage.name or Path(before[1]).resolve() != Path(model).resolve():
        raise InputError(
            f"--output_dir {output_dir}: holds an unfinished run of stage {before[0]} from {before[1]}, not"
            f" of stage {stage.name} from {model}; choose another"
        )
