"""The exception for the user's mistakes, and what a command makes of it."""

import signal

import pytest

from curr_reft.errors import InputError, StoppedError, command
from curr_reft.training.stopping import stopped_by_signals


def test_a_message_is_one_line_of_bounded_length():
    assert str(InputError("a.jsonl:3: task: unknown")) == "a.jsonl:3: task: unknown"
    assert str(InputError("a\nb\r\nc\u2028d")) == "a b c d"
    message = str(InputError(f"a.jsonl:3: image: {'x' * 436_881} (mend it)"))
    assert message.startswith("a.jsonl:3: image: xxx")
    assert message.endswith("xxx (mend it)")
    assert "(434909 characters left out)" in message
    assert len(message) < 2100


def test_a_command_ends_with_the_line_and_code_2(capsys):
    @command
    def main():
        raise InputError("--flag 3:\nexpected 2")

    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: --flag 3: expected 2\n"


def test_a_signal_is_said_once_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)

    @command
    def main():
        with stopped_by_signals():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                # A launcher passes on what a scheduler has sent to all.
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == StoppedError.exit_code
    assert signal.getsignal(signal.SIGTERM) is before
