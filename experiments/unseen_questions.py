"""Does CalibratedDKT predict answers to questions that no training learner was asked, from their wording?

    python experiments/unseen_questions.py --root DIR --out FOLDER \\
        --vectors contrastive=QUESTIONS.safetensors --vectors frozen=QUESTIONS.safetensors,CONCEPTS.safetensors

DIR holds DBE-KT22. A fifth of its questions, drawn by `--seed`, is taken out of the logs of all but the test learners:
a fit sees no answer to them. It is tested on the answers of test learners. Each `--vectors` is one fit of
configs/calibrated_dkt.yaml: with a file of question vectors alone, configs/questions/vector_parts.yaml lays learned
parts over them; with one of concepts too, both are frozen, as in the paper. Rivals: `concepts` asks unseen questions by
their concepts, with vectors of seen ones learned by id; `concepts, dropped` trains its concepts to stand alone
(`shift_dropout`); `logistic sum` is a regression on the concepts' and the learner's mean rates. AUC on unseen and on
seen questions, and how much it is above that of `concepts`, with 95 % intervals by bootstrap over learners.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from lpr_lightning.cli import main as command_line
from lpr_lightning.datamodules.dbe_kt22 import DBEKT22, LOG
from lpr_lightning.datamodules.source import find_file, open_source
from lpr_lightning.functional.open_loop import follow_logs
from lpr_lightning.nets.growth_net import mean_of_known
from lpr_lightning.nets.simple_rivals import LogisticSum
from lpr_lightning.tasks.next_answers import NextAnswers
from lpr_lightning.types import Answers, Exercise, InteractionBatch, Interactions

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
SHARE = 0.2
RESAMPLES = 500
WHOLE = 10_000
"""Answers of the longest window of a test log, as in configs/calibrated_dkt.yaml."""


class ItemFreeSum(LogisticSum):
    """Predicts every answer by logistic regression on the learner's and the concepts' mean, whatever the question."""

    def fit(self, log: Interactions, question: Tensor, correct: Tensor) -> None:
        """Fit the three weights with the concepts' mean in the place of the question's."""
        concept = log.concept.long()
        super().fit(log, mean_of_known(self.concept_rate[concept.clamp_min(0)], concept), correct)

    def question_mean(self, asked: Exercise) -> Tensor:
        """Return the concepts' mean."""
        return self.concept_mean(asked)


def by_hand(data: DBEKT22) -> dict[str, Tensor]:
    """Return the test answers beside the predictions of `ItemFreeSum`, as `AnswerWriter` writes them."""
    rival = ItemFreeSum(data.num_concepts, data.num_items, data.interactions("train"))
    examples = NextAnswers(WHOLE).examples(data.interactions("test"), "test", data.num_concepts, data.seed)
    batch = examples.batch(torch.arange(len(examples.sizes)))
    if not isinstance(batch, InteractionBatch):
        raise TypeError(batch)
    found: Answers = follow_logs(rival, rival.initial_state(len(batch)), batch, horizon=1, stride=WHOLE).answers
    return {name: getattr(found, name) for name in ("probability", "correct", "item", "learner")}


def without_questions(root: Path, out: Path, seed: int) -> list[str]:
    """Write the data set without the answers of training and validation learners to the questions that it returns."""
    data = DBEKT22(str(root), seed=seed)
    drawn = torch.randperm(data.num_items, generator=torch.Generator().manual_seed(seed))
    unseen = [data.item_names[number] for number in drawn[: round(SHARE * data.num_items)].tolist()]
    data.card()
    names = data.learner_names
    tested = {names[number] for number in data.interactions("test").learner.tolist()}
    out.mkdir(parents=True, exist_ok=True)
    for path in root.glob("*.csv*"):
        if not path.name.startswith(LOG) and not (out / path.name).exists():
            (out / path.name).symlink_to(path.resolve())
    with open_source(find_file(root, (LOG,), "")) as file:
        rows = list(csv.DictReader(io.StringIO(file.read().decode())))
    kept = [one for one in rows if one["student_id"] in tested or one["question_id"] not in unseen]
    with gzip.open(out / f"{LOG}.gz", "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(kept)
    return unseen


def resampled(answers: dict[str, Tensor], part: Tensor) -> Tensor:
    """Return the AUC of a part of the answers, then those of the bootstrap over learners, [1 + RESAMPLES].

    Answers of the same learners are resampled alike, so that differences are paired.
    """
    probability, correct = answers["probability"][part].float(), answers["correct"][part].long()
    learner = answers["learner"][part]
    _, group = torch.unique(learner, return_inverse=True)
    rows = [place.nonzero().squeeze(1) for place in (group == one for one in range(int(group.max()) + 1))]
    draw = torch.Generator().manual_seed(0)
    found = [binary_auroc(probability, correct)]
    for _ in range(RESAMPLES):
        chosen = torch.cat([rows[one] for one in torch.randint(len(rows), (len(rows),), generator=draw).tolist()])
        found.append(binary_auroc(probability[chosen], correct[chosen]))
    return torch.stack(found)


def with_interval(values: Tensor, sign: str = "") -> str:
    """Return the first of the values and the 95 % interval of the others, in words."""
    low, high = values[1:].quantile(torch.tensor([0.025, 0.975])).tolist()
    return f"{float(values[0]):{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def main(words: list[str] | None = None) -> None:
    """Write the data, fit, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vectors", action="append", default=[], help="NAME=QUESTIONS[,CONCEPTS]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="further flags of every fit")
    options = parser.parse_args(words)
    data_folder = options.out / "data"
    unseen = without_questions(options.root, data_folder, options.seed)
    parts = ["--config", str(CONFIGS / "questions" / "vector_parts.yaml")]
    alone = ["--model.shift_dropout=0.5", "--data.keep_unseen_items=true"]
    fits: dict[str, list[str]] = {"concepts": [], "concepts, dropped": alone}
    for one in options.vectors:
        name, _, files = one.partition("=")
        questions, _, concepts = files.partition(",")
        width = next(iter(load_file(questions).values())).shape[1]
        flags = [f"--model.embeddings={questions}", "--data.keep_unseen_items=true"]
        frozen = [f"--model.concept_embeddings={concepts}", f"--model.embedding_size={width}"]
        fits[name] = [*flags, *(frozen if concepts else [*parts, f"--model.given_size={width}"])]
    first: dict[str, Tensor] = {}
    print(f"unseen questions: {len(unseen)}\n| vectors | unseen questions | above | seen questions | above |")
    print("|:--|--:|--:|--:|--:|")
    for name, flags in [*fits.items(), ("logistic sum", [])]:
        folder = options.out / name
        data = DBEKT22(str(data_folder), seed=options.seed, keep_unseen_items=True)
        if name != "logistic sum" and not list(folder.rglob("answers.safetensors")):
            base = ["fit", "--config", str(CONFIGS / "calibrated_dkt.yaml")]
            base += ["--config", str(CONFIGS / "data" / "dbe_kt22.yaml"), f"--data.root={data_folder}"]
            base += [f"--data.seed={options.seed}", "--trainer.enable_progress_bar=false"]
            base += [f"--trainer.default_root_dir={folder}", "--trainer.callbacks=[AnswerWriter]"]
            command_line([*base, *flags, *options.flags])
        written = list(folder.rglob("answers.safetensors"))
        answers = load_file(written[0]) if written else by_hand(data)
        held_out = torch.tensor([data.item_names.index(one) for one in unseen if one in data.item_names] + [-1])
        mark, cells = torch.isin(answers["item"].long(), held_out), []
        for title, part in (("unseen", mark), ("seen", ~mark)):
            values = resampled(answers, part)
            above = values - first.setdefault(title, values)
            cells += [with_interval(values), with_interval(above, "+")]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
