"""Answers by a server that speaks OpenAI's chat completions."""

from collections.abc import Sequence
from dataclasses import dataclass

from curr_reft.evaluation.endpoint import ChatEndpoint, data_uri, user_turn
from curr_reft.evaluation.generation import Completion, Decoding, Save
from curr_reft.evaluation.processes import Processes
from curr_reft.evaluation.questions import Asked
from curr_reft.evaluation.threads import for_each


@dataclass(frozen=True)
class ChatBackend:
    """A model behind a URL, which renders the prompt and resizes the picture for its processor itself.

    The penalty on repetitions is the server's own.
    """

    endpoint: ChatEndpoint
    decoding: Decoding
    threads: int

    def answer(self, asked: Sequence[Asked], processes: Processes, save: Save) -> None:
        """One answer at a time; those that are under way when a request fails are saved, too."""
        for_each(asked, lambda row: save([(row, self._ask(row))]), self.threads)

    def _ask(self, row: Asked) -> Completion:
        turn = user_turn(row.prompt, data_uri(row.open_image()))
        reply = self.endpoint.ask([turn], max_tokens=self.decoding.max_new_tokens, temperature=0.0)
        return Completion(reply.text, reply.new_tokens, reply.truncated)
