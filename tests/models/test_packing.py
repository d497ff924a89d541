"""A prompt computed once for all its completions gives what TRL's pass over each of them gives."""

import json
import shutil
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from prompt_batches import Question, padded_batch, scored
from transformers import (
    AutoModelForImageTextToText,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)
from trl.trainer.utils import split_pixel_values_by_grid, unsplit_pixel_values_by_grid

from curr_reft.errors import InputError
from curr_reft.models.packing import pack, unsupported_reason
from curr_reft.models.packing_budget import packed_tokens, split_further, split_rows
from curr_reft.models.padded_rows import PaddedRow, groups_of, rows_of
from curr_reft.training.run import build_trainer, prepare, run_stage

TOLERANCE = 1e-5

BATCHES = {
    "a group of two": [Question(6, ((4, 6),), (7, 3))],
    "a group of sixteen": [Question(3, ((2, 4),), tuple(range(1, 17)))],
    "one completion": [Question(4, ((4, 4),), (5,))],
    "an empty completion": [Question(4, ((4, 4),), (5, 0, 9))],
    "prompts of several lengths": [
        Question(2, ((4, 4),), (5, 8)),
        Question(19, ((8, 10),), (1, 4)),
        Question(7, ((2, 2),), (6, 2)),
    ],
    "one and two images": [Question(5, ((4, 6),), (3, 7)), Question(5, ((6, 2), (4, 10)), (8, 4))],
    "no images": [Question(5, (), (3, 7)), Question(9, (), (4, 4))],
    "a prompt without an image": [Question(5, ((4, 6),), (3, 7)), Question(9, (), (4, 5))],
    "a group of empty completions": [Question(5, ((4, 6),), (0, 0)), Question(9, ((4, 4),), (4, 5))],
    "nothing but empty completions": [Question(5, ((4, 6),), (0, 0))],
}


@pytest.fixture(scope="module")
def build(world, tiny_base, root, trainers, tmp_path_factory):
    """Make the open stage's trainer, ready for a loss."""

    def make(*flags, base=tiny_base):
        known = [
            *("--model_name_or_path", str(base), "--image_root", str(world), "--beta", "0.04"),
            *("--dataset_name", str(root / "configs/data/others/shapes.yaml")),
            *("--output_dir", str(tmp_path_factory.mktemp("trainer") / "run")),
        ]
        trainer = build_trainer(prepare(trainers["open"].stage, [*known, *flags]), trainers["open"])
        trainer.current_gradient_accumulation_steps = 1
        trainer.model.train()
        return trainer

    return make


@pytest.fixture(scope="module")
def qwen2_vl(tiny_base, tmp_path_factory):
    """A random Qwen2-VL with the tiny base's processor."""
    directory = tmp_path_factory.mktemp("qwen2_vl") / "base"
    shutil.copytree(tiny_base, directory)
    settings = json.loads((directory / "config.json").read_text())
    text = {**settings.pop("text_config"), "model_type": "qwen2_vl_text"}
    vision = {"depth": 2, "embed_dim": 64, "num_heads": 2, "hidden_size": 128, "mlp_ratio": 2}
    settings = {**settings, "model_type": "qwen2_vl", "architectures": None}
    config = Qwen2VLConfig(**{**settings, "text_config": text, "vision_config": vision})
    torch.manual_seed(0)
    Qwen2VLForConditionalGeneration(config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen2_vl"])
def pair(request, build):
    """Trainers of the same weights, with and without shared prefixes."""
    base = request.getfixturevalue({"qwen2_vl": "qwen2_vl", "qwen2_5_vl": "tiny_base"}[request.param])
    shared, ordinary = (build("--shared_prefix", flag, base=base) for flag in ("true", "false"))
    assert (shared.shares_prefix, ordinary.shares_prefix) == (True, False)
    assert shared.model.config.model_type == request.param
    return SimpleNamespace(shared=shared, ordinary=ordinary)


def batch_of(name, trainer):
    """A batch whose reference is a little off the policy, so that the KL term counts and does not explode."""
    batch = padded_batch(BATCHES[name], trainer.model.config.image_token_id)
    with torch.no_grad():
        log_probs, *_ = trainer._get_per_token_logps_and_entropies(trainer.model, **scored(batch))
    return {**batch, "ref_per_token_logps": log_probs + batch["ref_per_token_logps"]}


def results(trainer, batch):
    """Log-probabilities, entropies, loss, and the gradient of each parameter that gets one."""
    log_probs, entropies, _ = trainer._get_per_token_logps_and_entropies(
        trainer.model, compute_entropy=True, **scored(batch)
    )
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    parameters = trainer.model.named_parameters()
    gradients = {name: value.grad for name, value in parameters if value.grad is not None}
    return SimpleNamespace(
        log_probs=log_probs.detach(), entropies=entropies.detach(), loss=loss.detach(), gradients=gradients
    )


def assert_same(actual, expected, tolerance=TOLERANCE):
    torch.testing.assert_close(actual.log_probs, expected.log_probs, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(actual.entropies, expected.entropies, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(actual.loss, expected.loss, rtol=tolerance, atol=tolerance)
    assert actual.gradients.keys() == expected.gradients.keys()
    # A bias of keys moves all scores of a query alike: its gradient is 0 but for rounding.
    whole = torch.cat([value.flatten() for value in expected.gradients.values()]).norm()
    for name, value in expected.gradients.items():
        difference = (actual.gradients[name] - value).norm()
        assert difference <= tolerance * max(value.norm(), 1e-2 * whole), name


@pytest.mark.parametrize("name", BATCHES)
def test_log_probs_loss_and_gradients_are_trls(name, pair):
    batch = batch_of(name, pair.ordinary)
    expected = results(pair.ordinary, batch)
    assert_same(results(pair.shared, batch), expected)


def rows_in(batch):
    fields = scored(batch)
    return rows_of(
        fields.pop("input_ids"), fields.pop("attention_mask"), fields.pop("logits_to_keep"), fields
    )


@pytest.mark.parametrize("name", ["prompts of several lengths", "one and two images"])
def test_log_probs_are_those_of_each_completion_alone(name, pair):
    batch = batch_of(name, pair.ordinary)
    actual = results(pair.shared, batch)
    model = AutoModelForImageTextToText.from_pretrained(pair.shared.model.name_or_path, dtype=torch.float32)
    for index, row in enumerate(rows_in(batch)):
        length = len(row.completion)
        with torch.no_grad():
            logits = model(
                input_ids=torch.cat([row.prompt, row.completion])[None],
                mm_token_type_ids=torch.nn.functional.pad(row.token_types, (0, length))[None],
                pixel_values=row.pixel_values,
                image_grid_thw=row.image_grid_thw,
            ).logits[0, -length - 1 : -1]
        expected = logits.log_softmax(-1)
        chosen = expected.gather(-1, row.completion[:, None])[:, 0]
        entropies = -(expected.exp() * expected).sum(-1)
        torch.testing.assert_close(actual.log_probs[index, :length], chosen, rtol=1e-5, atol=TOLERANCE)
        torch.testing.assert_close(actual.entropies[index, :length], entropies, rtol=1e-5, atol=TOLERANCE)
        assert not actual.log_probs[index, length:].any()


@pytest.fixture
def passes(pair):
    """Packed tokens of each pass through the shared model, those of the backward pass as well."""
    lengths = []
    hook = pair.shared.model.model.language_model.register_forward_pre_hook(
        lambda _, __, inputs: lengths.append(inputs["inputs_embeds"].shape[1]), with_kwargs=True
    )
    yield lengths
    hook.remove()


# All take 85, the longest prompt with its longer completion 45.
@pytest.mark.parametrize(("most", "packs"), [(None, 1), (85, 1), (84, 2), (60, 3), (45, 4)])
@pytest.mark.parametrize("pair", ["qwen2_5_vl"], indirect=True)
def test_packs_of_any_size_give_the_same(most, packs, pair, passes, monkeypatch):
    batch = batch_of("prompts of several lengths", pair.ordinary)
    monkeypatch.setattr(pair.shared, "_max_packed_tokens", most)
    actual = results(pair.shared, batch)
    # One pass for log-probabilities alone, one for the loss, and of several packs one in the backward pass.
    assert len(passes) == (2 if packs == 1 else 3 * packs)
    assert max(passes) <= (most or 85)
    assert_same(actual, results(pair.ordinary, batch))


@pytest.mark.parametrize("most", [None, 60])
@pytest.mark.parametrize("pair", ["qwen2_5_vl"], indirect=True)
def test_gradient_checkpointing_gives_the_same(most, pair, monkeypatch):
    batch = batch_of("one and two images", pair.ordinary)
    expected = results(pair.ordinary, batch)
    monkeypatch.setattr(pair.shared, "_max_packed_tokens", most)
    pair.shared.model.gradient_checkpointing_enable({"use_reentrant": False})
    try:
        assert_same(results(pair.shared, batch), expected)
    finally:
        pair.shared.model.gradient_checkpointing_disable()


def reordered(batch, order):
    batch = split_pixel_values_by_grid(batch)
    return unsplit_pixel_values_by_grid(
        {
            name: [value[index] for index in order] if isinstance(value, list) else value[order]
            for name, value in batch.items()
        }
    )


@pytest.mark.parametrize("pair", ["qwen2_5_vl"], indirect=True)
def test_groups_in_parts_give_the_same(pair):
    batch = batch_of("prompts of several lengths", pair.ordinary)
    order = [0, 2, 1, 4, 5, 3]
    mixed = reordered(batch, order)
    assert [len(group) for group in groups_of(rows_in(mixed))] == [1, 1, 1, 2, 1]
    actual = results(pair.shared, mixed)
    assert_same(actual, results(pair.ordinary, mixed))
    torch.testing.assert_close(
        actual.log_probs, results(pair.shared, batch).log_probs[order], rtol=0, atol=TOLERANCE
    )


def other_pixels(batch):
    batch["pixel_values"][24:] += 0.5


def other_shape(batch):
    batch["image_grid_thw"][1] = torch.tensor([1, 6, 4])


@pytest.mark.parametrize("change", [other_pixels, other_shape])
@pytest.mark.parametrize("pair", ["qwen2_5_vl"], indirect=True)
def test_the_same_words_about_other_images_are_another_prompt(change, pair):
    batch = batch_of("a group of two", pair.ordinary)
    assert [row.group for row in rows_in(batch)] == [0, 0]
    change(batch)
    assert [row.group for row in rows_in(batch)] == [0, 1]
    assert_same(results(pair.shared, batch), results(pair.ordinary, batch))


@pytest.mark.parametrize("pair", ["qwen2_5_vl"], indirect=True)
def test_a_pack_is_laid_out_as_documented(pair):
    prompt, first, second = torch.tensor([1, 2, 3]), torch.tensor([11, 12, 13]), torch.tensor([21, 22])
    rows = [PaddedRow(0, prompt, each, torch.zeros_like(prompt), None, None) for each in (first, second)]
    packed = pack(rows, pair.shared.model.model.get_rope_index)
    assert packed["input_ids"].tolist() == [[1, 2, 3, 11, 12, 3, 21]]
    assert packed["position_ids"].tolist() == [[[0, 1, 2, 3, 4, 2, 3]]] * 3
    assert packed["shift_labels"].tolist() == [[11, 12, 13, 21, 22]]
    assert packed["predicts"].tolist() == [False, False, *[True] * 5]
    assert packed_tokens(rows) == 7


@st.composite
def some_rows(draw):
    rows = []
    for group in range(draw(st.integers(1, 4))):
        prompt = torch.arange(draw(st.integers(1, 12)))
        for length in draw(st.lists(st.integers(0, 9), min_size=1, max_size=6)):
            rows.append(PaddedRow(group, prompt, torch.arange(length), torch.zeros_like(prompt), None, None))
    return rows


@given(rows=some_rows(), slack=st.integers(0, 40))
def test_rows_are_cut_in_order_where_the_next_does_not_fit(rows, slack):
    most = max(packed_tokens([row]) for row in rows) + slack
    parts = split_rows(rows, most)
    assert [id(row) for part in parts for row in part] == [id(row) for row in rows]
    assert all(part and packed_tokens(part) <= most for part in parts)
    assert all(packed_tokens([*part, after[0]]) > most for part, after in pairwise(parts))
    assert split_rows(rows, None) == [rows]


@given(rows=some_rows(), slack=st.integers(0, 40), data=st.data())
def test_parts_are_halved_until_there_are_enough(rows, slack, data):
    parts = split_rows(rows, max(packed_tokens([row]) for row in rows) + slack)
    count = data.draw(st.integers(1, len(rows)))
    more = split_further(parts, count)
    assert len(more) == max(count, len(parts))
    assert all(more)
    assert [id(row) for part in more for row in part] == [id(row) for row in rows]


def test_a_completion_that_does_not_fit_is_named_with_its_lengths():
    prompt = torch.arange(30)
    row = PaddedRow(0, prompt, torch.arange(11), torch.zeros_like(prompt), None, None)
    assert split_rows([row], 40) == [[row]]
    with pytest.raises(InputError) as caught:
        split_rows([row], 39)
    assert str(caught.value) == (
        "--max_packed_tokens 39: a prompt of 30 tokens with a completion of 11 takes 40; raise it, or lower"
        " --max_prompt_length or --max_completion_length"
    )


ADAPTER = (
    *("--use_peft", "true", "--lora_r", "4", "--lora_dropout", "0", "--temperature", "0.7"),
    "--lora_target_modules",
)


# The last of the second kind is the convolution of patches.
@pytest.mark.slow
@pytest.mark.parametrize("modules", [["all-linear"], ["q_proj", "v_proj", "qkv", "proj"]])
def test_an_adapter_gets_the_same_loss_and_gradient_and_is_off_in_the_reference(modules, build):
    trainers = [build(*ADAPTER, *modules, "--shared_prefix", flag) for flag in ("true", "false")]
    adapted = set()
    for trainer in trainers:
        torch.manual_seed(1)
        with torch.no_grad():
            for name, value in trainer.model.named_parameters():
                if value.requires_grad:
                    assert "lora" in name
                    adapted.add(name.partition(".lora")[0].rpartition(".")[2])
                    value.copy_(0.05 * torch.randn_like(value))
    assert adapted >= set(modules) - {"all-linear"}
    batch = batch_of("one and two images", trainers[1])
    actual, expected = (results(trainer, batch) for trainer in trainers)
    assert actual.gradients
    assert_same(actual, expected)

    rows = [trainers[0].train_dataset[index] for index in (0, 0, 0, 0, 12, 12, 12, 12)]
    made = trainers[0]._generate_and_score_completions(rows)
    base = build("--shared_prefix", "false", "--temperature", "0.7")
    with torch.no_grad():
        reference, *_ = base._get_per_token_logps_and_entropies(base.model, **scored(made))
        policy, *_ = trainers[0]._get_per_token_logps_and_entropies(trainers[0].model, **scored(made))
    torch.testing.assert_close(made["ref_per_token_logps"], reference, rtol=0, atol=TOLERANCE)
    assert (policy - reference).abs().max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("pair", ["qwen2_5_vl"], indirect=True)
def test_bfloat16_is_as_near_as_trls_pass_is(build, pair):
    batch = batch_of("prompts of several lengths", pair.ordinary)
    exact = results(pair.ordinary, batch)
    ours, theirs = (
        results(build("--bf16", "true", "--shared_prefix", flag), batch) for flag in ("true", "false")
    )
    # 8 bits of significand; both passes round, each in its order.
    assert_same(ours, theirs, tolerance=2**-5)
    errors = [(each.log_probs - exact.log_probs).abs().max() for each in (ours, theirs)]
    assert 0 < errors[0] <= 1.5 * errors[1]


@pytest.fixture(scope="module")
def sliding_base(tiny_base, tmp_path_factory):
    """The tiny base with windows in its last layer, shorter than any prompt."""
    directory = tmp_path_factory.mktemp("sliding") / "base"
    shutil.copytree(tiny_base, directory)
    settings = json.loads((directory / "config.json").read_text())
    layers = ["full_attention"] * 3 + ["sliding_attention"]
    settings["text_config"] |= {"use_sliding_window": True, "sliding_window": 8, "layer_types": layers}
    (directory / "config.json").write_text(json.dumps(settings))
    return directory


@pytest.mark.slow
def test_sliding_windows_train_trls_way_and_one_line_says_so(build, sliding_base, caplog):
    flags = ("--max_steps", "1", "--max_completion_length", "8", "--num_generations", "2")
    trainer = build(*flags, base=sliding_base)
    said = [record.getMessage() for record in caplog.records if "--shared_prefix" in record.getMessage()]
    assert said == [
        "--shared_prefix: each completion is computed with its prompt, because its sliding-window layers"
        " would count another completion's tokens into the window"
    ]
    ordinary = build(*flags, "--shared_prefix", "false", base=sliding_base)
    batch = batch_of("one and two images", ordinary)
    assert_same(results(trainer, batch), results(ordinary, batch), tolerance=0)
    for each in (trainer, ordinary):
        assert not each.shares_rollouts
        torch.manual_seed(3)
        each.train()
        assert "shared_prefix/packed" not in each.state.log_history[0]
    expected = ordinary.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in trainer.model.state_dict().items())


def test_other_families_are_named():
    config = Qwen2Config(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    assert unsupported_reason(Qwen2ForCausalLM(config)) == (
        "qwen2 models have other positions and masks than qwen2_vl and qwen2_5_vl"
    )


@pytest.mark.parametrize(
    "where", ["__init__", "training_step", "prediction_step", "create_optimizer", "save_model"]
)
def test_out_of_memory_is_one_line_that_says_what_to_change(where, stage_flags, trainers, refused):
    def no_memory(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 9.00 GiB.")

    trainer = type("NoMemory", (trainers["open"],), {where: no_memory})
    evaluation = ("--eval_strategy", "steps", "--eval_steps", "1", "--eval_on_start", "true")
    flags = stage_flags("open", "--max_completion_length", "4", "--disable_tqdm", "true", *evaluation)
    error = refused(lambda: run_stage(trainer, flags)).strip().splitlines()[-1]
    assert error == (
        "error: out of memory: set or lower --max_packed_tokens (with --shared_prefix true), lower"
        " --per_device_train_batch_size and raise --gradient_accumulation_steps by as much, or pass"
        " --gradient_checkpointing true; in evaluation lower --per_device_eval_batch_size; where the weights"
        " alone are too much, share them with --deepspeed configs/deepspeed/zero3.json (CUDA out of memory."
        " Tried to allocate 9.00 GiB.)"
    )
