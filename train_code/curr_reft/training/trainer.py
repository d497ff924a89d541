"""The shared multimodal trainer of the three stages, on TRL's `GRPOTrainer`."""

import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from datasets import Dataset
from peft import PeftModel
from torch import nn
from torch.utils.data import Sampler
from transformers import PreTrainedModel, PrinterCallback, ProcessorMixin, ProgressCallback
from transformers.trainer_utils import TrainOutput

from curr_reft.errors import InputError
from curr_reft.models.vision_tower import freeze_vision_tower
from curr_reft.models.weights import load
from curr_reft.rewards.functions import NAMES, reward_functions
from curr_reft.stages import Stage
from curr_reft.training.adapters import keep_reference_apart
from curr_reft.training.arguments import CurriculumConfig
from curr_reft.training.checkpoint_state import KeepStateOfNewest
from curr_reft.training.completions.groups import ROW_COLUMNS, SPLIT_COLUMN
from curr_reft.training.divergence import WatchDivergence, is_sampling_failure, refuse_not_finite
from curr_reft.training.dynamic_sampling import DynamicSamplingTrainer
from curr_reft.training.early_stopping import StopOnPlateau, early_stopping
from curr_reft.training.progress import HeadlineProgress, progress
from curr_reft.training.prompt_order import PromptOrder
from curr_reft.training.step_log import StepLog
from curr_reft.training.stopping import StopOnSignal
from curr_reft.training.vllm_rollouts import GroupRollouts

logger = logging.getLogger(__name__)


def _text_turns(messages: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [
        {"role": turn["role"], "content": "".join(part.get("text", "") for part in turn["content"])}
        if isinstance(turn["content"], list)
        else turn
        for turn in messages
    ]


class CurriculumGRPOTrainer(DynamicSamplingTrainer):
    """GRPO on one stage of the curriculum; a subclass names the stage.

    What it adds to TRL, besides prompts that are computed once and groups that are drawn again: batch sizes
    in prompts (through `CurriculumConfig`), `data_seed` as the seed of the prompt order, the stage's rewards,
    weights that are really loaded on a resume, and refusal of what would corrupt a run without an error: rows
    without an image, a processor that pads on the right.

    Args:
        model: Checkpoint directory or hub id; it is also loaded as the frozen reference, after a resume too.
            Or a base with an adapter to be trained further, of which a copy is the reference.
        args: The run's configuration.
        train_dataset: Rows with `id`, `prompt` (messages), `image` (an image), `image_path`, `solution` and
            `task`; with `stage`, a stage's name, where not all are of the trainer's.
        eval_dataset: Rows of the same form, or `None`.
        processing_class: The model's processor, padding on the left.
        rewards: Names of the rewards to sum.
        reward_variant: `paper` or `released`.
        freeze_vision: Leave the vision tower as it is.
    """

    stage: ClassVar[Stage]
    args: CurriculumConfig

    def __init__(
        self,
        model: str | PeftModel,
        args: CurriculumConfig,
        train_dataset: Dataset,
        processing_class: ProcessorMixin,
        eval_dataset: Dataset | None = None,
        rewards: Sequence[str] = NAMES,
        reward_variant: str = "paper",
        freeze_vision: bool = False,
        **kwargs: Any,
    ) -> None:
        if processing_class.tokenizer.padding_side != "left":
            raise InputError(
                "the processor pads on the right, which misplaces image tokens: set padding_side='left'"
            )
        for dataset in (train_dataset, eval_dataset):
            if dataset is not None and "image" not in dataset.column_names:
                raise InputError("every row needs an image: the dataset has no `image` column")
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            reward_funcs=reward_functions(self.stage, rewards, reward_variant),
            shared_prefix=args.shared_prefix,
            max_packed_tokens=args.max_packed_tokens,
            max_resampling=args.max_resampling if args.dynamic_sampling else None,
            **kwargs,
        )
        if freeze_vision:
            freeze_vision_tower(self._base_model())
        if isinstance(self.model, PeftModel):
            keep_reference_apart(self.model)
        if args.use_vllm:
            self.vllm_generation = GroupRollouts(self.vllm_generation, processing_class)
        self.remove_callback(PrinterCallback if args.disable_tqdm else ProgressCallback)
        self.add_callback(progress(args.disable_tqdm))
        self._stop = StopOnSignal(args.stop_grace_seconds, args.rollout_steps)
        self.add_callback(self._stop)
        self.add_callback(StepLog())
        self.add_callback(WatchDivergence(args.max_kl, args.stop_on_divergence))
        for callback in early_stopping(args):
            self.add_callback(callback)
        if args.resumable_checkpoints is not None:
            self.add_callback(KeepStateOfNewest(args.resumable_checkpoints))

    @property
    def stopped_by(self) -> str | None:
        """The signal that ended training, `None` when none did."""
        return None if self._stop.signal is None else self._stop.signal.name

    @property
    def stopped_early(self) -> str | None:
        """Why training ended before the last step with nothing left to do, `None` when it did not."""
        plateaus = [each for each in self.callback_handler.callbacks if isinstance(each, StopOnPlateau)]
        return plateaus[0].reason if plateaus else None

    @property
    def has_ended(self) -> bool:
        """Whether no step is left to be done."""
        return self.state.global_step >= self.state.max_steps or self.stopped_early is not None

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        self._stop.listen()
        try:
            return super().train(*args, **kwargs)
        finally:
            for callback in self.callback_handler.callbacks:
                if isinstance(callback, HeadlineProgress):
                    callback.close()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        # Completions tables hold one type per column: wandb rejects the mixed parts of a turn with an image.
        prompts = self._logs["prompt"]
        self._logs["prompt"] = deque(map(_text_turns, prompts), maxlen=prompts.maxlen)
        super().log(logs, start_time)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        model = self.model if model is None else model
        if self.is_fsdp_enabled or not isinstance(model, PreTrainedModel):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            self._load_whole(resume_from_checkpoint)

    def _load_best_model(self) -> None:
        if not self.has_ended:
            return
        whole = isinstance(self.accelerator.unwrap_model(self.model), PreTrainedModel)
        if not whole or self.is_deepspeed_enabled or self.is_fsdp_enabled:
            super()._load_best_model()
        else:
            logger.info("the best model is %s", self.state.best_model_checkpoint)
            self._load_whole(self.state.best_model_checkpoint)

    def _load_whole(self, checkpoint: str) -> None:
        # transformers goes by the names in the file. Those are Qwen2.5-VL's published ones, which the model's
        # own differ from since version 5: it would load not one weight, warn, and train on from the start.
        model = self.accelerator.unwrap_model(self.model)
        model.load_state_dict(load(Path(checkpoint), "checkpoint", dtype=model.dtype).state_dict())

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or self.is_deepspeed_enabled or self.args.device.type != "cpu":
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        # transformers asks torch for the device cpu:RANK, of which torch.load knows nothing.
        for name, target in (("optimizer.pt", self.optimizer), ("scheduler.pt", self.lr_scheduler)):
            target.load_state_dict(torch.load(Path(checkpoint, name), map_location="cpu", weights_only=True))

    # Divergence: found before the optimizer's step, so that the weights stay what they were.

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(*args, **kwargs)
        # Gathered, so that no process waits for one that has ended.
        refuse_not_finite("the loss is", self.accelerator.gather(loss.detach()), self.state.global_step + 1)
        return loss

    def _get_grad_norm(self, *args: Any, **kwargs: Any) -> Any:
        norm = super()._get_grad_norm(*args, **kwargs)
        # Half precision finds its loss scale by such norms, and DeepSpeed tells that of the step before.
        if norm is not None and not self.args.fp16 and not self.is_deepspeed_enabled:
            refuse_not_finite("the gradient's norm is", norm, self.state.global_step + 1)
        return norm

    def _calculate_rewards(self, inputs: list[dict[str, Any]], *args: Any, **kwargs: Any) -> torch.Tensor:
        rewards = super()._calculate_rewards(inputs, *args, **kwargs)
        if self.log_completions:
            # Set, not added: a reward may have logged a column of that name.
            for column in ROW_COLUMNS:
                self._pending_extra_logs[column] = [row[column] for row in inputs]
            self._pending_extra_logs[SPLIT_COLUMN] = ["train" if self.model.training else "val"] * len(inputs)
        # A function that leaves a completion to the others gives NaN for it; without any it has no reward.
        known = rewards.nan_to_num(0.0, float("inf"), float("-inf"))
        known[rewards.isnan().all(dim=1)] = float("nan")
        refuse_not_finite("a reward is", known, self.state.global_step + 1)
        return rewards

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> tuple:
        try:
            return super()._generate_single_turn(*args, **kwargs)
        except RuntimeError as error:
            if is_sampling_failure(error):
                refuse_not_finite("the logits are", float("nan"), self.state.global_step + 1)
            raise

    def _get_train_sampler(self, dataset: Dataset | None = None) -> Sampler:
        # TRL seeds the order with `seed`; the flag that says so is `data_seed`.
        sampler = super()._get_train_sampler(dataset)
        self._prompt_order = PromptOrder(sampler, self.args.data_seed, only_count=self.args.dynamic_sampling)
        return self._prompt_order

    def _run_epoch(self, *, epoch: int, **kwargs: Any) -> None:
        # Said here because accelerate's loaders do not reach a sampler below a shard that skips batches.
        self._prompt_order.set_epoch(epoch)
        if self.has_ended:
            # Killed behind its last checkpoint; transformers would take one more step.
            self.control.should_training_stop = True
            return
        super()._run_epoch(epoch=epoch, **kwargs)
