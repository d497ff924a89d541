"""Images: opening them, checking them once before a run, and shrinking them to a stage's budget.

Nothing here replaces a bad image by another. It is named, with the reason, and its rows are dropped only
when the user asks for that.
"""

import logging
import math
import os
import struct
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from curr_reft.boxes import Size
from curr_reft.errors import InputError
from curr_reft.stages import ImageBudget

logger = logging.getLogger(__name__)

MAX_IMAGE_PIXELS = 89_478_485
"""Largest image that is decoded: from here on Pillow suspects a decompression bomb (0.25 GiB as RGB)."""

# Named, because Pillow would hand other formats to outside programs (EPS to Ghostscript).
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# What Pillow raises on damaged files; found by fuzzing these formats, for it documents no set.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, TypeError, struct.error)
# Bounds how many decoded images are held at once.
_CHECK_THREADS = 8
MAX_SIDE_RATIO = 200
"""Qwen's processor refuses images with a side over this many times the other."""
_SHOWN_BAD_IMAGES = 5
_HINT = "check --image_root, or drop these rows with --allow_missing_images"


class WithImage(Protocol):
    """What has a name and an image: an example, or a row of an evaluation."""

    @property
    def id(self) -> str: ...
    @property
    def image(self) -> Path: ...


class ImageError(InputError):
    """An image cannot be used; the message is its path and the reason."""


def open_image(path: Path) -> Image.Image:
    """Decode an image to RGB with its EXIF orientation applied (the *stored* frame of `curr_reft.boxes`).

    What is transparent is put on white, as Qwen's own tools do; the release dropped transparency, which turns
    drawings black. Of an animation the first frame is taken, of 16 bits the upper eight. Raises `ImageError`
    for a file that is missing, no image, damaged, truncated, without a range of brightness (32 bits,
    floats), or larger than `MAX_IMAGE_PIXELS`; the size is checked before any pixel is decoded.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise ImageError(f"{path}: {image.width}x{image.height} is over {MAX_IMAGE_PIXELS} pixels")
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode in ("I", "F"):
                raise ImageError(f"{path}: mode {image.mode} (32 bits) tells no range of brightness")
            if image.mode.startswith("I;16"):
                # Pillow would cut off what exceeds 8 bits: nearly all becomes white.
                return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
            return _on_white(image) if image.has_transparency_data else image.convert("RGB")
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: not an image in one of the formats {', '.join(_FORMATS)}") from error
    # The second is an exception only where the user turned warnings into errors.
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{path}: over {MAX_IMAGE_PIXELS} pixels") from error
    except _DECODE_ERRORS as error:
        raise ImageError(f"{path}: cannot be decoded ({error})") from error


def path_below(root: Path, image: str) -> Path:
    """The path of an image that a row names, for a page: rows are anybody's, and pages are passed on.

    Raises:
        ImageError: when it lies outside the data.
    """
    if os.path.isabs(image) or os.path.normpath(image).startswith(".."):
        raise ImageError(f"{image}: lies outside the data")
    return root / image


def _on_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    ground = Image.new("RGB", layer.size, "white")
    ground.paste(layer, mask=layer)
    return ground


def stored_size(path: Path) -> Size:
    """Width and height of an image in the stored frame; decodes it whole.

    Raises `ImageError` as `open_image` does, and for sides that no processor takes (`MAX_SIDE_RATIO`).
    """
    size = open_image(path).size
    if max(size) > MAX_SIDE_RATIO * min(size):
        raise ImageError(f"{path}: {size[0]}x{size[1]}, one side over {MAX_SIDE_RATIO} times the other")
    return size


def released_resize(
    height: int, width: int, factor: int, min_pixels: int, max_pixels: int, max_ratio: float
) -> tuple[int, int]:
    """The released (and Qwen's) height and width for an image, multiples of `factor`, in the pixels allowed.

    Raises:
        ValueError: when one side is over `max_ratio` times the other.
        ZeroDivisionError: when a side is 0.
    """
    if max(height, width) / min(height, width) > max_ratio:
        raise ValueError(f"sides {height} and {width}: one is over {max_ratio} times the other")
    sides = [max(factor, round(side / factor) * factor) for side in (height, width)]
    if math.prod(sides) > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        sides = [math.floor(side / shrink / factor) * factor for side in (height, width)]
    elif math.prod(sides) < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        sides = [math.ceil(side * grow / factor) * factor for side in (height, width)]
    return sides[0], sides[1]


def budget_size(size: Size, budget: ImageBudget | None) -> Size:
    """The size a stage gives an image (the *budget* frame), as the released stage scripts compute it.

    Unchanged without a budget, up to its `trigger`, up to its `max_pixels`, and for images longer than its
    `max_ratio`; otherwise both sides shrink by one factor to at most `max_pixels`, each rounded down.
    """
    width, height = size
    if budget is None or width * height <= budget.trigger:
        return size
    try:
        height, width = released_resize(height, width, 1, 0, budget.max_pixels, budget.max_ratio)
    except ValueError:
        return size
    return width, height


def fit_to_budget(image: Image.Image, budget: ImageBudget | None) -> Image.Image:
    """The image at its `budget_size`; the very same object when that changes nothing."""
    size = budget_size(image.size, budget)
    if budget is None or size == image.size:
        return image
    return image.resize(size, Image.Resampling[budget.resample])


def check_images(
    examples: Iterable[WithImage], allow_missing: bool, hint: str = _HINT
) -> tuple[dict[Path, Size], dict[str, str]]:
    """Decode every image that the examples name, once, before a run starts.

    Returns the stored size of each good image, and the reason for each example without one by its id; such
    examples are to be left out.

    Args:
        examples: Gone through twice.
        hint: What to do about bad images, for the message.

    Raises:
        InputError: with counts and the first reasons, when an image is bad and `allow_missing` is false, or
            when no example is left.
    """
    paths = list(dict.fromkeys(example.image for example in examples))
    with ThreadPoolExecutor(_CHECK_THREADS) as pool:
        results = tqdm(
            pool.map(_probe, paths), total=len(paths), desc="Checking images", unit="image", disable=None
        )
        outcomes = dict(zip(paths, results, strict=True))
    sizes = {path: found for path, found in outcomes.items() if not isinstance(found, ImageError)}
    reasons = {path: str(found) for path, found in outcomes.items() if isinstance(found, ImageError)}
    if not reasons:
        return sizes, {}
    dropped, rows = {}, 0
    for example in examples:
        rows += 1
        if example.image in reasons:
            dropped[example.id] = reasons[example.image]
    shown = list(reasons.values())[:_SHOWN_BAD_IMAGES]
    if len(reasons) > len(shown):
        shown.append(f"and {len(reasons) - len(shown)} more")
    counts = f"{len(reasons)} of {len(paths)}, in {len(dropped)} of {rows} rows"
    summary = f"unusable images: {counts}: {'; '.join(shown)}"
    if not allow_missing:
        raise InputError(f"{summary} ({hint})")
    if len(dropped) == rows:
        raise InputError(f"{summary} (no row is left; check --image_root)")
    logger.warning("rows dropped for %s", summary)
    return sizes, dropped


def _probe(path: Path) -> Size | ImageError:
    try:
        return stored_size(path)
    except ImageError as error:
        return error
