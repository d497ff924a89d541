"""Answers by a server that speaks OpenAI's chat completions."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from curr_reft.evaluation.backends.endpoint import (
    ChatEndpoint,
    EndpointError,
    RefusedError,
    data_uri,
    user_turn,
)
from curr_reft.evaluation.backends.generation import Completion, Save
from curr_reft.evaluation.backends.refusals import Refusals
from curr_reft.evaluation.backends.threads import for_each
from curr_reft.evaluation.request import Turn
from curr_reft.models.decoding import Decoding
from curr_reft.processes import Processes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChatBackend:
    """A model behind a URL, which renders the prompt and resizes the picture for its processor itself.

    The penalty on repetitions is the server's own.
    """

    endpoint: ChatEndpoint
    decoding: Decoding
    threads: int

    def answer(self, turns: Sequence[Turn], processes: Processes, save: Save) -> None:
        """One answer at a time; those that are under way when a request fails are saved, too.

        What a server refuses while it answers others counts as an empty answer.
        """
        refusals = Refusals[Turn](self.endpoint)

        def ask(turn: Turn) -> None:
            try:
                save([(turn, self._ask(turn))])
            except RefusedError as error:
                refusals.hold(turn, error)

        for_each(turns, ask, self.threads)
        for turn, error in refusals.all():
            logger.warning("refused, which counts as an empty answer: %s", error)
            save([(turn, Completion("", None, False))])

    def _ask(self, turn: Turn) -> Completion:
        picture = turn.open_image()
        message = user_turn(turn.prompt, None if picture is None else data_uri(picture))
        options = {"max_tokens": self.decoding.max_new_tokens, "temperature": self.decoding.temperature}
        if self.decoding.temperature > 0:
            # Servers would take another `top_p` from the model's generation_config.json.
            options |= {"top_p": 1.0, "seed": turn.seed}
        try:
            reply = self.endpoint.ask([message], **options)
        except EndpointError as error:
            raise type(error)(f"{turn.id}: {error}") from error
        return Completion(reply.text, reply.new_tokens, reply.truncated)
