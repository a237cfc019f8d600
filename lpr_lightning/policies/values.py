"""What a search maximises: on the way, and at the end of a path."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.learning_effect import learning_effect
from lpr_lightning.functional.masked_mean import masked_mean
from lpr_lightning.policies.graph import PrerequisiteGraph
from lpr_lightning.protocols import Environment, LearnerData, Standing
from lpr_lightning.tensors import listed
from lpr_lightning.types import State

PASSED_WEIGHT = 0.3
TIE_BREAK = 1e-3
STEPS = 2.0**17
"""Values are compared in steps of 2^-17."""


class SearchValue(ABC):
    """Base class of what searches maximise; values that are equal but for rounding should be equal (`settled`)."""

    @abstractmethod
    def guide(self, environment: Environment, state: State, concept: Tensor) -> Tensor:
        """Return what B * G states on the way are compared by, [B * G], for the goal's concepts [B, M]."""

    @abstractmethod
    def final(self, standing: Standing, before: Tensor) -> Tensor:
        """Return what whole paths are ranked by, given where they lead and the exam score before them."""


@dataclass(frozen=True)
class ExamValue(SearchValue):
    """On the way mean target mastery plus 0.3 times the share of the exam passed; at the end the learning effect.

    Ties at the end are broken by a thousandth of the same value, less than one target counts even among 500.

    >>> standing = Standing(torch.tensor([0.5]), torch.tensor([1.0]), torch.tensor([2.0]))
    >>> ExamValue().final(standing, torch.tensor([0.0]))
    tensor([0.5006])
    """

    def guide(self, environment: Environment, state: State, concept: Tensor) -> Tensor:
        """Return mean target mastery plus 0.3 times the share of the exam passed."""
        return settled(_prepared(environment.goal.assess(environment.simulator, state, concept)))

    def final(self, standing: Standing, before: Tensor) -> Tensor:
        """Return the learning effect, ties broken."""
        effect = learning_effect(before, standing.score, standing.best)
        return settled(effect) + TIE_BREAK * settled(_prepared(standing))


@dataclass(frozen=True)
class ChainValue(SearchValue):
    """On the way mastery of the targets with credit for what they build on; at the end mean target mastery alone.

    The mean over targets t of m_t + credit (1 - m_t) sqrt(prod over ancestors a of sigmoid(steepness (m_a - level))):
    without it a search sees no gain in the first steps of a chain of prerequisites, each of which opens the next.

    Differs from a learned value: nothing is fitted; a target without ancestors gets the whole credit.

    Args:
        credit: credit of a target whose ancestors all hold, in [0, 1].
        steepness: of the step from not holding to holding.
        level: mastery at which an ancestor half holds.
        prerequisites: the graph; default that of the data.

    Raises:
        SettingError: a number is out of range.

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder, value = Ladder(2), ChainValue(prerequisites=PrerequisiteGraph([(0, 1)]))
    >>> state = (torch.tensor([[0.5, 0.0]]),)
    >>> value.guide(Environment(ladder, Targets()), state, torch.tensor([[1]]))  # 0.5 * sqrt(0.5)
    tensor([0.3536])
    """

    credit: float = 0.5
    steepness: float = 6.0
    level: float = 0.5
    prerequisites: PrerequisiteGraph = field(default_factory=PrerequisiteGraph)

    def __post_init__(self) -> None:
        for name, value in (("credit", self.credit), ("level", self.level)):
            if not 0 <= value <= 1:
                raise SettingError(name, value, "a number from 0 to 1")
        if self.steepness <= 0:
            raise SettingError("steepness", self.steepness, "a number above 0")

    def connect(self, data: LearnerData) -> None:
        """Take the graph of the data."""
        self.prerequisites.connect(data)

    def guide(self, environment: Environment, state: State, concept: Tensor) -> Tensor:
        """Return the mean over targets of mastery and credit."""
        simulator, targets = environment.simulator, concept.shape[1]
        if not len(concept):
            return state[0].new_zeros(0)
        ancestors = self.prerequisites.ancestors(simulator.num_concepts, concept.device)
        behind = ancestors[concept.clamp_min(0)] & (concept >= 0)[..., None]  # [B, M, N]
        needed = listed(behind.any(1))
        asked = torch.cat([concept, needed], 1).clamp_min(0)
        mastery = simulator.mastery(state, asked).view(len(concept), -1, asked.shape[1])
        target, ancestor = mastery.tensor_split([targets], 2)  # [B, G, M], [B, G, K]
        among = behind.gather(2, needed.clamp_min(0)[:, None].expand(-1, targets, -1)) & (needed >= 0)[:, None]
        held = logsigmoid(self.steepness * (ancestor - self.level))
        chain = (0.5 * held @ among.to(held).mT).exp()
        value = target + self.credit * (1 - target) * chain
        return settled(masked_mean(value, (concept >= 0)[:, None].expand_as(value), 2).flatten())

    def final(self, standing: Standing, before: Tensor) -> Tensor:
        """Return mean target mastery."""
        return settled(standing.mastery)


def settled(value: Tensor) -> Tensor:
    """Return values rounded to steps of 2^-17.

    Paths that lead to the same, such as two orders of steps that do not touch each other, are then equal, and the first
    one is taken; otherwise rounding errors would choose, which depend on how many learners are searched side by side.

    >>> settled(torch.tensor([0.5, 0.5 + 1e-7])).tolist()
    [0.5, 0.5]
    """
    return (value * STEPS).round() / STEPS


def _prepared(standing: Standing) -> Tensor:
    """Return mean mastery of the goal's concepts plus 0.3 times the share of the exam passed.

    >>> _prepared(Standing(torch.tensor([0.5]), torch.tensor([1.0]), torch.tensor([2.0])))
    tensor([0.6500])
    """
    return standing.mastery + PASSED_WEIGHT * standing.score / standing.best.clamp_min(1.0)
