"""One small log in the official format of every data set, for runs of every method on every overlay."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

CONCEPTS, QUESTIONS = 6, 12
LEARNERS, ANSWERS = 30, (20, 36)


class Answer(NamedTuple):
    """An answer: when (s), on which question, right or wrong."""

    learner: int
    time: int
    question: int
    correct: int


def answers() -> list[Answer]:
    """Draw the answers of learners who get better, in order of time within each learner."""
    draw = random.Random(0)
    found = []
    for learner in range(1, LEARNERS + 1):
        time, ability = 1_500_000_000, draw.random()
        for step in range(draw.randint(*ANSWERS)):
            time += draw.randint(10, 10_000)
            question = draw.randrange(QUESTIONS)
            found.append(Answer(learner, time, question, int(draw.random() < 0.3 * ability + 0.3 + 0.01 * step)))
    return found


def concepts_of(question: int) -> list[int]:
    """Return the concepts of a question: one, or two for every fourth question."""
    return [question % CONCEPTS, *([(question + 1) % CONCEPTS] if question % 4 == 0 else [])]


def csv(folder: Path) -> None:
    """Write interactions.csv."""
    lines = [f"{a.learner},{a.time},q{a.question},concept {a.question % CONCEPTS},{a.correct}" for a in answers()]
    (folder / "interactions.csv").write_text("\n".join(["learner,order,item,concept,correct", *lines]) + "\n")


def assist09(folder: Path) -> None:
    """Write the corrected, collapsed file of ASSISTments 2009: skills of an answer are joined by _."""
    lines = ["order_id,assignment_id,user_id,problem_id,original,correct,answer_text,skill_id,skill_name"]
    for order, one in enumerate(sorted(answers(), key=lambda a: a.time)):
        skills = concepts_of(one.question)
        ids, names = "_".join(map(str, skills)), "_".join(f"Skill {skill}" for skill in skills)
        lines.append(f"{order},7,{one.learner},{one.question},1,{one.correct},,{ids},{names}")
    (folder / "skill_builder_data_corrected_collapsed.csv").write_text("\n".join(lines) + "\n")


def junyi(folder: Path) -> None:
    """Write the log and the exercise table of Junyi Academy; each exercise needs the one before it."""
    table = [f"exercise{one},{f'exercise{one - 1}' if one else ''},topic" for one in range(CONCEPTS)]
    (folder / "junyi_Exercise_table.csv").write_text("\n".join(["name,prerequisites,topic", *table]) + "\n")
    lines = ["user_id,exercise,time_done,correct,hint_used"]
    for one in answers():
        truth = "true" if one.correct else "false"
        lines.append(f"{one.learner},exercise{one.question % CONCEPTS},{one.time * 1_000_000},{truth},false")
    (folder / "junyi_ProblemLog_original.csv").write_text("\n".join(lines) + "\n")


def xes3g5m(folder: Path) -> None:
    """Write question-level sequences of XES3G5M, the last learners in the test file."""
    names = ("train_valid_sequences_quelevel.csv", "test_quelevel.csv")
    lines: dict[str, list[str]] = {name: [] for name in names}
    for learner in range(1, LEARNERS + 1):
        mine = [one for one in answers() if one.learner == learner]
        columns: list[list[object]] = [
            [one.question for one in mine],
            ["_".join(map(str, concepts_of(one.question))) for one in mine],
            [one.correct for one in mine],
            [one.time * 1000 for one in mine],
            [1 for _ in mine],
        ]
        cells = [f'"{",".join(map(str, column))}"' for column in columns]
        lines[names[learner > LEARNERS - 5]].append(",".join(["0", str(learner), *cells]))
    (folder / "question_level").mkdir()
    for name in names:
        header = "fold,uid,questions,concepts,responses,timestamps,selectmasks"
        (folder / "question_level" / name).write_text("\n".join([header, *lines[name]]) + "\n")


def dbe_kt22(folder: Path) -> None:
    """Write the four files of DBE-KT22."""
    concepts = [f"{one},Concept {one},about it" for one in range(CONCEPTS)]
    links = [(question, one) for question in range(QUESTIONS) for one in concepts_of(question)]
    log = []
    for number, one in enumerate(answers()):
        start = f"2019-03-{1 + number // 1000:02} {number // 60 % 24:02}:{number % 60:02}:00"
        log.append(f"{number},{one.learner},{one.question},{start},{start},{'true' if one.correct else 'false'}")
    files = {
        "KCs": ["id,name,description", *concepts],
        "Question_KC_Relationships": ["id,question_id,knowledgecomponent_id", *(f"0,{a},{b}" for a, b in links)],
        "Questions": ["id,question_text", *(f"{one},What is {one}?" for one in range(QUESTIONS))],
        "Transaction": ["id,student_id,question_id,start_time,end_time,answer_state", *log],
    }
    for name, lines in files.items():
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


WRITERS: dict[str, Callable[[Path], None]] = {
    "assist09": assist09,
    "csv": csv,
    "dbe_kt22": dbe_kt22,
    "junyi": junyi,
    "xes3g5m": xes3g5m,
}
"""By the overlay's name in configs/data."""
