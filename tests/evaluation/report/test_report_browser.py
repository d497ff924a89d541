"""The page in a browser: it lays out without complaint and asks for nothing."""

import pytest
from browser import MISSING
from PIL import Image

pytestmark = [MISSING, pytest.mark.slow]


def test_the_page_asks_for_nothing(
    browse, write_evaluation, write_training, write_pass_at_k, report, tmp_path
):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (84, 84), (200, 30, 30)).save(tmp_path / "images/1.png")
    folder = write_evaluation("run/scores", detection_in=0.5, classify_in=0.5, math_in=0.5)
    rows = folder / "math_in.jsonl"
    hostile = "<img src=http://nowhere.invalid/a.png><script>fetch('http://nowhere.invalid/b')</script>"
    rows.write_text(rows.read_text().replace("It is at the top left.", hostile))
    write_training("run/stage1_judge", steps=60)
    write_pass_at_k("run/judge_pass_at_k.json")
    output = report(tmp_path / "run")
    elements, console, asked = browse(output / "report.html")
    assert console == []
    assert asked == []
    assert elements.count("<article") == 36
    assert elements.count("<svg") == 3 + 1 + 4
    assert elements.count('src="data:image/jpeg') == 36
    assert "fetch('http://nowhere.invalid/b')&lt;/script&gt;" in elements


def test_a_page_that_asks_is_noticed(browse, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<!doctype html><title>t</title><img src='http://nowhere.invalid/a.png'><script>no.such.thing()</script>"
    )
    _, console, asked = browse(page)
    assert any("nowhere.invalid/a.png" in line for line in asked)
    assert any("ReferenceError" in line for line in console)


def test_the_policy_stops_what_markup_would_load(browse, write_evaluation, report, tmp_path):
    page = report(write_evaluation("scores", math_in=0.5)) / "report.html"
    injected = (
        "<img src='http://nowhere.invalid/a.png'><script>fetch('http://nowhere.invalid/b')</script></body>"
    )
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", injected), encoding="utf-8")
    _, console, asked = browse(page)
    assert asked == []
    assert sum("Content Security Policy" in line for line in console) == 2
