"""The loss and gradient are the early-2025 ones, recomputed here from plain forward passes."""

import pytest
import torch
from transformers import AutoModelForImageTextToText

from curr_reft.training.run import build_trainer, prepare

BETA = 0.04


def log_probs(model, inputs):
    """Log-probabilities of the completion tokens, (completions, tokens), from the full logits."""
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    logits = model(
        input_ids=ids,
        attention_mask=mask,
        pixel_values=inputs["pixel_values"],
        image_grid_thw=inputs["image_grid_thw"],
        mm_token_type_ids=inputs["mm_token_type_ids"],
    ).logits
    length = inputs["completion_ids"].shape[1]
    predicted = logits[:, -length - 1 : -1].log_softmax(-1)
    return predicted.gather(-1, inputs["completion_ids"].unsqueeze(-1)).squeeze(-1)


@pytest.mark.slow
def test_loss_and_gradient_match_the_formula(stage_flags, trainers, tiny_base):
    flags = stage_flags("open", "--num_generations", "4", "--per_device_train_batch_size", "3")
    trainer = build_trainer(prepare(trainers["open"].stage, flags), trainers["open"])
    rows = [row for row in (trainer.train_dataset[index] for index in (0, 12, 24)) for _ in range(4)]
    assert {row["task"] for row in rows} == {"detection", "classify", "math"}

    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    inputs = trainer._generate_and_score_completions(rows)
    # Away from the reference, so that the KL term and its gradient are not zero.
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(0.002 * torch.randn_like(parameter))
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()

    rewards = sum(torch.tensor(list(trainer._logs["rewards"][name])) for name in ("accuracy", "format"))
    groups = rewards.view(3, 4)
    expected_advantages = (
        (groups - groups.mean(1, keepdim=True)) / (groups.std(1, unbiased=True, keepdim=True) + 1e-4)
    ).flatten()
    assert expected_advantages.abs().sum() > 0, "no group has a signal: choose other rows"
    torch.testing.assert_close(inputs["advantages"], expected_advantages, rtol=1e-5, atol=1e-6)

    mask = inputs["completion_mask"]
    lengths = mask.sum(1)
    assert lengths.unique().numel() > 2, "the completions must differ in length"

    policy = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32)
    policy.load_state_dict(trainer.model.state_dict())
    reference = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32)
    log_policy = log_probs(policy, inputs)
    with torch.no_grad():
        log_reference = log_probs(reference, inputs)
    difference = log_reference - log_policy
    kl = difference.exp() - difference - 1
    per_token = (log_policy - log_policy.detach()).exp() * expected_advantages.unsqueeze(1) - BETA * kl
    expected_loss = -((per_token * mask).sum(1) / lengths).mean()
    expected_loss.backward()

    assert (kl * mask).sum() > 0
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=1e-7)
    expected = torch.cat([parameter.grad.flatten() for parameter in policy.parameters()])
    actual = torch.cat([parameter.grad.flatten() for parameter in trainer.model.parameters()])
    assert (actual - expected).norm() <= 1e-5 * expected.norm()
