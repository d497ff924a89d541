import pytest

from curr_reft.data.sources.flags import builder_parser
from curr_reft.errors import InputError


@pytest.mark.parametrize("prefix", ["images/x", "images", "./a b/ü", "a..b", "."])
def test_image_prefix(prefix):
    parser = builder_parser("Rows.", "images/default")
    assert parser.parse_args(["--output", "rows.jsonl", "--image_prefix", prefix]).image_prefix == prefix
    assert parser.parse_args(["--output", "rows.jsonl"]).image_prefix == "images/default"


@pytest.mark.parametrize("prefix", ["../../x", "images/..", "/abs", "images\\x", "a\x00", "a\nb", "\ud800"])
def test_image_prefix_that_leaves_the_image_root(prefix):
    parser = builder_parser("Rows.", None)
    with pytest.raises(InputError, match=r"--image_prefix: .* must be a relative path") as raised:
        parser.parse_args(["--output", "rows.jsonl", "--image_prefix", prefix])
    assert str(raised.value).isprintable()


def test_a_bad_flag_is_an_input_error():
    with pytest.raises(InputError, match="--output"):
        builder_parser("Rows.", None).parse_args([])
