"""The report's tables, each for terminal, Markdown and page.

Cells are text: accuracies in percent with one decimal, an empty cell where a model has no such number.
"""

from collections.abc import Iterable, Sequence

from curr_reft.evaluation.compare import Comparison, Gain
from curr_reft.evaluation.report import paper
from curr_reft.evaluation.report.comparisons import Pair
from curr_reft.evaluation.report.documents import (
    Benchmarks,
    Evaluation,
    PassAtK,
    Point,
    SuiteScore,
    TrainingRun,
)
from curr_reft.files.tables import Table
from curr_reft.stages import STAGES
from curr_reft.tasks.registry import known_tasks, task_title

NOT_SCORED = "not scored"
"""By a reading or rules that were not there when an evaluation was made."""


def suites_of(evaluations: Sequence[Evaluation], domain: str) -> dict[str, list[SuiteScore]]:
    """The suites of a domain in the order of the tasks, each with the scores of those who were asked it."""
    found: dict[str, list[SuiteScore]] = {}
    for evaluation in evaluations:
        for suite, score in evaluation.scores.items():
            if score.domain == domain:
                found.setdefault(suite, []).append(score)
    rank = {task: place for place, task in enumerate(known_tasks())}
    return dict(sorted(found.items(), key=lambda item: rank.get(item[1][0].task, len(rank))))


def accuracy_table(evaluations: Sequence[Evaluation], domain: str) -> Table:
    """Strict accuracy with its interval, the tolerant and the released, per evaluation and suite of a domain.

    The mean is of the strict ones, of evaluations that have them all.
    """
    suites = suites_of(evaluations, domain)
    tasks = [scores[0].task for scores in suites.values()]
    header = ["model"]
    for suite, scores in suites.items():
        # Two suites of one task are told apart by their own names.
        title = task_title(scores[0].task) if tasks.count(scores[0].task) == 1 else suite
        header.append(f"{title} (n={spread({score.n for score in scores})})")
    rows = []
    for evaluation in evaluations:
        found = [evaluation.scores.get(suite) for suite in suites]
        if any(found):
            whole = [score.accuracy for score in found if score]
            mean = percent(sum(whole) / len(whole)) if len(whole) == len(found) else ""
            rows.append([evaluation.name, *map(accuracy_cell, found), mean])
    title = f"Strict accuracy in percent, {domain}-domain, [95 % interval], (tolerant, released)"
    return Table(title, [*header, "mean"], rows)


def quality_table(evaluations: Iterable[Evaluation]) -> Table:
    """What stands beside the accuracies: how well the answers could be read, and what went wrong."""
    rows = []
    for evaluation in evaluations:
        for score in evaluation.scores.values():
            shares = (score.overlap, score.format, score.unparsed, score.truncated)
            told = ", ".join(f"{incident}: {count}" for incident, count in score.incidents.items())
            rows.append([evaluation.name, score.suite, str(score.n), *map(percent, shares), told])
    header = ["model", "suite", "rows", "overlap", "well-formed", "unparsed", "truncated", "incidents"]
    return Table("Beside the accuracies, in percent", header, rows, names=2)


def paper_table(evaluations: Iterable[Evaluation], backbone: str | None) -> Table:
    """Our rows of one backbone, and the paper's under them; of models that we do not train for `None`."""
    columns = paper.columns()
    rows = [
        [evaluation.name, "ours", *(accuracy_cell(column.score(evaluation)) for column in columns)]
        for evaluation in evaluations
    ]
    quoted = [
        [row.row, f"paper, {row.table}", *(f"{value:.1f}" for value in row.values)]
        for row in paper.visual_rows()
        if row.backbone == backbone
    ]
    header = ["model", "source", *(f"{task_title(column.task)}, {column.domain}" for column in columns)]
    title = f"{backbone or 'Other models'}: accuracy in percent"
    return Table(title, header, [*rows, *quoted], names=2, quoted=len(quoted))


def comparison_table(pair: Pair) -> Table:
    """One evaluation against another on the rows that both answered, per suite; differences in points.

    The strict difference is the sum of two: the tolerant one, which is ability, and a rest, which is format.
    """
    rows = []
    for suite, found in pair.suites.items():
        told = [str(found.only_a), str(found.only_b), f"{found.p_value:.2g}"]
        accuracies = [percent(found.accuracy_a), percent(found.accuracy_b)]
        rows.append([suite, "strict", str(found.n), *accuracies, _gain(found), *told])
        for name, change in (("of it ability", found.tolerant), ("released", found.released)):
            if change is None:
                rows.append(["", name, "", "", "", NOT_SCORED, "", "", ""])
            else:
                rows.append(["", name, "", percent(change.a), percent(change.b), _gain(change), "", "", ""])
        if found.format is not None:
            rows.insert(-1, ["", "of it format", "", "", "", _gain(found.format), "", "", ""])
    header = ["suite", "scoring", "rows", "A", "B", "B minus A", "only A right", "only B right", "p"]
    return Table(
        f"A: {pair.a}, B: {pair.b} (ability: by tolerant scores; format: the rest)", header, rows, names=2
    )


def pass_at_k_table(results: Sequence[PassAtK]) -> Table:
    """pass@k in percent with its interval, a row per model and form of the questions."""
    results = [result for group in pass_at_k_groups(results) for result in group]
    ks = sorted({point.k for result in results for point in result.points})
    rows = []
    for result in results:
        points = {point.k: point for point in result.points}
        cells = [_interval(points[k]) if k in points else "" for k in ks]
        counts = [str(result.problems), str(result.num_samples)]
        counts.append("" if result.unjudged is None else str(result.unjudged))
        rows.append([result.model, result.task_type, *counts, *cells])
    header = ["model", "questions", "problems", "samples", "unjudged", *(f"k={k}" for k in ks)]
    return Table("pass@k in percent, [95 % interval]", header, rows, names=2)


def pass_at_k_groups(results: Sequence[PassAtK]) -> list[list[PassAtK]]:
    """Results that share a figure: of one model, at most one of each form of the questions, judge first."""
    groups: list[list[PassAtK]] = []
    for result in sorted(results, key=lambda result: list(STAGES).index(result.task_type)):
        for group in groups:
            types = {other.task_type for other in group}
            if group[0].model == result.model and result.task_type not in types:
                group.append(result)
                break
        else:
            groups.append([result])
    return groups


def training_table(runs: Iterable[TrainingRun]) -> Table:
    """What each stage's training came to."""
    rows = []
    for run in runs:
        config = run.manifest.config if run.manifest else {}
        steps, rewards = run.curve("reward")
        ends = f"{rewards[0]:.3g} to {rewards[-1]:.3g}" if rewards else ""
        settings = [str(config.get(key, "")) for key in ("learning_rate", "beta", "seed")]
        status = run.manifest.status if run.manifest else "no manifest"
        rows.append([run.name, run.stage or "", status, str(max(steps, default="")), ends, *settings])
    header = ["run", "stage", "status", "last step", "reward, first to last", "learning rate", "beta", "seed"]
    return Table("Training", header, rows, names=3)


def benchmark_table(benchmarks: Iterable[Benchmarks], rows_of_paper: Iterable[paper.PaperRow]) -> Table:
    """General benchmarks, ours and the paper's; on each benchmark's own scale."""
    found = list(benchmarks)
    others = {name for entry in found for name in entry.results} - set(paper.benchmark_names())
    names = [*paper.benchmark_names(), *sorted(others)]
    rows = []
    for entry in found:
        values = [entry.results.get(name) for name in names]
        source = f"ours, {entry.harness}" if entry.harness else "ours"
        rows.append([entry.name, source, *("" if value is None else f"{value:.4g}" for value in values)])
    quoted = []
    for row in rows_of_paper:
        values = dict(zip(paper.benchmark_names(), row.values, strict=True))
        cells = [f"{values[name]:.4g}" if name in values else "" for name in names]
        quoted.append([row.row, f"paper, {row.table}", *cells])
    columns = ["model", "source", *names]
    return Table("General benchmarks", columns, [*rows, *quoted], names=2, quoted=len(quoted))


def accuracy_cell(score: SuiteScore | None) -> str:
    """A score as ``strict [low, high] (tolerant, released)``, in percent."""
    if score is None:
        return ""
    cell = f"{percent(score.accuracy)} [{percent(score.low)}, {percent(score.high)}]"
    if score.tolerant is score.released is None:
        return cell
    others = [percent(share) or NOT_SCORED for share in (score.tolerant, score.released)]
    return f"{cell} ({', '.join(others)})"


def percent(share: float | None) -> str:
    """A share in percent with one decimal."""
    return "" if share is None else f"{100 * share:.1f}"


def spread(counts: Iterable[int]) -> str:
    """One number, or the smallest and the largest."""
    low, *_, high = [*sorted(counts)] * 2
    return str(low) if low == high else f"{low} to {high}"


def _gain(gain: Comparison | Gain) -> str:
    return f"{100 * gain.difference:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"


def _interval(point: Point) -> str:
    return f"{percent(point.pass_at_k)} [{percent(point.low)}, {percent(point.high)}]"
