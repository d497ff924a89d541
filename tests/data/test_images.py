import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops

from curr_reft.data.images import (
    MAX_IMAGE_PIXELS,
    ImageError,
    budget_size,
    check_images,
    fit_to_budget,
    open_image,
    released_resize,
    stored_size,
)
from curr_reft.data.schema import Example
from curr_reft.errors import InputError
from curr_reft.stages import STAGES, ImageBudget
from curr_reft.tasks.registry import asking_of

ORIENTATION = 0x0112


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds hardly a pixel of it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9))


def save(path: Path, size=(40, 30), mode="RGB", **options) -> Path:
    # Noise, so that a cut through the file cuts pixels.
    Image.effect_noise(size, 60).convert(mode).save(path, **options)
    return path


def save_truncated(path: Path) -> Path:
    save(path, (200, 200))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.fixture
def bad_images(tmp_path):
    folder = tmp_path / "bad"
    folder.mkdir()
    save_truncated(folder / "truncated.jpg")
    for name, content in {
        "text.jpg": b"<html>404</html>",
        "empty.jpg": b"",
        "bomb.png": png_header(60_000, 60_000),
        "large.png": png_header(10_000, 10_000),
        "zero.png": png_header(0, 10),
        "hollow.png": png_header(100, 100),
        "drawing.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
    }.items():
        (folder / name).write_bytes(content)
    (folder / "folder.jpg").mkdir()
    return folder


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.jpg", "no such file"),
        ("folder.jpg", "cannot be decoded"),
        ("text.jpg", "not an image"),
        ("empty.jpg", "not an image"),
        ("drawing.eps", "not an image"),
        ("zero.png", "not an image"),
        ("truncated.jpg", "truncated"),
        ("hollow.png", "cannot be decoded"),
        ("bomb.png", f"over {MAX_IMAGE_PIXELS} pixels"),
        ("large.png", f"10000x10000 is over {MAX_IMAGE_PIXELS} pixels"),
    ],
)
def test_unusable_image_names_path_and_reason(bad_images, name, reason):
    for read in (open_image, stored_size):
        with pytest.raises(ImageError) as raised:
            read(bad_images / name)
        assert str(raised.value).startswith(f"{bad_images / name}: ")
        assert reason in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_large_image_where_warnings_are_errors(bad_images):
    with pytest.raises(ImageError, match="over 89478485 pixels"):
        open_image(bad_images / "large.png")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    image = open_image(save(tmp_path / "a.png", mode=mode))
    assert (image.mode, image.size) == ("RGB", (40, 30))


def transparent(mode: str) -> Image.Image:
    """A black drawing, opaque in its left half; what is transparent is black underneath."""
    alpha = Image.new("L", (40, 30), 0)
    alpha.paste(255, (0, 0, 20, 30))
    if mode == "RGBA":
        return Image.merge("RGBA", [Image.new("L", (40, 30), 0)] * 3 + [alpha])
    if mode == "LA":
        return Image.merge("LA", [Image.new("L", (40, 30), 0), alpha])
    image = Image.new(mode, (40, 30), 0)
    if mode == "P":
        image.putpalette([0, 0, 0, 9, 9, 9])
    image.paste(1, mask=alpha)
    return image


@pytest.mark.parametrize(
    ("mode", "name", "options"),
    [
        ("RGBA", "a.png", {}),
        ("RGBA", "a.webp", {"lossless": True}),
        ("RGBA", "a.tiff", {}),
        ("LA", "a.png", {}),
        ("P", "a.png", {"transparency": 0}),
        ("P", "a.gif", {"transparency": 0}),
        ("L", "a.png", {"transparency": 0}),
    ],
)
def test_transparent_parts_are_white(tmp_path, mode, name, options):
    transparent(mode).save(tmp_path / name, **options)
    pixels = np.asarray(open_image(tmp_path / name))
    assert (pixels[:, :20] < 10).all()
    assert (pixels[:, 20:] == 255).all()


def test_half_transparent_parts_are_mixed_with_white(tmp_path):
    Image.new("RGBA", (40, 30), (255, 0, 0, 102)).save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").getpixel((0, 0)) == (255, 153, 153)


def test_sixteen_bits_keep_their_brightness(tmp_path):
    ramp = np.linspace(0, 65535, 40 * 30).reshape(30, 40).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    grey = np.asarray(open_image(tmp_path / "a.png"))[..., 0]
    assert (grey == ramp >> 8).all()


def test_images_without_a_range_of_brightness_are_refused(tmp_path):
    for mode in ("I", "F"):
        with pytest.raises(ImageError, match=f"mode {mode} "):
            open_image(save(tmp_path / f"{mode}.tiff", mode=mode))


def test_the_first_frame_of_an_animation_is_the_image(tmp_path):
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert open_image(tmp_path / "a.gif").getpixel((5, 5)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("orientation", "size", "corner"),
    [(1, (40, 30), (0, 0)), (3, (40, 30), (39, 29)), (6, (30, 40), (29, 0)), (8, (30, 40), (0, 39))],
)
def test_exif_orientation_is_applied(tmp_path, orientation, size, corner):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.new("RGB", (40, 30), "white")
    image.paste("black", (0, 0, 8, 8))
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    opened = open_image(tmp_path / "a.jpg")
    assert opened.size == stored_size(tmp_path / "a.jpg") == size
    assert max(opened.getpixel(corner)) < 50
    assert opened.getexif().get(ORIENTATION, 1) == 1


def test_budgets_equal_the_released_resizing(golden):
    stages = {stage.number: stage for stage in STAGES.values()}
    rows = golden("resize_policy")
    assert len(rows) == 2052
    for row in rows:
        budget = asking_of(stages[row["stage"]], row["task"]).budget
        size = budget_size((row["width"], row["height"]), budget)
        assert size == (row["out_width"], row["out_height"]), row
        if row["resample"] is not None:
            assert budget.resample == {"PIL_DEFAULT": "BICUBIC"}.get(row["resample"], row["resample"])


def test_released_resize_gives_the_released_sizes_and_errors(golden):
    rows = golden("smart_resize")
    assert len(rows) == 1140
    for row in rows:
        arguments = [
            row[name] for name in ("height", "width", "factor", "min_pixels", "max_pixels", "max_ratio")
        ]
        try:
            outcome = released_resize(*arguments)
        except (ValueError, ZeroDivisionError) as error:
            outcome = type(error).__name__
        assert outcome == (row["error"] or (row["out_height"], row["out_width"])), row


@pytest.mark.parametrize("resample", ["LANCZOS", "BICUBIC"])
def test_fit_resizes_with_the_filter_of_the_budget(resample):
    image = Image.effect_noise((100, 60), 60)
    fitted = fit_to_budget(image, ImageBudget(trigger=3000, max_pixels=2000, resample=resample))
    assert fitted.size == (57, 34)
    expected = image.resize((57, 34), Image.Resampling[resample])
    assert ImageChops.difference(fitted, expected).getbbox() is None


@pytest.mark.parametrize(
    ("size", "budget"),
    [
        ((100, 60), None),
        ((60, 50), ImageBudget(trigger=3000, max_pixels=2000)),
        ((60, 51), ImageBudget(trigger=3000, max_pixels=4000)),
        ((1300, 100), ImageBudget(trigger=3000, max_pixels=2000)),
    ],
)
def test_fit_leaves_an_image_alone(size, budget):
    image = Image.new("RGB", size)
    assert fit_to_budget(image, budget) is image


def rows_of(*paths: Path) -> list[Example]:
    return [Example(f"f:{i}", "p", "<answer>1</answer>", "math", path) for i, path in enumerate(paths)]


def test_check_returns_sizes_of_good_images(tmp_path):
    a, b = save(tmp_path / "a.jpg"), save(tmp_path / "b.png", (7, 9))
    examples = rows_of(a, b, a)
    assert check_images(examples, allow_missing=False) == ({a: (40, 30), b: (7, 9)}, {})
    assert check_images([], allow_missing=False) == ({}, {})


def test_check_stops_with_counts_and_the_first_reasons(tmp_path):
    missing = [tmp_path / f"{i}.jpg" for i in range(7)]
    examples = rows_of(save(tmp_path / "a.jpg"), *missing, missing[0])
    with pytest.raises(InputError) as raised:
        check_images(examples, allow_missing=False)
    message = str(raised.value)
    assert message.startswith(f"unusable images: 7 of 8, in 8 of 9 rows: {missing[0]}: no such file; ")
    assert message.count("no such file") == 5
    assert "; and 2 more (" in message
    assert "--allow_missing_images" in message
    assert "--image_root" in message
    assert "\n" not in message


def test_check_drops_and_reports_when_allowed(tmp_path, caplog):
    good, bad = save(tmp_path / "a.jpg"), save_truncated(tmp_path / "b.jpg")
    examples = rows_of(bad, good, bad)
    with caplog.at_level(logging.WARNING):
        sizes, dropped = check_images(examples, allow_missing=True)
    assert sizes == {good: (40, 30)}
    assert list(dropped) == ["f:0", "f:2"]
    assert "truncated" in dropped["f:0"]
    assert "1 of 2, in 2 of 3 rows" in caplog.text


def test_check_refuses_to_drop_everything(tmp_path):
    with pytest.raises(InputError, match="no row is left"):
        check_images(rows_of(tmp_path / "a.jpg"), allow_missing=True)
