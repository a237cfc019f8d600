"""Annotation of a question with solution steps, knowledge concepts and their mapping, by three requests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from lpr_lightning.annotation.asker import Asker, NotStoredError, SetAsideError, StoredAnswers
from lpr_lightning.annotation.chat import Prompt
from lpr_lightning.annotation.prompt_templates import Templates, numbered
from lpr_lightning.annotation.schema import ReasonedConcepts, parse_concepts, parse_pairs, parse_steps
from lpr_lightning.errors import checked
from lpr_lightning.questions import Question

GUESSED = {"steps": 200.0, "concepts": 150.0, "mapping": 40.0}
"""Tokens of an answer to each request, for a guess of what questions will cost before any was asked."""
MAX_TOKENS = {"steps": 1024, "concepts": 1024, "mapping": 512}


class Annotated(NamedTuple):
    """A question with steps, concepts and pairs, and the reason of each concept that was asked for."""

    question: Question
    reasons: tuple[str, ...]


class Requests(NamedTuple):
    """How many requests are still to be paid for, and about how many tokens they send and receive."""

    requests: int
    prompt_tokens: float
    answer_tokens: float


@dataclass(frozen=True)
class ConceptAnnotation:
    """Annotates questions as ExRec's Module 1 (Ozyurt et al. 2025, section 4.1, eq. 1-4; appendix B, E).

    Three requests a question at temperature 0: steps of a solution; concepts with reasons, in a standard's wording;
    which step needs which concept. Each answer is checked (`schema`) before the next request is sent.

    Differs from the paper:
      1. Prompts are ours: the paper's text does not hold them.
      2. An answer that is not valid is asked again with the error; the released code keeps pairs out of range, and
         stores an empty answer for what it cannot read.
      3. What a question already has is kept unless `keep` is false: steps, concepts, pairs.

    Args:
        asker: the model.
        templates: the prompts' words.
        keep: whether steps, concepts and pairs that a question has are kept, not asked for.
        attempts: how often a request is asked until its answer is valid.

    Raises:
        SettingError: less than one attempt.
    """

    asker: Asker
    templates: Templates
    keep: bool = True
    attempts: int = 3

    def __post_init__(self) -> None:
        checked("attempts", self.attempts, 1)

    def __call__(self, question: Question) -> Annotated:
        """Return a question with its annotations.

        Raises:
            SetAsideError: a request gets no valid answer.
            BudgetSpentError, EndpointError, StoppedError: as `Asker.ask`.
        """
        steps, concepts = self._kept(question)
        name = question.name
        if not steps:
            steps = self.asker.ask_valid(self._prompt("steps", question), name, "steps", parse_steps, self.attempts)
            question = replace(question, steps=steps, pairs=())
        if concepts is None:
            prompt = self._prompt("concepts", question)
            concepts = self.asker.ask_valid(prompt, name, "concepts", parse_concepts, self.attempts)
            question = replace(question, concepts=concepts.names, pairs=())
        if not self._mapped(question):
            sizes = (len(question.steps), len(question.concepts))
            pairs = self.asker.ask_valid(
                self._prompt("mapping", question),
                name,
                "mapping",
                lambda answer: parse_pairs(answer, *sizes),
                self.attempts,
            )
            question = replace(question, pairs=pairs)
        return Annotated(question, concepts.reasons)

    def still_to_ask(self, question: Question) -> Requests:
        """Return about what the question will take, without what the store holds; nothing is sent."""
        usual = GUESSED | self.asker.usual_tokens
        try:
            replace(self, asker=StoredAnswers(self.asker.client, self.asker.store))(question)
        except NotStoredError as missing:
            steps, concepts = self._kept(question)
            given = {"steps": bool(steps), "concepts": concepts is not None, "mapping": False}
            tasks = list(GUESSED)
            later = [one for one in tasks[tasks.index(missing.task) + 1 :] if not given[one]]
            sent, before = float(missing.prompt.guessed_tokens), usual[missing.task]
            for task in later:
                sent += self._prompt(task, question).guessed_tokens + before
                before += usual[task]
            return Requests(1 + len(later), sent, before)
        except SetAsideError:
            pass
        return Requests(0, 0.0, 0.0)

    def _kept(self, question: Question) -> tuple[tuple[str, ...], ReasonedConcepts | None]:
        """Return the steps and the concepts that need not be asked for."""
        if not self.keep:
            return (), None
        return question.steps, ReasonedConcepts(question.concepts, ()) if question.concepts else None

    def _mapped(self, question: Question) -> bool:
        """Return whether every step and every concept is in a pair."""
        steps, concepts = ({pair[place] for pair in question.pairs} for place in (0, 1))
        return len(steps) == len(question.steps) and len(concepts) == len(question.concepts)

    def _prompt(self, task: str, question: Question) -> Prompt:
        values = {
            "question": question.wording,
            "answer": question.answer or "not given",
            "steps": numbered(question.steps),
            "concepts": numbered(question.concepts),
        }
        return Prompt(self.templates.fill(task, values), MAX_TOKENS[task])
