"""Rows of messages on images made here, and a stand-in for ms-swift's environment."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from curr_reft.sft.messages import message_row

VERSIONS = {"ms-swift": "4.6.0", "transformers": "5.17.0"}
_SWIFT = """\
#!/usr/bin/env bash
# Writes down what it was called with, and a checkpoint such as swift leaves.
printf '%s\\n' "$@" >"{folder}/arguments"
env >"{folder}/environment"
echo "swift is here"
{more}
OUTPUT=$(grep -A1 -x -e --output_dir "{folder}/arguments" | tail -1)
MODEL=$(grep -A1 -x -e --model "{folder}/arguments" | tail -1)
mkdir -p "$OUTPUT/checkpoint-4"
cp "$MODEL"/{{*.safetensors,*config.json,tokenizer*}} "$OUTPUT/checkpoint-4"
echo '{{"global_step": 4, "max_steps": 4}}' >"$OUTPUT/checkpoint-4/trainer_state.json"
for NAME in optimizer.pt args.json; do
    echo "$NAME" >"$OUTPUT/checkpoint-4/$NAME"
done
ln -sfn checkpoint-4 "$OUTPUT/last-checkpoint"
"""


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("SWIFT", "MAX_PIXELS", "ROOT_IMAGE_DIR", "NPROC_PER_NODE", "NNODES", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def image(tmp_path) -> Path:
    path = tmp_path / "images/red.png"
    path.parent.mkdir()
    Image.new("RGB", (84, 56), "red").save(path)
    return path


@pytest.fixture
def rows_file(tmp_path, image):
    """Writes rows to a file; without any, one with the image and one of text alone."""

    def write(*rows, name: str = "rows.jsonl") -> Path:
        rows = rows or (
            message_row("What colour is it?", "<answer>red</answer>", image),
            message_row("What is 2 + 3?", "<answer>5</answer>", None),
        )
        path = tmp_path / name
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    return write


@pytest.fixture
def swift(tmp_path, monkeypatch):
    """A stand-in for ms-swift that `SWIFT` names; `more` is what its script does in between."""

    def make(more: str = "", versions: dict[str, str] = VERSIONS) -> Path:
        folder = tmp_path / "sft_environment"
        folder.mkdir(exist_ok=True)
        for name, text in (
            ("swift", _SWIFT.format(folder=folder, more=more)),
            ("python", f"#!/usr/bin/env bash\necho '{json.dumps(versions)}'\n"),
        ):
            (folder / name).write_text(text)
            os.chmod(folder / name, 0o755)
        monkeypatch.setenv("SWIFT", str(folder / "swift"))
        return folder

    return make


@pytest.fixture
def sft_flags(tiny_base, rows_file, tmp_path):
    """Flags of a run on two rows; more may follow and win."""

    def flags(*more: str) -> list[str]:
        return [
            *("--model", str(tiny_base), "--dataset", str(rows_file())),
            *("--output_dir", str(tmp_path / "run"), "--max_steps", "4", *more),
        ]

    return flags
