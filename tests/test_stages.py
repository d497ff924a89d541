"""The prompts of the stages, word for word as released."""

from curr_reft.stages import STAGES, TASKS


def test_every_golden_prompt_of_the_three_tasks(golden):
    stages = {stage.number: stage for stage in STAGES.values()}
    rows = [row for row in golden("prompts") if row["stage"] in stages and row["task"] in TASKS]
    assert {(row["stage"], row["task"]) for row in rows} == {(n, task) for n in stages for task in TASKS}
    for row in rows:
        assert stages[row["stage"]].prompt(row["task"], row["problem"]) == row["prompt"]
