"""The mastery of learners over time, whatever the tracer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lpr_lightning.callbacks.tracers import mastery_over_time
from lpr_lightning.models.dkt import DKT
from lpr_lightning.types import Interactions, TracerState


class Steps(DKT):
    """Notes how often it is asked."""

    observed = 0

    def observe(self, state: TracerState, concept: Tensor, correct: Tensor) -> TracerState:
        self.observed += len(concept)
        return super().observe(state, concept, correct)


class Questions(Steps):
    """Takes an item for a concept, backwards."""

    num_items = 4

    def observe_item(self, state: TracerState, item: Tensor, correct: Tensor) -> TracerState:
        return super().observe(state, 3 - item, correct)

    def predict_item(self, state: TracerState, item: Tensor) -> Tensor:
        return self.predict(state, 3 - item)


def log() -> Interactions:
    return Interactions.from_lists([[(0, 1), (1, 0), (3, 1)], [], [(2, 1)], [(1, 1), (1, 1), (0, 0), (3, 1)]])


@pytest.mark.parametrize("kind", [Steps, Questions])
def test_like_reading_each_front_of_the_history(kind: type[Steps]) -> None:
    torch.manual_seed(0)
    tracer, log_read = kind(num_concepts=4).eval(), log()
    with torch.no_grad():
        found = mastery_over_time(tracer, log_read.batch(torch.arange(4)))
        assert tracer.observed == len(log_read)
        assert found.shape == (4, 5, 4)
        for row, length in enumerate(log_read.lengths.tolist()):
            for step in range(5):
                if step > length:
                    assert found[row, step].isnan().all()
                    continue
                front = log_read.batch(torch.tensor([row]), stop=torch.tensor([step]))
                concept = 3 - front.concept if kind is Questions else front.concept
                state = tracer.net.encode(concept, front.correct, front.mask)
                torch.testing.assert_close(found[row, step], tracer.mastery(state)[0])
