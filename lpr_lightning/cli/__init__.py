"""The command line: `python -m lpr_lightning fit|validate|test|predict|annotate --config configs/X.yaml`.

Nothing heavy is imported before a subcommand is known, so that `--help` and `--version` answer at once.
"""

from __future__ import annotations

import os
import sys

from lpr_lightning.errors import LPRError

OPTIONS = """\
options of every subcommand:
  --config FILE           a yaml file; later files are laid over earlier ones, flags beat them all
  --model CLASS           a LightningModule, with --model.ARGUMENT VALUE
  --data CLASS            a LightningDataModule, with --data.ARGUMENT VALUE
  --trainer.OPTION VALUE  any option of lightning's Trainer
  --ckpt_path FILE        a checkpoint; `last` and `best` look in the newest run of the same configuration
  --save_every_steps N    save last.ckpt within epochs after every N steps (default: null)
  --save_every_minutes N  save last.ckpt within epochs after every N minutes (default: 15; null: not)
  --test_after_fit BOOL   whether fit ends with a test of the best checkpoint (default: true)
  --allow_untrained       let validate, test and predict go on with random weights
  --allow_package NAME    allow class paths of this package too (repeatable; or LPR_ALLOW_PACKAGES=NAME,NAME)
  --print_config          print the whole configuration and leave
  --traceback             show where an error came from (or LPR_TRACEBACK=1)
"""
HELP = f"""\
usage: python -m lpr_lightning {{fit,validate,test,predict,annotate,search}} [--config FILE ...] [options]

Learning-path and exercise recommendation as PyTorch Lightning modules.

subcommands:
  fit                     train, then test the best checkpoint
  validate                measure on the validation learners
  test                    measure on the test learners
  predict                 write recommendations or predictions for learners
  annotate                give questions solution steps and knowledge concepts, by a language model
  search                  print the questions nearest to a text or a concept
  (each has its own --help, which lists all of its options)

{OPTIONS}
  -h, --help              show this text and leave
  --version               show the version and leave

examples:
  python -m lpr_lightning fit --config configs/grpo.yaml
  python -m lpr_lightning fit --config configs/grpo.yaml --config configs/data/assist09.yaml --data.root DIR
  python -m lpr_lightning test --config configs/grpo.yaml --ckpt_path best
  python -m lpr_lightning annotate --config configs/annotate.yaml
"""
ANNOTATE = "annotate"
SUBCOMMANDS = ("fit", "validate", "test", "predict", ANNOTATE, "search")


def main(args: list[str] | None = None) -> None:
    """Run the command line; `args` are the arguments after the program's name (default: those of this process).

    Errors that lpr_lightning raises on purpose end in one line and exit code 2.

    >>> main(["--version"])  # doctest: +SKIP
    lpr_lightning 0.1.0
    """
    arguments = list(sys.argv[1:] if args is None else args)
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(HELP)
        return
    if arguments[0] == "--version":
        from lpr_lightning import __version__

        sys.stdout.write(f"lpr_lightning {__version__}\n")
        return
    traceback = "--traceback" in arguments or os.environ.get("LPR_TRACEBACK", "") not in ("", "0")
    arguments = [argument for argument in arguments if argument != "--traceback"]
    try:
        if arguments[0] not in SUBCOMMANDS:
            raise LPRError(f"{arguments[0]!r} is no subcommand: expected one of {', '.join(SUBCOMMANDS)}. See --help.")
        if arguments[0] == "search":
            from lpr_lightning.cli.search import search

            search(arguments[1:])
            return
        if arguments[0] == ANNOTATE:
            from lpr_lightning.cli.annotate import run as annotate

            annotate(arguments)
            return
        if not {"-h", "--help"}.isdisjoint(arguments[1:]):
            from lpr_lightning.cli.help import subcommand_help

            sys.stdout.write(subcommand_help(arguments[0], OPTIONS))
            return
        from lpr_lightning.cli.session import run

        run(arguments)
    except LPRError as error:
        if traceback:
            raise
        _say(error)
        raise SystemExit(2) from error
    except KeyboardInterrupt as stop:
        if traceback:
            raise
        again = "the same command goes on" if arguments[0] == ANNOTATE else "fit goes on with --ckpt_path last"
        _say(f"interrupted; {again} where it had begun")
        raise SystemExit(130) from stop


def _say(error: object) -> None:
    """Write an error in one line, once for all processes of a run."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
