"""Trainings in stages: when they begin and end, how fast they learn, and that they resume where they were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lpr_lightning.bases import Stage, Staged
from lpr_lightning.bases.staged import Outputs
from lpr_lightning.datamodules.loader import IndexedBatches
from lpr_lightning.errors import SettingError
from lpr_lightning.types import TensorData

BATCHES = 3


@dataclass(frozen=True)
class Numbers(TensorData):
    """Numbers as a batch, and as the examples that batches are drawn from."""

    value: Tensor

    @property
    def sizes(self) -> Tensor:
        return torch.ones_like(self.value, dtype=torch.int64)

    def batch(self, index: Tensor) -> TensorData:
        return self.select(index)


class Toy(Staged):
    """Two weights; a validation's figure is the next of `scores`."""

    validations: Tensor

    def __init__(self, stages: Sequence[Stage] = (), scores: Sequence[float] = (), updates: int = 1) -> None:
        super().__init__()
        self.given, self.scores, self.updates = stages, list(scores), updates
        self.first, self.second = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
        self.register_buffer("validations", torch.tensor(0))
        self.events: list[str] = []
        self.seen: list[tuple[str, int, float, float]] = []
        self.prepared = 0

    def stages(self) -> Sequence[Stage]:
        return [self.noted(one) for one in self.given]

    def noted(self, one: Stage) -> Stage:
        def begin() -> None:
            self.events.append(f"begin {one.name}")

        def improved() -> None:
            self.events.append(f"improved {one.name}")

        return replace(one, step=self.learn, begin=begin, improved=improved)

    def prepare(self) -> None:
        self.prepared += 1

    def learn(self, batch: Numbers, batch_idx: int) -> Tensor:
        rates = [group["lr"] for group in self.trainer.optimizers[0].param_groups]
        self.seen.append((self.stage_name, self.current_epoch, rates[0], rates[1]))
        return ((self.first * batch.value - self.second).square()).mean()

    def validation_step(self, batch: Numbers, batch_idx: int) -> None:
        pass

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            score = self.scores[min(int(self.validations), len(self.scores) - 1)] if self.scores else 0.0
            self.validations += 1
            self.log("val/score", score)
            self.validated({"score": torch.tensor(score)})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        groups = [{"params": [self.first], "name": "first"}, {"params": [self.second], "name": "second"}]
        return torch.optim.Adam(groups, lr=0.1)


class Manual(Toy):
    """Takes several gradient steps on every batch."""

    def __init__(self, stages: Sequence[Stage] = (), scores: Sequence[float] = (), updates: int = 1) -> None:
        super().__init__(stages, scores, updates)
        self.automatic_optimization = False

    def learn(self, batch: Numbers, batch_idx: int) -> Tensor:
        for _ in range(self.updates):
            loss = super().learn(batch, batch_idx)
            self.descend(loss, max_norm=1.0)
        self.count_step()
        return loss.detach()


def nothing(batch: object, batch_idx: int) -> Tensor | Outputs | None:
    return None


def stage(name: str, epochs: int | None = None, patience: int | None = None, **rates: float) -> Stage:
    return Stage(name, nothing, rates, epochs, select=lambda figures: figures["score"], patience=patience)


def loader() -> IndexedBatches:
    return IndexedBatches(Numbers(torch.linspace(0.5, 2, 2 * BATCHES)), batch_size=2, bucket=False)


def fit(
    module: LightningModule,
    max_epochs: int = -1,
    callbacks: Sequence[Callback] = (),
    ckpt_path: Path | None = None,
    clip: float | None = None,
) -> Trainer:
    trainer = Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        devices=1,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=any(isinstance(one, ModelCheckpoint) for one in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=clip,
        use_distributed_sampler=False,
    )
    trainer.fit(module, loader(), loader(), ckpt_path=ckpt_path)
    return trainer


def epochs_of(module: Toy) -> dict[str, list[int]]:
    """Return the epochs of each stage."""
    found: dict[str, list[int]] = {}
    for name, epoch, *_ in module.seen:
        if epoch not in found.setdefault(name, []):
            found[name].append(epoch)
    return found


def test_stages_follow_one_another_and_begin_once() -> None:
    module = Toy([stage("clone", 2), stage("improve")])
    fit(module, 5)
    assert epochs_of(module) == {"clone": [0, 1], "improve": [2, 3, 4]}
    assert [event for event in module.events if event.startswith("begin")] == ["begin clone", "begin improve"]
    assert module.prepared == 1


def test_a_stage_without_epochs_takes_what_the_later_ones_leave() -> None:
    module = Toy([stage("first"), stage("second", 2), stage("third", 1)])
    fit(module, 6)
    assert epochs_of(module) == {"first": [0, 1, 2], "second": [3, 4], "third": [5]}


def test_training_ends_after_the_last_stage() -> None:
    module = Toy([stage("clone", 1), stage("improve", 2)])
    assert fit(module, 10).current_epoch == 3
    module = Toy([stage("clone", 1), stage("improve", 2)])
    assert fit(module).current_epoch == 3


def test_a_fast_dev_run_tries_the_first_stage() -> None:
    module = Toy([stage("clone", 2), stage("improve")])
    Trainer(fast_dev_run=True, accelerator="cpu", enable_progress_bar=False).fit(module, loader(), loader())
    assert epochs_of(module) == {"clone": [0]}


def test_patience_ends_a_stage() -> None:
    """The best of the first stage comes in epoch 1, so that two more validations are waited for."""
    module = Toy([stage("clone", 9, patience=2), stage("improve", 1)], scores=[1, 3, 2, 3, 0])
    fit(module, 20)
    assert epochs_of(module) == {"clone": [0, 1, 2, 3], "improve": [4]}
    assert [event for event in module.events if "clone" in event] == ["begin clone"] + ["improved clone"] * 2


@pytest.mark.parametrize("epochs", [None, 50])
def test_patience_ends_the_last_stage(epochs: int | None) -> None:
    module = Toy([stage("clone", 1), stage("improve", epochs, patience=2)], scores=[5, 1, 2, 2, 2, 2, 2])
    fit(module, 20)
    assert epochs_of(module) == {"clone": [0], "improve": [1, 2, 3, 4]}


def test_patience_ends_a_stage_where_no_number_of_epochs_is_given() -> None:
    module = Toy([stage("clone", patience=1), stage("improve", 1)], scores=[1, 1, 1])
    fit(module)
    assert epochs_of(module) == {"clone": [0, 1], "improve": [2]}


def test_each_stage_counts_its_own_best() -> None:
    module = Toy([stage("clone", 2), stage("improve")], scores=[9, 8, 1, 2, 0])
    fit(module, 5)
    assert module.events == ["begin clone", "improved clone", "begin improve", "improved improve", "improved improve"]
    assert float(module.stage_best) == 2
    assert module.stage_state.tolist() == [1, 2, 1]


def test_rates_are_those_of_the_parts_of_a_stage_and_other_parts_rest() -> None:
    module = Toy([stage("clone", 1, first=0.5), stage("improve", 1, first=0.1, second=0.2)])
    fit(module, 2)
    assert {(name, first, second) for name, _, first, second in module.seen} == {
        ("clone", 0.5, 0.0),
        ("improve", 0.1, 0.2),
    }


def test_a_part_that_rests_does_not_move() -> None:
    module = Toy([stage("clone", first=0.5)])
    fit(module, 1)
    assert float(module.first.detach()) != 1.0
    assert float(module.second.detach()) == 1.0


def test_without_rates_those_of_the_optimizer_stay() -> None:
    module = Toy([stage("only")])
    fit(module, 1)
    assert {(first, second) for _, _, first, second in module.seen} == {(0.1, 0.1)}


def test_a_schedule_is_given_the_share_that_is_done_and_the_batches() -> None:
    given: list[tuple[float, int]] = []

    def falling(share: float, batches: int) -> float:
        given.append((share, batches))
        return 1 - share

    late = replace(stage("late", first=0.5), schedule=falling)
    module = Toy([stage("early", 1, first=1.0), late])
    fit(module, 3)
    assert [share for share, _ in given] == pytest.approx([number / (2 * BATCHES) for number in range(2 * BATCHES)])
    assert [batches for _, batches in given] == list(range(2 * BATCHES))
    rates = [first for name, _, first, _ in module.seen if name == "late"]
    assert rates == pytest.approx([0.5 * (1 - number / 6) for number in range(6)])


class Selections(Callback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking and "val/selection" in trainer.callback_metrics:
            self.values.append(float(trainer.callback_metrics["val/selection"]))


def test_the_selection_grows_from_stage_to_stage_and_orders_the_last_by_its_figure() -> None:
    selections = Selections()
    fit(Toy([stage("clone", 2), stage("improve")], scores=[9, 8, 1, -3, 2]), 5, [selections])
    early, late = selections.values[:2], selections.values[2:]
    assert early == sorted(early)
    assert 0 <= early[0] < early[1] < 1
    assert late == pytest.approx([1.5 + math.atan(value) / math.pi for value in (1, -3, 2)])


def test_one_stage_logs_no_selection() -> None:
    selections = Selections()
    fit(Toy([stage("only")]), 2, [selections])
    assert selections.values == []


@pytest.mark.parametrize(("manual", "updates"), [(False, 1), (True, 1), (True, 3)])
def test_the_global_step_counts_batches(manual: bool, updates: int) -> None:
    stages = [stage("only", first=0.1, second=0.1)]
    module = Manual(stages, updates=updates) if manual else Toy(stages)
    assert fit(module, 2).global_step == 2 * BATCHES


def test_descending_by_hand_is_what_lightning_does() -> None:
    stages = [stage("only", first=0.1, second=0.1)]
    automatic, manual = Toy(stages), Manual(stages)
    fit(automatic, 2, clip=1.0)
    fit(manual, 2)
    torch.testing.assert_close(automatic.first, manual.first)


class Stop(Callback):
    def __init__(self, after: int) -> None:
        self.left = after

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stopped", [4, 7, 10])
@pytest.mark.parametrize("kind", [Toy, Manual])
def test_a_training_resumes_where_it_was(tmp_path: Path, kind: type[Toy], stopped: int) -> None:
    """Three batches an epoch, stages of two epochs and three; stopped in the midst of an epoch of either."""
    stages = [
        stage("clone", 2, first=0.3),
        replace(stage("improve", first=0.1, second=0.2), schedule=lambda s, _: 1 - s),
    ]
    scores = [1.0, 2.0, 3.0, 1.0, 2.0]
    whole = kind(stages, scores, 2)
    fit(whole, 5)
    saving = ModelCheckpoint(tmp_path, "last", every_n_train_steps=1, enable_version_counter=False)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(kind(stages, scores, 2), 5, [saving, Stop(stopped)])
    resumed = kind(stages, scores, 2)
    trainer = fit(resumed, 5, ckpt_path=tmp_path / "last.ckpt")
    assert trainer.global_step == 5 * BATCHES
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert resumed.events[:1] != ["begin clone"]
    assert resumed.prepared == 0
    count = len(resumed.seen)
    assert resumed.seen == whole.seen[-count:]


@pytest.mark.parametrize("every", [None, 1])
def test_a_training_stopped_between_two_stages_goes_on_with_the_second(tmp_path: Path, every: int | None) -> None:
    """The checkpoint is of the end of the first stage's last epoch, or (every=1) of its last batch."""
    stages, scores = [stage("clone", 2, first=0.3), stage("improve", first=0.1, second=0.2)], [1.0, 2.0, 3.0]
    saving = ModelCheckpoint(tmp_path, "last", every_n_train_steps=every, enable_version_counter=False)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(Toy(stages, scores), 4, [saving, Stop(2 * BATCHES)])
    resumed = Toy(stages, scores)
    fit(resumed, 4, ckpt_path=tmp_path / "last.ckpt")
    assert epochs_of(resumed) == {"improve": [2, 3]}
    assert resumed.events[0] == "begin improve"


def test_a_finished_training_stays_finished(tmp_path: Path) -> None:
    stages = [stage("clone", 1), stage("improve", 1)]
    fit(Toy(stages), 9, [ModelCheckpoint(tmp_path, "last", save_last=False, enable_version_counter=False)])
    again = Toy(stages)
    fit(again, 9, ckpt_path=tmp_path / "last.ckpt")
    assert len(again.seen) == 0


@pytest.mark.parametrize(
    ("stages", "max_epochs", "names"),
    [
        ([stage("clone", 2), stage("improve")], 2, "'improve' never begins"),
        ([stage("clone", 2), stage("improve", 1)], 1, "'improve' never begins"),
        ([stage("a", 1), stage("b"), stage("c", 1)], 2, "'c' never begins"),
        ([stage("clone"), stage("improve", 1)], -1, "'clone' never ends"),
    ],
)
def test_a_stage_that_can_never_begin_or_end_is_refused(stages: list[Stage], max_epochs: int, names: str) -> None:
    with pytest.raises(SettingError, match=names):
        fit(Toy(stages), max_epochs)


def test_the_table_of_stages_is_printed_at_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    fit(Toy([stage("clone", 2, first=0.5), stage("improve", patience=3)]), 3)
    text = capsys.readouterr().err
    for part in ("clone", "2 epochs", "first 0.5", "improve", "1 epochs, fewer after 3", "those of the optimizer"):
        assert part in text


@pytest.mark.parametrize("name", ["epochs", "patience"])
def test_numbers_of_a_stage_are_checked(name: str) -> None:
    with pytest.raises(SettingError, match=name):
        stage("clone", **{name: 0})
    with pytest.raises(SettingError, match="select"):
        Stage("clone", nothing, patience=1)


def test_data_must_be_of_learners() -> None:
    class Needy(Toy):
        def prepare(self) -> None:
            self.data()

    with pytest.raises(SettingError, match="datamodule"):
        fit(Needy([stage("only")]), 1)
