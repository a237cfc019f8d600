"""The concept scorer against a slow reference that scores one concept of one path at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.functional.concept_features import practice_counts, request_features
from lpr_lightning.functional.prerequisites import ancestors, direct_prerequisites
from lpr_lightning.nets.concept_scorer import ConceptScorer, ConceptScorerNet
from lpr_lightning.types import Interactions, PathRequest

CONCEPTS, GROUP = 6, 3
EDGES = [(0, 1), (1, 2), (3, 2), (4, 5)]
LOG = [[(0, 1), (1, 0), (0, 1)], [(3, 1)], [], [(5, 0), (2, 1)]]


def ask(lengths: tuple[int, ...] = (4, 2, 5, 3), padding: int = 0) -> PathRequest:
    """Return requests of four learners; `padding` steps are added behind the histories."""
    rows = torch.arange(4)
    history = Interactions.from_lists([*LOG, [(0, 1)] * (3 + padding)]).batch(torch.arange(5)).select(rows)
    targets = torch.zeros(4, CONCEPTS, dtype=torch.bool)
    targets[0, 2], targets[1, [1, 5]], targets[2, 0], targets[3, [2, 5]] = True, True, True, True
    return PathRequest(history, targets, torch.tensor(lengths), rows, rows)


def mastered() -> Tensor:
    return torch.rand(4, CONCEPTS, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def scorer(**settings: float | str) -> ConceptScorerNet:
    torch.manual_seed(0)
    net = ConceptScorerNet(CONCEPTS, hidden_size=8, **settings)  # type: ignore[arg-type]
    net.needs.copy_(direct_prerequisites(torch.tensor(EDGES), CONCEPTS))
    net.ancestors.copy_(ancestors(net.needs))
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return net.double().eval()


def log_odds(value: float) -> float:
    value = min(max(value, 0.01), 0.99)
    return math.log(value / (1 - value))


@dataclass(frozen=True)
class Reference:
    """Reads what is known of one learner's request from Python lists."""

    mastery: list[float]
    practised: list[int]
    targets: list[int]
    length: int

    def features(self, concept: int, path: list[int]) -> list[float]:
        """Return the features of a concept after a path."""
        needed = {c: [a for a, b in EDGES if b == c] for c in range(CONCEPTS)}
        behind = {0: [], 1: [0], 2: [0, 1, 3], 3: [], 4: [], 5: [4]}
        for_targets = sum(concept in behind[target] for target in self.targets)
        is_target, left = concept in self.targets, self.length - len(path)
        return [
            math.log(1 + self.practised[concept]),
            float(is_target),
            log_odds(self.mastery[concept]),
            float(for_targets > 0 and not is_target),
            for_targets / max(len(self.targets), 1),
            log_odds(min((self.mastery[j] for j in needed[concept]), default=1.0)),
            log_odds(min((self.mastery[j] for j in behind[concept]), default=1.0)),
            math.log(1 + path.count(concept)),
            float(bool(path) and path[-1] == concept),
            left / self.length,
            left / 10,
            sum(math.log(1 + path.count(j)) for j in needed[concept]),
        ]

    def log_probs(self, net: ConceptScorerNet, path: list[int]) -> Tensor:
        """Return the log-probabilities of every next concept, computed concept by concept."""
        assert net.concept is not None
        behind = {0: [], 1: [0], 2: [0, 1, 3], 3: [], 4: [], 5: [4]}
        scored = {"all": range(CONCEPTS), "targets": self.targets}.get(net.scored)
        if scored is None:
            scored = sorted({one for target in self.targets for one in (target, *behind[target])})
        edges = [(a, b) for a, b in EDGES if a in scored and b in scored]
        hidden = []
        for concept in range(CONCEPTS):
            x = torch.cat([torch.tensor(self.features(concept, path)).double(), net.concept.weight[concept]])
            hidden.append(net.second(net.first(x).relu()).relu())
        for message in net.messages:
            own, before, after = zip(*(message(one).chunk(3) for one in hidden), strict=True)
            later = []
            for concept in range(CONCEPTS):
                total = hidden[concept] + own[concept]
                for sent, others in (
                    (before, [a for a, b in edges if b == concept]),
                    (after, [b for a, b in edges if a == concept]),
                ):
                    if others:
                        total = total + sum(sent[j] for j in others) / len(others)
                later.append(total.relu())
            hidden = later
        goal = net.goal(sum((hidden[t] for t in self.targets), torch.zeros(8).double()) / max(len(self.targets), 1))
        scores = torch.stack([net.score((net.own(one) + goal).relu()).squeeze() for one in hidden])
        left_out = torch.tensor([concept not in scored for concept in range(CONCEPTS)])
        return scores.masked_fill(left_out, -torch.inf).log_softmax(0)


def references(request: PathRequest, mastery: Tensor) -> list[Reference]:
    practised = [[sum(c == concept for c, _ in one) for concept in range(CONCEPTS)] for one in LOG]
    targets = [row.nonzero().flatten().tolist() for row in request.targets]
    lengths = request.length.tolist()
    return [Reference(*parts) for parts in zip(mastery.tolist(), practised, targets, lengths, strict=True)]


def drawn(net: ConceptScorerNet, request: PathRequest) -> Tensor:
    draws = Draws.of(0, 0, torch.arange(len(request)))
    return net.sample(request, GROUP, draws=draws, mastery=mastered()).path


@pytest.mark.parametrize("scored", ["all", "closure", "targets"])
def test_log_probabilities_and_gradients_are_those_of_the_reference(scored: str) -> None:
    net, request = scorer(scored=scored), ask()
    path = drawn(net, request)
    log_prob, mask, entropy = net.log_prob(request, path, GROUP, mastery=mastered())
    torch.autograd.backward(log_prob.sum())
    gradients = {name: weight.grad.clone() for name, weight in net.named_parameters() if weight.grad is not None}
    assert set(gradients) == {name for name, _ in net.named_parameters()}
    net.zero_grad()
    slow, spread = torch.zeros_like(log_prob), torch.zeros_like(log_prob)
    for row, reference in enumerate(one for one in references(request, mastered()) for _ in range(GROUP)):
        steps = [concept for concept in path[row].tolist() if concept >= 0]
        assert len(steps) == reference.length
        for step, concept in enumerate(steps):
            every = reference.log_probs(net, steps[:step])
            slow[row, step], spread[row, step] = every[concept], -(every.exp() * every.clamp_min(-30)).sum()
    torch.testing.assert_close(log_prob, slow, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(entropy, spread, rtol=1e-6, atol=1e-6)
    assert torch.equal(mask, path >= 0)
    torch.autograd.backward(slow.sum())
    for name, weight in net.named_parameters():
        torch.testing.assert_close(gradients[name], weight.grad, rtol=1e-5, atol=1e-6)


def test_features_of_a_request_by_hand() -> None:
    request, needs = ask(), direct_prerequisites(torch.tensor(EDGES), CONCEPTS)
    mastery = torch.full((4, CONCEPTS), 0.5)
    mastery[0, 0] = 0.0
    practised = practice_counts(request.history.concept, request.history.mask, CONCEPTS)
    first = request_features(mastery, practised, request.targets, (needs, ancestors(needs)))[0]
    low = -math.log(99)
    # Concept 0: twice practised, behind the only target, unknown itself, needs nothing.
    torch.testing.assert_close(first[0], torch.tensor([math.log(3), 0.0, low, 1.0, 1.0, -low, -low]))
    # Concept 2: the target; of its prerequisites 1 and 3 none is unknown, but 0 is, behind 1.
    torch.testing.assert_close(first[2], torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 0.0, low]))


SETTINGS: list[dict[str, float | str]] = [
    {},
    {"mastery": False},
    {"graph": False},
    {"concept_size": 0, "rounds": 0},
    {"scored": "closure"},
    {"scored": "targets"},
    {"scored": "closure", "graph": False},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_sampling_reports_the_log_probabilities_that_the_update_sees(settings: dict[str, float | str]) -> None:
    net, request = scorer(**settings), ask()
    sampled = net.sample(request, GROUP, 0.7, Draws.of(1, 0, torch.arange(4)), mastered())
    log_prob, mask, _ = net.log_prob(request, sampled.path, GROUP, 0.7, mastered())
    torch.testing.assert_close(log_prob, sampled.log_prob)
    assert torch.equal(mask, sampled.token_mask)
    assert (sampled.path >= 0).sum(1).tolist() == [length for length in (4, 2, 5, 3) for _ in range(GROUP)]


def test_sampled_concepts_are_as_frequent_as_their_probabilities_say() -> None:
    net, request, many = scorer(), ask((1, 1, 1, 1)), 4000
    path = net.sample(request, many, draws=Draws.of(0, 0, torch.arange(4)), mastery=mastered()).path
    share = torch.nn.functional.one_hot(path.view(4, many), CONCEPTS).double().mean(1)
    every = torch.arange(CONCEPTS).repeat(4)[:, None]
    chance = net.log_prob(request, every, CONCEPTS, mastery=mastered())[0].exp().view(4, CONCEPTS)
    torch.testing.assert_close(share, chance, rtol=0, atol=0.03)


def test_the_likeliest_path_takes_the_best_concept_at_each_step() -> None:
    net, request = scorer(), ask()
    path = net.sample(request, mastery=mastered()).path
    for row, reference in enumerate(references(request, mastered())):
        steps: list[int] = []
        for _ in range(reference.length):
            steps.append(int(reference.log_probs(net, steps).argmax()))
        assert path[row].tolist() == steps + [-1] * (5 - len(steps))


def test_rows_and_padding_do_not_matter() -> None:
    net, request = scorer(), ask()
    path = drawn(net, request)
    whole = net.log_prob(request, path, GROUP, mastery=mastered())[0]
    longer = ask(padding=4)
    longer.history.concept[~longer.history.mask] = 5
    padded = net.log_prob(longer, path, GROUP, mastery=mastered())[0]
    torch.testing.assert_close(whole, padded)
    one = torch.tensor([1])
    alone = net.log_prob(request.select(one), path[GROUP : 2 * GROUP], GROUP, mastery=mastered()[one])[0]
    torch.testing.assert_close(whole[GROUP : 2 * GROUP], alone)


def test_the_order_of_earlier_steps_does_not_matter() -> None:
    net, request = scorer(), ask((4, 4, 4, 4))
    one, other = (net.log_prob(request, torch.tensor([path] * 4), 1, mastery=mastered())[0] for path in ORDERS)
    torch.testing.assert_close(one[:, 3], other[:, 3])
    assert not torch.allclose(one[:, 1], other[:, 1])


ORDERS = ([0, 1, 2, 5], [1, 0, 2, 5])


def test_steps_on_concepts_that_are_not_scored_are_left_out() -> None:
    net, request = scorer(scored="closure"), ask((3, 3, 3, 3))
    path = torch.tensor([[0, 4, 2], [5, 4, 1], [0, 0, 0], [3, 2, 1]])
    log_prob, mask, _ = net.log_prob(request, path, 1, mastery=mastered())
    assert mask.tolist() == [[True, False, True], [True, True, True], [True, True, True], [True, True, True]]
    assert log_prob[0, 1] == 0.0
    assert int((log_prob[mask] < 0).sum()) >= 8
    shares = net.sample(request, 50, draws=Draws.of(0, 0, torch.arange(4)), mastery=mastered()).path[:50]
    assert set(shares.flatten().tolist()) <= {0, 1, 2, 3}  # the closure of concept 2


def test_without_targets_all_concepts_are_scored() -> None:
    net, request = scorer(scored="targets"), ask()
    request = replace(request, targets=torch.zeros_like(request.targets))
    path = net.sample(request, 200, draws=Draws.of(0, 0, torch.arange(4)), mastery=mastered()).path
    assert len(set(path.flatten().tolist())) > CONCEPTS // 2


def test_nobody_and_nothing_wanted_give_empty_paths() -> None:
    net, request = scorer(), ask()
    nobody = request.select(torch.arange(0))
    assert net.sample(nobody, 2, mastery=mastered()[:0]).path.shape == (0, 0)
    path = net.sample(replace(request, length=torch.zeros(4, dtype=torch.int64)), mastery=mastered()).path
    assert path.shape == (4, 0)
    log_prob, _, _ = net.log_prob(request, torch.full((4, 3), -1), 1, mastery=mastered())
    assert not bool(log_prob.any())


def test_without_estimates_they_are_asked_for() -> None:
    with pytest.raises(SettingError, match="mastery=False"):
        scorer().sample(ask())


@pytest.mark.parametrize(
    ("setting", "value"), [("hidden_size", 0), ("concept_size", -1), ("rounds", -1), ("scored", "some")]
)
def test_bad_settings_are_refused(setting: str, value: int | str) -> None:
    with pytest.raises(SettingError, match=setting):
        ConceptScorer(**{setting: value})  # type: ignore[arg-type]
