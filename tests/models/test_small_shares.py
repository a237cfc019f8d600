"""Batches without rows, as a process has that got none of few test rows, and runs in half precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from lpr_lightning import (
    DKT,
    CalibratedDKT,
    IBGRPOPolicy,
    MultiTaskLSTM,
    NeuralGrowth,
    NextPaths,
    PathRequests,
    PerformanceFactors,
    SimpleKT,
    StateSpaceGrowth,
    SyntheticLearners,
)
from lpr_lightning.bases.agent import Agent
from lpr_lightning.bases.tracer import TracerModule
from lpr_lightning.datamodules import loader
from lpr_lightning.datamodules.loader import IndexedBatches
from lpr_lightning.nets.concept_scorer import ConceptScorer
from lpr_lightning.types import Answers, Exercise, Rollout

Module = TracerModule | Agent
PATHS, REQUESTS = NextPaths(4, 3), PathRequests(length=4, min_distinct=3, min_targets=1)
MODELS: dict[str, tuple[Any, Callable[[SyntheticLearners], Module]]] = {
    "dkt": (None, lambda data: DKT(10, 8, 8)),
    "simple_kt": (None, lambda data: SimpleKT(10, data.num_items, 8, 1, 2)),
    "calibrated_dkt": (
        None,
        lambda data: CalibratedDKT(10, data.num_items, embedding_size=8, hidden_size=8, head_size=8),
    ),
    "performance_factors": (None, lambda data: PerformanceFactors(10)),
    "state_space": (None, lambda data: StateSpaceGrowth(10, factors=2)),
    "neural_growth": (None, lambda data: NeuralGrowth(10, 8, 8)),
    "multitask_lstm": (PATHS, lambda data: MultiTaskLSTM(10, 8, 8)),
    "a decoder": (REQUESTS, lambda data: IBGRPOPolicy(10)),
    "a scorer": (REQUESTS, lambda data: IBGRPOPolicy(10, backbone=ConceptScorer(hidden_size=8), replan=True)),
}


@pytest.fixture(params=list(MODELS))
def case(request: pytest.FixtureRequest) -> tuple[Module, SyntheticLearners]:
    task, build = MODELS[str(request.param)]
    data = SyntheticLearners(num_learners=30, num_concepts=10, answers=(20, 30), task=task)
    torch.manual_seed(0)
    module = build(data)
    if isinstance(module, TracerModule):
        module.connect(data)
    return module.eval(), data


@torch.no_grad()
def test_a_process_without_rows_takes_part(case: tuple[Module, SyntheticLearners]) -> None:
    module, data = case
    batch: Any = data.examples("test").batch(torch.empty(0, dtype=torch.int64))
    output = module.test_step(batch, 0)
    for part in output.values():
        if isinstance(part, Answers | Rollout):
            assert len(part) == 0


@torch.no_grad()
def test_half_precision_gives_nearly_the_same(case: tuple[Module, SyntheticLearners]) -> None:
    module, data = case
    batch: Any = data.examples("test").batch(torch.arange(3))
    plain = module.test_step(batch, 0)
    with torch.autocast("cpu", torch.bfloat16):
        half = module.test_step(batch, 0)
    again = module.test_step(batch, 0)
    for name, part in plain.items():
        if isinstance(part, Answers):
            for other, tolerance in ((half[name], 0.05), (again[name], 1e-6)):
                assert isinstance(other, Answers)
                torch.testing.assert_close(other.probability.float(), part.probability, atol=tolerance, rtol=0)


@torch.no_grad()
def test_half_precision_follows_new_learners(case: tuple[Module, SyntheticLearners]) -> None:
    module, data = case
    if not isinstance(module, TracerModule):
        return
    history = data.interactions("test").batch(torch.arange(3))
    asked, answer = Exercise(history.concept[:, 0], history.item[:, 0]), torch.tensor([1.0, 0.0, 1.0])
    several = Exercise(history.concept[:, :2], history.item[:, :2])

    def shown() -> list[torch.Tensor]:
        state = module.encode(history)
        after = module.practise(module.observe(state, asked, answer), asked, answer)
        return [module.mastery(state).float(), module.predict(after, several).float(), module.mastery(after).float()]

    plain = shown()
    with torch.autocast("cpu", torch.bfloat16):
        half = shown()
    for one, expected in zip(half, plain, strict=True):
        torch.testing.assert_close(one, expected, atol=0.03, rtol=0)
    torch.testing.assert_close(shown(), plain)


def test_few_rows_leave_every_process_as_many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    class Three:
        sizes = torch.tensor([3, 1, 2])

        def batch(self, index: torch.Tensor) -> Any:
            return self.sizes[index]

    batches = []
    for rank in range(5):
        monkeypatch.setattr(loader, "rank_and_world", lambda rank=rank: (rank, 5))
        one = IndexedBatches(Three(), batch_size=4)
        batches.append([batch.tolist() for batch in map(torch.Tensor.clone, one.index_batches())])
        assert len(one) == 1
    assert batches == [[[1]], [[2]], [[0]], [[]], [[]]]
