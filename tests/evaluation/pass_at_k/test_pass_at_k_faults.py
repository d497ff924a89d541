"""Servers that fail, processes that are killed: no sample is lost, none is asked for or counted twice."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter

import pytest

from curr_reft.evaluation.backends.threads import for_each
from curr_reft.evaluation.pass_at_k.command import main

SHORT_TIMEOUT = 1.0
"""Seconds; the server takes 1.5 for a time-out."""
FAULTS = ("500", "429", "time-out", "cut", "malformed", "no choices")


def stopped(flags: list[str], capsys) -> str:
    """What a run says that ends with exit code 2."""
    with pytest.raises(SystemExit) as caught:
        main(flags)
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def seed_of(row: dict) -> int:
    return int(row["model_output"].removeprefix("<think>").partition("<")[0])


def check_complete(rows: list[dict], total: int = 12) -> None:
    counts = Counter(row["id"] for row in rows)
    assert set(counts.values()) == {1}
    assert len(counts) == len({row["model_output"] for row in rows}) == total


@pytest.mark.parametrize("threads", [1, 8])
def test_passing_faults_lose_and_double_nothing(flags, server, saved, threads):
    server.faults.extend(FAULTS)
    main(flags(threads=threads, attempts=len(FAULTS) + 1, timeout=SHORT_TIMEOUT))
    check_complete(saved())
    # What is sent again is the same request.
    assert len(server.requests) == 12 + len(FAULTS)
    assert set(server.asked_seeds()) == {seed_of(row) for row in saved()}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_ends_the_run_and_it_goes_on_later(flags, server, saved, fault, capsys):
    server.faults.extend(["none"] * 5 + [fault] * 2)
    timeout = SHORT_TIMEOUT if fault == "time-out" else 600
    error = stopped(flags(threads=1, attempts=2, timeout=timeout), capsys)
    assert "no answer after 2 attempts" in error
    assert "rows.jsonl:2#1" in error
    assert "5 of 12 answers were saved; started again it goes on from there" in error
    assert len(saved()) == 5
    main(flags())
    check_complete(saved())
    assert len(server.requests) == 12 + 2


def test_a_refused_sample_is_an_empty_answer(flags, server, saved, record, caplog):
    server.faults.extend(["none"] * 2 + ["400"])
    main(flags(threads=1))
    assert sum(row["model_output"] == "" for row in saved()) == 1
    assert len(server.requests) == len(saved()) == record()["samples"] == 12
    assert "rows.jsonl:1#2: " in caplog.text
    assert 'status 400: {"error": "the prompt is too long"}' in caplog.text


def test_a_server_that_refuses_everything_ends_the_run(flags, server, saved, capsys):
    server.faults.extend(["400"] * 12)
    error = stopped(flags(threads=1), capsys)
    assert 'status 400: {"error": "the prompt is too long"}' in error
    assert "0 of 12 answers were saved" in error
    assert len(server.requests) == 4


def test_a_failure_lets_what_is_under_way_finish(flags, server, saved, capsys):
    server.faults.extend(["none"] * 2 + ["401"])

    def late(body: dict) -> str:
        wait_until(lambda: not server.faults)
        time.sleep(0.5)
        return at_once(body)

    at_once, server.answer = server.answer, late
    error = stopped(flags(threads=3), capsys)
    assert "status 401" in error
    assert "2 of 12 answers were saved" in error
    assert len(server.requests) == 3
    assert len(saved()) == 2


def test_a_server_that_is_down(flags, saved, tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        error = stopped(flags(model_url=url, attempts=2), capsys)
    assert "ConnectError" in error
    assert "0 of 12 answers were saved" in error


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_stopped_process_has_saved_what_came(flags, server, saved, root, sent, code):
    server.hang_after = 5
    process = subprocess.Popen(
        [sys.executable, str(root / "eval/pass_at_k.py"), *flags(threads=2)],
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background has it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        wait_until(lambda: len(server.requests) == 7)
        process.send_signal(sent)
        error = process.communicate(timeout=10)[1]
    finally:
        process.kill()
    assert process.returncode == code
    assert ("interrupted" in error) == (sent == signal.SIGINT)
    before = saved()
    check_complete(before, total=5)

    server.release.set()
    asked = len(server.requests)
    main(flags())
    check_complete(saved())
    assert saved()[:5] == before
    assert len(server.requests) - asked == 12 - 5
    assert not {seed_of(row) for row in before} & set(server.asked_seeds()[asked:])


def wait_until(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_items_are_begun_in_order_and_the_first_failure_is_raised():
    begun = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 3:
            raise LookupError(item)

    with pytest.raises(LookupError):
        for_each(iter(range(10)), work, threads=1)
    assert begun == [0, 1, 2, 3]


def test_keys_reach_the_servers_and_nothing_else(
    flags, chat_server, server, tmp_path, monkeypatch, caplog, capsys
):
    judge = chat_server()
    judge.answer = lambda body: "Verdict: correct"
    monkeypatch.setenv("MODEL_API_KEY", "key-of-the-model")
    monkeypatch.setenv("JUDGE_API_KEY", "key-of-the-judge")
    server.faults.extend(["500", "401"])
    error = stopped(flags(judge_url=judge.url, judge_model="j", threads=1), capsys)
    assert "status 401: no such key: Bearer ***" in error
    main(flags(judge_url=judge.url, judge_model="j"))
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer key-of-the-model"}
    assert {headers["Authorization"] for headers in judge.headers} == {"Bearer key-of-the-judge"}
    written = [path.read_bytes() for path in (tmp_path / "out").iterdir()]
    said = "".join([caplog.text, error, *capsys.readouterr()])
    assert b"key-of-the" not in b"".join(written)
    assert "key-of-the" not in said


def test_files_of_another_format_are_set_aside_and_said(flags, chat_server, saved, tmp_path, caplog):
    judge = chat_server()
    judge.answer = lambda body: "Verdict: correct"
    old = {
        "choice_samples.jsonl": {
            "problem": "rows.jsonl:1",
            "sample": 0,
            "digest": "d",
            "completion": "<answer>A</answer>",
            "truncated": False,
        },
        "choice_judgements.jsonl": {"digest": "d", "judge_model": "j", "prompt": "?", "verdict": "correct"},
    }
    (tmp_path / "out").mkdir()
    for name, row in old.items():
        (tmp_path / "out" / name).write_text(json.dumps(row) + "\n")
    main(flags(judge_url=judge.url, judge_model="j"))
    check_complete(saved())
    for name, row in old.items():
        assert saved(f"{name}.set-aside-1") == [row]
        assert f"{name}: 1 broken lines" in caplog.text
