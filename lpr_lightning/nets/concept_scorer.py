"""One small network, shared by all concepts, that scores each of them at each step of a path."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.functional.concept_features import path_features, practice_counts, request_features
from lpr_lightning.functional.prerequisites import ancestors, direct_prerequisites
from lpr_lightning.nets.path_net import Backbone, PathNet, SampledPaths
from lpr_lightning.protocols import LearnerData
from lpr_lightning.tensors import listed
from lpr_lightning.types import PAD, PathRequest

Scored = Literal["all", "closure", "targets"]
"""Which concepts a path may have: all, the targets and what they build on, or the targets."""


class _Asked(NamedTuple):
    """What is known of requests and of the C concepts that are scored for each.

    `concept` [B, C] int64, -1 behind the last; `slot` [B, N], the place of each concept in it, -1 where it is not
    scored; `features` [B, C, F]; `target` [B, C], the targets' weights in their mean; `length` [B]; `needed` and
    `needing`, the weights of messages between the concepts scored, [B, C, C], or [N, N] where all are scored.
    """

    concept: Tensor
    slot: Tensor
    features: Tensor
    target: Tensor
    length: Tensor
    needed: Tensor
    needing: Tensor


class _Places(NamedTuple):
    """Where paths are, int64: number of the request, steps taken, place of the last concept [U], times of each [U, C].

    Concepts are counted by their places among those that are scored.
    """

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
    request once, all steps in one pass. The prerequisites come by `connect` and stay in checkpoints. `scored` says
    which concepts compete: all, or `targets`, or with `closure` the targets and all that they build on, where messages
    pass between these only. Steps of a path on other concepts have no log-probability; they are left out of the mask.

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
        scored: Scored = "all",
    ) -> None:
        super().__init__()
        self.num_concepts, self.reads_mastery, self.reads_graph = num_concepts, mastery, graph
        self.scored = scored
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
        asked = self._asked(request, mastery)
        row = torch.arange(len(request), device=path.device).repeat_interleave(group_size)
        place = asked.slot[row].gather(1, path.clamp_min(0)).masked_fill(path == PAD, PAD)
        real = place != PAD
        taken = F.one_hot(place.clamp_min(0), asked.concept.shape[1]) * real[..., None]
        step = torch.arange(path.shape[1], device=path.device)
        places = _Places(
            row[:, None].expand_as(path)[real],
            step.expand_as(path)[real],
            F.pad(place, (1, 0), value=PAD)[:, :-1][real],
            (taken.cumsum(1) - taken)[real],
        )
        scores = self._log_softmax(asked, places, temperature)
        chosen = scores.gather(1, place[real][:, None]).squeeze(1)
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
        steps: int | None = None,
    ) -> SampledPaths:
        """Return `group_size` paths for each request, sampled by the requests' `draws`, or the likeliest without."""
        asked = self._asked(request, mastery)
        draws = None if draws is None else draws.fork(group_size)
        row = torch.arange(len(request), device=request.length.device).repeat_interleave(group_size)
        wanted = request.length[row]
        longest = int(wanted.max()) if len(wanted) else 0
        longest = longest if steps is None else min(longest, steps)
        path, log_prob = row.new_full((len(row), longest), PAD), asked.features.new_zeros(len(row), longest)
        last, count = torch.full_like(row, PAD), row.new_zeros(len(row), asked.concept.shape[1])
        concept = asked.concept[row]
        for step in range(longest):
            scores = self._log_softmax(asked, _Places(row, torch.full_like(row, step), last, count), temperature)
            chosen = scores.argmax(1) if draws is None else draws.at(step).pick(scores.exp())
            going = step < wanted
            last = torch.where(going, chosen, PAD)
            count = count.scatter_add(1, chosen[:, None], going[:, None].long())
            path[:, step] = concept.gather(1, chosen[:, None]).squeeze(1).masked_fill(~going, PAD)
            log_prob[:, step] = scores.gather(1, chosen[:, None]).squeeze(1) * going
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
        if self.concept is not None:
            features = torch.cat([features, self.concept.weight.expand(len(request), -1, -1)], 2)
        target = _shares(request.targets).to(features)
        every = torch.arange(self.num_concepts, device=target.device).expand(len(request), -1)
        if self.scored == "all":
            edges = (_shares(one).to(features) for one in (self.needs, self.needs.T))
            return _Asked(every, every, features, target, request.length, *edges)
        competing = self._competing(request.targets)
        concept = listed(competing)
        there, index = concept != PAD, concept.clamp_min(0)
        slot = torch.where(competing, competing.cumsum(1) - 1, PAD)
        among = self.needs[index[:, :, None], index[:, None]] & there[:, :, None] & there[:, None]
        return _Asked(
            concept,
            slot,
            features.gather(1, index[..., None].expand(-1, -1, features.shape[2])),
            target.gather(1, index) * there,
            request.length,
            *(_shares(one).to(features) for one in (among, among.mT)),
        )

    def _competing(self, targets: Tensor) -> Tensor:
        """Return which concepts are scored, [B, N] bool, at least one of each row: without targets all are."""
        found = targets
        if self.scored == "closure":
            found = targets | ((targets.float() @ self.ancestors.float()) > 0)
        return found | ~targets.any(1, keepdim=True)

    def _log_softmax(self, asked: _Asked, places: _Places, temperature: float) -> Tensor:
        """Return the log-probabilities [U, C] of the next concepts; equal places are scored once."""
        key = torch.cat([torch.stack(places[:3], 1), places.times], 1)
        key, back = torch.unique(key, dim=0, return_inverse=True)
        row, step, last, count = key[:, 0], key[:, 1], key[:, 2], key[:, 3:]
        length = asked.length[row]
        needed, needing = (one if one.dim() == 2 else one[row] for one in (asked.needed, asked.needing))
        marks = (needed > 0) if self.reads_graph else None
        moving = path_features(count.to(asked.features), last, length - step, length, marks)
        moving = moving.to(asked.features)
        logits = self._scores(asked.features[row], moving, asked.target[row], needed, needing) / temperature
        logits = logits if logits.dtype == torch.float64 else logits.float()
        logits = logits.masked_fill(asked.concept[row] == PAD, -torch.inf)
        return logits.log_softmax(1).index_select(0, back)

    def _scores(self, fixed: Tensor, moving: Tensor, target: Tensor, needed: Tensor, needing: Tensor) -> Tensor:
        """Return the scores [U, C] of concepts with these features; `target` [U, C] weights the targets."""
        own = 2 * self.reads_graph + self.reads_mastery + 2 + 2 * (self.reads_graph and self.reads_mastery)
        before, vector = fixed[..., :own], fixed[..., own:]
        hidden = self.second(self.first(torch.cat([before, moving, vector], 2)).relu()).relu()
        for message in self.messages:
            itself, earlier, later = message(hidden).chunk(3, 2)
            hidden = (hidden + itself + needed @ earlier + needing @ later).relu()
        goal = self.goal(target[:, None] @ hidden)
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
        scored: which concepts compete for the next step: `all`, the `targets`, or their `closure`, the targets and all
            that they build on.

    Raises:
        SettingError: a number is out of range.

    >>> ConceptScorer(hidden_size=8).build(num_concepts=5).horizon
    """

    hidden_size: int = 48
    concept_size: int = 4
    rounds: int = 2
    mastery: bool = True
    graph: bool = True
    scored: Scored = "all"

    def __post_init__(self) -> None:
        for name, value, least in (
            ("hidden_size", self.hidden_size, 1),
            ("concept_size", self.concept_size, 0),
            ("rounds", self.rounds, 0),
        ):
            if value < least:
                raise SettingError(name, value, f"a whole number of at least {least}")
        if self.scored not in get_args(Scored):
            raise SettingError("scored", self.scored, f"one of {', '.join(get_args(Scored))}")

    def build(self, num_concepts: int) -> ConceptScorerNet:
        """Return the network for so many concepts."""
        return ConceptScorerNet(num_concepts, **asdict(self))


def _shares(rows: Tensor) -> Tensor:
    """Return rows of marks [..., N] as weights that sum to 1, or to 0 where nothing is marked."""
    return rows.float() / rows.sum(-1, keepdim=True).clamp_min(1)
