"""Answers by a server that speaks OpenAI's chat completions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from curr_reft.evaluation.endpoint import ChatEndpoint, data_uri, in_parallel, user_turn
from curr_reft.evaluation.generation import Answers, Completion, Decoding
from curr_reft.evaluation.processes import Processes
from curr_reft.evaluation.questions import Asked


@dataclass(frozen=True)
class ChatBackend:
    """A model behind a URL, which renders the prompt and resizes the picture for its processor itself.

    The penalty on repetitions is the server's own.
    """

    endpoint: ChatEndpoint
    decoding: Decoding
    threads: int

    def answer(self, asked: Sequence[Asked], processes: Processes) -> Iterator[Answers]:
        """One answer at a time, as the server gives them; what came before a failure has been handed out."""
        for row, completion in in_parallel(self._ask, asked, self.threads):
            yield [(row, completion)]

    def _ask(self, row: Asked) -> Completion:
        turn = user_turn(row.prompt, data_uri(row.open_image()))
        reply = self.endpoint.ask([turn], max_tokens=self.decoding.max_new_tokens, temperature=0.0)
        return Completion(reply.text, reply.new_tokens, reply.truncated)
