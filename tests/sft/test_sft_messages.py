"""Rows in ms-swift's form: made, and refused where ms-swift would misread them."""

import json
from pathlib import Path

import pytest

from curr_reft.data.row_fields import BadRowError
from curr_reft.data.schema import iter_objects
from curr_reft.errors import InputError
from curr_reft.sft.messages import message_row, read_row

TAGS = ("<image>", "<video>", "<audio>", "<bbox>", "<ref-object>", "<cot-process>", "<start-image>")
TOKENS = ("<|im_end|>", "<|im_start|>", "<|image_pad|>", "<|vision_start|>", "<|endoftext|>")


def turns(*contents, roles=("user", "assistant")):
    return {"messages": [{"role": r, "content": c} for r, c in zip(roles, contents, strict=True)]}


def test_rows_are_made_as_they_are_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    made = [
        message_row(
            "Wo ist\nder <ring>?\u2028 [1, 2] <|x|>",
            "<think>ja</think> <answer>[1]</answer>",
            Path("/a/ü.png"),
        ),
        message_row("2 < 3?", "yes", None),
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made), encoding="utf-8")
    assert [value for _, value in iter_objects(path)] == made
    with_image, text_alone = map(read_row, made)
    assert made[0]["messages"][0]["content"].startswith("<image>Wo")
    assert with_image.images == ("/a/ü.png",)
    assert with_image.user_text.startswith("Wo ist")
    assert "images" not in made[1]
    assert text_alone.images == ()


@pytest.mark.parametrize("bad", [*TAGS, *TOKENS, "<img>/a.png</img>", "", " \n", "\ud800"])
@pytest.mark.parametrize("place", ["prompt", "answer"])
def test_texts_that_swift_would_misread_make_no_row(bad, place):
    text = f"before {bad} after" if bad.strip() else bad
    with pytest.raises(InputError):
        message_row(*((text, "yes") if place == "prompt" else ("really?", text)), None)


def test_a_linked_image_is_left_alone_beside_a_real_one():
    assert message_row("what does <img>x</img> do?", "show x", Path("/a.png"))


def test_relative_images_make_no_row():
    with pytest.raises(InputError, match="expected an absolute path"):
        message_row("?", "!", Path("a.png"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (None, "expected an object"),
        ([], "expected an object"),
        ({}, "messages: expected a list"),
        ({"messages": []}, "messages: expected a list"),
        ({"messages": ["hello"]}, r"messages\[0\]: expected an object"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\]: expected an object"),
        (turns("a", roles=("user",)), "assistant's last"),
        (turns("a", roles=("assistant",)), "assistant's last"),
        (turns("a", "b", roles=("assistant", "user")), "assistant's last"),
        (turns("a", "b", "c", roles=("user", "user", "assistant")), "assistant's last"),
        (turns("a", "b", "c", roles=("user", "system", "assistant")), "assistant's last"),
        (turns("a", roles=("system",)), "assistant's last"),
        (turns("a", "b", roles=("human", "gpt")), "role 'human' is none of"),
        (turns("a", "b", roles=("user", "tool")), "role 'tool' is none of"),
        (turns("a", ["b"]), r"messages\[1\].content: expected a text, found \['b'\]"),
        (turns("a", None), r"messages\[1\].content: expected a text"),
        (turns("a", ""), r"messages\[1\].content: empty"),
        (turns("<image>a", "b"), "1 <image> tags for 0 images"),
        ({**turns("a", "b"), "images": ["x.png"]}, "0 <image> tags for 1 images"),
        ({**turns("<image><image>a", "b"), "images": ["x.png"]}, "2 <image> tags for 1"),
        ({**turns("a", "<image>b"), "images": ["x.png"]}, "<image> in a turn of the assistant"),
        ({**turns("<image>a", "b"), "images": "x.png"}, "images: expected a list"),
        ({**turns("<image>a", "b"), "images": [{"path": "x.png"}]}, r"images\[0\]: expected a text"),
        (
            {**turns("<image>a", "b"), "images": ["iVBORw0K" * 999]},
            r"images\[0\]: .* base64 data of 7992 char",
        ),
        ({**turns("<image>a", "b"), "images": ["x.png "]}, r"images\[0\]: white space"),
        ({**turns("a", "b"), "image": "x.png"}, "images go into `images`"),
        ({**turns("a", "b"), "System": "be kind"}, "System: a key that ms-swift would act on"),
        ({**turns("a", "b"), "Images": ["x.png"]}, "Images: ms-swift would read it as `images`"),
        ({**turns("a", "b"), "MESSAGES": []}, "MESSAGES: ms-swift would read it as `messages`"),
        ({**turns("a", "b"), "rejected_response": "c"}, "a key that ms-swift would act on"),
        ({**turns("a", "b"), "rejected_messages": []}, "a key that ms-swift would act on"),
        ({"messages": [{"role": "user", "content": "a", "loss": True}]}, "unknown key 'loss'"),
    ],
)
def test_bad_rows_are_named(row, message):
    with pytest.raises(BadRowError, match=message):
        read_row(row)


def test_other_keys_and_more_turns_are_fine():
    row = turns("s", "<image>a", "b", "c", "d", roles=("system", *("user", "assistant") * 2))
    read = read_row({**row, "images": ["x.png"], "score": 91, "solution": "b", "id": 3, "source": None})
    assert [role for role, _ in read.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert read.user_text == "a\nc"
    assert read_row({**turns("a", "b"), "images": None}).images == ()
