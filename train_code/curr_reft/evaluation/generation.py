"""Greedy answers of a model to prepared rows, batched by length and returned in the rows' order."""

from collections.abc import Iterator

import torch
from datasets import Dataset
from tqdm import tqdm
from transformers import AutoModelForImageTextToText, PreTrainedModel, ProcessorMixin

from curr_reft.data.dataset import Split, render_prompt


def load_model(checkpoint: str) -> PreTrainedModel:
    """Load a checkpoint for inference: bfloat16 on a GPU, float32 on a CPU."""
    on_gpu = torch.cuda.is_available()
    model = AutoModelForImageTextToText.from_pretrained(
        checkpoint, dtype=torch.bfloat16 if on_gpu else torch.float32
    )
    return model.to("cuda" if on_gpu else "cpu").eval()


def _batches(split: Split, batch_size: int) -> Iterator[list[int]]:
    order = sorted(range(len(split.prompt_tokens)), key=lambda index: -split.prompt_tokens[index])
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


@torch.inference_mode()
def _answer(
    model: PreTrainedModel, processor: ProcessorMixin, rows: Dataset, max_new_tokens: int
) -> list[str]:
    texts = [render_prompt(processor, row["prompt"][0]["content"]) for row in rows]
    inputs = processor(text=texts, images=[row["image"] for row in rows], padding=True, return_tensors="pt")
    outputs = model.generate(
        **inputs.to(model.device),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        top_k=None,
        temperature=None,
    )
    completions = outputs[:, inputs["input_ids"].shape[1] :]
    return processor.tokenizer.batch_decode(completions, skip_special_tokens=True)


def generate(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    split: Split,
    batch_size: int,
    max_new_tokens: int,
    description: str,
) -> list[str]:
    """One greedy completion per row of a split, in the split's order."""
    answers: list[str] = [""] * len(split.prompt_tokens)
    with tqdm(total=len(answers), desc=description, unit="row") as progress:
        for batch in _batches(split, batch_size):
            rows = [split.dataset[index] for index in batch]
            for index, answer in zip(batch, _answer(model, processor, rows, max_new_tokens), strict=True):
                answers[index] = answer
            progress.update(len(batch))
    return answers
