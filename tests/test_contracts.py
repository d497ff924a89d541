"""What this project uses or overrides of its libraries without being told that it stays: is it all there?

A library that renames one of these breaks training without an error: an override that nobody calls is silent.
Each test names what is gone and the version it was pinned at.
"""

import importlib
import importlib.metadata
import inspect
import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SWIFT_PYTHON = ROOT / ".venv-sft/bin/python"

METHODS = {
    "trl GRPOTrainer._prepare_inputs": ["generation_batch"],
    "trl GRPOTrainer._generate_and_score_completions": ["inputs"],
    "trl GRPOTrainer._generate_single_turn": ["prompt_ids", "images", "multimodal_fields"],
    "trl GRPOTrainer._get_per_token_logps_and_entropies": [
        *("model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy"),
        *("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids"),
    ],
    "trl GRPOTrainer._calculate_rewards": ["inputs", "prompts", "completions", "completion_ids_list"],
    "trl GRPOTrainer._compute_loss": ["model", "inputs"],
    "trl GRPOTrainer._get_train_sampler": ["dataset"],
    "trl GRPOTrainer.compute_loss": ["model", "inputs"],
    "trl GRPOTrainer.log": ["logs", "start_time"],
    "trl.trainer.utils split_pixel_values_by_grid": ["batch"],
    "trl.trainer.utils unsplit_pixel_values_by_grid": ["batch"],
    "trl.trainer.utils split_tensor_dict": ["tensor_dict", "num_chunks"],
    "trl.trainer.utils RepeatSampler.__init__": [
        *("data_source", "mini_repeat_count", "batch_size", "repeat_count", "shuffle", "seed")
    ],
    "transformers Trainer._run_epoch": ["epoch"],
    "transformers Trainer._load_from_checkpoint": ["resume_from_checkpoint", "model"],
    "transformers Trainer._load_best_model": [],
    "transformers Trainer._load_optimizer_and_scheduler": ["checkpoint"],
    "transformers Trainer._get_grad_norm": ["model", "grad_norm"],
    "transformers GenerationMixin._update_model_kwargs_for_generation": ["outputs", "model_kwargs"],
    "transformers.integrations.deepspeed unset_hf_deepspeed_config": [],
    "transformers.integrations.sdpa_attention sdpa_attention_forward": ["module", "query", "key", "value"],
    "transformers.models.qwen2_vl.image_processing_qwen2_vl smart_resize": ["height", "width", "factor"],
}
ATTRIBUTES = [
    "transformers.integrations.deepspeed _hf_deepspeed_config_weak_ref",
    "transformers.integrations.integration_utils INTEGRATION_TO_CALLBACK",
    "trl.trainer.utils _CHUNKED_LOGPROB_CHUNK_SIZE",
    "trl.kernels.chunked_logprob TOKEN_CHUNK_SIZE",
    "wandb.sdk.lib.wbauth authenticate_session",
]
IN_SOURCE = {
    "trl GRPOTrainer": ["self._logs", "self._step", "self._buffered_inputs"],
    "transformers Trainer": ["save_only_model", "self._get_grad_norm(", "self._load_best_model("],
}
OF_SWIFT = {
    "swift.callbacks callbacks_map": None,
    "swift.template.templates.qwen Qwen2VLTemplate.init_processor": ["processor"],
    "swift.dataset.preprocessor.core RowPreprocessor.standard_keys": None,
    "swift.arguments SftArguments": None,
    "swift.cli.sft __file__": None,
}
_ASK_SWIFT = """
import importlib, inspect, json, sys
found = {}
for name in json.loads(sys.argv[1]):
    module, path = name.split()
    thing = importlib.import_module(module)
    try:
        for part in path.split("."):
            thing = getattr(thing, part)
        found[name] = list(inspect.signature(thing).parameters) if inspect.isroutine(thing) else []
    except AttributeError:
        pass
print(json.dumps(found))
"""


def find(name: str) -> object:
    """What a name `MODULE PATH` means; fails with the name where it means nothing."""
    module, path = name.split()
    package = module.partition(".")[0]
    version = importlib.metadata.version(package)
    thing = importlib.import_module(module)
    for part in path.split("."):
        assert hasattr(thing, part), f"{package} {version} has no {name}"
        thing = getattr(thing, part)
    return thing


@pytest.mark.parametrize("name", METHODS)
def test_methods_take_what_they_are_given(name):
    taken = inspect.signature(find(name)).parameters
    missing = [parameter for parameter in METHODS[name] if parameter not in taken]
    assert not missing, f"{name} no longer takes {missing}: it takes {list(taken)}"


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_are_there(name):
    find(name)


@pytest.mark.parametrize("name", IN_SOURCE)
def test_what_is_set_at_run_time_is_still_used(name):
    source = inspect.getsource(find(name))
    assert not [text for text in IN_SOURCE[name] if text not in source]


@pytest.mark.slow
@pytest.mark.skipif(not SWIFT_PYTHON.exists(), reason="no .venv-sft: scripts/setup.sh makes it")
def test_swift_has_what_its_plugins_and_checks_use():
    command = [str(SWIFT_PYTHON), "-c", _ASK_SWIFT, json.dumps(list(OF_SWIFT))]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stderr[-2000:]
    found = json.loads(answer.stdout.splitlines()[-1])
    for name, parameters in OF_SWIFT.items():
        assert name in found, f"ms-swift has no {name}"
        assert set(parameters or []) <= set(found[name]), name
