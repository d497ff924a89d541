"""The memory of a device, part by part, from a model's shape, how it is shared, and what is computed."""

from dataclasses import dataclass

from trl.kernels.chunked_logprob import TOKEN_CHUNK_SIZE
from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE

from curr_reft.training.memory_shape import ModelShape, Tower

FLOAT32 = 4
"""Bytes."""
_GIB = 2**30
_STATES = 2 * FLOAT32
"""AdamW's two averages; other optimizers keep less."""


@dataclass(frozen=True)
class Sharing:
    """How weights and optimizer are kept, and how they are spread over processes."""

    processes: int
    deepspeed: bool
    zero: int
    """Stage of DeepSpeed's ZeRO, 0 without."""
    host_optimizer: bool
    host_weights: bool
    live_parameters: int
    """Most parameters that ZeRO-3 has gathered at a time, outside of rollouts."""
    gathers: bool
    """Whether ZeRO-3 gathers all weights for rollouts."""
    weight_bytes: int
    trained_bytes: int
    compute_bytes: int
    autocast: bool
    reference: bool
    checkpointing: bool


@dataclass(frozen=True)
class Work:
    """The most that a device computes at a time."""

    tokens: int
    """That a forward and backward pass holds."""
    patches: int
    predicted: int
    """Tokens of completions, whose logits are computed."""
    cached: int
    """Tokens of all rows of a rollout, their prompts included; 0 where vLLM keeps them."""
    vllm: float = 0


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on each device; learning and rollouts take turns, the others stay."""

    weights: int
    reference: int
    gradients: int
    optimizer: int
    activations: int
    head: int
    """A piece of the logits, and the head's gradient in float32."""
    gathered_to_learn: int
    cache: int
    gathered_for_rollouts: int
    host: int
    """On the host instead, for each process."""
    vllm: float
    """The part of the device that vLLM takes for itself, 0 where it is not on it."""

    @property
    def held(self) -> int:
        return self.weights + self.reference + self.gradients + self.optimizer

    @property
    def learning(self) -> int:
        return self.activations + self.head + self.gathered_to_learn

    @property
    def rollouts(self) -> int:
        return self.cache + self.gathered_for_rollouts

    @property
    def total(self) -> int:
        return self.held + max(self.learning, self.rollouts)

    def rows(self) -> list[tuple[str, str]]:
        """The plan as names and values in GiB."""
        beside = f"; on the host {_gib(self.host)} GiB for each process" if self.host else ""
        beside += f"; beside it vLLM's {self.vllm:g} of the device" if self.vllm else ""
        return [
            ("memory per device, estimated", f"{_gib(self.total)} GiB at the longest prompts{beside}"),
            (
                "  held all the time",
                f"{_gib(self.held)} = weights {_gib(self.weights)} + reference {_gib(self.reference)}"
                f" + gradients {_gib(self.gradients)} + optimizer {_gib(self.optimizer)}",
            ),
            (
                "  more while learning",
                f"{_gib(self.learning)} = activations {_gib(self.activations)} + logits {_gib(self.head)}"
                f" + gathered weights {_gib(self.gathered_to_learn)}",
            ),
            (
                "  or in rollouts",
                f"{_gib(self.rollouts)} = gathered weights {_gib(self.gathered_for_rollouts)}"
                f" + cache {_gib(self.cache)}",
            ),
        ]


def _gib(size: int) -> str:
    return f"{size / _GIB:.{3 if 0 < size < _GIB / 10 else 1}f}"


def plan_memory(shape: ModelShape, sharing: Sharing, work: Work) -> MemoryPlan:
    """What the parts of a run hold."""

    def spread(size: int, from_stage: int) -> int:
        return -(-size // sharing.processes) if sharing.zero >= from_stage else size

    weights = spread(shape.parameters * sharing.weight_bytes, 3)
    reference = weights if sharing.reference else 0
    trained = shape.trained * sharing.trained_bytes
    if sharing.deepspeed:
        gradients = spread(trained, 2) + spread(shape.trained * FLOAT32, 1)
        optimizer = spread(shape.trained * (FLOAT32 + _STATES), 1)
    else:
        # Data parallel training sends gradients in buckets that are a copy of them.
        gradients = trained * (2 if sharing.processes > 1 else 1)
        optimizer = 2 * trained
    scattered = sharing.zero == 3 and (sharing.processes > 1 or sharing.host_weights)
    everything = shape.parameters * sharing.weight_bytes
    live = min(shape.parameters, sharing.live_parameters) * sharing.weight_bytes if scattered else 0
    host = (gradients + optimizer if sharing.host_optimizer else 0) + (
        weights + reference if sharing.host_weights else 0
    )
    copies = 2 * shape.trained if sharing.autocast else 0
    cached = 2 * shape.keys * shape.text.layers * sharing.compute_bytes
    return MemoryPlan(
        weights=0 if sharing.host_weights else weights,
        reference=0 if sharing.host_weights else reference,
        gradients=0 if sharing.host_optimizer else gradients,
        optimizer=0 if sharing.host_optimizer else optimizer,
        activations=_kept(shape, shape.text, work.tokens, sharing)
        + _kept(shape, shape.vision, work.patches, sharing)
        + copies,
        head=min(work.predicted, TOKEN_CHUNK_SIZE)
        * min(shape.vocabulary, _CHUNKED_LOGPROB_CHUNK_SIZE)
        * sharing.compute_bytes
        + shape.head * FLOAT32,
        gathered_to_learn=live,
        cache=work.cached * cached,
        gathered_for_rollouts=(everything if sharing.gathers else live) if scattered and work.cached else 0,
        host=host,
        vllm=work.vllm,
    )


def _kept(shape: ModelShape, tower: Tower, tokens: int, sharing: Sharing) -> int:
    """Bytes that a tower keeps for its backward pass; what is recomputed is one layer at a time.

    The terms were set by what torch saves for the tiny model (a test repeats that); a norm keeps its input in
    float32, its product and its output. Frozen weights keep no inputs, but each adapter keeps its own, in the
    adapter's type, and a byte for each number that dropout may drop.
    """
    unit = sharing.compute_bytes
    norm = (14 if sharing.autocast else FLOAT32 + 2 * unit) * tower.hidden
    layer = 2 * norm + (tower.attention + 4 * tower.intermediate) * unit
    if shape.frozen:
        if tower is shape.vision and not tower.adapted:
            return 0
        adapter = (unit if sharing.autocast else sharing.trained_bytes) + shape.dropout
        layer = 2 * FLOAT32 * tower.hidden + (tower.attention + 3 * tower.intermediate) * unit
        layer += adapter * tower.adapted // tower.layers
    if not sharing.checkpointing:
        return tokens * (tower.layers * layer + tower.ends * unit)
    inputs = tower.layers * tower.hidden * (FLOAT32 if sharing.autocast else unit)
    return tokens * (inputs + layer + tower.ends * unit)
