"""Several nodes: the first one decides and says what each step runs, the others run what they are told.

They meet at a store of torch's that the first node holds, at the port after that of torchrun. Whoever is
late, or is gone when the next step begins, ends the others with one line.
"""

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from torch.distributed import DistError, TCPStore

from curr_reft.curriculum.commands import Command
from curr_reft.curriculum.nodes import Nodes
from curr_reft.errors import CommandError, InputError, error_of
from curr_reft.lifetime import own_children, run_child

logger = logging.getLogger(__name__)

WAIT_VARIABLE = "CURR_REFT_NODE_WAIT_SECONDS"
"""How long a node waits for the others when a step begins."""
_WAIT_SECONDS = 600
# Nodes end a step together, unless something is wrong.
_END_SECONDS = 60
# Looked for as often as this: the store's own waiting is deaf to signals.
_LOOK_SECONDS = 0.2
# Of one question and its answer.
_PATIENCE = timedelta(seconds=60)
_END = {"arguments": None}


class Followers:
    """The other nodes, as the first one sees them; of a run on one node there are none."""

    def __init__(self, store: TCPStore | None, nodes: Nodes) -> None:
        self._store = store
        self._others = range(1, nodes.count)
        self._orders = 0

    def start(self, command: Command) -> None:
        """Let the others run a command.

        Raises:
            CommandError: when one of them is not there.
        """
        if self._store is None:
            return
        self._orders += 1
        self._order({"arguments": command.arguments[1:], "variables": command.variables})
        self._expect("here", "is not there", _wait())

    def join(self, code: int) -> None:
        """Return when the others have ended the command.

        Args:
            code: The exit code of this node's; 1 is also what it fails with when another node has failed.

        Raises:
            CommandError: when one of them failed in another way, or is gone.
        """
        if self._store is None:
            return
        self._expect("code", "is gone: it has not said how its command ended", _end())
        for rank in self._others:
            other = int(self._store.get(f"code/{self._orders}/{rank}"))
            if other and (code == 0 or other != 1):
                raise error_of(other, f"node {rank}: its command ended with exit code {other}; it says why")

    def dismiss(self) -> None:
        """Let the others end; one that is gone by now is not missed."""
        if self._store is not None:
            self._orders += 1
            self._order(_END)
            self._missing("here", _end())

    def _order(self, order: dict) -> None:
        self._store.set(f"order/{self._orders}", json.dumps(order))

    def _expect(self, key: str, fault: str, seconds: float) -> None:
        rank = self._missing(key, seconds)
        if rank is not None:
            waited = f"waited {seconds:.0f} s"
            raise CommandError(f"node {rank} {fault} ({waited}); start again on all nodes")

    def _missing(self, key: str, seconds: float) -> int | None:
        """The first node that has not set a key of the order when the time is over, `None` when all have."""
        deadline = time.monotonic() + seconds
        for rank in self._others:
            while not self._store.check([f"{key}/{self._orders}/{rank}"]):
                if time.monotonic() > deadline:
                    return rank
                time.sleep(_LOOK_SECONDS)
        return None


@contextmanager
def followers(nodes: Nodes) -> Iterator[Followers]:
    """The other nodes, on the first one; they end when the block does.

    Raises:
        InputError: when the port is taken.
    """
    if nodes.count == 1:
        yield Followers(None, nodes)
        return
    port = _port(nodes)
    try:
        store = TCPStore(
            nodes.address, port, is_master=True, wait_for_workers=False, timeout=_PATIENCE, use_libuv=True
        )
    except DistError as error:
        raise InputError(f"port {port} (MASTER_PORT + 1): {_first_line(error)}; choose another") from error
    others = Followers(store, nodes)
    yield others
    others.dismiss()


def follow(nodes: Nodes) -> None:
    """Run what the first node says, until it says that all is done; this is what the other nodes do.

    Raises:
        CommandError: when the first node is not there or ends before, or a command of this node failed, with
            that one's exit code.
    """
    own_children()
    where = f"node 0, {nodes.address} port {_port(nodes)}"
    store = _store_at(nodes, where)
    number = 0
    while True:
        number += 1
        try:
            while not store.check([f"order/{number}"]):
                time.sleep(_LOOK_SECONDS)
            order = json.loads(store.get(f"order/{number}"))
            store.set(f"here/{number}/{nodes.rank}", "")
        except DistError as error:
            raise CommandError(f"{where}: has ended; what it printed says why") from error
        if order == _END:
            return
        arguments = [
            f"--node_rank={nodes.rank}" if word == "--node_rank=0" else word for word in order["arguments"]
        ]
        logger.info("node %d: %s", nodes.rank, " ".join(arguments))
        code, _ = run_child([sys.executable, *arguments], {**os.environ, **order["variables"]}, None)
        try:
            store.set(f"code/{number}/{nodes.rank}", str(code))
        except DistError as error:
            if not code:
                raise CommandError(f"{where}: has ended; what it printed says why") from error
        if code:
            raise error_of(code, f"node {nodes.rank}: its command ended with exit code {code}")


def _store_at(nodes: Nodes, where: str) -> TCPStore:
    deadline = time.monotonic() + _wait()
    while True:
        try:
            # The store would wait by itself, deaf to signals.
            socket.create_connection((nodes.address, _port(nodes)), timeout=_PATIENCE.seconds).close()
            return TCPStore(nodes.address, _port(nodes), is_master=False, timeout=_PATIENCE)
        except OSError as error:
            if time.monotonic() > deadline:
                raise CommandError(f"{where}: nothing answers; start again on all nodes") from error
            time.sleep(_LOOK_SECONDS)


def _port(nodes: Nodes) -> int:
    return (nodes.port or 0) + 1


def _wait() -> float:
    seconds = os.environ.get(WAIT_VARIABLE, str(_WAIT_SECONDS))
    try:
        return float(seconds)
    except ValueError as error:
        raise InputError(f"{WAIT_VARIABLE}={seconds}: expected a number of seconds") from error


def _end() -> float:
    return min(_wait(), _END_SECONDS)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
