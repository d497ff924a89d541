"""The prompts of the stages, word for word as released."""

from curr_reft.stages import STAGES
from curr_reft.tasks.registry import asking_of, known_tasks


def test_every_golden_prompt_of_the_three_tasks(golden):
    stages = {stage.number: stage for stage in STAGES.values()}
    rows = [row for row in golden("prompts") if row["stage"] in stages and row["task"] in known_tasks()]
    assert {(row["stage"], row["task"]) for row in rows} == {
        (n, task) for n in stages for task in known_tasks()
    }
    for row in rows:
        assert asking_of(stages[row["stage"]], row["task"]).prompt(row["problem"]) == row["prompt"]
