"""Run with the Python of `.venv-sft`: what ms-swift itself says of our flags and rows, as JSON.

One process asks everything, since importing ms-swift takes half a minute. See `test_sft_swift.py`.
"""

import argparse
import json
import sys
from pathlib import Path


def main(questions: Path, answers: Path) -> None:
    from swift.arguments import SftArguments
    from swift.pipelines import SwiftSft
    from transformers import HfArgumentParser

    asked = json.loads(questions.read_text())
    parser = HfArgumentParser(SftArguments)
    # The parser's own method also makes the arguments, which would load models.
    unknown = {
        name: argparse.ArgumentParser.parse_known_args(parser, argv)[1]
        for name, argv in asked["flags"].items()
    }
    run = SwiftSft(asked["run"])
    rows = [json.loads(line) for line in Path(asked["rows"]).read_text().splitlines()]
    encoded = [run.template.encode(row) for row in rows]
    run.template.max_pixels = asked["max_pixels"]
    shrunk = [len(run.template.encode(row)["input_ids"]) for row in rows]
    try:
        SwiftSft(asked["run_without_an_image"]).main()
        missing = "none"
    except Exception as error:
        missing = f"{type(error).__name__}: {error}"
    result = {
        "unknown": unknown,
        "lengths": [len(row["input_ids"]) for row in encoded],
        "shrunk_lengths": shrunk,
        "first_ids": encoded[0]["input_ids"],
        "default_system": run.template.template_meta.default_system,
        "tags": list(run.template.special_tokens),
        "keys": list(_keys()),
        "missing": missing,
    }
    answers.write_text(json.dumps(result))


def _keys() -> list[str]:
    from swift.dataset.preprocessor.core import RowPreprocessor

    return RowPreprocessor.standard_keys


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
