"""The page: hostile texts stay text, images and boxes are right, and it is whole in itself."""

import base64
import html
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scored_rows import scored_row

from curr_reft.training.preview.images import GOLD, OTHER

ALL = {
    "detection_in": 0.5,
    "classify_in": 0.5,
    "math_in": 0.5,
    "detection_out": 0.5,
    "classify_out": 0.5,
    "math_out": 0.5,
}
HOSTILE = (
    "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>"
    "&amp; {{ 7 * 7 }} \u202e\x00\ud800]]>$x$"
)
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Outline(HTMLParser):
    """Collects tags and attributes, and checks that every element is closed where it should be."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"


def row(**changes):
    example = {"problem": "Where is it?", "solution": '<answer>{"bbox_2d": [10, 20, 60, 50]}</answer>'}
    made = scored_row(1, changes.pop("task", "detection"), 1, False, example)
    read = changes.pop("read", [[10, 20, 60, 50]])
    strict = {"rule": "IoU", "answer": read, "gold": [[10, 20, 60, 50]]}
    return {**made, "explanation": {"strict": strict, "released": {**strict, "rule": "last box"}}, **changes}


@pytest.fixture
def page(write_evaluation, report):
    """Reports on an evaluation of these detection rows and returns the page."""

    def make(*rows, flags=(), **more):
        folder = write_evaluation("open", rows_of={"detection_in": list(rows)}, detection_in=1, **more)
        return (report(folder, *flags) / "report.html").read_text(encoding="utf-8")

    return make


def images(text):
    found = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).astype(int) for data in found]


def near(pixels, colour, tolerance=60):
    return np.abs(pixels - colour).max(axis=-1) <= tolerance


def test_the_page_is_whole_in_itself(
    write_evaluation, write_training, write_pass_at_k, write_benchmarks, report, tmp_path
):
    for name in ("base", "open"):
        write_evaluation(f"run/scores/{name}", **ALL)
    for step in (100, 200, 300):
        write_evaluation(f"run/scores/steps/checkpoint-{step}", step=step, math_in=step / 400)
    write_training("run/stage1_judge", steps=60)
    write_training("run/stage2_choice", "choice", steps=60, every=10)
    write_pass_at_k("run/judge_pass_at_k.json")
    write_pass_at_k("run/open_pass_at_k.json", "open", base=0.1)
    write_benchmarks("run/general", AI2D=80.0)
    text = (report(tmp_path / "run", "--compare", "scores/base", "scores/open") / "report.html").read_text()
    outline = Outline(text)
    names = {tag for tag, _ in outline.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base"}
    for _, attributes in outline.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:image/jpeg;base64,"))
    assert not re.search(r"(?:src|href|url\()\s*=?\s*[\"']?\s*(?:https?:)?//", text)
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    )
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in text
    assert len(outline.ids) == len(set(outline.ids))
    anchors = {attributes["href"][1:] for tag, attributes in outline.tags if tag == "a"}
    assert anchors == {
        *("accuracy", "steps", "comparisons", "paper", "pass-at-k", "training", "general", "answers"),
        "evaluated",
    }
    assert anchors <= set(outline.ids)
    references = re.findall(r'(?:href="#|url\(#)([^")]+)', text)
    assert set(references) <= set(outline.ids)
    # Six suites, one over steps, a comparison of six suites, one of pass@k, four of each stage.
    figures = [attributes for tag, attributes in outline.tags if tag == "figure"]
    assert len(figures) == text.count("<svg") == 6 + 1 + 6 + 1 + 2 * 4
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in figures)
    assert "Accuracy on math_in over steps, in percent: step 100 " in text
    assert "#0102" not in text
    for fact in ("outputs/open", "ababababab", "max_new_tokens", "5.17.0", "train/open/math_test.jsonl"):
        assert fact in text


def test_text_of_models_is_inert(page):
    text = page(
        row(model_output=HOSTILE, problem=HOSTILE, id=HOSTILE, example={"solution": HOSTILE}, read=HOSTILE),
        row(task="math", image=HOSTILE, model_output="plain"),
        architecture={"model_type": HOSTILE},
    )
    Outline(text)
    assert "<script" not in text
    assert "onerror=alert(2)&gt;&amp;amp; {{ 7 * 7 }} \\u202e\\u0000\\ud800]]&gt;$x$" in text
    assert "<img src=x" not in text


def test_names_are_inert_in_charts_and_tables(
    write_evaluation, write_training, write_pass_at_k, write_benchmarks, report, tmp_path
):
    name = "<b>$\\frac$\udcff\x07"
    folder = write_evaluation("run/x", math_in=0.5)
    write_evaluation("run/scores/<i>&$", math_in=0.5, step=1)
    write_training("run/<u>$x_$")
    write_pass_at_k("run/judge_pass_at_k.json", model=HOSTILE)
    write_benchmarks("run/<s>", model=HOSTILE, **{HOSTILE: 3})
    output = report(f"{name}={folder}", tmp_path / "run", "--compare", name, name)
    text = (output / "report.html").read_text(encoding="utf-8")
    Outline(text)
    assert not re.search(r"<(b|i|u|s|script)\b", text)
    assert text.count("&lt;b&gt;$\\frac$\\udcff\\u0007</th>") >= 3
    # Charts escape on their own.
    assert re.search(r"<text[^>]*>&lt;b&gt;\$\\frac\$\\udcff\\u0007</text>", text)
    json.loads((output / "results.json").read_text())
    assert "\\<b>" in (output / "results.md").read_text()


def test_long_outputs_are_shortened(page):
    long = "<think>" + "word " * 20_000 + "</think>"
    text = page(*(row(model_output=long, problem=long, id=str(number)) for number in range(30)))
    assert len(text) < 400_000
    assert text.count(f"… and {len(long) - 1500} more characters, in ") == 2 * 6


def test_boxes_are_drawn_in_the_frame_they_are_in(page, tmp_path):
    image = Image.new("RGB", (168, 168), (20, 20, 90))
    ImageDraw.Draw(image).rectangle((20, 40, 119, 99), fill=(220, 20, 20))
    image.save(tmp_path / "one.png")
    # The boxes are in a frame of half the image's size.
    (pixels,) = images(page(row(image="one.png", frame=[84, 84], read=[[62, 52, 80, 80]])))
    red = near(pixels, (220, 20, 20))
    ys, xs = np.nonzero(red)
    left, right, top, bottom = xs.min(), xs.max(), ys.min(), ys.max()
    middle = (top + bottom) // 2, (left + right) // 2
    for line in (pixels[middle[0], left - 9 : left], pixels[bottom + 1 : bottom + 10, middle[1]]):
        assert near(line, GOLD).any()
        assert not near(line, OTHER).any()
    ys, xs = np.nonzero(near(pixels, OTHER))
    scale = (right - left + 1) / 50
    # The blue box lies where [62, 52, 80, 80] is, seen from the gold one's corner at [10, 20].
    assert xs.max() == pytest.approx(left + scale * 70, abs=8)
    assert ys.max() == pytest.approx(top + scale * 60, abs=8)


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"image": "gone.png"}, "gone.png: no such file"),
        ({"image": "../secret.png"}, "../secret.png: lies outside the data"),
        ({"image": "/etc/passwd"}, "/etc/passwd: lies outside the data"),
        ({"image": "text.png"}, "not an image"),
        ({"image": "a" * 5000}, "Image not shown"),
        ({"image": "nul\0"}, "Image not shown"),
        ({"image": None}, "The row names no image."),
        ({"read": None}, "No box was read in the answer."),
        ({"read": "it is left"}, "No box was read in the answer."),
        (
            {"read": [[1, 2, 3], [1, 2, 3, float("inf")], [1e300] * 4, ["a"] * 4]},
            "4 of 4 answer boxes are not drawn.",
        ),
        ({"read": [[1, 2, 3, 4]] * 500}, "480 of 500 answer boxes are not drawn."),
        ({"read": [[50, 50, 10, 10], [-900, -900, 5e5, 5e5]], "frame": [0, 0]}, "Gold"),
        ({"explanation": None, "problem": None, "frame": "?", "overlap": True}, "No box was read"),
    ],
)
def test_what_is_not_shown_is_said(changes, note, page, tmp_path):
    (tmp_path / "data").mkdir()
    Image.new("RGB", (84, 84)).save(tmp_path / "data/one.png")
    Image.new("RGB", (84, 84)).save(tmp_path / "secret.png")
    (tmp_path / "data/text.png").write_text("no image")
    text = page(row(**{"image": "one.png", **changes}), root=tmp_path / "data")
    assert note in html.unescape(text)
    assert text.count("<img") == ("image" not in changes)


def test_images_may_have_moved(page, tmp_path):
    (tmp_path / "moved").mkdir()
    Image.new("RGB", (84, 84)).save(tmp_path / "moved/one.png")
    text = page(row(image="one.png"), root="/nowhere", flags=("--data_root", tmp_path / "moved"))
    assert (
        "Image of train/open/detection_test.jsonl:1, 84 by 84 pixels, boxes: answer [10, 20, 60, 50]" in text
    )


def test_disputed_answers_come_first_and_the_draw_is_seeded(page, write_evaluation, report):
    verdicts = [(1, 1)] * 20 + [(1, 0)] * 9 + [(0, 0)] * 4 + [(0, 1)] * 30
    rows = [
        row(id=f"id {number},", strict=a, tolerant=a, released=b) for number, (a, b) in enumerate(verdicts)
    ]
    text = page(*rows)
    assert "Right by the strict scoring: 6 of 29" in text
    assert "Wrong by the strict scoring: 6 of 34" in text
    ids = [int(number) for number in re.findall(r'<p class="id">id (\d+),', text)]
    assert len(set(ids)) == 12
    released = [verdicts[number] for number in ids]
    assert released == [(1, 0)] * 3 + [(1, 1)] * 3 + [(0, 1)] * 3 + [(0, 0)] * 3
    # Where others are too few, disputed ones fill the places.
    again = write_evaluation("again", rows_of={"math_in": rows[20:33]}, math_in=1)
    text = (report(again, "--examples", "8") / "report.html").read_text()
    assert text.count("✓</span>") == 0
    assert "Right by the strict scoring: 8 of 9" in text
    assert "Wrong by the strict scoring: 4 of 4" in text


def test_answers_that_only_the_tolerant_reading_finds_are_disputed_and_shown_as_such(page):
    rows = [row(id=f"id {number},", strict=0, tolerant=int(number == 7), released=0) for number in range(9)]
    text = page(*rows, flags=("--examples", "2"))
    assert re.findall(r'<p class="id">id (\d+),', text)[0] == "7"
    assert text.count("✓ tolerant") == 1


def test_rows_without_a_tolerant_score_are_shown_without_one(page):
    old = row(id="old")
    del old["tolerant"]
    assert "tolerant</span>" not in page(old)


def test_galleries_are_chosen(write_evaluation, report, fails):
    a, b = write_evaluation("a", math_in=0.5), write_evaluation("b", math_in=0.5)
    assert "answers of each suite" in (report(a, b) / "report.html").read_text()
    for flags, shown in [
        ((), ["b"]),
        (("--gallery", "a"), ["a"]),
        (("--gallery", "b", "--gallery", "a"), ["b", "a"]),
    ]:
        text = (report(a, b, *flags) / "report.html").read_text()
        assert re.findall(r'math_in <span class="note">(\w)</span>', text) == shown
    assert "<article" not in (report(a, b, "--examples", "0") / "report.html").read_text()
    assert "--gallery: no evaluation is named c; there are: a, b" in fails(a, b, "--gallery", "c")
    assert "--examples -1: expected 0 to 100" in fails(a, "--examples", "-1")


def test_rows_that_are_gone_or_broken(write_evaluation, report, fails, tmp_path):
    folder = write_evaluation("a", math_in=0.5, classify_in=0.5)
    path = folder / "math_in.jsonl"
    whole = path.read_text()
    for line, message in [
        ("{", "not a JSON object"),
        ("[]", "not a JSON object"),
        ('{"strict": 2}', "no score of 0 or 1"),
        ('{"strict": 1, "released": 0}', "no model_output or no example"),
    ]:
        path.write_text(whole + line + "\n")
        message = f"error: {path}:31: {message}; evaluate again"
        assert fails(folder, "--output_dir", tmp_path / "never") == message
        assert not (tmp_path / "never").exists()
    path.unlink()
    text = (report(folder) / "report.html").read_text()
    assert "math_in.jsonl does not lie beside scores.json." in text
    assert "Right by the strict scoring: 6 of 15" in text


def test_a_suite_that_is_being_answered_again_has_its_scores_and_no_cards_yet(write_evaluation, report):
    folder = write_evaluation("a", math_in=0.5, classify_in=0.5)
    waiting = {"id": "x:31", "digest": "0" * 64, "model_output": "<answer>3</answer>", "truncated": False}
    with (folder / "math_in.jsonl").open("a") as file:
        file.write(json.dumps({**waiting, "new_tokens": 5}) + "\n")
    text = (report(folder) / "report.html").read_text()
    assert "1 of its 31 answers are not scored yet: eval/evaluate.py is at work on them" in text
    assert text.count("Right by the strict scoring") == 1


def test_a_report_is_written_whole_or_not_at_all(write_evaluation, report, fails, tmp_path):
    folder = write_evaluation("a", math_in=0.5)
    output = report(folder)
    assert sorted(path.name for path in output.iterdir()) == [
        "report.html",
        "results.json",
        "results.md",
        "results.xlsx",
    ]
    first = (output / "report.html").read_bytes()
    assert (report(folder) / "report.html").read_bytes() == first
    assert "cannot be written (Not a directory)" in fails(folder, "--output_dir", folder / "scores.json/x")
    (output / "results.md").unlink()
    (output / "results.md").mkdir()
    assert "results.md: cannot be written (Is a directory)" in fails(folder, "--output_dir", output)
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("only", ["training", "pass_at_k", "benchmarks"])
def test_a_report_on_one_kind_alone(
    only, write_training, write_pass_at_k, write_benchmarks, report, tmp_path
):
    {
        "training": lambda: write_training("run/stage"),
        "pass_at_k": lambda: write_pass_at_k("run/open_pass_at_k.json", "open"),
        "benchmarks": lambda: write_benchmarks("run", AI2D=80),
    }[only]()
    text = (report(tmp_path / "run") / "report.html").read_text()
    Outline(text)
    sections = {"training": "training", "pass_at_k": "pass-at-k", "benchmarks": "general"}
    assert re.findall(r'<section id="([\w-]+)"', text) == [sections[only]]
