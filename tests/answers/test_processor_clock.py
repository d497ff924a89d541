"""The clock: what counts is the processor time of this thread."""

import signal
import threading
import time

import pytest

from curr_reft.answers.processor_clock import OutOfTimeError, processor_seconds


def compute(seconds):
    start = time.thread_time()
    while time.thread_time() - start < seconds:
        pass


def test_computing_takes_time():
    with pytest.raises(OutOfTimeError), processor_seconds(0.2):
        compute(5)
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)


def test_waiting_and_other_threads_take_none():
    # As on a loaded machine, where others have the processor.
    other = threading.Thread(target=compute, args=(0.6,))
    with processor_seconds(0.3):
        other.start()
        other.join()
        time.sleep(0.4)


def test_code_that_catches_everything_is_stopped_all_the_same():
    caught = []

    def stubborn():
        for _ in range(2):
            try:
                compute(5)
            except BaseException as error:
                caught.append(error)
        compute(5)

    with pytest.raises(OutOfTimeError), processor_seconds(0.1):
        stubborn()
    assert len(caught) == 2
