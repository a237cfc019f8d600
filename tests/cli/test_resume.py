"""Does a run go on where it stopped, and does the right value win?"""

from __future__ import annotations

import csv
import json
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


def logged(folder: Path) -> list[dict[str, str]]:
    """Return the rows of metrics.csv, without the epoch's mean of a figure of training, which Lightning begins anew."""
    with (folder / "metrics.csv").open() as file:
        return [row for row in csv.DictReader(file) if not row.pop("train/loss_epoch")]


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


def test_a_torn_checkpoint_is_one_clear_line_and_a_fit_goes_on_from_the_one_before(
    tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", "--config", tiny])
    LAST.write_bytes(LAST.read_bytes()[:1000])
    with pytest.raises(SystemExit, match="2"):
        main(["test", "--config", tiny, "--ckpt_path", str(LAST)])
    assert "last.ckpt is damaged: its checksum is wrong. To mend it: give" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="going on with the one before it"):
        cli = run(["fit", "--config", tiny, "--ckpt_path", "last", "--trainer.max_epochs", "3"])
    assert cli.trainer.current_epoch == 3
    with (HOME / "version_0/metrics.csv").open() as file:
        epochs = [int(row["epoch"]) for row in csv.DictReader(file) if row["train/loss_epoch"]]
    assert epochs == [0, 1, 2]
    other = Path("torn.ckpt")
    other.write_bytes(LAST.read_bytes()[:1000])
    with pytest.raises(SystemExit, match="2"):
        main(["test", "--config", tiny, "--ckpt_path", str(other)])
    assert "expected a whole checkpoint" in capsys.readouterr().err


def test_a_fit_that_ended_before_its_first_checkpoint_is_not_overlooked(
    tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (HOME / "version_0/checkpoints").mkdir(parents=True)
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", tiny, "--ckpt_path", "last"])
    assert "there is nothing to resume: start it again without --ckpt_path" in capsys.readouterr().err
    main(["fit", "--config", tiny])
    main(["test", "--config", tiny, "--ckpt_path", "best"])  # has a folder of its own, which is no fit's
    cli = run(["fit", "--config", tiny, "--ckpt_path", "last"])
    assert cli.settings.checkpoint == HOME / "version_1/checkpoints/last.ckpt"
    (HOME / "version_3/tracer").mkdir(parents=True)  # ended while its tracer was fitted
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", tiny, "--ckpt_path", "last"])
    error = capsys.readouterr().err
    assert "a last checkpoint of the newest run was not found in logs/tiny/version_3" in error
    assert "logs/tiny/version_1/checkpoints/last.ckpt" in error
    with pytest.warns(UserWarning, match="version_3, has no best checkpoint"):
        main(["test", "--config", tiny, "--ckpt_path", "best"])


def test_a_run_that_was_moved_keeps_its_best_checkpoint(tiny: str) -> None:
    main(["fit", "--config", tiny])
    Path("logs").rename("elsewhere")
    Path("home").mkdir()
    Path("elsewhere").rename("home/logs")
    best = Path("home") / LAST.with_name("best.ckpt")
    saved = best.read_bytes()
    score = json.loads((best.parents[1] / "metrics.json").read_text())["val/loss"]
    arguments = ["--trainer.default_root_dir=home", "--ckpt_path=last", "--trainer.max_epochs=4"]
    cli = run(["fit", "--config", tiny, *arguments, "--model.lr=2"])  # gets worse and worse
    assert cli.trainer.current_epoch == 4
    assert best.read_bytes() == saved
    figures = json.loads((best.parents[1] / "metrics.json").read_text())
    assert figures["val/loss"] == score
    assert figures["last_epoch/val/loss"] > score


def test_checkpoints_within_an_epoch_and_no_step_twice_in_the_log(tiny: str) -> None:
    often = ["--save_every_steps=3", "--trainer.log_every_n_steps=1", "--trainer.max_epochs=3"]
    main(["fit", "--config", tiny, *often])
    with pytest.raises(SystemExit):
        main(["fit", "--config", tiny, *often, "--model.stop_at", "7"])
    (HOME / "version_1/checkpoints/interrupted.ckpt").unlink()  # as after a kill
    cli = run(["fit", "--config", tiny, *often, "--ckpt_path=last", "--model.stop_at=-1"])
    assert cli.trainer.global_step == 12
    assert logged(HOME / "version_1") == logged(HOME / "version_0")
    with (HOME / "version_1/metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["train/loss_step"]]
    assert steps == list(range(12))


def test_an_interrupted_batch_is_repeated(tiny: str) -> None:
    arguments = ["fit", "--config", tiny, "--trainer.log_every_n_steps=1"]
    main(arguments)
    with pytest.raises(SystemExit):
        main([*arguments, "--model.stop_at", "6"])
    run([*arguments, "--ckpt_path=last", "--model.stop_at=-1"])
    ends = [torch.load(HOME / f"version_{number}/checkpoints/last.ckpt", weights_only=True) for number in (0, 1)]
    assert all(torch.equal(value, ends[1]["state_dict"][name]) for name, value in ends[0]["state_dict"].items())
    assert logged(HOME / "version_1") == logged(HOME / "version_0")


def test_files_of_a_run_have_the_usual_permissions(tiny: str) -> None:
    main(["fit", "--config", tiny])
    Path("usual").touch()
    files = [path for path in HOME.rglob("*") if path.is_file()]
    assert {path.stat().st_mode for path in files} == {Path("usual").stat().st_mode}


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
