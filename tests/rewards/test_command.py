"""The two scoring commands: what they add, keep, refuse, and how much memory they take."""

import json
import subprocess
import sys

import pytest

from curr_reft.answers.reading import READINGS
from curr_reft.evaluation.scoring import main as score_predictions
from curr_reft.rewards.__main__ import main as score_rewards

ROW = {"task": "math", "completion": "<think>t</think><answer>35</answer>", "solution": "<answer>35</answer>"}
PREDICTION = {"model_output": "<answer>13</answer>", "example": {"solution": 3}}


def run(capsys, main, path, lines, *flags):
    """Exit code, rows written and lines of standard error."""
    path.write_bytes(
        b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    )
    code = 0
    try:
        main([*flags, str(path)])
    except SystemExit as stop:
        code = stop.code
    output = capsys.readouterr()
    return code, [json.loads(line) for line in output.out.splitlines()], output.err.splitlines()


def test_rewards_are_added_and_the_rest_passes_through(tmp_path, capsys):
    row = {**ROW, "id": 7, "note": "角度\ud800", "accuracy": "old"}
    code, rows, errors = run(capsys, score_rewards, tmp_path / "r.jsonl", [row, ROW], "--stage", "open")
    assert (code, errors) == (0, [])
    assert rows == [{**row, "accuracy": 1.0, "format": 1.0}, {**ROW, "accuracy": 1.0, "format": 1.0}]


@pytest.mark.parametrize(("variant", "accuracy"), [("paper", 0.0), ("released", 1.0)])
def test_explain_says_why(tmp_path, capsys, variant, accuracy):
    row = {**ROW, "completion": "<think></think><answer>banana</answer>"}
    flags = ("--stage", "open", "--variant", variant, "--explain")
    _, rows, _ = run(capsys, score_rewards, tmp_path / "r.jsonl", [row], *flags)
    assert rows[0]["accuracy"] == accuracy
    explanation = rows[0]["explanation"]
    assert set(explanation) == {"accuracy", "format"}
    found = {"found"} if variant == "paper" else set()
    assert set(explanation["accuracy"]) == {"rule", "answer", "gold"} | found
    assert (explanation["accuracy"]["answer"], explanation["accuracy"]["gold"]) == ("banana", "35")
    assert explanation["format"]["rule"] == "well-formed"


def test_the_tolerant_reading_knows_the_options_of_a_problem(tmp_path, capsys):
    row = {
        "task": "math",
        "problem": "Which?\nA. a cat\nB. a dog",
        "completion": "<think>t</think> The answer is a dog.",
        "solution": "<answer>B</answer>",
    }
    path, flags = tmp_path / "r.jsonl", ("--stage", "choice", "--explain", "--reading")
    found = [run(capsys, score_rewards, path, [row], *flags, reading)[1][0] for reading in READINGS]
    assert [each["accuracy"] for each in found] == [0, 1]
    rule = "behind the thoughts; named as the answer in the last line; the text of an option"
    assert found[1]["explanation"]["accuracy"]["found"] == rule
    # The format is what it is.
    assert [each["format"] for each in found] == [0, 0]
    code, rows, errors = run(capsys, score_rewards, path, [{**row, "problem": 3}], *flags, "tolerant")
    assert (code, rows, "problem: expected str, found int" in errors[0]) == (2, [], True)


def test_the_released_variant_has_no_other_reading(tmp_path, capsys):
    flags = ("--stage", "open", "--variant", "released", "--reading", "tolerant")
    code, rows, errors = run(capsys, score_rewards, tmp_path / "r.jsonl", [ROW], *flags)
    assert (code, rows) == (2, [])
    assert errors == [
        "error: --reading tolerant: the released variant has its own reading; use --variant paper"
    ]


def test_timeouts_are_named_and_counted_once_per_scoring(tmp_path, capsys):
    row = {
        "model_output": "<answer>$(x+y+z+w)^{99}$</answer>",
        "example": {"solution": "<answer>$35$</answer>"},
    }
    path = tmp_path / "p.jsonl"
    code, rows, errors = run(capsys, score_predictions, path, [PREDICTION, row], "--suite", "math_in")
    assert (code, rows[1]["strict"]) == (0, 0)
    assert errors[0] == f"{path}:2: strict: math-verify ran out of time"
    assert "strict, math_timeout: 1 rows" in errors


@pytest.mark.parametrize(
    "answer", ["[1, 'a']", "[b'a']", "[1j]", "[...]", "[(1, 2), 'a']", "[0x1for x in y]", "[" * 5000]
)
def test_no_answer_stops_the_explanation(tmp_path, capsys, answer):
    row = {"model_output": f"<answer>{answer}</answer>", "example": {"solution": "<answer>car</answer>"}}
    flags = ("--suite", "classify_in", "--explain")
    code, rows, errors = run(capsys, score_predictions, tmp_path / "p.jsonl", [row], *flags)
    assert (code, len(rows), errors) == (0, 1, [])


def test_golden_rows_pass_through_the_command(tmp_path, capsys, golden):
    expected = golden("stage2")[:200]
    flags = ("--stage", "choice", "--variant", "released")
    code, rows, _ = run(capsys, score_rewards, tmp_path / "r.jsonl", expected, *flags)
    assert code == 0
    assert rows == expected


def test_bad_lines_are_named_and_the_others_scored(tmp_path, capsys):
    path = tmp_path / "r.jsonl"
    lines = [
        ROW,
        b"{broken\n",
        [1, 2],
        {**ROW, "solution": None},
        {key: value for key, value in ROW.items() if key != "completion"},
        {**ROW, "task": "maths"},
        {**ROW, "solution": "<answer></answer>"},
        b'{"task": "\xff"}\n',
        b"[" * 100_000 + b"\n",
        {**ROW, "score": float("inf")},
        b"\n",
        ROW,
    ]
    code, rows, errors = run(capsys, score_rewards, path, lines, "--stage", "open")
    assert code == 2
    assert len(rows) == 2
    assert [line.split(": ")[0] for line in errors[:-1]] == [f"{path}:{number}" for number in range(2, 11)]
    for text, line in zip(
        (
            *("broken JSON", "found list", "solution: expected str", "completion: expected str"),
            *("unknown task 'maths'", "holds no gold", "not UTF-8", "broken JSON"),
        ),
        errors,
        strict=False,
    ):
        assert text in line
    assert errors[-1] == f"error: {path}: 9 lines were not scored (named above)"


def test_the_released_variant_refuses_no_gold(tmp_path, capsys):
    rows = [{**ROW, "task": "maths"}, {**ROW, "solution": ""}]
    flags = ("--stage", "open", "--variant", "released")
    code, scored, _ = run(capsys, score_rewards, tmp_path / "r.jsonl", rows, *flags)
    assert (code, [row["accuracy"] for row in scored]) == (0, [0.0, 0.0])


@pytest.mark.parametrize("main", [score_rewards, score_predictions])
def test_binary_missing_and_empty_files(tmp_path, capsys, main):
    flags = ("--stage", "open") if main is score_rewards else ("--suite", "math_in")
    code, rows, errors = run(capsys, main, tmp_path / "r.jsonl", [b"\x1f\x8b\x08\x00\n\xff" * 500], *flags)
    assert (code, rows) == (2, [])
    assert errors == [
        f"error: {tmp_path / 'r.jsonl'}: not UTF-8 text (invalid start byte), so not a JSON file"
    ]
    assert run(capsys, main, tmp_path / "r.jsonl", [], *flags) == (0, [], [])
    with pytest.raises(SystemExit, match="2"):
        main([*flags, str(tmp_path / "nowhere.jsonl")])
    assert "nowhere.jsonl: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("main", "flag", "choices"),
    [
        (score_rewards, "--stage", "'judge', 'choice', 'open'"),
        (score_rewards, "--variant", "'paper', 'released'"),
        (score_predictions, "--suite", "detection_in, refgta, classify_in"),
    ],
)
def test_unknown_names_exit_with_the_choices(capsys, main, flag, choices):
    with pytest.raises(SystemExit, match="2"):
        main(
            [flag, "nothing", "--stage", "open", "rows.jsonl"]
            if flag == "--variant"
            else [flag, "no", "x.jsonl"]
        )
    assert choices in capsys.readouterr().err


def test_predictions_get_both_scores_and_crashes_are_counted(tmp_path, capsys):
    code, rows, errors = run(
        capsys, score_predictions, tmp_path / "p.jsonl", [PREDICTION], "--suite", "math_out"
    )
    assert (code, rows, errors) == (0, [{**PREDICTION, "strict": 0, "tolerant": 0, "released": 1}], [])
    row = {**PREDICTION, "example": {"solution": [1, 2, 3, 4]}}
    code, rows, errors = run(
        capsys, score_predictions, tmp_path / "p.jsonl", [row], "--suite", "refgta", "--explain"
    )
    assert (code, rows[0]["released"]) == (0, 0)
    assert rows[0]["explanation"]["released"]["rule"] == "KeyError stops the released loop"
    assert errors == ["released, released_crash: 1 rows", "strict, bad_gold: 1 rows"]


@pytest.mark.parametrize(
    "bad",
    [{"example": {"solution": 3}}, {"model_output": "3", "example": 3}, {"model_output": "3", "example": {}}],
)
def test_predictions_without_fields_are_named(tmp_path, capsys, bad):
    code, rows, errors = run(
        capsys, score_predictions, tmp_path / "p.jsonl", [bad, PREDICTION], "--suite", "math_out"
    )
    assert (code, len(rows)) == (2, 1)
    assert errors[0].startswith(f"{tmp_path / 'p.jsonl'}:1: ")


def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text((json.dumps({**ROW, "task": "classify"}) + "\n") * 20_000)
    script = f"{sys.executable} -m curr_reft.rewards --stage open {path} | head -n 1"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["accuracy"] == 1
    assert "Traceback" not in result.stderr
    assert "BrokenPipe" not in result.stderr


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    """Peak memory of 200,000 rows stays within 30 MB of that of 1,000."""
    peaks = []
    for rows in (1_000, 200_000):
        path = tmp_path / f"{rows}.jsonl"
        with path.open("w") as file:
            for number in range(rows):
                row = {
                    "task": "classify",
                    "completion": f"<answer>a{number}</answer>",
                    "solution": f"<answer>a{number}</answer>",
                }
                file.write(json.dumps(row) + "\n")
        script = (
            "import resource, sys; from curr_reft.rewards.__main__ import main; main(sys.argv[1:]);"
            "sys.stderr.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))"
        )
        result = subprocess.run(
            [sys.executable, "-c", script, "--stage", "open", str(path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        )
        peaks.append(int(result.stderr.split()[-1]))
    assert peaks[1] - peaks[0] < 30_000
