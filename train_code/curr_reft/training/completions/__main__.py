"""See what a run says: ``python -m curr_reft.training.completions RUN``, while it runs or afterwards.

Shows the completions that a run writes with --log_completions true: a page that needs nothing else (images
with boxes, prompts, the completions of a group side by side with their rewards and advantages), and the
first of its groups here.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from curr_reft.errors import InputError, command
from curr_reft.files.atomic import replacing
from curr_reft.files.cli import CommandParser
from curr_reft.files.tables import Table, console, to_rich
from curr_reft.files.text import shortened
from curr_reft.tasks.registry import add_tasks_flag
from curr_reft.training.completions.groups import FOLDER, Group, read_groups, read_run
from curr_reft.training.completions.page import cards, render_page

logger = logging.getLogger(__name__)

_MOST_GROUPS = 1000
_PRINTED = 3
_CHARACTERS = 300
"""Printed of a completion."""


def choose(groups: Sequence[Group], task: str | None, worst: bool) -> list[Group]:
    """The groups of a task, those with the lowest mean reward first where `worst` says so.

    Raises:
        InputError: when none is of this task.
    """
    tasks = sorted({group.task for group in groups})
    if task is not None and task not in tasks:
        raise InputError(f"--task {task}: the step has completions of {', '.join(tasks)}")
    chosen = [group for group in groups if task in (None, group.task)]
    return sorted(chosen, key=lambda group: group.mean) if worst else chosen


def print_group(number: int, group: Group, output: Console) -> None:
    """Print one group as a table, its completions shortened."""
    names = list(group.completions[0].rewards)
    rows = []
    for place, each in enumerate(group.completions, start=1):
        text, left_out = shortened(each.text, _CHARACTERS)
        rewards = ["no" if value is None else f"{value:g}" for value in each.rewards.values()]
        rows.append(
            [
                f"{place}",
                f"{text}…" if left_out else text,
                *rewards,
                f"{each.total:g}",
                f"{each.advantage:+.2f}",
            ]
        )
    title = f"{number}. {group.task}, {group.id}, gold {group.solution[:_CHARACTERS]}"
    output.print(to_rich(Table(title, ["", "completion", *names, "sum", "advantage"], rows, names=2)))


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the page of a step's completions and print its beginning."""
    parser = CommandParser(
        prog="python -m curr_reft.training.completions", description=__doc__.split("\n\n")[1]
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the --output_dir of a stage")
    parser.add_argument("--step", type=int, metavar="N", help="a step that was logged (default: the newest)")
    parser.add_argument("--task", help="groups of this task alone")
    parser.add_argument("--worst", action="store_true", help="groups with the lowest mean reward first")
    parser.add_argument("--groups", type=int, default=12, metavar="N", help="groups on the page")
    parser.add_argument("--image_root", type=Path, metavar="DIR", help="where the images are now")
    parser.add_argument(
        "--output_file",
        type=Path,
        metavar="FILE.html",
        help="the page (default: beside the completions, in RUN/completions)",
    )
    add_tasks_flag(parser)
    flags = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not 1 <= flags.groups <= _MOST_GROUPS:
        raise InputError(f"--groups {flags.groups}: expected 1 to {_MOST_GROUPS}")
    record = read_run(flags.run)
    step, groups = read_groups(flags.run, record, flags.step)
    chosen = choose(groups, flags.task, flags.worst)
    shown = chosen[: flags.groups]
    order = ", those with the lowest mean reward first" if flags.worst else ""
    counts = f"{len(shown)} of {len(chosen)} groups{f' of task {flags.task}' if flags.task else ''}{order}"
    title = f"Stage {record['stage']}, step {step}"
    page = render_page(title, counts, list(cards(shown, record, flags.image_root)))
    path = flags.output_file or flags.run / FOLDER / f"completions_{step:05}.html"
    with replacing(path) as file:
        file.write(page)
    output = console(140)
    for number, group in enumerate(shown[:_PRINTED], start=1):
        print_group(number, group, output)
    logger.info("%s: %s, the first %d above; all in %s", title, counts, min(_PRINTED, len(shown)), path)


if __name__ == "__main__":
    main()
