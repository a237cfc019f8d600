"""What callbacks find in modules; the mastery of learners over time, whatever the tracer."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from lpr_lightning.callbacks.module_parts import episodes_of, mastery_over_time, objectives_of, tracer_of
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import Targets
from lpr_lightning.nets.dkt import DKTNet
from lpr_lightning.objectives import LengthReward, Objectives
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.types import Exercise, InteractionBatch, Interactions, State


class Steps(DKTNet):
    """Counts how often it is asked."""

    observed = 0

    def __init__(self) -> None:
        super().__init__(4, 5, 6)

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        self.observed += len(asked.item)
        return super().observe(state, asked, correct)


class Questions(Steps):
    """A question is on the concept of its number, backwards."""

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        return super().observe(state, Exercise.of_concepts(3 - asked.item), correct)


class Parts(LightningModule):
    """A module whose parts are submodules."""

    def __init__(self) -> None:
        super().__init__()
        self.simulator, self.goal, self.early_stop = KESSimulator(Steps()), Targets(), False
        self.objectives = Objectives([LengthReward()])


def log() -> Interactions:
    return Interactions.from_lists([[(0, 1), (1, 0), (3, 1)], [], [(2, 1)], [(1, 1), (1, 1), (0, 0), (3, 1)]])


def reference(tracer: Steps, front: InteractionBatch) -> Tensor:
    """Mastery after a history, read at once."""
    concept = 3 - front.concept if isinstance(tracer, Questions) else front.concept
    state = tracer.encode(InteractionBatch(concept, front.item, front.correct, front.mask, front.learner))
    return tracer.mastery(state)[0]


@pytest.mark.parametrize("kind", [Steps, Questions])
@torch.no_grad()
def test_like_reading_each_front_of_the_history(kind: type[Steps]) -> None:
    torch.manual_seed(0)
    tracer, log_read = kind().eval(), log()
    found = mastery_over_time(tracer, log_read.batch(torch.arange(4)))
    assert tracer.observed == len(log_read)
    assert found.shape == (4, 5, 4)
    for row, length in enumerate(log_read.lengths.tolist()):
        for step in range(5):
            if step > length:
                assert found[row, step].isnan().all()
                continue
            front = log_read.batch(torch.tensor([row]), stop=torch.tensor([step]))
            torch.testing.assert_close(found[row, step], reference(tracer, front))


def test_submodules_are_found() -> None:
    module = Parts()
    assert episodes_of(module, "Callback").simulator is module.simulator
    assert tracer_of(module, "Callback") is module.simulator.tracer
    assert list(objectives_of(module)) == ["length"]


def test_what_is_missing_is_named() -> None:
    class Bare(LightningModule):
        pass

    bare = Bare()
    assert objectives_of(bare) == {}
    with pytest.raises(SettingError, match=r"Bare.*HasEpisodes.*Callback"):
        episodes_of(bare, "Callback")
    with pytest.raises(SettingError, match=r"Bare.*Tracer.*Leave Callback out"):
        tracer_of(bare, "Callback")
    bare.simulator = nn.Module()
    with pytest.raises(SettingError, match="Tracer"):
        tracer_of(bare, "Callback")
