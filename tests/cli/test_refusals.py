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


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out == f"lpr_lightning {__version__}\n"


def test_errors_of_the_package_have_one_base() -> None:
    assert issubclass(UntrainedModelError, LPRError)
