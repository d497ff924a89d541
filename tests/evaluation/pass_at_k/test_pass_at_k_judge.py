"""The judge model: strict verdicts, each asked for once, none guessed."""

import hashlib

import pytest

from curr_reft.evaluation.judge_reply import VERDICT_FORM
from curr_reft.evaluation.pass_at_k.command import main


@pytest.fixture
def judge(chat_server):
    """A judge that says which answers are A."""
    server = chat_server()
    server.answer = lambda body: f"Verdict: {'correct' if judged(body) == 'A' else 'incorrect'}"
    return server


def judged(body: dict) -> str:
    """The answer that a judge is asked about."""
    (part,) = body["messages"][0]["content"]
    assert part["type"] == "text"
    return part["text"].partition("to you):\n")[2].partition("\n\n")[0]


def problem_of(row: dict) -> str:
    return row["id"].partition("#")[0]


@pytest.fixture
def judged_flags(flags, judge):
    return lambda **changes: flags(**{"judge_url": judge.url, "judge_model": "the-judge", **changes})


def test_equal_answers_are_judged_once_and_verdicts_are_kept(judged_flags, server, judge, record, saved):
    main(judged_flags())
    # Two answers to each of three questions, at most.
    answers = {(problem_of(row), row["model_output"][-10:]) for row in saved()}
    assert len(judge.requests) == len(answers) == len(saved("choice_judgements.jsonl"))
    by_model = record()
    assert (by_model["judge"], by_model["judge_model"], by_model["unjudged"]) == ("llm", "the-judge", 0)
    asked = len(judge.requests)
    main(judged_flags())
    assert len(judge.requests) == asked
    main(judged_flags(judge="rule"))
    assert len(judge.requests) == asked
    assert record()["judge"] == "rule"
    assert record()["k"] == by_model["k"]
    main(judged_flags(judge_model="another"))
    assert len(judge.requests) == 2 * asked


def test_fewer_samples_and_another_order_of_rows_lose_no_verdict(judged_flags, rows, judge, saved):
    main(judged_flags(num_samples=8))
    asked, verdicts = len(judge.requests), saved("choice_judgements.jsonl")
    rows.write_text("".join(reversed(rows.read_text().splitlines(keepends=True))))
    for number in (1, 8):
        main(judged_flags(num_samples=number, k_values=1))
    assert len(judge.requests) == asked
    assert saved("choice_judgements.jsonl") == verdicts


def test_the_judge_reads_text_at_temperature_0(judged_flags, judge):
    main(judged_flags())
    for body in judge.requests:
        assert (body["model"], body["temperature"]) == ("the-judge", 0)
        text = body["messages"][0]["content"][0]["text"]
        assert "Question:\nWhich is " in text
        assert "Reference answer:\nA\n" in text
        assert judged(body) in ("A", "B")
        assert VERDICT_FORM.parse(text) == "two verdicts"


def test_an_answer_without_tags_is_judged_whole_and_an_empty_one_is_wrong(
    judged_flags, server, judge, record
):
    server.answer = lambda body: "I say A \ud800" if body["seed"] % 2 else "<answer> </answer>"
    judge.answer = lambda body: "Verdict: correct"
    main(judged_flags())
    assert {judged(body) for body in judge.requests} == {"I say A ?"}
    right = sum(seed % 2 for seed in server.asked_seeds())
    assert record()["accuracy_of_samples"] == right / 12


def test_unclear_replies_are_asked_again_and_never_guessed(
    judged_flags, server, judge, record, saved, caplog
):
    clear = judge.answer
    judge.answer = lambda body: clear(body) if judged(body) == "A" else "Hard to say."
    main(judged_flags())
    rows = saved()
    right = {
        p: sum(row["model_output"].endswith("A</answer>") for row in rows if problem_of(row) == p)
        for p in set(map(problem_of, rows))
    }
    asked_about_b = [body["seed"] for body in judge.requests if judged(body) == "B"]
    problems_with_b = sum(count < 4 for count in right.values())
    assert problems_with_b
    assert sorted(asked_about_b) == sorted([0, 1, 2] * problems_with_b)
    verdicts = saved("choice_judgements.jsonl")
    assert {row["correct"] for row in verdicts} == {1, None}
    unclear = [row for row in verdicts if row["correct"] is None]
    assert len(unclear) == problems_with_b
    assert all(row["evidence"]["replies"] == ["Hard to say."] * 3 for row in unclear)
    found = record()
    assert found["unjudged"] == 12 - sum(right.values())
    assert found["accuracy_of_samples"] == 1
    for point in found["k"]:
        assert point["problems"] == sum(count >= point["k"] for count in right.values())
    assert f"{found['unjudged']} of 12 samples are unjudged" in caplog.text

    judge.answer = clear
    before = len(judge.requests)
    main(judged_flags())
    assert len(judge.requests) - before == problems_with_b
    assert record()["unjudged"] == 0
    assert len(server.requests) == 12


def test_a_reply_that_becomes_clear_counts(judged_flags, judge, record):
    clear = judge.answer
    judge.answer = lambda body: clear(body) if body["seed"] == 2 else "Verdict: correct\nVerdict: incorrect"
    main(judged_flags())
    assert record()["unjudged"] == 0


def test_nothing_judged_is_no_value(curves, judged_flags, judge, record, tmp_path, capsys):
    judge.answer = lambda body: "?"
    main(judged_flags())
    found = record()
    assert (found["unjudged"], found["accuracy_of_samples"]) == (12, None)
    assert found["k"][0] == {"k": 1, "pass_at_k": None, "low": None, "high": None, "problems": 0}
    assert (tmp_path / "out/choice_pass_at_k.csv").read_text().splitlines()[1] == "1,,,,0"
    assert (tmp_path / "out/pass_at_k.png").exists()


def test_a_judge_that_fails_keeps_samples_and_verdicts(judged_flags, server, judge, saved, capsys):
    judge.faults.extend(["none", "none", "401"])
    with pytest.raises(SystemExit) as caught:
        main(judged_flags(threads=1))
    assert caught.value.code == 2
    total = len({(problem_of(row), row["model_output"][-10:]) for row in saved()})
    assert f"2 of {total} judgements are saved" in capsys.readouterr().err
    assert len(saved("choice_judgements.jsonl")) == 2
    main(judged_flags())
    assert len(server.requests) == 12
    assert len(judge.requests) == total + 1


def test_what_the_judge_refuses_is_unjudged_until_it_takes_it(judged_flags, server, judge, record):
    judge.faults.extend(["none", "none", "400"])
    main(judged_flags(threads=1))
    assert 0 < record()["unjudged"] < 12
    asked = len(judge.requests)
    main(judged_flags())
    assert record()["unjudged"] == 0
    assert len(judge.requests) == asked + 1


def test_another_prompt_is_another_judge(judged_flags, judge, saved, record, tmp_path):
    main(judged_flags())
    asked, prompt = len(judge.requests), tmp_path / "prompt.txt"
    prompt.write_text("{{question}}|{{gold}}|to you):\n{{answer}}\n\n")
    for _ in range(2):
        main(judged_flags(judge_prompt=prompt))
        assert len(judge.requests) == 2 * asked
    text = judge.requests[-1]["messages"][0]["content"][0]["text"]
    assert text.startswith("Which is ")
    assert "|A|to you):" in text
    assert record()["judge_prompt_sha256"] == hashlib.sha256(prompt.read_bytes()).hexdigest()
    assert len(saved("choice_judgements.jsonl.set-aside-1")) == asked


def test_a_text_that_spells_a_place_stays_as_it_is(judged_flags, server, judge):
    server.answer = lambda body: "<answer>{{gold}}</answer>"
    main(judged_flags())
    assert {judged(body) for body in judge.requests} == {"{{gold}}"}
