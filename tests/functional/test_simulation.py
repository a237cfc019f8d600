"""Simulated answers, against each prefix run again, one learner at a time."""

from __future__ import annotations

import pytest
import torch

from lpr_lightning.draws import Draws
from lpr_lightning.functional.simulation import following, prefix_lengths, read_histories, simulate
from lpr_lightning.functional.two_sample import sequence_features, told_apart
from lpr_lightning.metrics.simulation_figures import SimulationFigures
from lpr_lightning.nets.dkt import DKTNet
from lpr_lightning.types import Exercise, InteractionBatch, Interactions


def log() -> Interactions:
    draws = Draws.of(0, 0, torch.arange(12))
    concept, correct = draws.integers(4, 20).tolist(), draws.at(1).integers(2, 20).tolist()
    return Interactions.from_lists([list(zip(c, y))[: 3 + n] for n, (c, y) in enumerate(zip(concept, correct))])


def net() -> DKTNet:
    torch.manual_seed(0)
    return DKTNet(4, 6, 7).eval()


@pytest.mark.parametrize("drawn", [False, True])
def test_own_answers_are_fed_as_if_the_prefix_were_run_again(drawn: bool) -> None:
    model, batch = net(), log().batch(torch.arange(12))
    seen = prefix_lengths(batch.lengths, 0.4)
    draws = Draws.of(3, 0, batch.learner) if drawn else None
    found = simulate(model, model.encode(batch.first(seen)), following(batch, seen), seen, draws)
    for row in range(12):
        one = batch.select(torch.tensor([row])).first(batch.lengths[row : row + 1])
        own = one.correct.clone()
        for step in range(int(seen[row]), int(batch.lengths[row])):
            history = InteractionBatch(one.concept, one.item, own, one.mask, one.learner).first(torch.tensor([step]))
            asked = Exercise(one.concept[:, step], one.item[:, step])
            place = step - int(seen[row])
            with torch.no_grad():
                chance = model.predict(model.encode(history), asked)
            torch.testing.assert_close(found.probability[row, place], chance[0])
            limit = 0.5 if draws is None else float(draws.select(torch.tensor([row])).at(place).uniform())
            own[0, step] = float(chance[0] > limit)
            assert found.answer[row, place] == own[0, step]
            assert found.correct[row, place] == one.correct[0, step]


def test_nothing_of_the_real_answers_that_are_simulated_is_seen() -> None:
    model, batch = net(), log().batch(torch.arange(12))
    seen = prefix_lengths(batch.lengths, 0.5)
    ahead = following(batch, seen)
    other = InteractionBatch(ahead.concept, ahead.item, 1 - ahead.correct, ahead.mask, ahead.learner)
    state = model.encode(batch.first(seen))
    first, second = (simulate(model, state, one, seen, None) for one in (ahead, other))
    assert torch.equal(first.probability, second.probability)


def test_histories_read_one_by_one_are_those_encoded() -> None:
    model, batch = net(), log().batch(torch.arange(12))
    for one, other in zip(read_histories(model, model.initial_state(12), batch), model.encode(batch), strict=True):
        torch.testing.assert_close(one, other)


def test_prefix_and_rest_are_the_whole_log() -> None:
    batch = log().batch(torch.arange(12))
    seen = prefix_lengths(batch.lengths, 0.3)
    whole = batch.first(seen).then(following(batch, seen))
    assert torch.equal(whole.concept, batch.concept)
    assert torch.equal(whole.correct, batch.correct)
    assert following(batch, seen, most=2).lengths.tolist() == (batch.lengths - seen).clamp_max(2).tolist()


def test_sequences_of_the_same_source_are_not_told_apart_and_others_are() -> None:
    draws, mask = Draws.of(0, 0, torch.arange(400)), torch.ones(400, 20, dtype=torch.bool)
    half, concept = torch.full((400, 20), 0.5), torch.zeros(400, 20)

    def features(stream: int, chance: float) -> torch.Tensor:
        answer = (draws.at(stream).uniform(20) < chance).float()
        return sequence_features(answer, half, concept, half[:, 0], mask)

    def auc(score: torch.Tensor) -> float:
        real, simulated = score.chunk(2)
        return float((simulated[:, None] > real).float().mean())

    assert abs(auc(told_apart(features(0, 0.6), features(1, 0.6))) - 0.5) < 0.06
    assert auc(told_apart(features(0, 0.6), features(1, 0.75))) > 0.8


def test_padding_changes_no_feature() -> None:
    answer, mask = torch.tensor([[1.0, 0.0, 0.0, 1.0]]), torch.tensor([[True, True, True, False]])
    other = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    rate, concept, before = torch.tensor([[0.2, 0.4, 0.9, 0.1]]), torch.zeros(1, 4), torch.tensor([0.5])
    first, second = (sequence_features(one, rate, concept, before, mask) for one in (answer, other))
    assert torch.equal(first, second)


class Knows:
    """Predicts each answer as it will be: item 1 is answered right, item 0 wrong."""

    def observe(self, state: tuple[torch.Tensor, ...], asked: Exercise, correct: torch.Tensor) -> tuple[torch.Tensor]:
        return (state[0] + 1,)

    practise = observe

    def predict(self, state: tuple[torch.Tensor, ...], asked: Exercise) -> torch.Tensor:
        return 0.25 + 0.5 * asked.item.float()


def test_figures_of_a_model_that_knows_every_answer() -> None:
    draws = Draws.of(0, 0, torch.arange(30))
    answers = draws.integers(2, 40).tolist()
    knowing = Interactions.from_lists([[(y, y) for y in row] for row in answers])
    measured = SimulationFigures((0.5,), resamples=5)
    found = measured.compute(Knows(), lambda history: (torch.zeros(len(history)),), knowing, torch.tensor([0.0, 1.0]))
    assert found["hard_0.5_auc"] == found["hard_0.5_auc_step_10"] == found["hard_0.5_accuracy"] == 1.0
    assert found["hard_0.5_score_error"] == found["hard_0.5_score_bias"] == 0.0
    assert found["hard_0.5_told_apart"] == pytest.approx(0.5)
    assert found["hard_0.5_answers"] == 30 * 20
    assert found["hard_0.5_ece"] == pytest.approx(0.25)
    assert found["sampled_0.5_score_error"] > 0
