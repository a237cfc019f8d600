"""One learner at work: the next exercise, the answer to it, and the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError, checked
from lpr_lightning.protocols import Environment, Goal, LearnerData, Policy, Simulator
from lpr_lightning.types import PAD, Exercise, InteractionBatch, PathRequest


@runtime_checkable
class Adviser(Policy, Protocol):
    """A policy with a model of the learners and a goal, such as an agent or `Recommender`."""

    @property
    def simulator(self) -> Simulator:
        """The model of the learners."""
        ...

    @property
    def goal(self) -> Goal:
        """What exercises are for."""
        ...


@runtime_checkable
class HasTexts(Protocol):
    """Data whose questions have a wording."""

    @property
    def item_texts(self) -> Sequence[str]:
        """One for each item; empty where there is none."""
        ...


@dataclass(frozen=True)
class Recommendation:
    """An exercise that is recommended, and what is expected of it.

    `item` is the question's raw name (empty where concepts are recommended), `text` its wording (empty where the data
    have none), `concepts` its concepts' names; `success` the chance of a right answer; `gain` what it is expected to
    bring in mean mastery of the goal's concepts, over both answers.
    """

    item: str
    text: str
    concepts: tuple[str, ...]
    success: float
    gain: float


class LearnerSession:
    """Recommends exercises to one learner, one after another, each given all answers so far.

    Args:
        adviser: a policy with its model and goal: an agent, a `Recommender`, or either read from a
            checkpoint by `load_module`.
        data: says which questions there are.
        history: the learner's answers so far: raw names of questions, and 0 or 1.
        targets: names of the concepts that are wanted, for goals that take a request's.
        length: exercises wanted.

    Raises:
        SettingError: a question or a concept is unknown, or the adviser lacks a model or a goal.
    """

    def __init__(
        self,
        adviser: Adviser,
        data: LearnerData,
        history: Sequence[tuple[str, float]] = (),
        targets: Sequence[str] = (),
        length: int = 10,
    ) -> None:
        if not isinstance(adviser, Adviser):
            advice = "put a rule or a search into a Recommender with its simulator"
            raise SettingError("adviser", type(adviser).__name__, "a policy with simulator and goal", advice)
        self.adviser, self.data = adviser, data
        self.items = {name: number for number, name in enumerate(data.item_names)}
        self.environment = Environment(adviser.simulator, adviser.goal)
        self.request = self._request(history, targets, checked("length", length, 1))
        self._action: Tensor | None = None
        with torch.no_grad():
            self._state = adviser.simulator.start(self.request)
            self._concept = adviser.goal.choose(adviser.simulator, self._state, self.request)
            self._own = adviser.begin(self.environment, self.request)

    @torch.no_grad()
    def next(self) -> Recommendation | None:
        """Return the exercise that is recommended now; None where there is nothing more."""
        simulator, goal = self.environment
        if goal.every_step:
            self._concept = goal.choose(simulator, self._state, self.request)
        if self._action is None:
            self._action = self.adviser.act(self.environment, self._own, self._concept, None).action
        if int(self._action) == PAD:
            return None
        asked = simulator.actions.at(self._action)
        chance = simulator.predict(self._state, asked)
        wrong, right = (
            goal.assess(simulator, simulator.practise(self._state, asked, answer), self._concept).mastery
            for answer in (torch.zeros_like(chance), torch.ones_like(chance))
        )
        gain = torch.lerp(wrong, right, chance) - goal.assess(simulator, self._state, self._concept).mastery
        return self._described(asked, float(chance), float(gain))

    @torch.no_grad()
    def answer(self, correct: float, item: str | None = None) -> None:
        """Take the answer to the exercise that was recommended, or to another one, by its raw name.

        Raises:
            SettingError: nothing was recommended, the answer is not from 0 to 1, or the question is unknown.
        """
        if not 0 <= correct <= 1:
            raise SettingError("correct", correct, "0 for wrong, 1 for right, or a number between")
        action = self._action if item is None else self._action_of(item)
        if action is None or int(action) == PAD:
            raise SettingError("item", item, "the name of a question", "nothing was recommended: call next() before")
        simulator, given = self.environment.simulator, torch.full((1,), float(correct), device=action.device)
        self._state = simulator.observe(self._state, simulator.actions.at(action), given)
        self._own = self.adviser.see(self.environment, self._own, action, given)
        self._action = None

    def _described(self, asked: Exercise, success: float, gain: float) -> Recommendation:
        item, names = int(asked.item), self.data.concept_names
        texts = list(self.data.item_texts) if isinstance(self.data, HasTexts) else []
        return Recommendation(
            item=self.data.item_names[item] if item >= 0 else "",
            text=texts[item] if 0 <= item < len(texts) else "",
            concepts=tuple(names[one] for one in asked.concept.flatten().tolist() if one >= 0),
            success=success,
            gain=gain,
        )

    def _action_of(self, item: str) -> Tensor:
        number = self._item(item)
        every = torch.arange(len(self.environment.simulator.actions), device=self.request.length.device)
        found = (self.environment.simulator.actions.at(every).item == number).nonzero().flatten()
        if not len(found):
            raise SettingError("item", item, "a question that may be recommended")
        return found[:1]

    def _item(self, name: str) -> int:
        if name not in self.items:
            raise SettingError("item", name, f"the raw name of a question, such as {next(iter(self.items))!r}")
        return self.items[name]

    def _request(self, history: Sequence[tuple[str, float]], targets: Sequence[str], length: int) -> PathRequest:
        known, wanted = self.data.concept_vocabulary, torch.zeros(1, self.data.num_concepts, dtype=torch.bool)
        for name in targets:
            if name not in known:
                raise SettingError("targets", name, "names of concepts of the data")
            wanted[0, known[name]] = True
        item = torch.tensor([[self._item(name) for name, _ in history]], dtype=torch.int64).view(1, -1)
        answers = InteractionBatch(
            concept=self.data.item_concepts[item],
            item=item,
            correct=torch.tensor([[float(right) for _, right in history]]).view(1, -1),
            mask=torch.ones_like(item, dtype=torch.bool),
            learner=torch.tensor([PAD]),
        )
        request = PathRequest(answers, wanted, torch.tensor([length]), torch.tensor([PAD]), torch.tensor([PAD]))
        return request.to(self._device())

    def _device(self) -> torch.device:
        simulator = self.environment.simulator
        weights = list(simulator.parameters()) if isinstance(simulator, torch.nn.Module) else []
        return weights[0].device if weights else torch.device("cpu")
