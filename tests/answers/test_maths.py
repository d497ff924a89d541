"""Equality of math answers."""

import concurrent.futures
import multiprocessing
import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curr_reft.answers import processor_clock, symbolic
from curr_reft.answers.expressions import to_latex
from curr_reft.answers.maths import Verdict, compare

COUNT_TO_100 = " ".join(str(number) for number in range(101))


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        *(("35", "35"), ("35.", "35"), (" 35\n", "35"), ("$35$", "35"), ("$$35$$", "35")),
        *((r"\(35\)", "35"), (r"\[35\]", "35"), (r"\boxed{35}", "35"), (r"$\boxed{35}$", "35")),
        *(("35°", "35"), (r"35^\circ", "35°"), (r"35\degree", "35")),
        ("35 degrees", r"$35^{\circ}$"),
        ("35 cm", "35"),
        ("$35$ cm", "35"),
        ("35cm", r"35\text{ cm}"),
        ("35 cm²", r"35\mathrm{cm}^2"),
        ("35 square units", "35"),
        ("2 m", "2"),
        ("n + m", "m + n"),
        ("-m + 2", "2 - m"),
        ("isosceles triangle.", "Isosceles  triangle"),
        *(("1,000", "1000"), (r"\frac{1}{2}", "0.5"), ("0.5", "1/2"), ("½", "0.5"), ("2½", "2.5")),
        *(("x = 5", "5"), ("$x = 5$", "5"), (r"x = \boxed{5}", "5"), (r"\boxed{x = 5}", "5")),
        *(("AB = 5", "5"), ("∠A = 35", "35")),
        (r"\angle ABC = 35^\circ", "35"),
        ("2√3", r"2\sqrt{3}"),
        ("√12", "2√3"),
        ("2√3/3", r"\frac{2}{\sqrt{3}}"),
        ("2sqrt(3)", "√(12)"),
        ("25π", r"25\pi"),
        ("25pi", "25π"),
        ("3×4", "12"),  # noqa: RUF001
        ("8÷2", "4"),
        ("−3", "-3"),  # noqa: RUF001
        ("3²", "9"),
        ("2³", "8"),
        ("sin 30°", r"\sin 30^\circ"),
        (r"\boxed{\frac{\sqrt{3}}{2}}", "√3/2"),
        ("(2, 3)", "$(2,3)$"),
        ("x > 3", "3 < x"),
        ("2a + b", "b + 2a"),
        ("Yes", "yes"),
        ("the  midpoint", "The midpoint"),
        ("a" * 300, "A" * 300),
        (COUNT_TO_100, COUNT_TO_100),
        (r"\sqrt{\frac{3+\sqrt{5(1+3)}}{2}}", r"\left(\frac{\sqrt{20} + 3}{2}\right)^{\frac{1}{2}}"),
        ("(" * 95 + "x" + ")" * 95, "(" * 95 + "X" + ")" * 95),
    ],
)
def test_equal(answer, gold):
    assert compare(answer, gold) is Verdict.EQUAL


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        *(("x", "x m"), ("", "35"), ("", ""), ("36", "35"), ("3", "∠A = 35°"), (r"\frac13", r"\frac12")),
        *(("no", "on"), (r"\text{no}", r"\text{on}"), ("1 2", "3"), (r"1\,2", "12"), ("3 4 5 8", "8")),
        (COUNT_TO_100, "5050"),
        (r"2\sqrt{3}", "2"),
        ("2√3", "3"),
        (r"2\boxed{5}", "25"),
        ("$5$0", "50"),
        ("$34$ $35$", "35"),
        (r"\boxed{34} \boxed{35}", "35"),
        *(("x = 34 = 35", "35"), ("a + b = 5", "5"), ("It is 35", "35"), ("the angle is 35", "35")),
        *(("三十五", "35"), ("2c", "2"), ("(A, 3)", "(2, 3)"), ("$[5] garbage", "5"), ("{35", "35")),
        ("1/0", "2"),
        ("30 + 5" + " + 0" * 60, "35"),
        ("(" * 95 + "35" + ")" * 95, "35"),
        ("{(" * 6 + "35" + ")}" * 6, "35"),
    ],
)
def test_different(answer, gold):
    assert compare(answer, gold) is Verdict.DIFFERENT


@pytest.mark.parametrize(
    "answer",
    ["", "yes", "1 2", "x = y = 2", "$1$ $2$", r"\boxed{1}\boxed{2}", "1" * 201, "((((((35))))))", "([{(35]"],
)
def test_only_the_text_counts(answer):
    assert to_latex(answer) is None


def test_the_gold_comes_first():
    # math-verify is asymmetric: a gold inequality accepts an interval, a gold interval no inequality.
    assert compare("$x>3$", r"$(3,\infty)$") is Verdict.DIFFERENT
    assert compare(r"$(3,\infty)$", "$x>3$") is Verdict.EQUAL


def test_time_runs_out():
    assert compare("(x+y+z+w)^{99}", "35") is Verdict.TIMEOUT


def test_a_failure_of_the_library_is_a_verdict():
    assert compare("2", "1/0") is Verdict.ERROR


PAIRS = [("0.25", r"\frac{1}{4}"), ("(x+y+z+w)^{99}", "35"), ("0.5", r"\frac{1}{2}")]
VERDICTS = [Verdict.EQUAL, Verdict.TIMEOUT, Verdict.EQUAL]


def compare_pairs() -> list[Verdict]:
    return [compare(answer, gold) for answer, gold in PAIRS]


def test_time_runs_out_in_a_thread_and_harms_no_other_row():
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        assert executor.submit(compare_pairs).result() == VERDICTS


def test_a_dead_helper_process_costs_one_row():
    def compare_around_a_death() -> list[Verdict]:
        before = compare("0.25", "1/4")
        for child in processor_clock._helper_process()._processes.values():
            child.kill()
            child.join()
        return [before, compare("0.3", "3/10"), compare("0.5", "1/2")]

    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        verdicts = executor.submit(compare_around_a_death).result()
    assert verdicts == [Verdict.EQUAL, Verdict.ERROR, Verdict.EQUAL]


def test_time_runs_out_in_a_worker_process():
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        assert executor.submit(compare_pairs).result() == VERDICTS


def test_the_clock_leaves_alarms_and_timers_of_the_caller_as_they_were():
    def handler(*_):
        raise AssertionError

    before = signal.signal(signal.SIGPROF, handler)
    alarm = signal.setitimer(signal.ITIMER_REAL, 100)
    try:
        assert compare_pairs() == VERDICTS
        assert signal.getsignal(signal.SIGPROF) is handler
        assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < 100
    finally:
        signal.setitimer(signal.ITIMER_REAL, *alarm)
        signal.signal(signal.SIGPROF, before)


def test_a_gold_is_parsed_once():
    symbolic._expression.cache_clear()
    for answer in ("31x", "32x", "33x"):
        compare(answer, "77x")
    assert symbolic._expression.cache_info().misses == 4


@settings(max_examples=60)
@given(
    st.text(max_size=40),
    st.lists(
        st.sampled_from(
            [r"\frac", "{", "}", "(", ")", "1", "2", "x", "^", "_", "√", "=", "$", "π", " ", "/", ","]
        )
    ).map("".join),
)
def test_no_text_raises(text, latex):
    for answer, gold in ((text, "35"), (latex, "x"), ("35", latex)):
        assert compare(answer, gold) in Verdict


@settings(max_examples=60)
@given(st.integers(-(10**6), 10**6), st.integers(1, 10**4))
def test_numbers_equal_themselves_and_nothing_next_to_them(number, divisor):
    assert compare(f"${number}$", str(number)) is Verdict.EQUAL
    assert compare(rf"\frac{{{number}}}{{{divisor}}}", f"{number}/{divisor}") is Verdict.EQUAL
    assert compare(str(number + 1), str(number)) is Verdict.DIFFERENT


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text", ["$" * 200_000, r"\boxed{" * 30_000, "1 " * 100_000, "√" * 200_000, " " * 200_000]
)
def test_hostile_text_is_linear(text):
    assert compare(text, "35") is Verdict.DIFFERENT
