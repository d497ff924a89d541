"""What a step runs, where the step has a choice."""

from pathlib import Path

import pytest

from curr_reft.curriculum.commands import commands_of, spelled
from curr_reft.curriculum.nodes import Nodes

TWO = Nodes(count=2, address="first", port=12347)


@pytest.fixture
def commands(loaded, tmp_path):
    """The commands of a curriculum's last step, given the folder of every model."""

    def of(steps: list, model: Path, nodes: Nodes = TWO):
        curriculum = loaded(steps)
        step = curriculum.steps[-1]
        names = ("base", *(each.name for each in curriculum.steps))
        models = {name: str(model) for name in names if name in (step.start, *step.of)}
        return list(commands_of(step, curriculum, models, nodes, tmp_path / "settings.yaml"))

    return of


@pytest.fixture
def adapter(tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return folder


def test_a_stage_runs_on_all_nodes_and_evaluation_on_the_first(commands, tiny_base):
    (stage,) = commands(["judge"], tiny_base)
    assert stage.everywhere
    assert {"--nnodes=2", "--node_rank=0", "--master_addr=first"} <= set(stage.arguments)
    (score,) = commands([{"run": "evaluation", "of": "base"}], tiny_base)
    assert not score.everywhere
    assert "--standalone" in score.arguments
    (tune,) = commands([{"run": "normal_sft"}], tiny_base)
    assert tune.everywhere
    assert {"NNODES": "2", "MASTER_ADDR": "first", "MASTER_PORT": "12347"}.items() <= tune.variables.items()


@pytest.mark.parametrize(
    "step",
    [{"run": "normal_sft"}, {"run": "evaluation", "of": "base", "flags": {"backend": "vllm"}}],
    ids=["fine-tuning on two nodes", "vLLM"],
)
def test_an_adapter_is_merged_where_a_step_takes_whole_weights_alone(step, commands, adapter):
    merge, command = commands([step], adapter)
    assert merge.arguments[1:4] == ("-m", "curr_reft.models.merge", str(adapter))
    assert not merge.everywhere
    assert merge.arguments[4] in command.arguments


def test_an_adapter_stays_one_where_a_step_takes_it(commands, adapter):
    (command,) = commands([{"run": "normal_sft"}], adapter, Nodes())
    assert str(adapter) in command.arguments
    (command,) = commands(["judge"], adapter)
    assert str(adapter) in command.arguments


def test_servers_and_vllm_are_asked_by_one_process(commands, tiny_base):
    flags = {"backend": "endpoint", "model_url": "http://127.0.0.1:1", "model_name": "m"}
    (asked,) = commands([{"run": "evaluation", "of": "base", "flags": flags, "processes": 8}], tiny_base)
    assert "--nproc_per_node=1" in asked.arguments
    assert "--model" not in asked.arguments


def test_flags_are_spelled_as_a_command_line():
    flags = {
        "suites": ["in", "out"],
        "final_only": True,
        "seed": 0,
        "image_dir": None,
        "no_images": False,
        "x": -1e-6,
    }
    assert spelled(flags) == ["--suites", "in", "out", "--final_only", "--seed", "0", "--x=-1e-06"]
