"""The knowledge evolution simulator follows its tracer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.models.dkt import DKT
from lpr_lightning.simulators.check import check_simulator
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.types import Interactions, PathRequest

CONCEPTS = 6


def ask(rows: int = 4) -> PathRequest:
    generator = torch.Generator().manual_seed(0)
    log = Interactions.from_lists(
        [
            [(int(c), int(c) % 2) for c in torch.randint(CONCEPTS, (n,), generator=generator)]
            for n in (5, 0, 9, 2)[:rows]
        ]
    )
    targets = torch.rand(rows, CONCEPTS, generator=generator) < 0.5
    targets[:, 0] = True
    return PathRequest(log.batch(torch.arange(rows)), targets, torch.full((rows,), 4), log.learner, log.learner)


def simulator(**settings: object) -> KESSimulator:
    torch.manual_seed(0)
    return KESSimulator(DKT(CONCEPTS, embedding_size=5, hidden_size=8), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{}, {"response": "bernoulli"}, {"response": "soft", "exam": "soft"}])
def test_it_passes_every_check_of_a_simulator(settings: dict[str, object]) -> None:
    check_simulator(simulator(**settings), ask())


@pytest.mark.parametrize("response", ["threshold", "soft"])
def test_a_rollout_equals_running_the_whole_prefix_again_at_every_step(response: str) -> None:
    kes, request = simulator(response=response, exam="soft"), ask()
    path = torch.randint(CONCEPTS, (4, 5), generator=torch.Generator().manual_seed(1))
    followed = rollout(kes, request, path)
    histories = [
        [(int(c), float(y)) for c, y, m in zip(h.concept[0, :, 0], h.correct[0], h.mask[0]) if m]
        for h in (request.history.select(torch.tensor([row])) for row in range(4))
    ]
    for row, history in enumerate(histories):
        for step in range(5):
            probability = float(_prefix_mastery(kes, history)[path[row, step]])
            assert float(followed.predicted[row, step]) == pytest.approx(probability, abs=1e-6)
            answer = probability if response == "soft" else float(probability >= 0.5)
            assert float(followed.response[row, step]) == pytest.approx(answer, abs=1e-6)
            history.append((int(path[row, step]), answer))
        final = _prefix_mastery(kes, history)
        torch.testing.assert_close(followed.mastery_after[row], final)
        assert float(followed.score_after[row]) == pytest.approx(float(final[request.targets[row]].sum()), abs=1e-5)


def _prefix_mastery(kes: KESSimulator, history: list[tuple[int, float]]) -> torch.Tensor:
    state = kes.tracer.initial_state(1)
    for concept, correct in history:
        state = kes.tracer.observe(state, torch.tensor([concept]), torch.tensor([correct]))
    mastery: torch.Tensor = kes.tracer.mastery(state)[0]
    return mastery.detach()


def test_hard_exams_count_the_targets_at_or_above_the_threshold() -> None:
    kes, request = simulator(threshold=0.55), ask()
    state = kes.start(request)
    mastery = kes.mastery(state)
    score, best = kes.exam(state, request.targets)
    for row in range(4):
        expected = sum(float(mastery[row, c]) >= 0.55 for c in range(CONCEPTS) if request.targets[row, c])
        assert float(score[row]) == expected
        assert float(best[row]) == int(request.targets[row].sum())


def test_random_answers_follow_the_seed_and_the_probabilities() -> None:
    kes = simulator(response="bernoulli")
    request = ask(1).repeat(4000)
    state, concept = kes.start(request), torch.full((4000,), 2)
    kes.seed(5)
    _, first, probability = kes.step(state, concept)
    kes.seed(5)
    _, second, _ = kes.step(state, concept)
    assert torch.equal(first, second)
    assert float(first.mean()) == pytest.approx(float(probability[0]), abs=0.04)


def test_lookahead_equals_one_step_for_each_candidate() -> None:
    kes, request = simulator(), ask()
    state = kes.start(request)
    concept = torch.tensor([[0, 5, 2]]).repeat(4, 1)
    ahead, answer, probability = kes.lookahead(state, concept)
    for column in range(3):
        after, one_answer, one_probability = kes.step(state, concept[:, column])
        torch.testing.assert_close(tuple(part.view(4, 3, *part.shape[1:])[:, column] for part in ahead), after)
        assert torch.equal(answer[:, column], one_answer)
        torch.testing.assert_close(probability[:, column], one_probability)


def test_early_stop_cuts_the_path_where_the_exam_is_full() -> None:
    kes, request = simulator(threshold=0.01, early_stop=True), ask()
    path = torch.zeros(4, 5, dtype=torch.int64)
    assert int(rollout(kes, request, path, early_stop=True).length.sum()) == 0
    assert int(rollout(kes, request, path, early_stop=False).length.sum()) == 20


def test_groups_share_their_start() -> None:
    kes, request = simulator(), ask()
    path = torch.randint(CONCEPTS, (8, 5), generator=torch.Generator().manual_seed(1))
    grouped, repeated = rollout(kes, request, path, 2), rollout(kes, request.repeat(2), path)
    torch.testing.assert_close(replace(grouped, group_size=1).mastery_after, repeated.mastery_after)
    torch.testing.assert_close(grouped.score_after, repeated.score_after)


def test_it_stays_frozen_and_in_evaluation_mode() -> None:
    kes = simulator()
    kes.train()
    assert not any(part.training for part in kes.modules())
    assert not any(weight.requires_grad for weight in kes.parameters())


@pytest.mark.parametrize(("setting", "value"), [("threshold", 0.0), ("response", "guess"), ("exam", "oral")])
def test_bad_settings_are_refused(setting: str, value: object) -> None:
    with pytest.raises(SettingError, match=setting):
        simulator(**{setting: value})


def test_what_is_no_tracer_is_refused() -> None:
    with pytest.raises(SettingError, match="KnowledgeTracer"):
        KESSimulator(torch.nn.Identity())
