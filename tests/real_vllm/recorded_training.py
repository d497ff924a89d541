"""Train stage 3 with colocate rollouts by the real vLLM, and write down what went in and out of it.

    python recorded_training.py RECORD.json [flags of the stage]

Started by the tests, with the interpreter of vLLM's own environment.
"""

import functools
import json
import sys
from pathlib import Path

import torch
import trl.generation.vllm_generation
import vllm._custom_ops
from vllm import LLM, SamplingParams
from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
)

from curr_reft.stages import STAGES
from curr_reft.training.run import build_trainer, prepare
from curr_reft.training.trainer import CurriculumGRPOTrainer
from curr_reft.training.vllm_rollouts import GroupRollouts, one_token_per_image, pixel_limits

# On a CPU vLLM repacks weights for oneDNN and throws the originals away, so that it can load no new ones.
vllm._custom_ops._supports_onednn = False
# Left to itself vLLM rounds to bfloat16, and differences of that size would hide behind it.
trl.generation.vllm_generation.LLM = functools.partial(LLM, dtype="float32")

counts = {"processed": 0, "encoded": 0}


def count(owner: type, name: str, what: str, images_in) -> None:
    """Let a method of vLLM's add up the images it gets."""
    plain = getattr(owner, name)

    def counted(self, *args, **kwargs):
        counts[what] += images_in(*args, **kwargs)
        return plain(self, *args, **kwargs)

    setattr(owner, name, counted)


count(
    Qwen2_5_VLMultiModalProcessor,
    "_call_hf_processor",
    "processed",
    lambda mm_data, **_: len(mm_data.get("images", [])),
)
count(
    Qwen2_5_VLForConditionalGeneration,
    "_process_image_input",
    "encoded",
    lambda image_input: len(image_input["image_grid_thw"]),
)


class RecordedRollouts(GroupRollouts):
    """Rollouts that are compared with the policy that trains on them."""

    def __init__(self, rollouts: GroupRollouts, trainer: CurriculumGRPOTrainer) -> None:
        self._rollouts, self._trainer = rollouts, trainer
        self.calls: list[dict] = []
        self._first: tuple | None = None

    def __getattr__(self, name: str):
        return getattr(self._rollouts, name)

    def generate(self, prompts, images, num_generations, profiler=None) -> tuple:
        self._first = self._first or (prompts[0], images[0])
        before = dict(counts)
        read, completions, logprobs, tokens = self._rollouts.generate(
            prompts, images, num_generations, profiler
        )
        made = {name: counts[name] - before[name] for name in counts}
        self.calls.append(
            {
                "step": self._trainer.state.global_step,
                "sent": prompts,
                "read": [list(ids) for ids in read],
                "distinct": len(prompts) // num_generations,
                **made,
                "completions": [list(ids) for ids in completions],
                "vllm": [[each[0] for each in row] for row in logprobs],
                "policy": [self._policy(*row) for row in zip(prompts, images, completions, strict=True)],
                "greedy": self._greedy(*self._first),
                "unbiased": self._unbiased(*self._first),
            }
        )
        return read, completions, logprobs, tokens

    @torch.no_grad()
    def _policy(self, prompt: list[int], images: list, completion: list[int]) -> list[float]:
        """The policy's log-probabilities of a completion's tokens, by a forward pass of transformers' own."""
        processor, model = self._trainer.processing_class, self._trainer.model
        seen = processor.image_processor(images=images, return_tensors="pt")
        ids = torch.tensor([[*prompt, *completion]])
        kinds = (ids == processor.image_token_id).int()
        logits = model(input_ids=ids, mm_token_type_ids=kinds, **seen).logits[0, len(prompt) - 1 : -1]
        logits[:, processor.image_token_id] = float("-inf")
        return logits.float().log_softmax(-1)[range(len(completion)), completion].tolist()

    def _greedy(self, prompt: list[int], images: list) -> list[int]:
        """vLLM's likeliest answer to a prompt."""
        engine = self._rollouts.llm
        engine.group_size = 1
        row = {"prompt_token_ids": prompt, "multi_modal_data": {"image": images[0]}}
        (output,) = engine.generate([row], SamplingParams(temperature=0.0, max_tokens=24), use_tqdm=False)
        return list(output.outputs[0].token_ids)

    def _unbiased(self, prompt: list[int], images: list) -> list[int]:
        """What vLLM samples where nothing forbids image tokens."""
        processor = self._trainer.processing_class
        row = {
            "prompt_token_ids": one_token_per_image(prompt, processor.image_token_id),
            "multi_modal_data": {"image": images[0]},
            "mm_processor_kwargs": pixel_limits(processor),
        }
        sampling = SamplingParams(n=8, temperature=1.0, max_tokens=24)
        (output,) = self._rollouts.llm._engine.generate([row], sampling, use_tqdm=False)
        return [token for each in output.outputs for token in each.token_ids]


class OpenTrainer(CurriculumGRPOTrainer):
    stage = STAGES["open"]


def main(record: Path, flags: list[str]) -> None:
    trainer = build_trainer(prepare(STAGES["open"], flags), OpenTrainer)
    rollouts = RecordedRollouts(trainer.vllm_generation, trainer)
    trainer.vllm_generation = rollouts
    trainer.train()
    image_token = trainer.processing_class.image_token_id
    found = {"calls": rollouts.calls, "history": trainer.state.log_history, "image_token": image_token}
    record.with_stem(f"{record.stem}{trainer.args.process_index}").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
