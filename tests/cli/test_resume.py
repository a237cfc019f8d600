"""Does a run go on where it stopped, and does the right value win?"""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import pytest
import torch

from lpr_lightning.cli import main
from lpr_lightning.cli.resume import leaves, report
from lpr_lightning.cli.session import run

HOME = Path("logs/tiny")
LAST = HOME / "version_0/checkpoints/last.ckpt"


def test_last_goes_on_in_the_same_folder(tiny: str) -> None:
    main(["fit", "--config", tiny])
    cli = run(["fit", "--config", tiny, "--ckpt_path", "last", "--trainer.max_epochs", "4"])
    assert cli.trainer.current_epoch == 4
    assert [path.name for path in HOME.iterdir()] == ["version_0"]
    with (HOME / "version_0/metrics.csv").open() as file:
        epochs = {int(row["epoch"]) for row in csv.DictReader(file) if row["train/loss_epoch"]}
    assert epochs == {0, 1, 2, 3}
    assert {path.name for path in LAST.parent.glob("*.ckpt")} == {"best.ckpt", "last.ckpt"}


def test_an_interruption_leaves_a_checkpoint_that_last_finds(tiny: str) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--config", tiny, "--model.stop_at", "6"])
    assert (LAST.parent / "interrupted.ckpt").is_file()
    assert "LPR_RUN" not in os.environ
    cli = run(["fit", "--config", tiny, "--ckpt_path=last", "--model.stop_at=-1"])
    assert cli.trainer.global_step == 8
    assert not (LAST.parent / "interrupted.ckpt").exists()


def test_a_flag_beats_the_checkpoint_which_beats_the_configuration(
    tiny: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    main(["fit", "--config", tiny, "--model.lr=0.02", "--model.gamma=0.5"])
    Path(tiny).write_text(Path(tiny).read_text().replace("init_args:\n", "init_args:\n    lr: 0.7\n", 1))
    arguments = ["fit", "--config", tiny, "--ckpt_path", "last", "--trainer.max_epochs=3"]
    cli = run(arguments)
    assert cli.model.lr == 0.02
    assert cli.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.02 * 0.5**3)
    shutil.copy(HOME / "version_0/checkpoints/best.ckpt", "three.ckpt")
    cli = run([*arguments[:-3], "--ckpt_path=last", "--trainer.max_epochs=4", "--model.lr", "0.4"])
    assert cli.model.lr == 0.4
    assert cli.model.hparams["lr"] == 0.4
    assert cli.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.4 * 0.5**4)
    printed = caplog.text + "".join(capfd.readouterr())
    assert "--model.lr: 0.02 as in the checkpoint (the configuration says 0.7" in printed
    assert "--model.lr: 0.4 as the command line says (the checkpoint has 0.02)" in printed


def test_a_checkpoint_alone_brings_model_and_data(tiny: str) -> None:
    main(["fit", "--config", tiny, "--data.num_concepts=5", "--model.part.scale=0.25"])
    cli = run(["test", "--ckpt_path", str(LAST.parent / "best.ckpt"), "--trainer.accelerator=cpu"])
    assert (cli.model.num_concepts, cli.model.part.scale) == (5, 0.25)
    assert (HOME / "version_1/metrics.json").is_file()


def test_best_is_the_best_and_the_newest_run_counts(tiny: str) -> None:
    main(["fit", "--config", tiny])
    main(["fit", "--config", tiny, "--trainer.max_epochs=1"])
    cli = run(["predict", "--config", tiny, "--ckpt_path", "best"])
    assert cli.trainer.ckpt_path == str(HOME / "version_1/checkpoints/best.ckpt")
    cli = run(["test", "--config", tiny, "--ckpt_path", "last"])
    assert cli.trainer.ckpt_path == str(HOME / "version_1/checkpoints/last.ckpt")


def test_a_model_for_other_data_is_refused(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["fit", "--config", tiny])
    with pytest.raises(SystemExit, match="2"):
        main(["test", "--config", tiny, "--ckpt_path", "last", "--data.num_concepts=9"])
    assert "model.num_concepts=4 cannot be used: expected 9, as in the data" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["last", "best", "nowhere/a.ckpt"])
def test_a_checkpoint_that_is_not_there_is_one_clear_line(
    tiny: str, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", tiny, "--ckpt_path", path])
    assert "was not found in" in capsys.readouterr().err
    assert not Path("logs").exists()


def test_a_torn_checkpoint_is_one_clear_line(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["fit", "--config", tiny])
    LAST.write_bytes(LAST.read_bytes()[:1000])
    with pytest.raises(SystemExit, match="2"):
        main(["test", "--config", tiny, "--ckpt_path", str(LAST)])
    assert "expected a whole checkpoint" in capsys.readouterr().err


def test_lightning_defect_stock_restore_ignores_a_new_rate(tiny: str) -> None:
    """Stock Lightning gives the optimizer the checkpoint's rate back; `OverruledOptimizers` is there for that."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    state = optimizer.state_dict()
    fresh = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    fresh.load_state_dict(state)
    assert fresh.param_groups[0]["lr"] == 0.1


def test_reports_compare_nested_settings_by_name() -> None:
    saved = leaves({"net": {"class_path": "a.B", "init_args": {"width": 3}}, "betas": [0.9, 0.99]})
    final = leaves({"net": {"class_path": "a.B", "init_args": {"width": 4}}, "betas": [0.9, 0.99], "new": 1})
    assert report("model", saved, {"net.width": 5}, final) == ["net.width"]
