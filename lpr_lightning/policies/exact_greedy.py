"""One step ahead over the whole bank, by the expectation over both answers."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.errors import checked
from lpr_lightning.policies.candidates import AllActions, Candidates
from lpr_lightning.policies.values import settled
from lpr_lightning.protocols import Act, Connected, Environment, LearnerData
from lpr_lightning.tensors import listed, select_rows
from lpr_lightning.types import PAD, PathRequest, State


@dataclass(frozen=True)
class ExactGreedy:
    """Recommends, step by step, the action after whose answer the goal's mean mastery is expected to be highest.

    An action's value is p v(s | right) + (1 - p) v(s | wrong), with v the mean mastery of the goal's concepts: eq. 21
    to 23 of ExRec with the model itself in the place of a trained critic, for every action there is. A tracer of
    questions answers from its tables, one row for each question and answer.

    Differs from `GreedySearch`: both answers are looked at, each with its chance, instead of the likeliest or a soft
    one; what comes next is chosen after the answer that was really given.

    State: how often the path has each action [B, A] ([B, 0] where repeats are allowed), then the model's.

    Args:
        candidates: which actions are tried, anew before each step.
        repeats: an action may be taken again on the same path; if False, only where all candidates were.
        max_rows: states held at once; bounds memory and changes no action.

    Raises:
        SettingError: `max_rows` is below 1.

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> from lpr_lightning.simulators.rollout import rollout
    >>> ladder = Ladder(3, gain=0.4)
    >>> rollout(ladder, Targets(), ladder.request(targets=[[0, 2]], length=3), ExactGreedy()).action
    tensor([[0, 0, 0]])
    """

    candidates: Candidates = field(default_factory=AllActions)
    repeats: bool = True
    max_rows: int = 8192

    name = "exact_greedy"

    def __post_init__(self) -> None:
        checked("max_rows", self.max_rows, 1)

    def connect(self, data: LearnerData) -> None:
        """Let the candidates take from the data what they need."""
        if isinstance(self.candidates, Connected):
            self.candidates.connect(data)

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return the model's states after the histories."""
        state = environment.simulator.start(request)
        width = 0 if self.repeats else len(environment.simulator.actions)
        return state[0].new_zeros(len(request), width), *state

    @torch.no_grad()
    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Return the action of the greatest expectation; of equal ones the first."""
        taken, model = state[0], state[1:]
        allowed = self.candidates.allowed(environment, model, concept)
        if not self.repeats:
            fresh = allowed & (taken == 0)
            allowed = torch.where(fresh.any(1, keepdim=True), fresh, allowed)
        candidate = listed(allowed)
        value = settled(self.values(environment, model, concept, candidate)).masked_fill(candidate < 0, -torch.inf)
        return Act(candidate.gather(1, value.argmax(1, keepdim=True)).squeeze(1))

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Count the actions, and let the model observe the answers."""
        simulator, taken = environment.simulator, state[0]
        if not self.repeats:
            taken = taken.scatter_add(1, action.clamp_min(0)[:, None], (action != PAD)[:, None].to(taken))
        return taken, *simulator.observe(state[1:], simulator.actions.at(action), correct)

    @torch.no_grad()
    def values(self, environment: Environment, state: State, concept: Tensor, candidate: Tensor) -> Tensor:
        """Return the expected mean mastery of the goal's concepts [B, M] after each candidate [B, C] (-1: any).

        >>> from lpr_lightning.goals import Targets
        >>> from lpr_lightning.simulators.ladder import Ladder
        >>> ladder, target = Ladder(2, gain=0.4), torch.tensor([[0]])
        >>> ExactGreedy().values(Environment(ladder, Targets()), (torch.zeros(1, 2),), target, torch.tensor([[1, 0]]))
        tensor([[0.0000, 0.4000]])
        """
        simulator, goal, width = environment.simulator, environment.goal, candidate.shape[1]
        value = state[0].new_zeros(candidate.shape)
        rows = max(1, self.max_rows // max(width, 1))
        for some in torch.split(torch.arange(len(candidate), device=candidate.device), rows):
            model, wanted = select_rows(state, some), concept[some]
            for first in range(0, width, self.max_rows):
                tried = candidate[some, first : first + self.max_rows].clamp_min(0)
                asked = simulator.actions.at(tried)
                chance = simulator.predict(model, asked)
                total = torch.zeros_like(chance)
                for answer, weight in ((1.0, chance), (0.0, 1 - chance)):
                    after = simulator.practise(model, asked, torch.full_like(chance, answer))
                    total = total + weight * goal.assess(simulator, after, wanted).mastery.view_as(chance)
                value[some, first : first + self.max_rows] = total
        return value
