"""Selection: the best of each query, above the threshold, once, within the quotas, in the model's words."""

import csv
import hashlib
import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from curr_reft.data.leaks import normalised
from curr_reft.evaluation.judge_reply import CRITERIA, SCORES_FORM, TOTAL
from curr_reft.evaluation.judgements import Judgement, judgement_row
from curr_reft.self_improvement.judge import main as judge
from curr_reft.self_improvement.judged import content_digests, image_digests
from curr_reft.self_improvement.records import SCORES
from curr_reft.self_improvement.select import main
from curr_reft.self_improvement.selection import MISREAD, select
from curr_reft.self_improvement.sources import Composition, Source, load_composition
from curr_reft.sft.messages import read_row


def judgement(candidate, total: float | None, digest: str = "") -> Judgement:
    scores = None if total is None else dict.fromkeys((*CRITERIA, TOTAL), float(total))
    return Judgement(candidate.id, digest, "tested", "settings", scores, None if scores else "unread", {})


@pytest.fixture
def write_scores(work):
    """Writes totals for candidates, in their order."""

    def write(candidates, totals) -> None:
        digests = content_digests(candidates, image_digests(candidates))
        pairs = zip(candidates, totals, strict=True)
        rows = [
            judgement_row(judgement(each, total, digests[each.id]), SCORES_FORM.names)
            for each, total in pairs
        ]
        (work / SCORES).write_text("".join(json.dumps(row) + "\n" for row in rows))

    return write


@pytest.fixture
def run(work, write_candidates, write_scores):
    """Selects from candidates with these totals, and returns the rows that are written."""

    def run(candidates, totals=None, *more: str) -> list[dict]:
        write_candidates(*candidates)
        if totals is not None:
            write_scores(candidates, totals)
        main(
            [
                *("--config", str(work / "sources.yaml"), "--output_dir", str(work)),
                *("--output", str(work / "SFT_data/reject/chosen.jsonl"), *more),
            ]
        )
        return rows_of(work)

    return run


def rows_of(work) -> list[dict]:
    lines = (work / "SFT_data/reject/chosen.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def answers(rows) -> list[str]:
    return [row["messages"][-1]["content"] for row in rows]


def record(work) -> dict:
    return json.loads((work / "selection.json").read_text())


def test_the_best_of_each_query_is_taken_and_of_equals_the_first(run, make_candidate):
    candidates = [make_candidate(sample=n, completion=f" say {n} \n") for n in range(4)]
    rows = run(candidates, [86, 95, 95, 90])
    assert rows == [
        {
            "messages": [
                {"role": "user", "content": candidates[0].prompt},
                {"role": "assistant", "content": "say 1"},
            ]
        }
    ]
    read_row(rows[0])


def test_the_threshold_must_be_exceeded(run, make_candidate):
    candidates = [make_candidate(f"sums/sums.jsonl:{n}", completion=str(n)) for n in range(2)]
    assert answers(run(candidates, [85, 85.01])) == ["1"]


def test_rows_stand_in_the_order_of_sources_and_then_of_queries(run, make_candidate):
    queries = ["chat/c.jsonl:1", "sums/s.jsonl:2", "chat/c.jsonl:2", "sums/s.jsonl:1"]
    candidates = [make_candidate(query, completion=query) for query in queries]
    rows = run(candidates, [90, 91, 92, 93])
    assert answers(rows) == ["sums/s.jsonl:2", "sums/s.jsonl:1", "chat/c.jsonl:1", "chat/c.jsonl:2"]


def test_quotas_hold_and_what_is_short_is_said_and_not_made_up_for(run, make_candidate, work, caplog):
    sums = [make_candidate(f"sums/s.jsonl:{n}", completion=str(n)) for n in range(5)]
    chat = [make_candidate("chat/c.jsonl:1", completion="chat")]
    rows = run([*sums, *chat], [90, 99, 91, 98, 92, 90])
    assert answers(rows) == ["1", "3", "chat"]
    found = {source["source"]: source for source in record(work)["sources"]}
    assert [found[name]["shortfall"] for name in ("sums", "boxes", "chat")] == [0, 2, 2]
    assert found["sums"]["above_threshold"] == 5
    assert found["sums"]["selection_rate"] == 0.4
    assert found["boxes"]["selection_rate"] is None
    assert "chat: 2 examples short of its quota of 3" in caplog.text


def test_the_choice_among_equals_follows_from_the_seed_and_not_from_the_file(make_candidate, work):
    composition = load_composition(work / "sources.yaml")
    sums = [make_candidate(f"sums/s.jsonl:{n}") for n in range(20)]
    totals = {each.id: judgement(each, 90) for each in sums}

    def chosen(candidates, seed: int = 42) -> set[str]:
        return {each.id for each in select(candidates, totals, composition, {}, seed).chosen}

    assert chosen(sums) == chosen(sums[::-1])
    assert any(chosen(sums, seed) != chosen(sums) for seed in range(5))


def test_one_question_is_taken_once_across_sources(run, make_candidate, image, tmp_path, work):
    copy, other = tmp_path / "copy.png", tmp_path / "other.png"
    shutil.copy(image, copy)
    Image.new("RGB", (40, 30), "blue").save(other)

    def ask(query, completion, image=None, problem="What is it"):
        size = (40, 30) if image else None
        # Sources of different tasks add different instructions.
        prompt = f"{problem} ({query})"
        return make_candidate(
            query, problem=problem, prompt=prompt, completion=completion, image=image, shown=size
        )

    candidates = [
        ask("sums/s.jsonl:1", "text, worse"),
        ask("chat/c.jsonl:1", "text, better", problem="WHAT  is it"),
        ask("boxes/b.jsonl:1", "image, better", image),
        ask("boxes/b.jsonl:2", "image, worse", copy),
        ask("chat/c.jsonl:2", "other image", other),
    ]
    rows = run(candidates, [90, 95, 94, 93, 92])
    assert answers(rows) == ["image, better", "text, better", "other image"]
    assert [source["duplicates"] for source in record(work)["sources"]] == [1, 1, 0]


def test_what_swift_would_act_on_is_no_example(run, make_candidate, work):
    texts = ["<video>", "a <image>", "x<|im_end|>", "<|im_start|>user", "\ud800"]
    candidates = [make_candidate(f"chat/c.jsonl:{n}", completion=text) for n, text in enumerate(texts)]
    candidates.append(make_candidate("chat/c.jsonl:9", completion="fine"))
    candidates.append(make_candidate("chat/c.jsonl:9", sample=1, completion="unread"))
    candidates.append(make_candidate("chat/c.jsonl:9", sample=2, completion="cut", truncated=True))
    assert answers(run(candidates, [99] * 6 + [None, 99])) == ["fine"]
    reasons = {MISREAD: 5, "unread": 1, "cut off by the limit of tokens": 1}
    assert record(work)["total"]["rejected_by_reason"] == reasons


def test_no_gold_is_ever_written(run, make_candidate, work):
    gold = "<answer>the gold 4711</answer>"
    candidates = [make_candidate(f"sums/s.jsonl:{n}", solution=gold, completion="mine") for n in range(2)]
    run(candidates, [90, 20])
    written = [
        path for path in work.rglob("*") if path.is_file() and path.suffix in (".jsonl", ".json", ".md")
    ]
    for path in written:
        assert ("4711" in path.read_text()) == (path.name == "candidates.jsonl")


def test_an_image_is_copied_only_where_it_was_shown_otherwise(run, make_candidate, tmp_path, work):
    small, large, turned = (tmp_path / name for name in ("small.png", "large.png", "turned.jpg"))
    Image.new("RGB", (40, 30), "red").save(small)
    Image.new("RGB", (1000, 500), "red").save(large)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 30), "red").save(turned, exif=exif)
    with Image.open(turned) as image:
        pixels = image.convert("RGB")
    pixels.putpixel((0, 0), (0, 0, 255))
    pixels.save(turned, exif=exif, quality=100)
    shown = {small: (40, 30), large: (916, 458), turned: (30, 30)}
    candidates = [
        make_candidate(f"chat/c.jsonl:{n}", image=path, shown=size, task="detection")
        for n, (path, size) in enumerate(shown.items())
    ]
    rows = run(candidates, [90] * 3)
    images = {row["images"][0] for row in rows}
    copies = sorted((work / "SFT_data/images").iterdir())
    assert images == {str(small), *map(str, copies)}
    assert sorted(Image.open(path).size for path in copies) == [(30, 30), (916, 458)]
    assert all(row["messages"][0]["content"].startswith("<image>What") for row in rows)
    assert run(candidates, [90] * 3) == rows
    assert sorted((work / "SFT_data/images").iterdir()) == copies


def test_nothing_above_the_threshold_is_said_and_recorded(run, make_candidate, work, capsys, caplog):
    with pytest.raises(SystemExit) as caught:
        run([make_candidate(), make_candidate(sample=1)], [85, None])
    assert caught.value.code == 3
    assert rows_of(work) == []
    assert "no answer that may be an example has a total above 85" in caplog.text
    assert record(work)["total"]["selected"] == 0
    assert "unread" in (work / "selection.md").read_text()
    assert Image.open(work / "selection.png").size[0] > 500
    assert "85" in capsys.readouterr().out


def test_the_record_adds_up(run, make_candidate, work):
    sums = [make_candidate(f"sums/s.jsonl:{n}", sample=n) for n in range(3)]
    run([*sums, make_candidate("chat/c.jsonl:1")], [90, 80, 91, 99])
    found, table = record(work), list(csv.DictReader((work / "selection.csv").open()))
    output = work / "SFT_data/reject/chosen.jsonl"
    assert found["output_sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert [row["selected"] for row in table] == ["2", "0", "1", "3"]
    assert found["total"]["queries"] == 4
    assert found["total"]["selection_rate"] == 0.75
    assert {name: each["selected"] for name, each in found["domains"].items()} == {
        "math": 2,
        "general": 0,
        "science": 1,
    }
    assert "12.7 % in the paper" in (work / "selection.md").read_text()


def test_scores_that_are_missing_or_stale_are_refused(run, make_candidate, write_scores, work, refused):
    first, second = make_candidate(), make_candidate(sample=1)
    assert "no such file" in refused(lambda: run([first]))
    write_scores([first], [90])
    error = refused(lambda: run([first, second]))
    assert "the judge is not through: 1 of 2 candidates have no scores" in error
    write_scores([first, second], [90, 90])
    changed = make_candidate(sample=1, completion="other")
    assert "1 of 2 scores are stale" in refused(lambda: run([first, changed]))
    assert not (work / "SFT_data").exists()


def test_a_changed_image_makes_scores_stale(run, make_candidate, image, refused):
    shown = [make_candidate("boxes/b.jsonl:1", image=image, shown=(40, 30))]
    run(shown, [90])
    Image.new("RGB", (40, 30), "green").save(image)
    assert "stale" in refused(lambda: run(shown))


def test_scores_of_two_judges_are_refused(run, make_candidate, work, write_scores, refused):
    candidates = [make_candidate(sample=n) for n in range(2)]
    write_scores(candidates, [90, 90])
    rows = [json.loads(line) for line in (work / SCORES).read_text().splitlines()]
    (work / SCORES).write_text("".join(json.dumps({**row, "settings": row["id"]}) + "\n" for row in rows))
    assert "several judges" in refused(lambda: run(candidates))


def test_a_source_that_the_composition_lacks_is_named(run, make_candidate, refused):
    stranger = [make_candidate("elsewhere/e.jsonl:1")]
    assert "source elsewhere is not in --config" in refused(lambda: run(stranger, [90]))


def test_wrong_flags_are_one_line(run, make_candidate, tmp_path, work, refused):
    assert "expected a .jsonl file" in refused(
        lambda: run([make_candidate()], [90], "--output", str(tmp_path / "a.json"))
    )
    scored = (work / "candidates.jsonl").read_bytes()
    assert "is what the examples are chosen from" in refused(
        lambda: run([make_candidate()], [90], "--output", str(work / "." / "candidates.jsonl"))
    )
    assert (work / "candidates.jsonl").read_bytes() == scored
    nowhere = str(tmp_path / "nowhere")
    assert "no such directory" in refused(lambda: run([make_candidate()], [90], "--output_dir", nowhere))


def test_from_the_rule_judge_to_examples(run, make_candidate, write_candidates, work):
    texts = [
        "<answer>3</answer>",
        "<think>hm</think><answer>3</answer>",
        "<think>4</think><answer>3</answer>",
    ]
    texts.append("<think>4</think><answer>4</answer>")
    candidates = [
        make_candidate(f"sums/s.jsonl:{n}", sample=n, completion=text) for n, text in enumerate(texts)
    ]
    write_candidates(*candidates)
    judge(["--output_dir", str(work), "--judge", "rule"])
    assert answers(run(candidates)) == [texts[1]]
    assert record(work)["judge"] == "rule"


_COMPOSITION = Composition(
    50, tuple(Source(name, "math", "text", "x.jsonl", quota) for name, quota in (("a", 1), ("b", 3)))
)
_answers = st.tuples(
    *(st.sampled_from("ab"), st.integers(0, 6), st.integers(0, 3)),
    st.one_of(st.none(), st.sampled_from([49, 50, 51, 60, 100])),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_answers, unique_by=lambda each: each[:3]), st.integers(0, 3))
def test_no_selection_breaks_a_rule(make_candidate, given_answers, seed):
    candidates, totals = [], {}
    for source, query, sample, total in given_answers:
        # Some queries ask the same.
        problem = f"problem {query % 3}"
        candidate = make_candidate(f"{source}/x.jsonl:{query}", sample=sample, problem=problem)
        candidates.append(candidate)
        totals[candidate.id] = judgement(candidate, total)
    found = select(candidates, totals, _COMPOSITION, {}, seed)
    total_of = {each.id: totals[each.id].scores[TOTAL] for each in found.chosen}
    assert all(total > 50 for total in total_of.values())
    assert len({each.query for each in found.chosen}) == len(found.chosen)
    assert len({normalised(each.prompt) for each in found.chosen}) == len(found.chosen)
    for source in _COMPOSITION.sources:
        count = found.counts[source.name]
        assert count.selected == sum(each.source == source.name for each in found.chosen)
        assert count.selected == min(source.quota, count.above_threshold - count.duplicates)
        assert sum(count.rejected.values()) <= count.candidates
    for each in found.chosen:
        rivals = [other for other in candidates if other.query == each.query and totals[other.id].scores]
        assert max(totals[other.id].scores[TOTAL] for other in rivals) == total_of[each.id]
    again = select(candidates, totals, _COMPOSITION, {}, seed)
    assert [each.id for each in again.chosen] == [each.id for each in found.chosen]
