"""Requests for paths to concepts ahead of the learner: not mastered, and on prerequisites that are not mastered."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from torch import Tensor, nn

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.functional.concept_features import practice_counts, weakest
from lpr_lightning.functional.course_order import course_places
from lpr_lightning.functional.prerequisites import direct_prerequisites
from lpr_lightning.hparams import UNRECORDED, arguments, built, class_path, load_module
from lpr_lightning.protocols import Examples, LearnerData, Tracer
from lpr_lightning.tasks.path_requests import PathRequests
from lpr_lightning.types import InteractionBatch, Interactions, PathRequest, Split

SPLITS: tuple[Split, ...] = ("train", "val", "test")
ROWS = 256
"""Histories that the tracer reads at a time."""
LEARNERS = 2000
"""Most training learners whose estimates the quantile is taken of."""
RECENT = 5
"""Last answers of a history that say how far in the course a learner is."""


class GoalsAhead(HyperparametersMixin, nn.Module):
    """Draws targets among the concepts that lie ahead of each learner, the task that a path recommender is for.

    Histories are those of `requests`. A concept lies ahead where a tracer's estimate of its mastery is low, and that
    of the weakest of its prerequisites too; low is below one quantile of the estimates of all concepts among training
    learners. Where the data have no prerequisites, a concept lies ahead that is low, was never practised, and is later
    in the course than every concept of the last five answers; a concept's place in the course is the mean over
    training learners of the share of their log that lay before its first answer. Learners with fewer such concepts
    than `least_targets` make no request.

    The datamodule connects itself before it makes examples. A tracer that is handed over as a module is not recorded:
    a task that a checkpoint shall rebuild needs a path.

    Args:
        tracer: who estimates mastery: a module with the calls of `protocols.Tracer`, or the path of a checkpoint of
            one. On the command line also the path of a configuration, which is fitted first on the data of the run.
        requests: where histories, lengths and the eligibility of logs come from; default those of the data's own task
            where that makes such requests, else `PathRequests()`.
        quantile: below it an estimate is low, in (0, 1). Ours: with a tracer of performance factors on synthetic
            learners, 85 % of test learners have goals ahead, nine tenths of which lie ahead in truth.
        least_targets: fewest targets.
        most_targets: most targets; of more concepts ahead, a random choice.
        train_draws: requests made of each history of a training learner.

    Raises:
        SettingError: an argument is out of its range, `tracer` lacks calls of a tracer, the data are of other
            concepts, or (`examples`) the task is not connected.
        MissingFileError: the checkpoint is not there.
    """

    low: Tensor
    needs: Tensor
    course: Tensor

    def __init__(
        self,
        tracer: nn.Module | str,
        requests: PathRequests | None = None,
        quantile: float = 0.3,
        least_targets: int = 2,
        most_targets: int = 3,
        train_draws: int = 1,
    ) -> None:
        super().__init__()
        described = arguments(locals() | {"tracer": None})
        described["tracer"] = (
            tracer if isinstance(tracer, str) else {"class_path": class_path(type(tracer)), UNRECORDED: True}
        )
        self.save_hyperparameters(described, logger=False)
        tracer = load_module(tracer) if isinstance(tracer, str) else built(tracer, nn.Module) or tracer
        if not isinstance(tracer, Tracer) or not isinstance(tracer, nn.Module):
            advice = "it needs the calls of lpr_lightning.protocols.Tracer"
            raise SettingError("tracer", type(tracer).__name__, "a tracer that is a module", advice)
        if not 0 < quantile < 1:
            raise SettingError("quantile", quantile, "a number between 0 and 1")
        for name, value, least in (
            ("least_targets", least_targets, 1),
            ("most_targets", most_targets, least_targets),
            ("train_draws", train_draws, 1),
        ):
            if value < least:
                raise SettingError(name, value, f"a whole number of at least {least}")
        self.tracer = tracer
        self._requests = built(requests, PathRequests)
        self.quantile, self.train_draws = quantile, train_draws
        self.least_targets, self.most_targets = least_targets, most_targets
        count = tracer.num_concepts
        self.register_buffer("low", torch.tensor(math.nan))
        self.register_buffer("needs", torch.zeros(count, count, dtype=torch.bool))
        self.register_buffer("course", torch.zeros(count))
        self._data = ""
        self.requires_grad_(False)
        self.eval()

    @property
    def requests(self) -> PathRequests:
        """Where histories and lengths come from."""
        return self._requests or PathRequests()

    def connect(self, data: LearnerData) -> None:
        """Take the prerequisites, the order of the course and the quantile from the data, once."""
        if self._data == data.fingerprint:
            return
        count = len(self.course)
        if data.num_concepts != count:
            raise SettingError("tracer", count, f"a tracer of {data.num_concepts} concepts, as in the data")
        if self._requests is None and isinstance(data.task, PathRequests):
            self._requests = data.task
        log = data.interactions("train")
        edges = data.prerequisites
        self.needs.zero_() if edges is None else self.needs.copy_(direct_prerequisites(edges, count))
        self.course.copy_(course_places(log, count))
        whole = self.requests.examples(log, "test", count, 0)
        size = len(whole.sizes)
        some = torch.linspace(0, size - 1, min(size, LEARNERS)).round().long()
        read = [self.mastery(_request(whole, index)).flatten() for index in torch.split(some, ROWS)]
        self.low.copy_(torch.cat(read).quantile(self.quantile) if size else torch.tensor(0.0))
        self._data = data.fingerprint

    def examples(self, log: Interactions, split: Split, num_concepts: int, seed: int) -> Examples:
        """Return the requests of one split; the same for the same seed."""
        if bool(self.low.isnan()):
            advice = "datamodules of this package do it themselves; otherwise call connect(data) first"
            raise SettingError("task", type(self).__name__, "a task that is connected to the data", advice)
        requests = self.requests.examples(log, split, num_concepts, seed)
        index = torch.arange(len(requests.sizes))
        parts = [self.ahead(_request(requests, rows)) for rows in torch.split(index, ROWS)]
        ahead = torch.cat(parts) if parts else torch.zeros(0, num_concepts, dtype=torch.bool)
        enough = (ahead.sum(1) >= self.least_targets).nonzero().squeeze(1)
        draws = Draws.of(seed, SPLITS.index(split), index[enough])
        times = self.train_draws if split == "train" else 1
        targets = [some_of(ahead[enough], self.most_targets, draws.at(number)) for number in range(times)]
        return AheadRequests(requests, enough.repeat(times), torch.cat(targets))

    def mastery(self, request: PathRequest) -> Tensor:
        """Return the tracer's estimates after the histories, [B, N]."""
        with torch.no_grad():
            mastery: Tensor = self.tracer.mastery(self.tracer.encode(request.history))
        return mastery

    def ahead(self, request: PathRequest) -> Tensor:
        """Return which concepts lie ahead of the learners, [B, N] bool."""
        mastery = self.mastery(request)
        if bool(self.needs.any()):
            return (mastery < self.low) & (weakest(mastery, self.needs) < self.low)
        unpractised = practice_counts(request.history.concept, request.history.mask, len(self.course)) == 0
        return (mastery < self.low) & unpractised & (self.course > reached(request.history, self.course)[:, None])


@dataclass(frozen=True)
class AheadRequests:
    """Requests with other targets: `place` [E] among `requests`, `targets` [E, N] bool."""

    requests: Examples
    place: Tensor
    targets: Tensor

    @property
    def sizes(self) -> Tensor:
        """Number of answers of each history, [E] int64."""
        return self.requests.sizes[self.place]

    def batch(self, index: Tensor) -> PathRequest:
        """Return the requests at `index` [B]."""
        return replace(_request(self.requests, self.place[index]), targets=self.targets[index], row=index)


def some_of(marked: Tensor, most: int, draws: Draws) -> Tensor:
    """Return at most `most` random ones of the concepts marked in each row [B, N] bool; all where there are fewer.

    >>> some_of(torch.tensor([[True, False, True]]), 2, Draws.of(0, 0, torch.arange(1)))
    tensor([[ True, False,  True]])
    """
    number = draws.uniform(marked.shape[1]).masked_fill(~marked, -1.0)
    chosen = number.topk(min(most, marked.shape[1]), dim=1).indices
    return torch.zeros_like(marked).scatter(1, chosen, True) & marked


def reached(history: InteractionBatch, course: Tensor) -> Tensor:
    """Return the latest place in the course among the concepts of the last five answers, [B]; -1 without any.

    >>> history = Interactions.from_lists([[(1, 1), (0, 1)]]).batch(torch.arange(1))
    >>> reached(history, torch.tensor([0.2, 0.4]))
    tensor([0.4000])
    """
    step = torch.arange(history.mask.shape[1], device=history.mask.device)
    recent = history.mask & (step >= history.lengths[:, None] - RECENT)
    place = (
        course[history.concept.clamp_min(0)].masked_fill(~recent[..., None] | (history.concept < 0), -1.0).flatten(1)
    )
    return torch.cat([place, place.new_full((len(place), 1), -1.0)], 1).amax(1)


def _request(examples: Examples, index: Tensor) -> PathRequest:
    batch = examples.batch(index)
    if not isinstance(batch, PathRequest):
        raise SettingError("requests", type(batch).__name__, "a task that makes requests, such as PathRequests")
    return batch
