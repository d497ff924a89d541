"""The tables: printed, as Markdown, as a workbook and as JSON."""

import json
import math
import re

import openpyxl
import pytest
from scored_rows import QWEN_3B

from curr_reft.evaluation.report.command import main
from curr_reft.evaluation.report.documents import PassAtK
from curr_reft.evaluation.report.tables import pass_at_k_groups
from curr_reft.files.text import visible

IN = {"detection_in": 0.2, "classify_in": 0.5, "math_in": 0.3}
OUT = {"detection_out": 0.4, "classify_out": 0.6, "math_out": 0.1}
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://x")', "#N/A", "0012"]


def printed(capsys, *arguments):
    main([*map(str, arguments)])
    return capsys.readouterr().out


def test_the_table_has_a_row_per_name_in_the_order_given(write_evaluation, capsys):
    open_, base = write_evaluation("b", **IN), write_evaluation("a", **{**IN, "math_in": 0.6})
    text = printed(capsys, f"open={open_}", f"base={base}")
    title, _, header, _, first, second, *_ = text.splitlines()
    assert title.strip() == "Strict accuracy in percent, in-domain, [95 % interval], (tolerant, released)"
    cells = [[cell.strip() for cell in re.split("[┃│]", line)[1:-1]] for line in (header, first, second)]
    assert cells[0] == ["model", "detection (n=30)", "classification (n=30)", "math (n=30)", "mean"]
    assert cells[1][:2] == ["open", "20.0 [9.5, 37.3] (20.0, 26.7)"]
    assert [row[0] for row in cells] == ["model", "open", "base"]
    assert [row[-1] for row in cells] == ["mean", "33.3", "43.3"]
    assert "open, math: strict, bad_gold in 3 rows" in text
    assert "out-domain" not in text


def test_a_suite_that_one_model_lacks_is_an_empty_cell(write_evaluation, capsys):
    whole, part = write_evaluation("whole", **IN), write_evaluation("part", math_in=0.5)
    text = printed(capsys, whole, part)
    (row,) = [line for line in text.splitlines() if line.startswith("│ part")]
    cells = [cell.strip() for cell in row.split("│")[1:-1]]
    assert cells[:3] == ["part", "", ""]
    assert cells[3].startswith("50.0 [")
    assert cells[4] == ""


def test_domains_are_chosen(write_evaluation, capsys, fails):
    both, only_out = write_evaluation("both", **IN, **OUT), write_evaluation("only_out", **OUT)
    assert "in-domain" in printed(capsys, both, only_out)
    text = printed(capsys, both, only_out, "--domain", "all")
    assert text.index("in-domain") < text.index("out-domain")
    assert text.count("│ only_out") == 1
    assert "both, math_out: strict, bad_gold in 3 rows" in text
    assert "out-domain" in printed(capsys, only_out)
    assert "--domain in: no evaluation has scores of this domain" in fails(only_out, "--domain", "in")


def test_other_rows_under_the_same_name_are_said(write_evaluation, capsys):
    first, second, third = (
        write_evaluation(name, math_in=0.5, n=n) for name, n in [("a", 30), ("b", 30), ("c", 20)]
    )
    said = "math_in: the models were not asked the same rows"
    assert said not in printed(capsys, first, second)
    text = printed(capsys, first, third)
    assert said in text
    assert "math (n=20 to 30)" in text
    path = second / "scores.json"
    record = json.loads(path.read_text())
    record["scores"]["math_in"]["sha256"] = "00"
    path.write_text(json.dumps(record))
    assert said in printed(capsys, first, second)


def test_old_scores_without_the_later_fields_are_reported(tmp_path, capsys):
    score = {"task": "math", "domain": "in", "n": 300, "accuracy": 0.25, "low": 0.1, "high": 0.9}
    (tmp_path / "scores.json").write_text(json.dumps({"scores": {"math": score}}))
    assert "25.0 [10.0, 90.0] │" in printed(capsys, f"base={tmp_path}", "--output_dir", tmp_path / "report")


def test_pairs_are_compared(write_evaluation, report, capsys, fails):
    a, b = write_evaluation("a", **IN), write_evaluation("b", **{**IN, "math_in": 0.9})
    output = report(f"base={a}", f"open={b}", "--compare", "base", "open")
    assert "A: base, B: open" in capsys.readouterr().out
    ((pair),) = json.loads((output / "results.json").read_text())["comparisons"]
    found = pair["suites"]["math_in"]
    assert list(pair["suites"]) == list(IN)
    assert (found["n"], found["only_a"], found["only_b"]) == (30, 0, 18)
    assert found["difference"] == pytest.approx(0.6)
    assert 0.4 < found["low"] < 0.6 < found["high"] < 0.8
    assert "| math\\_in | strict | 30 | 30.0 | 90.0 | +60.0 [" in (output / "results.md").read_text()
    assert found["tolerant"]["difference"] + found["format"]["difference"] == pytest.approx(0.6)
    line = fails(a, b, "--compare", "a", "nobody", "--output_dir", "never")
    assert line == "error: --compare: no evaluation is named nobody; there are: a, b"


def test_the_papers_rows_stand_beside_the_same_model(write_evaluation, report):
    folder = write_evaluation("run/open", architecture=QWEN_3B, **IN, **OUT)
    write_evaluation("run/tiny", **IN)
    text = (report(folder.parent) / "results.md").read_text()
    section = text.partition("## Beside the paper")[2]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    assert [row[:2] for row in rows] == [
        ["model", "source"],
        ["---", "---"],
        ["open", "ours"],
        *([name, "paper, Table 1"] for name in ("Base", "+SFT", "+RL", "+Curr-RL")),
        *([name, "paper, Table 3"] for name in ("Qwen2.5-VL-3B", "Curr-ReFT-3B")),
    ]
    # Detection, classification and math, in-domain and out: as the paper's Table 1 has them.
    assert rows[6][2:] == ["90.6", "66.8", "82.8", "67.1", "96.6", "78.4"]
    assert "Curr-ReFT-7B" not in text
    assert "The paper prints no intervals" in section
    assert "tiny: no rows of the paper, which trains Qwen2.5-VL-3B and Qwen2.5-VL-7B" in section
    assert "open: not the released test files" in section
    assert "detection\\_in from" in section or "detection_in from" in section


@pytest.mark.parametrize("architecture", [{}, {**QWEN_3B, "model_type": "qwen3_vl"}])
def test_other_models_have_no_rows_of_the_paper(architecture, write_evaluation, report):
    output = report(write_evaluation("other", architecture=architecture, **IN))
    assert "paper, Table" not in (output / "results.md").read_text()
    assert json.loads((output / "results.json").read_text())["paper"]["visual_tasks"]["rows"] == []
    assert "other: no rows of the paper, " in (output / "report.html").read_text()


def test_general_benchmarks_stand_beside_table_4(write_evaluation, write_benchmarks, report):
    folder = write_evaluation("run/open", architecture=QWEN_3B, **IN)
    model = json.loads((folder / "scores.json").read_text())["model"]
    write_benchmarks("run/general", model=model, AI2D=80.5, OCRBench=799, New=1.5)
    text = (report(folder.parent) / "results.md").read_text()
    assert "| model | source | AI2D | MMVet | MMBench | MathVista | MATH | OCRBench | New |" in text
    assert "| general | ours, VLMEvalKit 0.2 | 80.5 |  |  |  |  | 799 | 1.5 |" in text
    assert "| Curr-ReFT-3B | paper, Table 4 | 79.7 | 69.1 | 77.4 | 65.8 | 55.8 | 801 |  |" in text
    assert "Curr-ReFT-7B" not in text
    assert "general differs from the paper:\n\n- AI2D: another prompt\n" in text


def test_pass_at_k_figures_hold_one_model_each():
    def results(*pairs):
        counts = {"problems": 1, "num_samples": 1, "judge": "rule", "points": [], "record": {}}
        return [PassAtK(name="name", model=model, task_type=task, **counts) for model, task in pairs]

    groups = pass_at_k_groups(results(("a", "open"), ("b", "open"), ("a", "judge"), ("a", "open")))
    found = [[(each.model, each.task_type) for each in group] for group in groups]
    assert found == [[("a", "judge"), ("a", "open")], [("b", "open")], [("a", "open")]]


@pytest.fixture
def everything(write_evaluation, write_training, write_pass_at_k, write_benchmarks, report, tmp_path):
    """A report on some of everything, with names that a spreadsheet could take for formulas."""
    for name in FORMULAS[:4]:
        write_evaluation(f"run/scores/{name}", architecture=QWEN_3B, **IN)
    write_training("run/stage1_judge", steps=20)
    write_pass_at_k("run/judge_pass_at_k.json", model=FORMULAS[4])
    write_benchmarks("run/general", model=FORMULAS[5], AI2D=80.0)
    return report(tmp_path / "run/scores", tmp_path / "run", "--compare", "@SUM(A1)", "+1")


def test_the_workbook_holds_numbers_as_numbers_and_text_as_text(everything):
    book = openpyxl.load_workbook(everything / "results.xlsx")
    assert book.sheetnames == ["scores", "pass_at_k", "training", "comparisons", "general"]
    for sheet in book:
        assert sheet.freeze_panes == "A2"
        assert all(cell.font.bold for cell in sheet[1])
        assert {cell.data_type for row in sheet.iter_rows() for cell in row} <= {"n", "s"}
    rows = list(book["scores"].iter_rows(min_row=2))
    assert [row[0].value for row in rows[:12:3]] == ["+1", "-1", "=1+1", "@SUM(A1)"]
    strict = rows[0][8]
    assert (book["scores"]["I1"].value, strict.value, strict.number_format) == ("strict", 0.2, "0.0%")
    assert (rows[0][7].value, rows[0][7].number_format) == (30, "General")
    paper = [row for row in rows if row[0].value == "+Curr-RL" and row[5].value == "math"]
    assert [row[8].value for row in paper] == [pytest.approx(0.828), pytest.approx(0.784)]
    training = book["training"]
    assert [cell.value for cell in training[1]][:4] == ["name", "stage", "step", "reward"]
    assert training.max_row == 22
    point = [cell.value for cell in book["pass_at_k"][2]]
    assert point == ["judge", '=HYPERLINK("http://x")', "judge", 1, 0.5, 0.45, 0.55, 50, 16, "rule"]
    assert [cell.value for cell in book["comparisons"][2]][:4] == ["@SUM(A1)", "+1", "detection_in", 30]
    assert [cell.value for cell in book["general"][2]] == ["general", "ours", "#N/A", "AI2D", 80]


def test_the_json_is_strict_and_whole(everything):
    def refuse(text):
        raise AssertionError(text)

    record = json.loads((everything / "results.json").read_text(), parse_constant=refuse)
    assert set(record) == {
        *("evaluations", "comparisons", "training", "pass_at_k", "general_benchmarks", "paper")
    }
    assert [each["name"] for each in record["evaluations"]] == ["+1", "-1", "=1+1", "@SUM(A1)"]
    assert record["evaluations"][0]["scores"]["math_in"]["accuracy"] == pytest.approx(0.3)
    assert record["training"][0]["log_history"][0]["step"] == 1
    assert math.isclose(record["pass_at_k"][0]["k"][0]["pass_at_k"], 0.5)


def test_columns_and_curves_are_those_of_the_log(write_training, report):
    folder = write_training("run")
    odd = {"list": [1], "huge": 10**400, "flag": True, "bell\x07": "\x07\ud800", "=1+1": "x" * 40_000}
    log = [{"step": 1, "accuracy/counting": 0.25, **odd}, {"step": 2, "accuracy/counting": 0.5}]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    output = report(folder)
    assert "Accuracy reward by task over the steps of run: counting from 0.25 to 0.5" in (
        output / "report.html"
    ).read_text(encoding="utf-8")
    sheet = openpyxl.load_workbook(output / "results.xlsx")["training"]
    header, first, second = sheet.iter_rows()
    assert [cell.value for cell in header] == [
        *("name", "stage", "step", "accuracy/counting"),
        *("list", "huge", "flag", "bell\\u0007", "=1+1"),
    ]
    assert (first[3].value, first[3].number_format) == (0.25, "0.0%")
    assert [cell.value for cell in first[4:8]] == ["[1]", str(10**400), "True", "\\u0007\\ud800"]
    assert len(first[8].value) == 32_767
    assert all(cell.data_type == "s" and cell.quotePrefix for cell in first[4:])
    assert {cell.value for cell in second[4:]} == {None}


def test_visible_text_is_all_there():
    assert visible("plain, naïve and 漢字\nline") == "plain, naïve and 漢字\nline"
    assert visible("\x00\u202e\ud800\xa0\t") == "\\u0000\\u202e\\ud800\\u00a0\\u0009"
