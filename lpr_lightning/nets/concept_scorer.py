"""One small network, shared by all concepts, that scores each of them at each step of a path."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.functional.concept_features import path_features, practice_counts, request_features
from lpr_lightning.functional.prerequisites import ancestors, direct_prerequisites
from lpr_lightning.nets.path_net import Backbone, PathNet, SampledPaths
from lpr_lightning.protocols import LearnerData
from lpr_lightning.types import PAD, PathRequest


class _Asked(NamedTuple):
    """What is known of requests: features [B, N, F], targets' weights in their mean [B, N], lengths [B]."""

    features: Tensor
    target: Tensor
    length: Tensor


class _Places(NamedTuple):
    """Where paths are, int64: number of the request, steps taken, last concept [U], times of each concept [U, N]."""

    row: Tensor
    step: Tensor
    last: Tensor
    times: Tensor


class ConceptScorerNet(PathNet):
    """Scores every concept at every step from its own features; paths have exactly the wanted length.

    With x_c the features of concept c (`request_features`, `path_features`, and a learned vector of its own):

        h_c = relu(W_2 relu(W_1 x_c)), then for each round h_c = relu(h_c + A h_c + mean over its prerequisites of B h +
        mean over the concepts that need it of C h), and score_c = v relu(V h_c + U mean of h over the targets).

    The next concept is drawn from the softmax of the scores. A place in a path depends on the path only by how often
    each concept occurs in it and by its last step, so that `log_prob` scores each distinct place of the K paths of a
    request once, all steps in one pass. The prerequisites come by `connect` and stay in checkpoints.

    >>> _ = torch.manual_seed(0)
    >>> net = ConceptScorerNet(num_concepts=3, mastery=False)
    >>> from lpr_lightning.types import InteractionBatch
    >>> targets, rows = torch.eye(3).bool()[:2], torch.arange(2)
    >>> net.sample(PathRequest(InteractionBatch.empty(2), targets, torch.tensor([2, 4]), rows, rows)).path.shape
    torch.Size([2, 4])
    """

    needs: Tensor
    ancestors: Tensor

    def __init__(
        self,
        num_concepts: int,
        hidden_size: int = 48,
        concept_size: int = 4,
        rounds: int = 2,
        mastery: bool = True,
        graph: bool = True,
    ) -> None:
        super().__init__()
        self.num_concepts, self.reads_mastery, self.reads_graph = num_concepts, mastery, graph
        nothing = torch.zeros(num_concepts, num_concepts, dtype=torch.bool)
        self.register_buffer("needs", nothing)
        self.register_buffer("ancestors", nothing.clone())
        features = 2 + mastery + 2 * graph + 2 * (graph and mastery) + 4 + graph
        self.concept = nn.Embedding(num_concepts, concept_size) if concept_size else None
        self.first, self.second = nn.Linear(features + concept_size, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.messages = nn.ModuleList(nn.Linear(hidden_size, 3 * hidden_size) for _ in range(rounds if graph else 0))
        self.own, self.goal = nn.Linear(hidden_size, hidden_size), nn.Linear(hidden_size, hidden_size, bias=False)
        self.score = nn.Linear(hidden_size, 1)

    def connect(self, data: LearnerData) -> None:
        """Take the prerequisites from the data; where it has none, no concept has any."""
        edges = data.prerequisites
        self.needs.zero_() if edges is None else self.needs.copy_(direct_prerequisites(edges, self.num_concepts))
        self.ancestors.copy_(ancestors(self.needs))

    @property
    def horizon(self) -> int | None:
        """None: paths have the wanted length."""
        return None

    def log_prob(
        self,
        request: PathRequest,
        path: Tensor,
        group_size: int,
        temperature: float = 1.0,
        mastery: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the log-probabilities [B * K, L] of each path's concepts, their mask, and the entropies."""
        real = path != PAD
        taken = F.one_hot(path.clamp_min(0), self.num_concepts) * real[..., None]
        row = torch.arange(len(request), device=path.device).repeat_interleave(group_size)
        step = torch.arange(path.shape[1], device=path.device)
        places = _Places(
            row[:, None].expand_as(path)[real],
            step.expand_as(path)[real],
            F.pad(path, (1, 0), value=PAD)[:, :-1][real],
            (taken.cumsum(1) - taken)[real],
        )
        scores = self._log_softmax(self._asked(request, mastery), places, temperature)
        chosen = scores.gather(1, path[real][:, None]).squeeze(1)
        entropy = -(scores.exp() * scores.clamp_min(-30)).sum(1)
        nothing = torch.zeros(path.shape, dtype=scores.dtype, device=path.device)
        return nothing.masked_scatter(real, chosen), real, nothing.masked_scatter(real, entropy)

    @torch.no_grad()
    def sample(
        self,
        request: PathRequest,
        group_size: int = 1,
        temperature: float = 1.0,
        draws: Draws | None = None,
        mastery: Tensor | None = None,
    ) -> SampledPaths:
        """Return `group_size` paths for each request, sampled by the requests' `draws`, or the likeliest without."""
        asked = self._asked(request, mastery)
        draws = None if draws is None else draws.fork(group_size)
        row = torch.arange(len(request), device=request.length.device).repeat_interleave(group_size)
        wanted = request.length[row]
        longest = int(wanted.max()) if len(wanted) else 0
        path, log_prob = row.new_full((len(row), longest), PAD), asked.features.new_zeros(len(row), longest)
        last, count = torch.full_like(row, PAD), row.new_zeros(len(row), self.num_concepts)
        for step in range(longest):
            scores = self._log_softmax(asked, _Places(row, torch.full_like(row, step), last, count), temperature)
            concept = scores.argmax(1) if draws is None else draws.at(step).pick(scores.exp())
            going = step < wanted
            last = torch.where(going, concept, PAD)
            count = count.scatter_add(1, concept[:, None], going[:, None].long())
            path[:, step] = last
            log_prob[:, step] = scores.gather(1, concept[:, None]).squeeze(1) * going
        return SampledPaths(path, log_prob, path != PAD)

    def _asked(self, request: PathRequest, mastery: Tensor | None) -> _Asked:
        if self.reads_mastery and mastery is None:
            raise SettingError(
                "mastery", None, "estimated mastery [B, N]", "Without it build ConceptScorer(mastery=False)"
            )
        practised = practice_counts(request.history.concept, request.history.mask, self.num_concepts)
        graph = (self.needs, self.ancestors) if self.reads_graph else None
        features = request_features(mastery if self.reads_mastery else None, practised, request.targets, graph)
        features = features.to(self.score.weight)
        return _Asked(features, _shares(request.targets).to(features), request.length)

    def _log_softmax(self, asked: _Asked, places: _Places, temperature: float) -> Tensor:
        """Return the log-probabilities [U, N] of the next concepts; equal places are scored once."""
        key = torch.cat([torch.stack(places[:3], 1), places.times], 1)
        key, back = torch.unique(key, dim=0, return_inverse=True)
        row, step, last, count = key[:, 0], key[:, 1], key[:, 2], key[:, 3:]
        length = asked.length[row]
        moving = path_features(
            count.to(asked.features), last, length - step, length, self.needs if self.reads_graph else None
        )
        parts = [asked.features[row], moving]
        if self.concept is not None:
            parts.append(self.concept.weight.expand(len(row), -1, -1))
        logits = self._scores(torch.cat(parts, 2), asked.target[row]) / temperature
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return logits.log_softmax(1).index_select(0, back)

    def _scores(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the scores [U, N] of concepts with these features [U, N, F]; `target` [U, N] weights the targets."""
        hidden = self.second(self.first(features).relu()).relu()
        if len(self.messages):
            needed, needing = _shares(self.needs).to(hidden), _shares(self.needs.T).to(hidden)
            for message in self.messages:
                own, before, after = message(hidden).chunk(3, 2)
                hidden = (hidden + own + needed @ before + needing @ after).relu()
        goal = self.goal(target[:, None].to(hidden) @ hidden)
        scores: Tensor = self.score((self.own(hidden) + goal).relu()).squeeze(2)
        return scores


@dataclass(frozen=True)
class ConceptScorer(Backbone):
    """Settings of a `ConceptScorerNet`, which is trained from scratch in seconds.

    Args:
        hidden_size: width.
        concept_size: width of the vector learned for each concept; 0 treats all concepts alike.
        rounds: rounds of messages along prerequisites.
        mastery: read the learners' estimated mastery, which the simulator gives.
        graph: read the data's prerequisites: the features made of them, and the messages.

    Raises:
        SettingError: a number is out of range.

    >>> ConceptScorer(hidden_size=8).build(num_concepts=5).horizon
    """

    hidden_size: int = 48
    concept_size: int = 4
    rounds: int = 2
    mastery: bool = True
    graph: bool = True

    def __post_init__(self) -> None:
        for name, value, least in (
            ("hidden_size", self.hidden_size, 1),
            ("concept_size", self.concept_size, 0),
            ("rounds", self.rounds, 0),
        ):
            if value < least:
                raise SettingError(name, value, f"a whole number of at least {least}")

    def build(self, num_concepts: int) -> ConceptScorerNet:
        """Return the network for so many concepts."""
        return ConceptScorerNet(num_concepts, **asdict(self))


def _shares(rows: Tensor) -> Tensor:
    """Return rows of marks as weights that sum to 1, or to 0 where nothing is marked."""
    return rows.float() / rows.sum(1, keepdim=True).clamp_min(1)
