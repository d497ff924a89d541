"""Copies of images: files of the same bytes, and images that look the same at another size or quality."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagehash
import numpy as np
from tqdm import tqdm

from curr_reft.data.images import ImageError, open_image
from curr_reft.files.manifest import sha256_of

logger = logging.getLogger(__name__)

_HASH_SIDE = 16
MAX_DISTANCE = 10
"""Bits of 256 in which two versions of an image may differ; unrelated photographs differ in over 50."""
_THREADS = 4


class HeldOutImages:
    """The bytes' digests and perceptual hashes of images, to find copies of them."""

    def __init__(self, paths: Iterable[Path], max_distance: int) -> None:
        self._max_distance = max_distance
        self._known: dict[Path, dict[Path, str]] = {}
        self.unopened: list[Path] = []
        """Images that could not be opened, which are compared by their path alone."""
        marks = self._marks(paths, "Hashing held-out images")
        self._paths = list(marks)
        hashes = [looks for _, looks in marks.values()]
        self._hashes = np.array(hashes, dtype=np.uint8).reshape(-1, _HASH_SIDE**2 // 8)
        self._by_digest = defaultdict(list)
        for path, (digest, _) in marks.items():
            self._by_digest[digest].append(path)

    def compare(self, paths: Iterable[Path]) -> None:
        """Look for copies among `paths`, which `copies_of` then tells."""
        for path, (digest, looks) in self._marks(paths, "Hashing training images").items():
            distances = np.bitwise_count(self._hashes ^ looks).sum(axis=1)
            found = {
                self._paths[index]: "look-alike" for index in np.flatnonzero(distances <= self._max_distance)
            }
            found |= dict.fromkeys(self._by_digest.get(digest, ()), "image")
            if found:
                self._known[path] = found

    def copies_of(self, path: Path) -> dict[Path, str]:
        """The held-out images that a compared image is: the `image` itself, or a `look-alike`."""
        return {**self._known.get(path, {}), path: "image"}

    def _marks(self, paths: Iterable[Path], description: str) -> dict[Path, tuple[str, np.ndarray]]:
        """Digest of the bytes and packed perceptual hash of each image that can be opened."""
        unique = list(dict.fromkeys(paths))
        with ThreadPoolExecutor(_THREADS) as pool:
            found = tqdm(
                pool.map(_mark, unique), total=len(unique), desc=description, unit="image", disable=None
            )
            marks = dict(zip(unique, found, strict=True))
        unopened = [path for path, mark in marks.items() if mark is None]
        if unopened:
            counts = f"{len(unopened)} of {len(unique)} images"
            logger.warning("%s cannot be opened, first %s: compared by path alone", counts, unopened[0])
        self.unopened += unopened
        return {path: mark for path, mark in marks.items() if mark is not None}


def _mark(path: Path) -> tuple[str, np.ndarray] | None:
    try:
        looks = imagehash.phash(open_image(path), hash_size=_HASH_SIDE)
    except ImageError:
        return None
    return sha256_of(path), np.packbits(looks.hash.ravel())
