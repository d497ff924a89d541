"""Rows of supervised fine-tuning in ms-swift's `messages` form: made here, and checked here.

    {"messages": [{"role": "user", "content": "<image>Question"},
                  {"role": "assistant", "content": "<answer>…</answer>"}], "images": ["/abs/a.png"]}

A row of text alone has no `images`. Other keys are kept in the file and not read, unless ms-swift would read
them (`READ_BY_SWIFT`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curr_reft.data.row_fields import IMAGE_TAG, BadRowError, path_fault
from curr_reft.errors import InputError
from curr_reft.files.json_lines import BrokenLine
from curr_reft.files.text import special_token_fault, surrogate_fault

_OTHER_TAGS = ("<video>", "<audio>", "<bbox>", "<ref-object>", "<cot-process>", "<start-image>")
_LINKED_IMAGE = re.compile(r"<img>.+?</img>")
_PREFIXES = ("rejected_", "positive_", "negative_")
# `RowPreprocessor.standard_keys` of ms-swift 4.6.0 and the spellings its preprocessors map to them.
READ_BY_SWIFT = frozenset(
    (
        *("image", "conversation", "conversations", "system", "system_prompt"),
        *("video", "videos", "audio", "audios", "tools", "objects", "rejected_response", "label", "channel"),
        *("margin", "teacher_prompt", "teacher_images", "chat_template_kwargs", "ref_audios", "audio_codes"),
        *("questions", "kinds", "options", "target_probs", "state", "question_ids", "criteria"),
    )
)
"""Keys, in lower case, that a row may not have beside `messages` and `images`: ms-swift acts on them."""


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One checked row."""

    messages: tuple[tuple[str, str], ...]
    """Role and content of each turn: an optional system turn, then user and assistant in turns."""
    images: tuple[str, ...]
    """As the row spells them; neither resolved nor opened here."""

    @property
    def user_text(self) -> str:
        """What is asked, without the images' tags."""
        asked = (content for role, content in self.messages if role == "user")
        return "\n".join(content.replace(IMAGE_TAG, "") for content in asked).strip()

    @property
    def text(self) -> str:
        """Everything that is said."""
        return "\n".join(content for _, content in self.messages)


def message_row(prompt: str, answer: str, image: Path | None) -> dict[str, Any]:
    """The row of one question and its answer, checked.

    Args:
        prompt: The whole user turn (problem and instruction), without `<image>`; that is added here.
        answer: The whole assistant turn.
        image: The image's absolute path, `None` for text alone.

    Raises:
        InputError: for texts that ms-swift would misread (empty, with `<image>` or other tags of its own or
            special tokens in them), and for an image's path that is relative or no text in UTF-8.
    """
    if IMAGE_TAG in prompt:
        raise InputError(f"the prompt contains {IMAGE_TAG}, which ms-swift would replace: {_short(prompt)}")
    if image is not None and not image.is_absolute():
        raise InputError(f"{image}: expected an absolute path; ms-swift looks for others in its own ways")
    row: dict[str, Any] = {
        "messages": [
            {"role": "user", "content": prompt if image is None else f"{IMAGE_TAG}{prompt}"},
            {"role": "assistant", "content": answer},
        ]
    }
    if image is not None:
        row["images"] = [str(image)]
    try:
        read_row(row)
    except BadRowError as error:
        raise InputError(str(error)) from error
    return row


def read_row(row: Any) -> MessageRow:
    """Check one value of a file of rows (see `curr_reft.files.json_lines.read_json_lines`).

    Raises:
        BadRowError: for the first thing wrong in it.
    """
    if isinstance(row, BrokenLine):
        raise BadRowError(row)
    if not isinstance(row, dict):
        raise BadRowError("expected an object with `messages`")
    for key in row:
        if key.lower() in READ_BY_SWIFT or key.startswith(_PREFIXES):
            hint = "; images go into `images`" if key.lower() == "image" else ""
            raise BadRowError(f"{key}: a key that ms-swift would act on; take another name{hint}")
        if key != key.lower() and key.lower() in ("messages", "images"):
            raise BadRowError(f"{key}: ms-swift would read it as `{key.lower()}`; take another name")
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRowError("messages: expected a list of turns")
    turns = tuple(_turn(message, f"messages[{index}]") for index, message in enumerate(messages))
    _check_roles([role for role, _ in turns])
    images = _images(row.get("images"))
    tags = sum(content.count(IMAGE_TAG) for _, content in turns)
    if tags != len(images):
        raise BadRowError(f"messages: {tags} {IMAGE_TAG} tags for {len(images)} images in `images`")
    for index, (role, content) in enumerate(turns):
        if role != "user" and IMAGE_TAG in content:
            raise BadRowError(f"messages[{index}]: {IMAGE_TAG} in a turn of the {role}")
        _check_tags(content, f"messages[{index}]", bool(images))
    return MessageRow(turns, images)


def _turn(message: Any, where: str) -> tuple[str, str]:
    if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
        raise BadRowError(f"{where}: expected an object with role and content")
    if unknown := sorted(message.keys() - {"role", "content"}):
        raise BadRowError(f"{where}: unknown key {unknown[0]!r}")
    role = message["role"]
    if role not in ("system", "user", "assistant"):
        raise BadRowError(f"{where}: role {_short(role)} is none of system, user, assistant")
    return role, _text(message["content"], f"{where}.content")


def _check_roles(roles: list[str]) -> None:
    rest = roles[1:] if roles[0] == "system" else roles
    expected = ["user", "assistant"] * (len(rest) // 2)
    if not rest or rest != expected:
        raise BadRowError(
            f"messages: roles {', '.join(roles)}; expected user and assistant in turns, a system turn at most"
            " before them, and the assistant's last"
        )


def _images(images: Any) -> tuple[str, ...]:
    if images is None:
        return ()
    if not isinstance(images, list):
        raise BadRowError("images: expected a list of paths")
    paths = tuple(_text(image, f"images[{index}]") for index, image in enumerate(images))
    for index, path in enumerate(paths):
        if fault := path_fault(path):
            raise BadRowError(f"images[{index}]: {fault}")
        if path != path.strip():
            raise BadRowError(f"images[{index}]: white space around the path, which ms-swift takes off")
    return paths


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise BadRowError(f"{where}: expected a text, found {_short(value)}")
    if not value.strip():
        raise BadRowError(f"{where}: empty")
    if fault := surrogate_fault(value):
        raise BadRowError(f"{where}: {fault}")
    return value


def _check_tags(content: str, where: str, has_images: bool) -> None:
    for tag in _OTHER_TAGS:
        if tag in content:
            raise BadRowError(f"{where}: contains {tag}, a tag of ms-swift's own")
    # In a row with `images` ms-swift leaves it alone.
    if not has_images and (match := _LINKED_IMAGE.search(content)):
        raise BadRowError(f"{where}: contains {_short(match[0])}, which ms-swift would take for an image")
    if fault := special_token_fault(content):
        raise BadRowError(f"{where}: {fault}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
