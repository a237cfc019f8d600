"""Does a fit make a whole run, with the data's sizes everywhere and every file in one folder?"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
import torch
import yaml

from lpr_lightning.cli import main
from lpr_lightning.cli.session import run
from lpr_lightning.hparams import built

RUN = Path("logs/tiny/version_0")


def test_a_run_is_whole_and_tested_at_its_end(tiny: str) -> None:
    main(["fit", "--config", tiny])
    names = {path.relative_to(RUN).as_posix() for path in RUN.rglob("*") if not path.name.startswith("events")}
    assert {"config.yaml", "metrics.csv", "metrics.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt"} <= names
    assert list(RUN.glob("events*"))
    assert "test/loss" in json.loads((RUN / "metrics.json").read_text())
    with (RUN / "metrics.csv").open() as file:
        assert any(row["test/loss"] for row in csv.DictReader(file))


def test_the_last_checkpoint_is_the_last_even_where_nothing_got_better(tiny: str) -> None:
    main(["fit", "--config", tiny, "--model.lr=0"])
    steps = {
        name: torch.load(RUN / f"checkpoints/{name}.ckpt", weights_only=True)["global_step"]
        for name in ("best", "last")
    }
    assert steps == {"best": 4, "last": 8}


def test_a_model_without_a_monitor_keeps_the_last_checkpoint(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    main(["fit", "--config", tiny, "--trainer.fast_dev_run=1"])
    monkeypatch.delattr(sys.modules["tiny_parts"].Linear, "monitor")
    main(["fit", "--config", tiny])
    (found,) = Path("logs/tiny").glob("version_*/checkpoints/*.ckpt")
    assert found.name == "last.ckpt"


def test_the_second_run_gets_the_next_folder_and_the_test_can_be_left_out(tiny: str) -> None:
    for _ in range(2):
        main(["fit", "--config", tiny, "--test_after_fit", "false", "--trainer.max_epochs", "1"])
    assert sorted(path.name for path in Path("logs/tiny").iterdir()) == ["version_0", "version_1"]
    assert "test/loss" not in json.loads((RUN / "metrics.json").read_text())


def test_sizes_reach_model_and_nested_modules_and_the_data_are_made_once(tiny: str) -> None:
    arguments = ["fit", "--config", tiny, "--data.num_concepts=6", "--trainer.fast_dev_run=1"]
    cli = run(arguments)
    made = sys.modules["tiny_parts"].TinyData.made
    assert cli.model.num_concepts == cli.model.part.num_concepts == 6
    assert cli.model.hparams["part"]["init_args"] == {"num_concepts": 6, "scale": 0.5, "label": ""}
    assert cli.model.part.data is cli.datamodule
    run(arguments)
    assert sys.modules["tiny_parts"].TinyData.made == made + 1


def test_a_checkpoint_rebuilds_its_model_without_the_command_line(tiny: str) -> None:
    main(["fit", "--config", tiny])
    checkpoint = torch.load(RUN / "checkpoints/best.ckpt", weights_only=True)
    assert checkpoint["lpr_lightning"] == {"model": "tiny_parts.TinyModel", "data": "tiny_parts.TinyData"}
    cls = sys.modules["tiny_parts"].TinyModel
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lpr_lightning.hparams.ALLOWED_PACKAGES", ["tiny_parts"])
        model = cls.load_from_checkpoint(RUN / "checkpoints/best.ckpt")
        part = built(checkpoint["hyper_parameters"]["part"], sys.modules["tiny_parts"].Part)
        assert part is not None
        assert part.scale == 0.5
    assert model.num_concepts == 4


def test_the_saved_configuration_starts_the_same_run_again(tiny: str) -> None:
    main(["fit", "--config", tiny, "--model.lr", "0.05"])
    saved = yaml.safe_load((RUN / "config.yaml").read_text())
    assert saved["model"]["init_args"]["lr"] == 0.05
    assert saved["model"]["init_args"]["num_concepts"] is None
    main(["fit", "--config", str(RUN / "config.yaml")])
    first, second = (json.loads((Path("logs/tiny") / f"version_{n}/metrics.json").read_text()) for n in (0, 1))
    assert first["test/loss"] == second["test/loss"]


def test_what_the_user_configures_is_left_alone(tiny: str) -> None:
    own = "{class_path: lightning.pytorch.callbacks.ModelCheckpoint, init_args: {dirpath: mine, filename: a}}"
    main(["fit", "--config", tiny, f"--trainer.callbacks=[{own}]", "--trainer.logger=false"])
    assert Path("mine/a.ckpt").is_file()
    assert not Path("logs/tiny/version_0/checkpoints").exists()


def test_runs_go_below_the_default_root_folder_and_count_threads(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LPR_NUM_THREADS", "1")
    main(["fit", "--config", tiny, "--trainer.default_root_dir", "elsewhere", "--trainer.max_epochs=1"])
    assert Path("elsewhere/logs/tiny/version_0/checkpoints/last.ckpt").is_file()
    assert torch.get_num_threads() == 1


def test_without_a_configuration_the_run_is_called_like_the_model(tiny: str) -> None:
    arguments = ["--model=tiny_parts.TinyModel", "--model.part=tiny_parts.Part", "--data=tiny_parts.TinyData"]
    main(["fit", *arguments, "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"])
    assert Path("logs/TinyModel/version_0/checkpoints/best.ckpt").is_file()
