"""Requests that a server refuses, told from a server that refuses them all."""

from typing import Generic, TypeVar

from curr_reft.evaluation.backends.endpoint import ChatEndpoint, RefusedError

Item = TypeVar("Item")
_MOST = 4


class Refusals(Generic[Item]):
    """What was asked for and refused, held back until it is known that the server takes others.

    A prompt that is too long must not keep all others from being answered; a parameter that the server does
    not know is a fault of the whole run. Threads may share one.
    """

    def __init__(self, endpoint: ChatEndpoint) -> None:
        self._endpoint = endpoint
        self._held: list[tuple[Item, RefusedError]] = []

    def hold(self, item: Item, error: RefusedError) -> None:
        """Keep a refusal; raises it when it is one of several and the server has not answered anything."""
        self._held.append((item, error))
        if len(self._held) >= _MOST and not self._endpoint.has_answered.is_set():
            raise error

    def all(self) -> list[tuple[Item, RefusedError]]:
        """What was held, once the others are asked; raises the first when nothing was answered at all."""
        if self._held and not self._endpoint.has_answered.is_set():
            raise self._held[0][1]
        return self._held
