"""The images of rows of supervised fine-tuning, as ms-swift will find and open them."""

import hashlib
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from curr_reft.boxes import Size
from curr_reft.data.images import ImageError, stored_size
from curr_reft.files.atomic import replacing

ROOT_VARIABLE = "ROOT_IMAGE_DIR"
_THREADS = 8
_ORIENTATION = 0x0112
_UPRIGHT = 1
_OPAQUE = 255
_SIXTEEN_BITS = "I;16"
_NAME_DIGITS = 32
_NO_FILES = ("http://", "https://", "file://", "data:")


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An image that can be decoded."""

    size: Size
    """Width and height in the stored frame, the EXIF orientation applied."""
    turned: bool
    """Whether its pixels are stored in another orientation, which ms-swift, unlike all else here, shows."""
    transparent: bool
    """Whether it has transparent parts, which all else here shows white and ms-swift not always."""


def image_path(image: str) -> Path:
    """Where ms-swift looks for an image: from the working directory, else below `ROOT_IMAGE_DIR`.

    Raises:
        ImageError: for what is no path of a file here.
    """
    if image.startswith(_NO_FILES):
        raise ImageError(f"{image[:60]}: expected a file on this machine")
    if os.path.exists(image):
        return Path(os.path.abspath(image))
    root = os.environ.get(ROOT_VARIABLE)
    if root is not None and not os.path.isabs(image):
        return Path(os.path.abspath(os.path.join(root, image)))
    if os.path.isabs(image):
        return Path(image)
    raise ImageError(
        f"{image}: no such file from {os.getcwd()}; absolute paths are safe, or set {ROOT_VARIABLE}"
    )


def look_at(paths: list[Path]) -> dict[Path, DecodedImage | ImageError]:
    """Decode every image once."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(paths, pool.map(_look_at, paths), strict=True))


def _look_at(path: Path) -> DecodedImage | ImageError:
    try:
        size = stored_size(path)
    except ImageError as error:
        return error
    with Image.open(path) as image:
        if image.mode.startswith(_SIXTEEN_BITS):
            return ImageError(f"{path}: 16 bits a channel, which ms-swift would cut to white; save it with 8")
        turned = image.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT
        transparent = (
            image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] < _OPAQUE
        )
    return DecodedImage(size, turned, transparent)


def rescaled(size: Size, max_pixels: int | None) -> Size:
    """The size that ms-swift gives an image by its flag `--max_pixels` (its `rescale_image`)."""
    width, height = size
    if max_pixels is None or width * height <= max_pixels:
        return size
    ratio = width / height
    shrunk = math.sqrt(max_pixels / ratio)
    return int(shrunk * ratio), int(shrunk)


def pixel_digest(image: Image.Image) -> str:
    """A hex digest of what an image in RGB shows, whatever file it comes from."""
    return hashlib.sha256(json.dumps(image.size).encode() + image.tobytes()).hexdigest()


def default_image_dir(output: Path) -> Path:
    """Where copies of images go for a file of rows: `images` beside its folder, as in `SFT_data`."""
    return output.absolute().parent.parent / "images"


def image_file(stored: Path, shown: Image.Image, image_dir: Path) -> Path:
    """A file in which any reader finds the image that a model is shown: the stored one where that is it.

    It is not when the image was shrunk, when its EXIF orientation turned it, which not every reader looks
    at, when it has transparent parts, which not every reader puts on white, or when it has 16 bits a channel,
    which not every reader scales.

    Args:
        stored: File that the image came from.
        shown: The image in RGB, as the model gets it.
        image_dir: Folder of copies. A copy's name follows from its pixels, so that it is made once.

    Raises:
        InputError: when the copy cannot be written.
    """
    with Image.open(stored) as image:
        plain = image.size == shown.size and not image.mode.startswith(_SIXTEEN_BITS)
        if plain and image.convert("RGB").tobytes() == shown.tobytes():
            return stored.absolute()
    path = image_dir.absolute() / f"{pixel_digest(shown)[:_NAME_DIGITS]}.png"
    if not path.exists():
        with replacing(path, binary=True) as file:
            shown.save(file, "PNG")
    return path
