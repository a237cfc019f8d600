"""`python -m lpr_lightning search`: the questions nearest to a text or to a concept."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from lpr_lightning.errors import SettingError, checked
from lpr_lightning.functional.contrastive import cosine
from lpr_lightning.hparams import load_module
from lpr_lightning.models.question_contrastive import QuestionContrastive
from lpr_lightning.question_files import load_questions
from lpr_lightning.vector_files import load_vectors

EPILOG = """\
examples:
  python -m lpr_lightning search --ckpt_path logs/contrastive/version_0/checkpoints/best.ckpt \\
      --questions bank.jsonl --text "How many marbles are red?"
  python -m lpr_lightning search --ckpt_path best.ckpt --questions bank.jsonl --concept "Adding fractions" --count 10
"""


def search(words: Sequence[str]) -> None:
    """Print the questions of a file nearest to a text or a concept.

    Raises:
        SettingError: an argument is out of its range, or the checkpoint is no QuestionContrastive's.
        MissingFileError: a file is not there.
    """
    parser = argparse.ArgumentParser("python -m lpr_lightning search", description=__doc__, epilog=EPILOG)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--ckpt_path", required=True, help="checkpoint of a QuestionContrastive")
    parser.add_argument("--questions", required=True, help="file of questions: .jsonl, or .json of KCQRL or ExRec")
    parser.add_argument("--vectors", help="their vectors, as predict wrote them; otherwise they are encoded now")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--text", help="a question, or a part of one, in words")
    wanted.add_argument("--concept", help="the name of a knowledge concept, known or new")
    parser.add_argument("--count", type=int, default=5, help="how many (default: 5)")
    options = parser.parse_args(list(words))
    count = checked("count", options.count, 1)
    module = load_module(options.ckpt_path)
    if not isinstance(module, QuestionContrastive):
        raise SettingError("ckpt_path", options.ckpt_path, "a checkpoint of QuestionContrastive")
    module.eval()
    bank = load_questions(options.questions).questions
    with torch.no_grad():
        asked = module([options.text], "[Q]") if options.concept is None else module([options.concept], "[KC]")
        if options.vectors is None:
            vectors = module.question_vectors(bank.questions)
        else:
            names = {name: number for number, name in enumerate(bank.names)}
            vectors = load_vectors(Path(options.vectors), names, module.net.width, ignore_unknown=True)
    near = cosine(F.normalize(asked.float(), dim=-1), vectors).squeeze(0)
    table = Table("similarity", "question", "text", "concepts", title=f"nearest to {options.text or options.concept!r}")
    for place in near.argsort(descending=True, stable=True)[:count].tolist():
        one = bank[place]
        table.add_row(f"{float(near[place]):.3f}", one.name, " ".join(one.wording.split()), "; ".join(one.concepts))
    Console().print(table)
