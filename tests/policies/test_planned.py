"""Policies over whole paths: given ones, planned once, planned anew after each answer."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from lpr_lightning.checks import check_policy
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import Targets
from lpr_lightning.policies import FixedPaths, Planned, Replan, follow_paths
from lpr_lightning.policies.planned import ClosedLoop
from lpr_lightning.protocols import Environment
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.types import PAD, Interactions, PathRequest

LADDER = Ladder(3, gain=0.3)


@dataclass
class Recorder:
    """Plans the concept after the last right answer of the history, and again it; notes what it was asked."""

    asked: list[PathRequest] = field(default_factory=list)

    def plan(self, request: PathRequest) -> Tensor:
        self.asked.append(request)
        history = request.history
        right = (history.correct > 0.5) & history.mask
        reached = torch.cat([history.concept[..., 0].masked_fill(~right, PAD), torch.full((len(request), 1), PAD)], 1)
        return (reached.amax(1) + 1).clamp_max(2)[:, None].expand(-1, max(int(request.length.max()), 1))


def request() -> PathRequest:
    plain = LADDER.request(targets=[[0, 1], [2]], length=5)
    log = Interactions.from_lists([[(0, 1), (1, 0)], []])
    return PathRequest(log.batch(torch.arange(2)), plain.targets, torch.tensor([5, 3]), log.learner, plain.row)


def test_fixed_paths_are_followed_to_their_end() -> None:
    path = torch.tensor([[0, 0, 1, PAD], [2, PAD, PAD, PAD]])
    taught = rollout(LADDER, Targets(), request(), FixedPaths(path))
    assert taught.action.tolist() == [[0, 0, 1], [2, PAD, PAD]]


def test_fixed_paths_are_cut_at_the_wanted_length() -> None:
    taught = rollout(LADDER, Targets(), request(), FixedPaths(torch.zeros(2, 9, dtype=torch.int64)))
    assert taught.length.tolist() == [5, 3]


def test_fixed_paths_of_other_requests_are_refused() -> None:
    with pytest.raises(SettingError, match="2 rows"):
        rollout(LADDER, Targets(), request(), FixedPaths(torch.zeros(3, 2, dtype=torch.int64)))


def test_following_paths_goes_to_their_end_whatever_was_wanted() -> None:
    path = torch.tensor([[0] * 6, [1] * 6])
    assert follow_paths(LADDER, Targets(), request(), path).length.tolist() == [6, 6]


def test_each_copy_of_a_group_follows_its_own_path() -> None:
    path = torch.tensor([[0, 0], [1, PAD], [2, 1], [0, 1]])
    taught = follow_paths(LADDER, Targets(), request(), path, group_size=2)
    assert torch.equal(taught.action, path)
    for row in range(4):
        one = follow_paths(LADDER, Targets(), request().select(torch.tensor([row // 2])), path[row : row + 1])
        torch.testing.assert_close(one.mastery_after[0], taught.mastery_after[row])
    with pytest.raises(SettingError, match="4 rows"):
        follow_paths(LADDER, Targets(), request(), path[:3], group_size=2)


def test_empty_paths_can_be_followed() -> None:
    taught = follow_paths(LADDER, Targets(), request(), torch.empty(2, 0, dtype=torch.int64))
    assert taught.length.tolist() == [0, 0]


def test_nobody_follows_no_path() -> None:
    taught = follow_paths(LADDER, Targets(), request().select(torch.arange(0)), torch.empty(0, 2, dtype=torch.int64))
    assert len(taught.action) == 0


def test_a_plan_is_made_once_and_followed_whatever_the_answers() -> None:
    planner = Recorder()
    taught = rollout(LADDER, Targets(), request(), Planned(planner))
    assert taught.action.tolist() == [[1] * 5, [0, 0, 0, PAD, PAD]]
    assert len(planner.asked) == 1


def test_planning_anew_sees_the_answers_and_what_is_left() -> None:
    """The first learner begins at 0.3 on concept 0; abilities rise by 0.3, answers are right from 0.5 on."""
    planner = Recorder()
    taught = rollout(LADDER, Targets(), request(), Replan(planner), horizon=9)
    assert taught.action[1].tolist() == [0, 0, 0, PAD, PAD]
    assert taught.response[1].tolist() == [0, 0, 1, 0, 0]
    assert taught.action[0].tolist() == [1] * 5
    assert [one.length.tolist() for one in planner.asked] == [[5, 3], [4, 2], [3, 1], [2, 0], [1, 0], [0, 0]]
    assert [one.history.lengths.tolist() for one in planner.asked] == [[2, 0], [3, 1], [4, 2], [5, 3], [6, 3], [7, 3]]
    last = planner.asked[-1].history
    assert last.concept[:, :, 0].tolist() == [[0, 1, 1, 1, 1, 1, 1], [0, 0, 0, *[PAD] * 4]]
    assert last.correct.tolist() == [[1, 0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0]]
    assert torch.equal(last.learner, request().learner)
    assert torch.equal(planner.asked[-1].row, request().row)


def test_planning_anew_reacts_to_answers() -> None:
    plain = LADDER.request(targets=[[2]], length=8)
    assert rollout(LADDER, Targets(), plain, Replan(Recorder())).action.tolist() == [[0, 0, 0, 1, 1, 1, 2, 2]]
    assert rollout(LADDER, Targets(), plain, Planned(Recorder())).action.tolist() == [[0] * 8]


@pytest.mark.parametrize("policy", [Planned(Recorder()), Replan(Recorder())], ids=["planned", "replanned"])
def test_they_follow_the_rules_of_policies(policy: Planned | Replan) -> None:
    check_policy(policy, Environment(LADDER, Targets()), request())


def test_an_empty_plan_ends_the_path() -> None:
    class Nothing(Recorder):
        def plan(self, request: PathRequest) -> Tensor:
            return torch.empty(len(request), 0, dtype=torch.int64)

    for policy in (Planned(Nothing()), Replan(Nothing())):
        assert rollout(LADDER, Targets(), request(), policy).length.tolist() == [0, 0]


@dataclass
class Weakest:
    """Chooses the concept that is mastered least; notes the estimates, and how many answers it was shown."""

    seen: list[Tensor] = field(default_factory=list)
    answers: list[list[int]] = field(default_factory=list)

    def next_step(self, request: PathRequest, mastery: Tensor | None) -> Tensor:
        assert mastery is not None
        self.seen.append(mastery)
        self.answers.append(request.history.lengths.tolist())
        return mastery.argmin(1)


def test_a_closed_loop_carries_the_estimates_from_answer_to_answer() -> None:
    chooser = Weakest()
    taught = rollout(LADDER, Targets(), request(), ClosedLoop(chooser, LADDER))
    state = LADDER.start(request())
    for step, mastery in enumerate(chooser.seen):
        torch.testing.assert_close(mastery[0], LADDER.mastery(state)[0])
        asked = LADDER.actions.at(taught.action[:, step])
        state = LADDER.observe(state, asked, taught.session.correct[:, step])
    assert chooser.answers[0] == [2, 0]
    assert chooser.answers[-1] == [6, 3]  # the second learner wanted three steps
    assert taught.length.tolist() == [5, 3]


def test_a_closed_loop_keeps_the_rules_of_a_policy() -> None:
    check_policy(ClosedLoop(Weakest(), LADDER), Environment(LADDER, Targets()), request())
