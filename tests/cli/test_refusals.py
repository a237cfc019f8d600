"""Is what cannot work refused early, in one line, with exit code 2?"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lpr_lightning import __version__, hparams
from lpr_lightning.cli import main
from lpr_lightning.errors import LPRError, UntrainedModelError


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that a refused command line ends in."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize("subcommand", ["validate", "test", "predict"])
def test_an_untrained_model_is_refused(tiny: str, subcommand: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "needs a trained model" in refused([subcommand, "--config", tiny], capsys)
    main([subcommand, "--config", tiny, "--allow_untrained"])


def test_the_refusal_has_a_type_when_the_traceback_is_wanted(tiny: str) -> None:
    with pytest.raises(UntrainedModelError):
        main(["test", "--config", tiny, "--traceback"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model=evil_module.Model"],
        ["--model.part", "evil_module.Part"],
        ["--trainer.callbacks=evil_module.Callback"],
        ["--config=evil.yaml"],
        ["--trainer.logger={class_path: evil_module.Logger}"],
    ],
)
def test_class_paths_of_other_packages_are_refused_before_anything_is_imported(
    tiny: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("evil_module.py").write_text("from pathlib import Path\nPath('imported').touch()\n")
    Path("evil.yaml").write_text("model: {class_path: evil_module.Model}\n")
    sys.path.insert(0, ".")
    try:
        error = refused(["fit", "--config", tiny, *arguments], capsys)
    finally:
        sys.path.remove(".")
    assert "evil_module" in error
    assert "--allow_package evil_module" in error
    assert not Path("imported").exists()


def test_a_package_is_allowed_by_name_for_one_command_only(
    tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LPR_ALLOW_PACKAGES")
    arguments = ["fit", "--config", tiny, "--trainer.fast_dev_run=1"]
    main([*arguments, "--allow_package", "tiny_parts"])
    assert "tiny_parts" not in hparams.ALLOWED_PACKAGES
    assert "--allow_package tiny_parts" in refused(arguments, capsys)
    assert "allow_package='a.b'" in refused([*arguments, "--allow_package=a.b"], capsys)


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["fit", "--config", "nowhere.yaml"], "nowhere.yaml was not found in"),
        (["fit", "--config", "tiny.yaml", "--model.lrr=1"], "lrr"),
        (["fit", "--config", "tiny.yaml", "--trainer.max_epoch=1"], "max_epoch"),
        (["fit", "--config", "tiny.yaml", "--model.part.scale=-1"], "scale=-1.0 cannot be used"),
        (["fit", "--config", "tiny.yaml", "--model.part.scale=x"], "scale"),
        (["fit", "--config", "broken.yaml"], "a yaml file"),
        (["fit", "--config"], "a value after it"),
        (["train"], "'train' is no subcommand"),
    ],
)
def test_mistakes_are_named_in_a_few_words(
    tiny: str, arguments: list[str], printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.yaml").write_text("a: [1,\n")
    error = refused(arguments, capsys)
    assert printed in error
    assert len(error.splitlines()) == 1
    assert not Path("logs").exists()


@pytest.mark.parametrize(
    ("flag", "meant"),
    [
        ("--model.lrr=1", "lr"),
        ("--model.part.scal=1", "scale"),
        ("--data.bach_size=1", "batch_size"),
        ("--trainer.max_epoch=1", "--trainer.max_epochs"),
        ("--seed_evrything=1", "--seed_everything"),
        ("--modle.lr=1", "--model.lr"),
        ("--model=DTK", "DKT"),
        ("--model=lpr_lightning.models.dkt.DTK", "DKT"),
        ("--trainer.callbacks=[PathSample]", "PathSamples"),
        ("--trainer.callbacks=[{class_path: PathSampels}]", "PathSamples"),
        ("--config=misspelt.yaml", "trainer.max_epochs"),
    ],
)
def test_what_is_misspelt_is_told_its_closest(
    tiny: str, flag: str, meant: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("misspelt.yaml").write_text("trainr: {max_epochs: 1}\n")
    monkeypatch.setenv("LPR_ALLOW_PACKAGES", "tiny_parts")
    assert f"Did you mean {meant}?" in refused(["fit", "--config", tiny, flag], capsys)


def test_a_misspelt_task_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    tasks = "--data.further_tasks={longer: PathRequest}"
    assert "PathRequest" in refused(["fit", "--model=DKT", "--data=SyntheticLearners", tasks], capsys)


def test_an_overlay_before_the_file_that_undoes_it_is_refused(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("overlay.yaml").write_text("trainer: {max_epochs: 1}\n")
    Path("other.yaml").write_text("trainer: {log_every_n_steps: 1, fast_dev_run: 1}\n")
    error = refused(["fit", "--config", "overlay.yaml", "--config", tiny], capsys)
    assert "tiny.yaml undoes trainer.max_epochs of overlay.yaml; give --config tiny.yaml --config overlay.yaml" in error
    main(["fit", "--config", "other.yaml", "--config", tiny])


@pytest.mark.parametrize(
    ("flag", "printed"),
    [
        ("--trainer.accelerator=tpu", "torch_xla"),
        ("--trainer.devices=-3", "devices"),
        ("--trainer.accelerator=gpuu", "--trainer.accelerator auto"),
        ("--trainer.strategy=dpp", "strategy='dpp'"),
        ("--trainer.logger=lightning.pytorch.loggers.CometLogger", "a package is missing"),
        ("--model.missing=no_such_package", "a package is missing: No module named 'no_such_package'"),
    ],
)
def test_what_this_machine_lacks_is_one_line_and_leaves_no_folder(
    tiny: str, flag: str, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed in refused(["fit", "--config", tiny, flag], capsys).splitlines()[-1]
    assert not Path("logs").exists()


def test_an_interruption_of_the_start_is_one_line(
    tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", "--config", tiny, "--trainer.max_epochs=1"])

    def interrupt(*_: object) -> None:
        assert Path("logs/tiny/version_1").is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr("lpr_lightning.cli.session.LightningCLI._instantiate_trainer", interrupt)
    capsys.readouterr()
    with pytest.raises(SystemExit, match="130"):
        main(["fit", "--config", tiny])
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: interrupted")
    assert [path.name for path in Path("logs/tiny").iterdir()] == ["version_0"]


def test_threads_must_be_a_number(
    tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LPR_NUM_THREADS", "many")
    assert "LPR_NUM_THREADS='many'" in refused(["fit", "--config", tiny], capsys)


@pytest.mark.parametrize("word", ["--help", "-h", None])
def test_help_names_every_subcommand(word: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    main([word] if word else [])
    text = capsys.readouterr().out
    assert all(name in text for name in ("fit", "validate", "test", "predict", "--ckpt_path", "--allow_untrained"))


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_of_a_subcommand_lists_every_option(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LPR_CACHE", str(tmp_path))
    main(["fit", word])
    text = capsys.readouterr().out
    options = (
        "--trainer.max_epochs",
        "--model DKT:",
        "--model.hidden_size",
        "--data ASSIST09:",
        "--data.further_tasks",
    )
    assert all(option in text for option in (*options, "--allow_package", "--ckpt_path", "--data.world"))
    (file,) = (tmp_path / "help").iterdir()
    file.write_text("kept")
    main(["fit", "--config=any.yaml", word])
    assert capsys.readouterr().out == "kept"
    monkeypatch.setattr("lpr_lightning.__version__", "0.0.0")
    main(["fit", word])
    assert capsys.readouterr().out == text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out == f"lpr_lightning {__version__}\n"


def test_errors_of_the_package_have_one_base() -> None:
    assert issubclass(UntrainedModelError, LPRError)
