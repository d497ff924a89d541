"""Processors of other families end a command in one line."""

import pytest
from transformers import CLIPImageProcessor, LlavaConfig, LlavaProcessor

from curr_reft.errors import InputError
from curr_reft.models.processor import load_processor


def test_a_processor_of_another_family_is_refused(tiny_base, tmp_path):
    tokenizer = load_processor(str(tiny_base)).tokenizer
    LlavaProcessor(
        CLIPImageProcessor(), tokenizer, patch_size=14, image_token="<|image_pad|>", chat_template="{{ 0 }}"
    ).save_pretrained(tmp_path)
    image_token = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    LlavaConfig(image_token_id=image_token).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError, match=r"a llava model.*; use one of the Qwen-VL families"):
        load_processor(str(tmp_path))
