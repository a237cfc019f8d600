"""Our own tracers and policies follow the rules that the checks name, on questions of several concepts too."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from lpr_lightning.bases import TracerModule
from lpr_lightning.checks import check_policy, check_simulator, check_tracer
from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.goals import SoftExam, Targets, WeakestConcept
from lpr_lightning.models.calibrated_dkt import CalibratedDKT
from lpr_lightning.models.dkt import DKT
from lpr_lightning.models.ib_grpo import IBGRPOPolicy
from lpr_lightning.models.multitask_lstm import MultiTaskLSTM
from lpr_lightning.models.neural_growth import NeuralGrowth
from lpr_lightning.models.performance_factors import PerformanceFactors
from lpr_lightning.models.simple_kt import SimpleKT
from lpr_lightning.models.state_space import StateSpaceGrowth
from lpr_lightning.nets.concept_scorer import ConceptScorer
from lpr_lightning.nets.path_decoder import SmallQwen2
from lpr_lightning.nets.path_net import Backbone
from lpr_lightning.policies import Planned, Replan
from lpr_lightning.protocols import Connected, Environment
from lpr_lightning.simulators.actions import ActionSet, ConceptActions, QuestionActions
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.types import PAD, InteractionBatch, PathRequest

CONCEPTS, ITEMS, ROWS = 6, 18, 6


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SyntheticLearners:
    folder = str(tmp_path_factory.mktemp("data"))
    module = SyntheticLearners(
        num_concepts=CONCEPTS, num_items=ITEMS, num_learners=40, answers=(6, 9), cache_dir=folder
    )
    module.setup("fit")
    return module


def shaken(module: nn.Module) -> nn.Module:
    """Give every weight a random value, so that what starts at zero counts."""
    generator = torch.Generator().manual_seed(1)
    for weight in module.parameters():
        weight.data.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return module.eval()


def calibrated() -> TracerModule:
    return CalibratedDKT(CONCEPTS, ITEMS, embedding_size=8, hidden_size=9, head_size=10)


TRACERS: dict[str, Callable[[], TracerModule]] = {
    "dkt": lambda: DKT(CONCEPTS, embedding_size=5, hidden_size=7, num_layers=2),
    "simple_kt": lambda: SimpleKT(CONCEPTS, ITEMS, width=8, num_heads=2, num_layers=2, window=4),
    "calibrated_dkt": calibrated,
    "multitask_lstm": lambda: MultiTaskLSTM(CONCEPTS, embedding_size=5, hidden_size=7),
    "multitask_rnn": lambda: MultiTaskLSTM(CONCEPTS, embedding_size=5, hidden_size=7, cell="rnn"),
    "neural_growth": lambda: NeuralGrowth(CONCEPTS, embedding_size=5, hidden_size=7, num_layers=2),
    "performance_factors": lambda: PerformanceFactors(CONCEPTS),
    "state_space": lambda: StateSpaceGrowth(CONCEPTS, factors=2),
    "state_space_without_gate": lambda: StateSpaceGrowth(CONCEPTS, factors=2, gate=False),
}


def tracer(name: str, data: SyntheticLearners) -> TracerModule:
    torch.manual_seed(0)
    made = TRACERS[name]()
    made.connect(data)
    shaken(made)
    return made


def histories(data: SyntheticLearners) -> InteractionBatch:
    """Histories of lengths 0 to 9; questions known and unknown, some of them on a second concept."""
    batch = data.interactions("train").batch(torch.arange(ROWS))
    batch = batch.first(torch.tensor([0, 1, 3, 9, 2, 5]))
    second = (batch.concept + 1) % CONCEPTS
    concept = torch.cat([batch.concept, second.masked_fill((batch.item % 3 != 0)[..., None], PAD)], 2)
    unknown = torch.where(batch.item % 4 == 1, PAD, batch.item)
    return InteractionBatch(concept, unknown, batch.correct, batch.mask, batch.learner)


def request(data: SyntheticLearners) -> PathRequest:
    targets = torch.eye(ROWS, CONCEPTS, dtype=torch.bool)
    targets[:, 0] = True
    rows = torch.arange(ROWS)
    return PathRequest(histories(data), targets, torch.tensor([3, 2, 3, 1, 0, 3]), rows, rows)


@pytest.mark.parametrize("name", TRACERS)
def test_tracers(name: str, data: SyntheticLearners) -> None:
    check_tracer(tracer(name, data), histories(data))


@pytest.mark.parametrize("questions", [False, True])
@pytest.mark.parametrize("name", TRACERS)
def test_simulators_over_tracers(name: str, questions: bool, data: SyntheticLearners) -> None:
    actions: ActionSet = ConceptActions(CONCEPTS)
    if questions:
        bank = QuestionActions(ITEMS)
        bank.connect(data)
        actions = bank
    simulator = KESSimulator(tracer(name, data), "bernoulli", actions=actions)
    check_simulator(simulator, request(data), Targets(SoftExam()))
    check_simulator(simulator, request(data), WeakestConcept())


@pytest.mark.parametrize("backbone", [SmallQwen2(hidden_size=16, num_layers=1, num_heads=2), ConceptScorer(8)])
@pytest.mark.parametrize("replan", [False, True])
def test_ib_grpo(replan: bool, backbone: Backbone, data: SyntheticLearners) -> None:
    torch.manual_seed(0)
    policy = IBGRPOPolicy(CONCEPTS, KESSimulator(tracer("dkt", data)), backbone=backbone, replan=replan)
    if isinstance(policy.net, Connected):
        policy.net.connect(data)
    shaken(policy)
    check_policy(policy, Environment(policy.simulator, policy.goal), request(data))


@pytest.mark.parametrize("kind", [Planned, Replan])
def test_multitask_lstm_as_a_planner(kind: type[Planned] | type[Replan], data: SyntheticLearners) -> None:
    model = tracer("multitask_lstm", data)
    assert isinstance(model, MultiTaskLSTM)
    check_policy(kind(model), Environment(KESSimulator(tracer("dkt", data)), Targets()), request(data))
