"""Answers by a server that speaks OpenAI's chat completions."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from curr_reft.data.images import fit_to_budget, open_image
from curr_reft.data.prompts import Request
from curr_reft.evaluation.backends.endpoint import (
    ChatEndpoint,
    EndpointError,
    RefusedError,
    data_uri,
    user_message,
)
from curr_reft.evaluation.backends.generation import Completion, Save
from curr_reft.evaluation.backends.refusals import Refusals
from curr_reft.evaluation.backends.threads import for_each
from curr_reft.models.decoding import Decoding
from curr_reft.processes import ProcessGroup
from curr_reft.stages import ImageBudget

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChatBackend:
    """A model behind a URL, which renders the prompt and resizes the image for its processor itself.

    The penalty on repetitions is the server's own.
    """

    endpoint: ChatEndpoint
    decoding: Decoding
    threads: int

    def answer(self, requests: Sequence[Request], processes: ProcessGroup, save: Save) -> None:
        """One answer at a time; those that are under way when a request fails are saved, too.

        What a server refuses while it answers others counts as an empty answer.
        """
        refusals = Refusals[Request](self.endpoint)
        # Samples of a prompt follow each other, and so share its image.
        uri_of = lru_cache(maxsize=self.threads)(_image_uri)

        def ask(request: Request) -> None:
            uri = uri_of(request.image, request.budget) if request.image is not None else None
            try:
                save([(request, self._ask(request, uri))])
            except RefusedError as error:
                refusals.hold(request, error)

        for_each(requests, ask, self.threads)
        for request, error in refusals.all():
            logger.warning("refused, which counts as an empty answer: %s", error)
            save([(request, Completion("", None, False))])

    def _ask(self, request: Request, image_uri: str | None) -> Completion:
        message = user_message(request.prompt, image_uri)
        options = {"max_tokens": self.decoding.max_new_tokens, "temperature": self.decoding.temperature}
        if self.decoding.temperature > 0:
            # Servers would take another `top_p` from the model's generation_config.json.
            options |= {"top_p": 1.0, "seed": request.seed}
        try:
            reply = self.endpoint.ask([message], **options)
        except EndpointError as error:
            raise type(error)(f"{request.id}: {error}") from error
        return Completion(reply.text, reply.new_tokens, reply.truncated)


def _image_uri(path: Path, budget: ImageBudget | None) -> str:
    return data_uri(fit_to_budget(open_image(path), budget))
