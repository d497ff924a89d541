"""Boxes: overlap, and moving them between the frames of a picture.

Three frames are named (DESIGN decision 10): *stored*, the pixels of the file with its EXIF orientation applied;
*budget*, after the stage's image budget; *processed*, after the processor's own resize. All are pixel frames with the
origin at the top left, so moving a box is a scaling per axis.
"""

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of some frame, covering [x1, x2) x [y1, y2)."""
Size = tuple[int, int]
"""Width and height in pixels."""


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, continuous (no +1 pixel convention); 0 when either has no area."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    intersection = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - intersection
    return intersection / union


def scale_box(box: Box, source: Size, target: Size) -> Box:
    """Move a box from a frame of size `source` to the frame of the same picture at size `target`."""
    sx, sy = target[0] / source[0], target[1] / source[1]
    return (box[0] * sx, box[1] * sy, box[2] * sx, box[3] * sy)
