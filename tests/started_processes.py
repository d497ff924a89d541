"""Commands in processes that know of one another as those of torchrun do."""

import multiprocessing
import os
import socket
from collections.abc import Callable

import torch


def start_processes(main: Callable[[list[str]], None], argv: list[str], count: int) -> list:
    """Start a command in several processes.

    They are forked, since each would take half a minute to import what this process has.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_run, args=(main, argv, rank, count, port)) for rank in range(count)]
    for process in processes:
        process.start()
    return processes


def _run(main: Callable[[list[str]], None], argv: list[str], rank: int, count: int, port: int) -> None:
    # A forked process has none of its parent's threads to share work with.
    torch.set_num_threads(1)
    places = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    os.environ.update({name: str(value) for name, value in places.items()})
    main(argv)
