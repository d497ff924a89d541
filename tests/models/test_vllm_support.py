"""Which machine and which vLLM are refused, by a version and a machine that are made up."""

from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest

from curr_reft.models import vllm_support
from curr_reft.models.vllm_support import VERSION, vllm_fault

GIB = 2**30


@pytest.fixture
def machine(monkeypatch):
    """Sets the vLLM that is installed, and what the machine has."""
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)

    def make(installed: str | None, avx2: bool = True, gpu: tuple[int, int] | None = None) -> None:
        def version(package: str) -> str:
            assert package == "vllm"
            if installed is None:
                raise PackageNotFoundError(package)
            return installed

        memory = SimpleNamespace(total=20 * GIB, available=10 * GIB)
        monkeypatch.setattr(vllm_support, "version", version)
        monkeypatch.setattr(vllm_support, "has_avx2", lambda: avx2)
        monkeypatch.setattr("platform.machine", lambda: "x86_64")
        monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
        monkeypatch.setattr("torch.cuda.is_available", lambda: gpu is not None)
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: gpu)

    return make


def test_vllm_that_runs_has_no_fault(machine):
    machine(f"{VERSION}+cpu")
    assert vllm_fault(0.5) is None
    for build in ("", "+cu130"):
        machine(f"{VERSION}{build}", gpu=(79 * GIB, 80 * GIB))
        assert vllm_fault(0.92) is None
    # A server has a machine of its own.
    machine(VERSION)
    assert vllm_fault(0) is None


@pytest.mark.parametrize(
    ("made", "share", "fault"),
    [
        ({"installed": None}, 0, "vLLM is not installed; train_code/README.md"),
        ({"installed": "0.26.0"}, 0, f"vLLM 0.26.0 is installed, and this was written for {VERSION}"),
        ({"installed": "0.25.10+cpu"}, 0.5, "vLLM 0.25.10+cpu is installed"),
        ({"installed": f"{VERSION}+cpu", "avx2": False}, 0.5, "needs a processor with AVX2"),
        ({"installed": f"{VERSION}+cpu"}, 0.92, "it takes 18.4 GiB and 10.0 GiB of memory are free"),
        ({"installed": VERSION}, 0.5, f"vLLM {VERSION} is installed for GPUs, and this machine has none"),
        (
            {"installed": VERSION, "gpu": (70 * GIB, 80 * GIB)},
            0.92,
            "it takes 0.92 of the GPU's 80.0 GiB and 70.0 GiB are free",
        ),
    ],
)
def test_what_keeps_vllm_from_running_is_said(made, share, fault, machine):
    machine(**made)
    assert fault in vllm_fault(share)


@pytest.mark.parametrize(
    ("space", "fault"),
    [
        ("9", None),
        ("11", "it takes 11.0 GiB and 10.0 GiB"),
        ("0", "VLLM_CPU_KVCACHE_SPACE=0: must be a number of GiB, 1 or more"),
        ("-1", "VLLM_CPU_KVCACHE_SPACE=-1: must be"),
        ("1.5", "VLLM_CPU_KVCACHE_SPACE=1.5: must be"),
        ("four", "VLLM_CPU_KVCACHE_SPACE=four: must be"),
    ],
)
def test_the_cache_that_is_asked_for_must_fit(space, fault, machine, monkeypatch):
    machine(f"{VERSION}+cpu")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", space)
    found = vllm_fault(0.92)
    assert found is None if fault is None else fault in found
