"""Markup is taken off, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curr_reft.answers.markup import LONGEST, boxed, fenced, unfenced, without_markup


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("35", "35"),
        ("  35\n", "35"),
        ("**35**", "35"),
        ("**B**. ionic bonds", "B. ionic bonds"),
        ("**A**, **C**", "A, C"),
        ("**Answer:** 35", "Answer: 35"),
        ("x**2 + y**2", "x**2 + y**2"),
        ("(x)**2**3", "(x)**2**3"),
        ("2 ** 3 ** 4", "2 ** 3 ** 4"),
        *(("**35", "**35"), ("$35$", "35"), ("$$35$$", "35"), ("$5", "$5"), (r"\$5", r"\$5")),
        *(("$5$0", "5 0"), ("$1$ and $2$", "1 and 2"), (r"\(35\)", "35"), (r"\[35\]", "35")),
        *((r"\text{A}", "A"), (r"\textbf{\text{A}}", "A")),
        (r"28 \mathrm{~mm}^{2}", "28 ~mm^{2}"),
        (r"35\text{cm}", "35 cm"),
        (r"\text{A", r"\text{A"),
        (r"\textit{A}", "A"),
        (r"\textcolor{red}{A}", r"\textcolor{red}{A}"),
        (r"\boxed{35}", "35"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"$\boxed{35}$", "35"),
        (r"\(\boxed{A}\)", "A"),
        (r"x = \boxed{5}", "x = 5"),
        (r"2\boxed{5}", "2 5"),
        (r"\boxed{34} \boxed{35}", r"\boxed{34} \boxed{35}"),
        (r"\boxed{35", r"\boxed{35"),
        ("500\n\\boxed{500}", "500"),
        (r"500, $\boxed{500}$.", "500"),
        *((r"B \(\boxed{B}\)", "B"), (r"Yes. \boxed{yes}", "yes"), (r"34 \boxed{35}", "34 35")),
        *((r"1 2 \boxed{12}", "1 2 12"), ("```\n35\n```", "35"), ("```json\n35\n```", "35")),
        ("```json\n35\n```json", "35"),
        ("```json35```json", "35"),
        ("```JSON 35", "35"),
        ("```json\n35\n``` it is", "```json\n35\n``` it is"),
        ("```yes```no", "```yes```no"),
        ("```yes\n```", "yes"),
        ("``` ```", ""),
        ("```", ""),
        ('{"a": "\\"$5\\""}', '{"a": "\\"$5\\""}'),
    ],
)
def test_markup_goes_and_the_rest_stays(text, bare):
    assert without_markup(text) == bare


def test_a_text_that_is_too_long_for_an_answer_keeps_its_markup():
    assert without_markup("$" + "1" * LONGEST + "$").startswith("$")
    assert unfenced("```json\n" + "1" * LONGEST + "\n```") == "1" * LONGEST


def test_fences_and_boxes_are_found_in_their_order():
    text = "a ```json\n[1]\n``` b ```[2]```json c ```python\n[3]"
    assert fenced(text) == ["[1]", "[2]", "[3]"]
    text = r"\boxed{1} \boxed{\frac{2}{3}} \boxed{4"
    assert [box.content(text) for box in boxed(text)] == ["1", r"\frac{2}{3}"]


PIECES = ["$", "**", r"\text{", r"\boxed{", "{", "}", "```", "json", r"\(", r"\)", "35", "A", " ", "\n", "\\"]


@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join) | st.text(max_size=40))
def test_nothing_is_added_and_no_text_raises(text):
    bare = without_markup(text)
    assert not set(bare) - set(text) - {" "}
    letters = [character for character in bare if character.isalnum()]
    remaining = iter(text)
    assert all(letter in remaining for letter in letters)
    fenced(text)
    boxed(text)
