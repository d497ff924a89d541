"""The images of the preview: boxes drawn on what the model sees, and the contact sheet."""

import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from PIL import Image, ImageDraw, ImageFont

from curr_reft.answers.options import parse_options
from curr_reft.answers.region import extract_answer
from curr_reft.answers.verdicts import parse_yes_no
from curr_reft.boxes import Box, Size, boxes_in_text, round_box, scale_box
from curr_reft.files.html import jpeg_uri
from curr_reft.tasks.registry import find_task

Colour = tuple[int, int, int]
GOLD, OTHER = (255, 214, 0), (70, 200, 255)
"""Colours of right boxes, and of other ones."""
_INK, _GROUND, _PAPER = (0, 0, 0), (128, 128, 128), (255, 255, 255)

_PAGE_SIDES = (480, 1280)
_SMALL_SIDE = 640
_SHEET_SIDES = (360, 360)
_COLUMNS = 4
_CAPTION_LINES = 3
_LABEL_PADDING = 3
_NARROWEST = 120
"""Pixels that a label needs beside an image of few columns."""

# Options are written `A. [..]`, in the release also `A [..]`.
_BRACKETED = re.compile(r"(?:\b([A-Z])\b[.:)]?\s*)?(\[[^\[\]]*\])")


@dataclass(frozen=True)
class Mark:
    """A box to draw, in the frame that the row's boxes are in."""

    label: str
    box: Box
    is_gold: bool
    colour: Colour = OTHER
    """Of a box that is not gold."""


def marks_of(row: Mapping[str, Any]) -> list[Mark]:
    """The boxes that a split's row spells: claim, options or given ones in the prompt, then the gold's own.

    An option is gold when the gold names its letter, a claim when the gold is yes. Rows of other tasks have
    none: their bracketed numbers are no boxes.
    """
    if not find_task(row["task"]).has_boxes:
        return []
    answer = extract_answer(row["solution"]) or ""
    verdict, right = parse_yes_no(answer), parse_options(answer) or frozenset()
    unlettered = "given" if verdict is None else f"claim: {'yes' if verdict else 'no'}"
    marks = []
    for letter, text in _BRACKETED.findall(row["prompt"][0]["content"]):
        is_gold = verdict is True or letter in right
        label = f"{letter} gold" if letter in right else letter or unlettered
        marks += [Mark(label, box, is_gold) for box in boxes_in_text(text)]
    return marks + [Mark("gold", box, True) for box in boxes_in_text(answer)]


def page_image(image: Image.Image, marks: Iterable[Mark], frame: Size) -> tuple[Image.Image, float]:
    """An image for the page with marks drawn, whose boxes are in `frame`, and how much it was enlarged."""
    drawn = _shown(image, *_PAGE_SIDES)
    return _drawn(drawn, marks, frame), max(drawn.size) / max(image.size)


def image_uri(image: Image.Image, marks: Iterable[Mark], frame: Size) -> Markup:
    """A small image with marks drawn, whose boxes are in `frame`, as a data URI."""
    small = image.copy()
    small.thumbnail((_SMALL_SIDE, _SMALL_SIDE), Image.Resampling.LANCZOS)
    drawn, _ = page_image(small, marks, frame)
    return Markup(jpeg_uri(drawn, quality=85))


def sheet_image(image: Image.Image, marks: Iterable[Mark], frame: Size) -> Image.Image:
    """An image for the contact sheet with its marks drawn, whose boxes are in `frame`."""
    return _drawn(_shown(image, *_SHEET_SIDES), marks, frame)


def contact_sheet(title: str, captions: Sequence[tuple[Image.Image, Sequence[str]]]) -> Image.Image:
    """Images in a grid, each above the texts of its caption, which are cut after a few lines."""
    font, margin, line = ImageFont.load_default(16), 12, 22
    columns = max(min(len(captions), _COLUMNS), math.isqrt(len(captions)))
    width = max(_SHEET_SIDES[1], *(image.width for image, _ in captions)) + margin
    cells = [
        (image, [part for text in texts for part in _lines(text, width - margin, font)])
        for image, texts in captions
    ]
    sheet_width = max(columns * width + margin, 900)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [max(image.height + len(lines) * line for image, lines in row) + 2 * margin for row in rows]
    sheet = Image.new("RGB", (sheet_width, 2 * margin + line + sum(heights)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((margin, margin), _cut(title, sheet_width - 2 * margin, font), _INK, font)
    top = 2 * margin + line
    for row, height in zip(rows, heights, strict=True):
        for column, (image, lines) in enumerate(row):
            left = margin + column * width
            sheet.paste(image, (left, top))
            for number, text in enumerate(lines):
                at = (left, top + image.height + 4 + number * line)
                draw.text(at, text, _INK, font)
        top += height
    return sheet


def _shown(image: Image.Image, shortest: int, longest: int) -> Image.Image:
    """The image with a longer side of about `shortest` to `longest`; enlarged in whole steps only."""
    side = max(image.size)
    if side > longest:
        size = [max(1, round(length * longest / side)) for length in image.size]
        return image.resize(size, Image.Resampling.LANCZOS)
    step = max(1, shortest // side)
    return image.resize([length * step for length in image.size], Image.Resampling.NEAREST)


def _drawn(image: Image.Image, marks: Iterable[Mark], frame: Size) -> Image.Image:
    """The image in a margin, which holds lines and labels of boxes at its edge, with its marks."""
    unit = max(14, max(image.size) // 32)
    line, font = max(3, unit // 6), ImageFont.load_default(unit)
    margin = unit + 2 * _LABEL_PADDING + line + 4
    left = max(margin, (_NARROWEST - image.width) // 2)
    canvas = Image.new("RGB", (image.width + 2 * left, image.height + 2 * margin), _GROUND)
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((left - 1, margin - 1, left + image.width, margin + image.height), outline=_INK)
    canvas.paste(image, (left, margin))
    marks_by_box: dict[Box, list[Mark]] = {}
    for mark in sorted(marks, key=lambda mark: not mark.is_gold):
        x1, y1, x2, y2 = round_box(scale_box(mark.box, frame, image.size), image.size)
        # Around what the box holds, none of which is hidden.
        outer = (x1 + left - line - 2, y1 + margin - line - 2, x2 + left + line + 1, y2 + margin + line + 1)
        marks_by_box.setdefault(outer, []).append(mark)
    # Gold is drawn last, so that nothing covers it, and labelled first.
    for (x1, y1, x2, y2), each in reversed(marks_by_box.items()):
        draw.rectangle((x1, y1, x2, y2), outline=_INK, width=line + 2)
        draw.rectangle((x1 + 1, y1 + 1, x2 - 1, y2 - 1), outline=_colour(each), width=line)
    taken: list[Box] = []
    for outer, each in marks_by_box.items():
        label = ", ".join(dict.fromkeys(mark.label for mark in each))
        place = _label_place(font.getlength(label), unit, outer, taken, canvas.size)
        taken.append(place)
        draw.rectangle(place, fill=_colour(each), outline=_INK)
        centre = ((place[0] + place[2]) / 2, (place[1] + place[3]) / 2)
        draw.text(centre, label, _INK, font, anchor="mm")
    return canvas


def _colour(marks: Sequence[Mark]) -> Colour:
    return GOLD if any(mark.is_gold for mark in marks) else marks[0].colour


def _label_place(length: float, unit: int, outer: Box, taken: Sequence[Box], canvas: Size) -> Box:
    """Outside a corner of a box, where no other label stands if there is one."""
    width, height = math.ceil(length) + 2 * _LABEL_PADDING, unit + 2 * _LABEL_PADDING
    x1, y1, x2, y2 = outer
    places = []
    for top in (y1 - height, y2 + 1):
        for left in (x1, x2 - width):
            x = min(max(left, 0), canvas[0] - width - 1)
            y = min(max(top, 0), canvas[1] - height - 1)
            places.append((x, y, x + width, y + height))
    return next((place for place in places if not any(_overlap(place, other) for other in taken)), places[0])


def _overlap(a: Box, b: Box) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def _lines(text: str, width: int, font: ImageFont.FreeTypeFont) -> list[str]:
    """The text on a few lines of at most `width` pixels."""
    # A letter is 8 pixels wide, or a little less; where letters are wider, lines are cut.
    lines = textwrap.wrap(text[:1000], width // 8, max_lines=_CAPTION_LINES, placeholder=" ...")
    return [_cut(line, width, font) for line in lines]


def _cut(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """The text on one line of at most `width` pixels."""
    # No letter but a few is narrower than 4 pixels, and measuring takes time.
    text = whole = " ".join(text.split())[: width // 4]
    while font.getlength(text) > width:
        whole = whole[:-1]
        text = f"{whole}..."
    return text
