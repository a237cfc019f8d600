"""A module that is not ours stops at the first NaN, and its good checkpoint stays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_module import ForeignData, ForeignModule, make_trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lpr_lightning.callbacks import NonFiniteGuard
from lpr_lightning.errors import NonFiniteError
from lpr_lightning.types import PathRequest

STEP = 3  # the second batch of the second epoch


@dataclass
class Answers:
    """What a step may return beside its loss."""

    logits: Tensor
    rest: Tensor


class Spoiled(ForeignModule):
    """Goes wrong in one place at one step; what it returns is fine elsewhere, and what nobody asked for may be NaN."""

    def __init__(self, place: str, value: float) -> None:
        super().__init__()
        self.place, self.value = place, value

    def training_step(self, batch: PathRequest, batch_idx: int) -> Any:
        bad = self.value if self.global_step == STEP else 1.0
        loss = super().training_step(batch, batch_idx)
        if self.place == "gradient":
            self.scores.register_hook(lambda gradient: gradient * bad)  # type: ignore[no-untyped-call]
        answers = Answers(torch.ones(3), torch.full((2,), torch.nan))
        if self.place == "logits":
            answers.logits[1] = bad
        reward = torch.tensor([1.0, bad if self.place == "reward" else 1.0])
        return {"loss": loss * bad if self.place == "loss" else loss, "answers": [answers], "reward": reward}


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("loss", "the loss is"),
        ("gradient", "a gradient is"),
        ("logits", "the answers.0.logits is"),
        ("reward", "the reward is"),
    ],
)
def test_what_is_not_finite_is_named_with_its_place(tmp_path: Path, place: str, words: str, value: float) -> None:
    saving = ModelCheckpoint(tmp_path, "good", every_n_train_steps=1, enable_version_counter=False)
    trainer = make_trainer(tmp_path, [NonFiniteGuard(), saving])
    with pytest.raises(NonFiniteError, match=rf"{words} .* at batch 1 of epoch 1 \(step 3\)") as caught:
        trainer.fit(Spoiled(place, value), ForeignData())
    assert (caught.value.epoch, caught.value.batch, caught.value.step) == (1, 1, STEP)
    kept = torch.load(tmp_path / "good.ckpt", weights_only=True)
    assert kept["global_step"] == STEP
    assert bool(kept["state_dict"]["scores"].isfinite().all())


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [NonFiniteGuard()], max_epochs=1)
    module = ForeignModule()
    trainer.fit(module, ForeignData())
    trainer.save_checkpoint(tmp_path / "good.ckpt")
    module.scores.data[0] = torch.nan
    trainer.state.fn = TrainerFn.FITTING
    with pytest.raises(NonFiniteError, match="a weight is NaN"):
        trainer.save_checkpoint(tmp_path / "bad.ckpt")
    assert not (tmp_path / "bad.ckpt").exists()


class Samples(ForeignModule):
    """Draws from its scores, which ends in an error of torch where they are NaN."""

    def training_step(self, batch: PathRequest, batch_idx: int) -> Tensor:
        if self.global_step == STEP:
            self.scores.data.fill_(torch.nan)
        torch.multinomial(self.scores.exp(), 1)
        return super().training_step(batch, batch_idx)


def test_an_error_that_comes_of_a_nan_is_named(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [NonFiniteGuard()])
    with pytest.raises(NonFiniteError, match="a weight is NaN at batch 1 of epoch 1"):
        trainer.fit(Samples(), ForeignData())


def test_a_fit_that_is_fine_and_another_error_stay_as_they_are(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [NonFiniteGuard()])
    trainer.fit(Spoiled("nowhere", 1.0), ForeignData())
    assert trainer.global_step == 4

    class Broken(ForeignModule):
        def training_step(self, batch: PathRequest, batch_idx: int) -> Tensor:
            raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        make_trainer(tmp_path, [NonFiniteGuard()]).fit(Broken(), ForeignData())
