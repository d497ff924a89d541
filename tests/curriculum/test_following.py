"""Several nodes: what the first one tells the others, and what becomes of those that are late or gone."""

import contextlib
import json
import socket
import sys
import threading
from datetime import timedelta

import pytest
from torch.distributed import DistError, TCPStore

from curr_reft.curriculum.commands import Command
from curr_reft.curriculum.following import WAIT_VARIABLE, follow, followers
from curr_reft.curriculum.nodes import Nodes
from curr_reft.errors import CommandError, InputError

MINUTE = timedelta(seconds=60)


def nodes(port: int, rank: int) -> Nodes:
    return Nodes(count=2, rank=rank, address="127.0.0.1", port=port)


def other_node(port: int, code: int | None, orders: list) -> threading.Thread:
    """A node that answers the first order with an exit code, or not at all, and then waits for the end."""

    def answer() -> None:
        store = TCPStore("127.0.0.1", port + 1, is_master=False, timeout=MINUTE)
        # The first node may end before it is asked for more.
        with contextlib.suppress(DistError):
            for number in (1, 2) if code is not None else (1,):
                store.wait([f"order/{number}"], MINUTE)
                orders.append(json.loads(store.get(f"order/{number}")))
                store.set(f"here/{number}/1", "")
                if code is not None:
                    store.set(f"code/{number}/1", str(code))

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    return thread


def lead(port: int, own: int, *words: str, **variables: str) -> None:
    """The first node, whose own command ends with an exit code."""
    with followers(nodes(port, 0)) as others:
        others.start(Command(words or ("python", "train.py"), variables, everywhere=True))
        others.join(own)


def test_others_get_the_command_and_the_end(port):
    orders = []
    thread = other_node(port, 0, orders)
    lead(port, 0, A="b")
    thread.join(60)
    assert orders == [{"arguments": ["train.py"], "variables": {"A": "b"}}, {"arguments": None}]


def test_a_node_that_is_late_is_named(port, monkeypatch):
    monkeypatch.setenv(WAIT_VARIABLE, "0.2")
    with pytest.raises(CommandError, match="node 1 is not there"):
        lead(port, 0)


@pytest.mark.parametrize(
    ("own", "other", "message", "code"),
    [
        (0, 2, "node 1: its command ended with exit code 2", 2),
        (1, 2, "node 1: its command ended with exit code 2", 2),
        (0, 1, "node 1: its command ended with exit code 1", 1),
        (1, None, "node 1 is gone", 1),
    ],
)
def test_a_node_that_failed_or_is_gone_is_named(own, other, message, code, port, monkeypatch):
    monkeypatch.setenv(WAIT_VARIABLE, "2")
    other_node(port, other, [])
    with pytest.raises(CommandError, match=message) as error:
        lead(port, own)
    assert error.value.exit_code == code


def test_when_both_end_with_1_each_tells_of_its_own(port):
    other_node(port, 1, [])
    lead(port, 1)


def test_a_port_that_is_taken_is_one_line(port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port + 1))
        taken.listen()
        with pytest.raises(InputError, match=r"port \d+ \(MASTER_PORT \+ 1\)"), followers(nodes(port, 0)):
            raise AssertionError


def test_a_follower_runs_what_it_is_told_by_its_own_rank(port, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys; open(sys.argv[1], 'w').write(' '.join(sys.argv[2:]) + os.environ['A'])"
    )

    words = (sys.executable, str(script), str(tmp_path / "said"), "--node_rank=0", "x")
    thread = threading.Thread(target=lead, args=[port, 0, *words], kwargs={"A": "b"})
    thread.start()
    follow(nodes(port, 1))
    thread.join(60)
    assert (tmp_path / "said").read_text() == "--node_rank=1 xb"


def test_a_follower_ends_with_the_code_of_its_command(port):
    def leading() -> None:
        with pytest.raises(InputError, match="node 1: its command ended"):
            lead(port, 0, sys.executable, "-c", "raise SystemExit(2)")

    thread = threading.Thread(target=leading)
    thread.start()
    with pytest.raises(InputError, match="node 1: its command ended with exit code 2"):
        follow(nodes(port, 1))
    thread.join(60)


def test_a_follower_without_a_first_node_ends(port, monkeypatch):
    monkeypatch.setenv(WAIT_VARIABLE, "0.5")
    with pytest.raises(CommandError, match="nothing answers"):
        follow(nodes(port, 1))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"NNODES": "2"}, "NNODES=2 needs MASTER_ADDR, the address of node 0, and NODE_RANK"),
        ({"NNODES": "2", "MASTER_ADDR": "a", "NODE_RANK": "2"}, "NODE_RANK=2: expected 0 to 1"),
        ({"NNODES": "two"}, "NNODES=two: expected a whole number"),
        ({"MASTER_PORT": "-1"}, "MASTER_PORT=-1: expected a whole number"),
    ],
)
def test_the_environment_is_checked(variables, message, monkeypatch):
    for name in ("NNODES", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as error:
        Nodes.from_environment()
    assert message in str(error.value)


def test_torchrun_is_told_of_the_nodes(port):
    assert Nodes().rendezvous() == ["--standalone"]
    places = ["--master_addr=127.0.0.1", f"--master_port={port}"]
    assert nodes(port, 1).rendezvous() == ["--nnodes=2", "--node_rank=1", *places]
    assert Nodes(port=5).rendezvous() == ["--master_addr=127.0.0.1", "--master_port=5"]
