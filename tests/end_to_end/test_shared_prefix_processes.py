"""Two processes that compute each prompt once train like two that do it TRL's way."""

import json

import pytest
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from started_processes import start_processes
from trained_weights import apart

from curr_reft.models.packing_budget import split_rows
from curr_reft.training.run import run_stage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def launch(root, tmp_path_factory, world, tiny_base, trainers):
    """Train the open stage in two processes; returns the output directory."""

    def run(*flags):
        out = tmp_path_factory.mktemp("processes") / "run"
        argv = [
            *("--model_name_or_path", str(tiny_base), "--output_dir", str(out), "--image_root", str(world)),
            *("--dataset_name", str(root / "configs/data/others/shapes.yaml"), "--num_generations", "4"),
            *("--max_completion_length", "36", "--max_steps", "4", "--learning_rate", "1e-4"),
            *("--save_strategy", "no", "--disable_tqdm", "true", *flags),
        ]

        class Counting(trainers["open"]):
            def _parts(self, rows):
                parts = super()._parts(rows)
                line = [len(split_rows(rows, self._max_packed_tokens)), len(parts)]
                with open(out.parent / f"packs-{self.args.process_index}.jsonl", "a") as file:
                    file.write(json.dumps(line) + "\n")
                return parts

        def main(flags):
            # A forked process has its parent's: that of an earlier test, which trained alone.
            AcceleratorState._reset_state(reset_partial_state=True)
            run_stage(Counting, flags)

        processes = start_processes(main, argv, 2)
        for process in processes:
            process.join(300)
            # A process that waits for another's pass would wait for ever.
            process.kill()
            process.join()
        assert [process.exitcode for process in processes] == [0, 0]
        return out

    return run


def history(out):
    logs = json.loads((out / "trainer_state.json").read_text())["log_history"]
    return [entry for entry in logs if "grad_norm" in entry]


def packs(out):
    """Of each forward pass and process: the packs its rows need, and those computed."""
    files = [out.parent / f"packs-{rank}.jsonl" for rank in range(2)]
    return list(zip(*([json.loads(line) for line in file.open()] for file in files), strict=True))


@pytest.fixture(scope="module")
def trls_way(launch):
    return launch("--shared_prefix", "false")


def assert_same_run(ours, theirs, tiny_base):
    for our, their in zip(history(ours), history(theirs), strict=True):
        for name in ("loss", "grad_norm", "reward", "kl", "entropy", "completions/mean_length"):
            assert our[name] == pytest.approx(their[name], rel=1e-3, abs=1e-6), name
    assert any(entry["reward_std"] > 0 for entry in history(theirs))
    our, their, base = (load_file(folder / "model.safetensors") for folder in (ours, theirs, tiny_base))
    assert apart(our, their, base) <= 1e-3


def test_data_parallel(launch, trls_way, tiny_base):
    out = launch()
    assert [entry["shared_prefix/packed"] for entry in history(out)] == [1.0] * 4
    assert_same_run(out, trls_way, tiny_base)


def test_processes_that_need_different_numbers_of_packs_wait_for_none(launch, trls_way, tiny_base):
    out = launch("--max_packed_tokens", "110")
    needed = [[need for need, _ in each] for each in packs(out)]
    assert any(one != other for one, other in needed), "choose a number that the processes' rows split at"
    for need, each in zip(needed, packs(out), strict=True):
        assert [computed for _, computed in each] == [max(need)] * 2
    assert_same_run(out, trls_way, tiny_base)


def test_zero_3_in_several_packs(launch, trls_way, root, tiny_base):
    out = launch("--deepspeed", str(root / "configs/deepspeed/zero3.json"), "--max_packed_tokens", "110")
    assert max(computed for each in packs(out) for _, computed in each) > 1
    assert_same_run(out, trls_way, tiny_base)
