"""Goals ahead against a plain-Python reading of the rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from torch import Tensor, nn

from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.errors import MissingFileError, SettingError
from lpr_lightning.hparams import built, plain
from lpr_lightning.models.dkt import DKT
from lpr_lightning.protocols import Task
from lpr_lightning.tasks.goals_ahead import GoalsAhead
from lpr_lightning.tasks.path_requests import PathRequests
from lpr_lightning.types import Interactions, PathRequest, Split

CONCEPTS = 8
USUAL = PathRequests(length=4, min_distinct=3, train_cuts=2)


def random_log(learners: int, seed: int) -> Interactions:
    """Return a log of learners who walk through the concepts, back and forth."""
    generator = torch.Generator().manual_seed(seed)
    histories = []
    for _ in range(learners):
        length = int(torch.randint(10, 30, (1,), generator=generator))
        noise = torch.randint(-1, 3, (length,), generator=generator)
        concepts = [min(max(step // 4 + int(noise[step]), 0), CONCEPTS - 1) for step in range(length)]
        right = torch.randint(2, (length,), generator=generator).tolist()
        histories.append(list(zip(concepts, right, strict=True)))
    log = Interactions.from_lists(histories)
    return replace(log, learner=log.learner + 100 * seed)


class Data(SyntheticLearners):
    """Logs of training and test learners, with the prerequisites given."""

    def __init__(self, edges: Tensor | None) -> None:
        LightningDataModule.__init__(self)
        self.num_concepts, self.num_items, self.edges = CONCEPTS, CONCEPTS, edges
        self.logs: dict[Split, Interactions] = {"train": random_log(30, 1), "test": random_log(20, 2)}

    @property
    def prerequisites(self) -> Tensor | None:
        return self.edges

    @property
    def fingerprint(self) -> str:
        return "data"

    def interactions(self, split: Split) -> Interactions:
        return self.logs[split]


def tracer() -> DKT:
    """Return a tracer whose estimates differ from learner to learner."""
    torch.manual_seed(0)
    model = DKT(CONCEPTS, 6, 8)
    for weight in model.parameters():
        nn.init.normal_(weight, std=1.5 if weight.dim() > 1 else 0.0)
    return model.eval()


def made(task: GoalsAhead, data: Data, split: Split, seed: int = 0) -> PathRequest:
    task.connect(data)
    examples = task.examples(data.interactions(split), split, CONCEPTS, seed)
    request = examples.batch(torch.arange(len(examples.sizes)))
    assert isinstance(request, PathRequest)
    assert torch.equal(examples.sizes, request.history.lengths)
    return request


EDGES = torch.tensor([[0, 1], [1, 2], [2, 3], [5, 3], [4, 5]])


@pytest.mark.parametrize("edges", [EDGES, None])
def test_targets_are_drawn_from_what_the_rule_allows_and_from_all_of_it(edges: Tensor | None) -> None:
    data, model = Data(edges), tracer()
    task = GoalsAhead(model, USUAL, quantile=0.6, train_draws=40)
    request = made(task, data, "train")
    low = float(np.quantile(np.concatenate([row for _, _, row in read(data, model, "test")]), 0.6))
    expected = [ahead(history, row, low, data) for _, history, row in read(data, model, "train")]
    eligible = [one for one in expected if len(one) >= 2]
    assert 5 < len(eligible) < len(expected)
    assert len(request) == 40 * len(eligible)
    for place, allowed in enumerate(eligible):
        drawn = [targets_of(request, place + number * len(eligible)) for number in range(40)]
        assert all(one <= allowed and len(one) == min(len(allowed), 3) for one in drawn)
        assert set().union(*drawn) == allowed
    assert request.row.tolist() == list(range(len(request)))


def read(data: Data, model: DKT, kind: Split) -> list[tuple[int, list[int], list[float]]]:
    """Return learner, concepts of the history and estimates of the usual requests of training learners.

    `test` as kind: one request of each whole log, what the quantile is taken of.
    """
    examples = USUAL.examples(data.interactions("train"), kind, CONCEPTS, 0)
    found = []
    for index in range(len(examples.sizes)):
        request = examples.batch(torch.tensor([index]))
        assert isinstance(request, PathRequest)
        with torch.no_grad():
            estimate = model.mastery(model.encode(request.history))[0].tolist()
        found.append((int(request.learner), request.history.concept.flatten().tolist(), estimate))
    return found


def ahead(history: list[int], estimate: list[float], low: float, data: Data) -> set[int]:
    """Return the concepts that lie ahead, by the rule in words."""
    if data.edges is not None:
        needed: dict[int, list[int]] = {}
        for before, after in data.edges.tolist():
            needed.setdefault(after, []).append(before)
        return {c for c in needed if estimate[c] < low and min(estimate[j] for j in needed[c]) < low}
    place = order(data.interactions("train"))
    latest = max(place[c] for c in history[-5:])
    return {c for c in range(CONCEPTS) if estimate[c] < low and c not in history and place.get(c, -1.0) > latest}


def order(log: Interactions) -> dict[int, float]:
    """Return the mean share of the logs that lay before the first answer on each concept."""
    shares: dict[int, list[float]] = {}
    for start, stop in zip(log.offsets.tolist(), log.offsets.tolist()[1:], strict=False):
        concepts = log.concept[start:stop, 0].tolist()
        for concept in set(concepts):
            shares.setdefault(concept, []).append(concepts.index(concept) / len(concepts))
    return {concept: mean(values) for concept, values in shares.items()}


def targets_of(request: PathRequest, row: int) -> set[int]:
    return set(request.targets[row].nonzero().flatten().tolist())


def test_a_rule_by_hand() -> None:
    task = GoalsAhead(Told(), PathRequests(length=2, min_distinct=1, min_targets=1), least_targets=1)
    data = Data(torch.tensor([[0, 1], [1, 2], [3, 4]]))
    task.connect(data)
    task.low.fill_(0.5)
    request = made(task, data, "test")
    # Of 2 the prerequisite 1 is mastered, of 4 the prerequisite 3 is not; 0 and 3 are low but need nothing.
    assert [targets_of(request, row) for row in range(len(request))] == [{4}] * len(request)


class Told(DKT):
    """A tracer that knows what it is told: concepts 1 and 5 are mastered."""

    def __init__(self) -> None:
        super().__init__(CONCEPTS, 4, 4)

    def mastery(self, state: tuple[Tensor, ...], concept: Tensor | None = None) -> Tensor:
        return torch.tensor([0.1, 0.9, 0.2, 0.3, 0.4, 0.8, 0.1, 0.1]).repeat(len(state[0]), 1)


def test_the_same_seed_gives_the_same_requests_whatever_the_batch() -> None:
    data, model = Data(EDGES), tracer()
    tasks = [GoalsAhead(model, USUAL, quantile=0.7, most_targets=2) for _ in range(2)]
    first, second = (made(task, data, "test") for task in tasks)
    assert torch.equal(first.targets, second.targets)
    other = made(tasks[0], data, "test", seed=1)
    assert not torch.equal(first.targets, other.targets)
    examples = tasks[0].examples(data.interactions("test"), "test", CONCEPTS, 0)
    some = examples.batch(torch.tensor([3, 1]))
    assert isinstance(some, PathRequest)
    assert torch.equal(some.targets, first.targets[[3, 1]])
    assert some.history.lengths.tolist() == first.history.lengths[[3, 1]].tolist()


def test_without_anything_ahead_there_is_no_request() -> None:
    data = Data(EDGES)
    task = GoalsAhead(tracer(), USUAL)
    task.connect(data)
    task.low.fill_(0.0)
    assert len(task.examples(data.interactions("test"), "test", CONCEPTS, 0).sizes) == 0


def test_datamodules_connect_it_and_checkpoints_of_tracers_rebuild_it(tmp_path: Path) -> None:
    options = {"num_concepts": 6, "num_learners": 60, "answers": (12, 24), "cache_dir": str(tmp_path)}
    run = Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    model = DKT(6, 4, 6)
    run.fit(model, datamodule=SyntheticLearners(**options))  # type: ignore[arg-type]
    path = str(tmp_path / "dkt.ckpt")
    run.save_checkpoint(path)
    task = GoalsAhead(path, PathRequests(length=3, min_distinct=3), quantile=0.7)
    data = SyntheticLearners(task=task, **options)  # type: ignore[arg-type]
    batches = [batch for batch in data.test_dataloader() if isinstance(batch, PathRequest)]
    assert batches
    again = built(plain(task), Task)
    assert again is not None
    more = SyntheticLearners(task=again, **options).test_dataloader()  # type: ignore[arg-type]
    for one, other in zip(batches, more, strict=True):
        assert isinstance(other, PathRequest)
        assert torch.equal(one.targets, other.targets)
        assert bool((one.targets.sum(1) >= 2).all())


def test_a_module_is_not_rebuilt_without_its_weights() -> None:
    with pytest.raises(SettingError, match="give the object itself"):
        built(plain(GoalsAhead(tracer())), GoalsAhead)


def test_what_cannot_work_is_refused(tmp_path: Path) -> None:
    for setting, value in (("quantile", 1.0), ("least_targets", 0), ("most_targets", 1), ("train_draws", 0)):
        with pytest.raises(SettingError, match=setting):
            GoalsAhead(tracer(), **{setting: value})  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="tracer"):
        GoalsAhead(nn.Identity())
    with pytest.raises(MissingFileError):
        GoalsAhead(str(tmp_path / "none.ckpt"))
    with pytest.raises(SettingError, match="connect"):
        GoalsAhead(tracer()).examples(random_log(3, 0), "test", CONCEPTS, 0)
    with pytest.raises(SettingError, match="8 concepts"):
        GoalsAhead(DKT(3)).connect(Data(None))
