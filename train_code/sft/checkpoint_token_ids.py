"""A plugin for ms-swift (`--external_plugins`): image tokens by the checkpoint's own ids.

ms-swift's template for Qwen2.5-VL has the released models' ids written into it, so that a model with another
tokenizer, such as the tiny base, would train on images without tokens for them.
"""

from functools import wraps

from swift.template.templates.qwen import Qwen2VLTemplate

_init_processor = Qwen2VLTemplate.init_processor


@wraps(_init_processor)
def _with_own_ids(self, processor) -> None:
    _init_processor(self, processor)
    if processor is not None:
        self.image_token_id = processor.image_token_id
        self.video_token_id = processor.video_token_id


Qwen2VLTemplate.init_processor = _with_own_ids
