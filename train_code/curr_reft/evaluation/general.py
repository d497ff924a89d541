"""The results of lmms-eval on a checkpoint, on the scales of the paper's Table 4.

Nothing is measured here. Tasks, metric names and scales are those of lmms-eval 0.7.3
(https://github.com/EvolvingLMMs-Lab/lmms-eval), read off a run of each task.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curr_reft.errors import InputError, command
from curr_reft.files.atomic import replacing
from curr_reft.files.cli import CommandParser
from curr_reft.files.json import read_object
from curr_reft.files.json_lines import read_json_lines

FILE_NAME = "general_benchmarks.json"
_MOST_UNGRADED = 0.01  # share of the rows that still leaves a result standing


@dataclass(frozen=True)
class Benchmark:
    """One column of Table 4, and the task of lmms-eval that stands for it."""

    name: str
    task: str
    metric: str
    """The metric's name and, after a comma, its filter's."""
    full: float
    """What lmms-eval gives when every answer is right."""
    paper_full: float
    """The same in the paper."""
    differs: str
    grade: tuple[str, str] | None = None
    """Where a logged row keeps what the judge made of it: empty when the judge did not answer."""


BENCHMARKS = (
    Benchmark(
        *("AI2D", "ai2d", "exact_match,flexible-extract", 1, 100),
        "the whole answer must be the option's letter; the paper does not say how it reads answers",
    ),
    Benchmark(
        *("MMVet", "mmvet", "gpt_eval_score,none", 100, 100),
        "the question asks to reason first; the judge is {judge}, the paper's GPT-4-Turbo 2024-04-09",
        ("gpt_eval_score", "eval_model"),
    ),
    Benchmark(
        *("MMBench", "mmbench_en_dev_static", "gpt_eval_score,none", 100, 100),
        "English, dev split, right when every rotation of the options is, read without a language model; the"
        " paper names no split",
    ),
    Benchmark(
        *("MathVista", "mathvista_testmini_cot", "llm_as_judge_eval,none", 100, 100),
        "testmini, the benchmark's hint after the question; answers extracted by a judge",
        ("llm_as_judge_eval", "extraction"),
    ),
    Benchmark(
        *("OCRBench", "ocrbench", "ocrbench_accuracy,none", 1, 1000),
        "none known: 1,000 questions, right when the output holds the answer",
    ),
    Benchmark(
        *("MATH", "openai_math", "exact_match,none", 1, 100),
        "a guess, the paper says only MATH: here problems as text, without an image, graded by gpt-4o-mini",
    ),
)
_ALL_DIFFER = (
    "The paper does not name its harness, and its columns of LLaVABench are VLMEvalKit's: compare with this"
    " script's results of the base model as well.",
    "Prompts are lmms-eval's, without the instruction to think that training adds. A repetition penalty of"
    " the model's generation_config.json stays on.",
)


def find_results(directory: Path, model: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The results files below a folder, newest first: their names begin with the time.

    Raises:
        InputError: when there are none, or one cannot be read or is of another model.
    """
    paths = sorted(directory.rglob("[0-9]*_results.json"), key=lambda path: path.name, reverse=True)
    if not paths:
        raise InputError(f"--harness_results {directory}: holds no results of lmms-eval")
    for path in paths:
        record = read_object(path)
        if not isinstance(record.get("results"), dict):
            raise InputError(f"{path}: not a results file of lmms-eval (no `results`)")
        if record.get("model_name") != model:
            raise InputError(f"{path}: results of {record.get('model_name')}, not of --model {model}")
        yield path, record


def _value(path: Path, results: dict[str, Any], benchmark: Benchmark) -> float | None:
    where = f"{path}: {benchmark.task}: {benchmark.metric}"
    if not isinstance(results, dict) or benchmark.metric not in results:
        raise InputError(
            f"{where}: not there; general_benchmarks.sh pins the version of lmms-eval that has it"
        )
    value = results[benchmark.metric]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= benchmark.full:
        raise InputError(f"{where}: expected a number from 0 to {benchmark.full}, got {value!r}")
    return round(value * benchmark.paper_full / benchmark.full, 2)


def _grades(path: Path, benchmark: Benchmark) -> list[str]:
    """What the judge made of each answer; empty without a judge or a log of the rows."""
    log = path.with_name(path.name.replace("results.json", f"samples_{benchmark.task}.jsonl"))
    if benchmark.grade is None or not log.is_file():
        return []
    column, key = benchmark.grade
    try:
        rows = [row for _, row in read_json_lines(log)]
        return [str(row[column][key]) for row in rows if row["filtered_resps"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{log}: not a log of {benchmark.task} ({error!r})") from error


def convert(directory: Path, model: str, harness_version: str | None = None) -> dict[str, Any]:
    """What `FILE_NAME` holds: of each benchmark the newest result.

    Left out, with a note, is a result that lmms-eval wrote as null (as it does for 0 in MathVista), or for
    which the judge did not answer often enough: lmms-eval counts what is not graded as wrong.

    Raises:
        InputError: when there are no results, or they are another model's, or not those of the known tasks.
    """
    files = list(find_results(directory, model))
    results, metrics, notes = {}, {}, list(_ALL_DIFFER)
    for benchmark in BENCHMARKS:
        newest = next((file for file in files if benchmark.task in file[1]["results"]), None)
        if newest is None:
            continue
        path, record = newest
        value, grades = _value(path, record["results"][benchmark.task], benchmark), _grades(path, benchmark)
        judges = ", ".join(sorted({*grades} - {""})) if benchmark.name == "MMVet" else ""
        found = [benchmark.differs.format(judge=judges or "not recorded")]
        if (limit := (record.get("config") or {}).get("limit")) is not None:
            found.append(f"only a part of the rows (--limit {limit})")
        if ungraded := grades.count(""):
            found.append(
                f"the judge did not answer for {ungraded} of {len(grades)} rows, which count as wrong"
            )
        if value is None or ungraded > _MOST_UNGRADED * len(grades):
            found.append("left out for that" if ungraded else "left out: lmms-eval wrote null")
        else:
            results[benchmark.name] = value
            metrics[benchmark.name] = f"{benchmark.task}, {benchmark.metric}"
        notes += [f"{benchmark.name}: {note}" for note in found]
    if len(notes) == len(_ALL_DIFFER):
        known = ", ".join(benchmark.task for benchmark in BENCHMARKS)
        raise InputError(f"--harness_results {directory}: holds none of the tasks {known}")
    version = harness_version or files[0][1].get("lmms_eval_version", "of unknown version")
    return {
        "model": model,
        "harness": f"lmms-eval {version}",
        "results": results,
        "metrics": metrics,
        "paper_differs": notes,
    }


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write ``general_benchmarks.json`` and print what it holds."""
    parser = CommandParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--harness_results", type=Path, required=True, help="the --output_path of lmms-eval")
    parser.add_argument("--model", required=True, help="the model's path or name, as lmms-eval was given it")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--harness_version", help="of lmms-eval, which from PyPI does not record its own")
    arguments = parser.parse_args(argv)
    record = convert(arguments.harness_results, arguments.model, arguments.harness_version)
    path = arguments.output_dir / FILE_NAME
    with replacing(path) as file:
        file.write(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    for name, value in record["results"].items():
        sys.stdout.write(f"{name}: {value:g} ({record['metrics'][name]})\n")
    sys.stderr.write("".join(f"{note}\n" for note in record["paper_differs"]) + f"written: {path}\n")


if __name__ == "__main__":
    main()
