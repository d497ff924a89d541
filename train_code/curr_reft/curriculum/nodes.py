"""The machines of a run, as the environment names them."""

import os
from dataclasses import dataclass

from curr_reft.errors import InputError


@dataclass(frozen=True)
class Nodes:
    """The machines of a run, as the environment names them; see `scripts/launch.sh`."""

    count: int = 1
    rank: int = 0
    address: str = "127.0.0.1"
    port: int | None = None

    @classmethod
    def from_environment(cls) -> "Nodes":
        """Read NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT.

        Raises:
            InputError: when one of them is missing or no number.
        """
        count, port = _number("NNODES", 1), _number("MASTER_PORT", 0)
        if count == 1:
            return cls(address=os.environ.get("MASTER_ADDR") or "127.0.0.1", port=port or None)
        if not os.environ.get("MASTER_ADDR") or not os.environ.get("NODE_RANK"):
            raise InputError(f"NNODES={count} needs MASTER_ADDR, the address of node 0, and NODE_RANK")
        rank = _number("NODE_RANK", 0)
        if not 0 <= rank < count:
            raise InputError(f"NODE_RANK={rank}: expected 0 to {count - 1}, for NNODES={count}")
        return cls(count, rank, os.environ["MASTER_ADDR"], port or 12347)

    def rendezvous(self) -> list[str]:
        """torchrun's flags on this node."""
        if self.count > 1:
            places = [f"--nnodes={self.count}", f"--node_rank={self.rank}"]
        elif self.port is None:
            return ["--standalone"]
        else:
            places = []
        return [*places, f"--master_addr={self.address}", f"--master_port={self.port}"]


def _number(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal():
        raise InputError(f"{name}={text}: expected a whole number")
    return int(text)
