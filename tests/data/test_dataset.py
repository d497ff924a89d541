from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qwen_vl_utils.vision_process import smart_resize

from curr_reft.data.prompts import image_token_count, processed_size

# Of thinner images transformers, which resizes them here, makes wider ones than qwen-vl-utils.
sides = st.integers(28, 5000)


def processor(smallest: int = 3136, largest: int = 12_845_056) -> SimpleNamespace:
    images = SimpleNamespace(
        patch_size=14, merge_size=2, size={"shortest_edge": smallest, "longest_edge": largest}
    )
    return SimpleNamespace(image_processor=images)


@given(sides, sides, st.sampled_from([(3136, 12_845_056), (3136, 401_408), (50_176, 200_704)]))
def test_the_processed_frame_is_that_of_qwen_vl_utils(width, height, limits):
    if max(width, height) > 200 * min(width, height):
        return
    try:
        expected = smart_resize(height, width, factor=28, min_pixels=limits[0], max_pixels=limits[1])
    except ValueError:
        return
    found = processed_size((width, height), processor(*limits))
    assert found == expected[::-1]
    assert image_token_count((width, height), processor(*limits)) == found[0] * found[1] // 28**2


@pytest.mark.parametrize(("size", "expected"), [((640, 425), (644, 420)), ((84, 84), (84, 84))])
def test_known_sizes(size, expected):
    assert processed_size(size, processor()) == expected
