"""A run's log on disk as it grows: a line of JSON for each that the trainer logs."""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from curr_reft.files.journal import append

FILE_NAME = "log.jsonl"
"""In the run's folder. Steps that a run that goes on does again stand there twice; the later ones count."""


class StepLog(TrainerCallback):
    """Adds what is logged, with `step` and `max_steps`; trainer_state.json has it at checkpoints alone."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if state.is_world_process_zero and state.log_history:
            steps = {"step": state.global_step, "max_steps": state.max_steps}
            append(Path(args.output_dir) / FILE_NAME, [{**(logs or {}), **steps}])
