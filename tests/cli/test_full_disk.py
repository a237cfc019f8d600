"""A disk that is full, and a file that cannot be written, are one line each; no half-written file stays."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from pathlib import Path

import pytest
import yaml

from lpr_lightning.cli import main

BOARD = "--trainer.logger={class_path: TensorBoardLogger, init_args: {save_dir: boards, max_queue: 1}}"


def told_with_small_files(size: int, arguments: list[str]) -> tuple[int | None, list[str]]:
    """Run a command line in a process that can't write files beyond `size` bytes; return exit code and what it told."""
    told = Path("told.txt")

    def limited() -> None:
        with told.open("w", encoding="utf-8") as file:
            sys.stderr = file
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            main(arguments)

    process = multiprocessing.get_context("fork").Process(target=limited)
    process.start()
    process.join(60)
    return process.exitcode, told.read_text(encoding="utf-8").splitlines()


def test_a_configuration_that_does_not_fit_is_one_line_and_no_half_file(tiny: str) -> None:
    code, told = told_with_small_files(1000, ["fit", "--config", tiny, "--trainer.logger=false"])
    assert code == 2
    (line,) = [one for one in told if one.startswith("error: ")]
    assert "config.yaml could not be written: File too large" in line
    assert not any("Traceback" in one for one in told)
    assert not list(Path("logs").rglob("*config.yaml*"))


def test_events_that_do_not_fit_are_one_line_whichever_thread_writes_them(tiny: str) -> None:
    words = ["--trainer.enable_checkpointing=false", "--trainer.log_every_n_steps=1", "--trainer.max_epochs=400"]
    code, told = told_with_small_files(20_000, ["fit", "--config", tiny, BOARD, "--test_after_fit=false", *words])
    assert code == 2
    assert len([one for one in told if one.startswith("error: ")]) == 1
    assert "could not be written: File too large" in told[-1]
    assert not any("Traceback" in one for one in told)
    (saved,) = Path("boards").rglob("config.yaml")
    assert yaml.safe_load(saved.read_text(encoding="utf-8"))["trainer"]["max_epochs"] == 400


def test_a_file_that_is_no_place_to_write_is_named(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["fit", "--config", tiny])
    (saved,) = Path("logs").rglob("config.yaml")
    saved.unlink()
    saved.mkdir()
    (saved / "kept").touch()
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", tiny, "--ckpt_path=last", "--trainer.max_epochs=3"])
    error = capsys.readouterr().err
    assert "config.yaml could not be written: Is a directory" in error
    assert "Traceback" not in error


def test_other_errors_of_the_system_stay_what_they_are(tiny: str) -> None:
    with pytest.raises(FileNotFoundError):
        main(["fit", "--config", tiny, "--trainer.callbacks=tiny_parts.ReadsNothing"])
