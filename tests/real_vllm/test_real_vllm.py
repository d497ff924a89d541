"""Evaluation and training by the real vLLM, in its CPU build, on the tiny model.

Not here, since a CPU cannot do it: rollouts by a server, whose weights go by NCCL
(`tests/training/test_vllm_rollouts.py` has a stand-in for it), and sleep mode, which vLLM ignores on a CPU.
"""

import json
from pathlib import Path

import pytest

from curr_reft.self_improvement.records import CANDIDATES, read_candidates

pytestmark = [pytest.mark.slow, pytest.mark.vllm]


def rows_of(folder: Path) -> dict[str, list[dict]]:
    return {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted(folder.glob("*.jsonl"))
    }


# Evaluation


def test_vllm_answers_as_transformers_does(by_transformers, evaluation_flags, run, tmp_path):
    flags = [*evaluation_flags, "--output_dir", tmp_path / "out", "--max_new_tokens", "64"]
    result = run("eval/evaluate.py", *flags, "--backend", "vllm")
    assert result.returncode == 0, result.stderr
    ours, theirs = rows_of(tmp_path / "out"), rows_of(by_transformers)
    for rows in (*ours.values(), *theirs.values()):
        for row in rows:
            # Of all that an answer depends on, which backend gave it among the rest.
            del row["digest"]
    assert sum(map(len, ours.values())) == 120
    assert ours == theirs


def test_vllm_samples_answers_to_images_and_to_text_alone(evaluation_flags, run, tmp_path):
    config = ("--config", "configs/self_improvement/shapes.yaml", "--output_dir", tmp_path / "out")
    model, data = evaluation_flags[:2], evaluation_flags[4:]
    sampling = ("--num_samples", "4", "--max_new_tokens", "48", "--backend", "vllm")
    result = run("-m", "curr_reft.self_improvement.candidates", *model, *data, *config, *sampling)
    assert result.returncode == 0, result.stderr
    found = read_candidates(tmp_path / "out" / CANDIDATES)
    assert len(found) == 6 * 4 * 4
    assert {each.image is None for each in found} == {True, False}
    for image in (True, False):
        groups = [found[start : start + 4] for start in range(0, len(found), 4)]
        answers = [
            {each.completion for each in group} for group in groups if (group[0].image is None) == image
        ]
        assert any(len(each) > 1 for each in answers)


# Training


def assert_trains_on_what_vllm_sampled(record: dict) -> None:
    calls, history = record["calls"], record["history"]
    assert [call["step"] for call in calls] == [0, 1, 2, 3]
    for call in calls:
        assert call["read"] == call["sent"]
        assert call["distinct"] == 2
        # What vLLM processed it keeps; what old weights made of an image it must not.
        assert call["processed"] <= call["encoded"] == 2
        assert record["image_token"] not in {token for row in call["completions"] for token in row}
        # Of the weights of this step: those of the last would be far off.
        for vllm, policy in zip(call["vllm"], call["policy"], strict=True):
            assert vllm == pytest.approx(policy, abs=1e-3)
    steps = [entry for entry in history if "grad_norm" in entry]
    assert len(steps) == 4
    assert steps[-1]["kl"] > 0.01
    assert all(entry["rewards/format/mean"] > 0 for entry in steps)
    assert any(entry["reward_std"] > 0 for entry in steps)
    # Nothing is corrected for who sampled: the released objective.
    assert not any("importance_sampling" in name for entry in steps for name in entry)


def test_colocate_rollouts_are_the_policys(trained):
    (record,) = trained()
    assert_trains_on_what_vllm_sampled(record)
    assert record["calls"][0]["greedy"] != record["calls"][-1]["greedy"]
    assert record["history"][0]["shared_prefix/packed"] == 1


def test_two_processes_sample_for_their_own_prompts(trained):
    records = trained(launcher=("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"))
    assert len(records) == 2
    assert records[0]["calls"][0]["sent"] != records[1]["calls"][0]["sent"]
    for record in records:
        record["history"] = record["history"] or records[0]["history"]
        assert_trains_on_what_vllm_sampled(record)


def test_image_tokens_are_never_sampled(trained, fond_of_image_tokens):
    (record,) = trained("--model_name_or_path", fond_of_image_tokens, "--shared_prefix", "false")
    assert_trains_on_what_vllm_sampled(record)
    assert record["image_token"] in record["calls"][0]["unbiased"]
    assert "shared_prefix/packed" not in record["history"][0]


# What is refused, before weights load


def test_what_vllm_cannot_do_ends_in_one_line(run, evaluation_flags, stage_flags, changed_base, tmp_path):
    unknown = changed_base(architectures=["OfNobodyForConditionalGeneration"])
    out = ("--output_dir", str(tmp_path / "out"))
    evaluation = ["eval/evaluate.py", *evaluation_flags, *out, "--backend", "vllm"]
    training = ["train_code/grpo/stage3_open.py", *stage_flags("open", "--use_vllm", "true")]
    model = {"eval": ["--model", str(unknown)], "train": ["--model_name_or_path", str(unknown)]}
    no_room, room = {"VLLM_CPU_KVCACHE_SPACE": "99999"}, {"VLLM_CPU_KVCACHE_SPACE": "1"}
    commands = [
        {"environment": no_room, "argv": evaluation},
        {"environment": no_room, "argv": training},
        {"environment": room, "argv": [*evaluation, *model["eval"]]},
        {"environment": room, "argv": [*training, *model["train"]]},
    ]
    script = Path(__file__).with_name("each_command.py")
    result = run(script, stdin=json.dumps(commands))
    assert [line for line in result.stdout.splitlines() if line.isdigit()] == ["2"] * 4, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert len(errors) == 4
    assert errors[0].startswith("error: --backend vllm: no room for vLLM's cache: it takes 99999.0 GiB and")
    assert errors[1].startswith("error: --use_vllm: no room for vLLM's cache: it takes 99999.0 GiB and")
    for flag, error in zip(("--model", "--model_name_or_path"), errors[2:], strict=True):
        assert error.startswith(
            f"error: {flag} {unknown}: vLLM cannot serve it: Model architectures ['OfNobody"
        )
    assert "Traceback" not in result.stderr
