"""Report on what lies in or below some folders: evaluations, trainings, pass@k, general benchmarks.

Prints a table of accuracies. With --output_dir it also writes report.html, one page that needs nothing else,
and its numbers as results.json, results.xlsx and results.md.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from curr_reft.errors import InputError, command
from curr_reft.evaluation.report.collect import Run, collect
from curr_reft.evaluation.report.comparisons import compare_pair
from curr_reft.evaluation.report.documents import Evaluation
from curr_reft.evaluation.report.markdown import results_markdown
from curr_reft.evaluation.report.page import to_page
from curr_reft.evaluation.report.provenance import differing_data
from curr_reft.evaluation.report.record import Report, record
from curr_reft.evaluation.report.tables import accuracy_table, comparison_table
from curr_reft.evaluation.report.workbook import to_workbook
from curr_reft.files.atomic import replacing
from curr_reft.files.cli import CommandParser
from curr_reft.files.tables import console, to_rich
from curr_reft.files.text import visible
from curr_reft.tasks.registry import task_title

_MOST_EXAMPLES = 100


def _parser() -> CommandParser:
    parser = CommandParser(description=__doc__)
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="a folder, or NAME=FOLDER to name what lies in it"
    )
    parser.add_argument("--output_dir", type=Path, metavar="DIR", help="where to write page and files")
    parser.add_argument(
        "--compare",
        nargs=2,
        action="append",
        default=[],
        metavar=("A", "B"),
        help="two evaluations by name, compared row by row; may be given several times",
    )
    parser.add_argument(
        "--domain",
        choices=("in", "out", "all"),
        help="suites of the printed table (default: in, or out where all are); the files hold both",
    )
    parser.add_argument(
        "--gallery",
        action="append",
        metavar="NAME",
        help="the evaluation whose answers the page shows (default: the last); may be given several times",
    )
    parser.add_argument(
        "--examples", type=int, default=6, help="right and wrong answers to show of each suite (default: 6)"
    )
    parser.add_argument(
        "--data_root", type=Path, help="where the images lie (default: where they did in the evaluation)"
    )
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Print the table, and write the report where asked to."""
    arguments = _parser().parse_args(argv)
    if not 0 <= arguments.examples <= _MOST_EXAMPLES:
        raise InputError(f"--examples {arguments.examples}: expected 0 to {_MOST_EXAMPLES}")
    findings = collect([Run.parse(argument) for argument in arguments.runs])
    evaluations = findings.evaluations
    shown = _named(evaluations, arguments.gallery) if arguments.gallery else evaluations[-1:]
    pairs = [compare_pair(evaluations, *names) for names in arguments.compare]
    report = Report(findings, pairs, shown, arguments.examples, arguments.data_root)
    domains = _domains(evaluations, arguments.domain)
    if arguments.output_dir:
        write_report(report, arguments.output_dir)
    print_tables(report, domains)
    if arguments.output_dir:
        sys.stderr.write(f"wrote {arguments.output_dir / 'report.html'}\n")


def write_report(report: Report, output_dir: Path) -> None:
    """Write ``report.html``, ``results.json``, ``results.xlsx`` and ``results.md``, all or none of them.

    Raises:
        InputError: when they cannot be written, or when rows to show are broken.
    """
    contents = {
        "results.md": results_markdown(report),
        "results.json": json.dumps(record(report), indent=2, allow_nan=False) + "\n",
        "results.xlsx": to_workbook(report),
        "report.html": to_page(report),
    }
    # All are written out before the first takes its place.
    with ExitStack() as files:
        for name, content in contents.items():
            if (output_dir / name).is_dir():
                raise InputError(f"{output_dir / name}: cannot be written (Is a directory)")
            files.enter_context(replacing(output_dir / name, isinstance(content, bytes))).write(content)


def print_tables(report: Report, domains: Sequence[str]) -> None:
    """Print accuracies and comparisons, and what went wrong in scoring, to standard output."""
    terminal = console(140)
    evaluations = report.findings.evaluations
    tables = [table for domain in domains if (table := accuracy_table(evaluations, domain)).rows]
    for table in [*tables, *map(comparison_table, report.pairs)]:
        terminal.print(to_rich(table))
    for evaluation in evaluations:
        for score in evaluation.scores.values():
            for incident, count in score.incidents.items():
                if score.domain in domains:
                    suite = score.suite if len(domains) > 1 else task_title(score.task)
                    line = f"{evaluation.name}, {suite}: {incident} in {count} rows"
                    terminal.print(visible(line))
    if suites := differing_data(evaluations):
        terminal.print(
            f"{', '.join(suites)}: the models were not asked the same rows; do not compare them there"
        )


def _domains(evaluations: Sequence[Evaluation], choice: str | None) -> tuple[str, ...]:
    """The domains to print."""
    there = {score.domain for evaluation in evaluations for score in evaluation.scores.values()}
    if choice is None:
        return ("out",) if there == {"out"} else ("in",)
    if there and choice not in (*there, "all"):
        raise InputError(f"--domain {choice}: no evaluation has scores of this domain")
    return ("in", "out") if choice == "all" else (choice,)


def _named(evaluations: Sequence[Evaluation], names: Sequence[str]) -> list[Evaluation]:
    found = {evaluation.name: evaluation for evaluation in evaluations}
    if unknown := [name for name in names if name not in found]:
        raise InputError(
            f"--gallery: no evaluation is named {', '.join(unknown)}; there are: {', '.join(found) or 'none'}"
        )
    return [found[name] for name in names]
