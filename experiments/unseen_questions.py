"""Does CalibratedDKT predict answers to questions that no training learner was asked, from their wording?

    python experiments/unseen_questions.py --root DIR --out FOLDER \\
        --vectors contrastive=QUESTIONS.safetensors,CONCEPTS.safetensors --vectors latent=…

DIR holds DBE-KT22. A fifth of its questions, drawn by `--seed`, is taken out of the logs of all but the test learners:
a fit sees no answer to them. It is tested on the answers of test learners. Each pair of vector files is one fit of
configs/calibrated_dkt.yaml; `concepts` is the rival that asks unseen questions by their concepts, with vectors of seen
ones learned by id. AUC on unseen and on seen questions, with a 95 % interval by bootstrap over learners.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from lpr_lightning.cli import main as command_line
from lpr_lightning.datamodules.dbe_kt22 import DBEKT22, LOG
from lpr_lightning.datamodules.source import find_file, open_source

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
SHARE = 0.2
RESAMPLES = 500


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


def interval(probability: Tensor, correct: Tensor, learner: Tensor) -> tuple[float, float, float]:
    """Return the AUC and its 95 % interval by bootstrap over learners."""
    _, group = torch.unique(learner, return_inverse=True)
    rows = [place.nonzero().squeeze(1) for place in (group == one for one in range(int(group.max()) + 1))]
    draw = torch.Generator().manual_seed(0)
    found = []
    for _ in range(RESAMPLES):
        chosen = torch.cat([rows[one] for one in torch.randint(len(rows), (len(rows),), generator=draw).tolist()])
        found.append(binary_auroc(probability[chosen], correct[chosen]))
    low, high = torch.stack(found).quantile(torch.tensor([0.025, 0.975])).tolist()
    return float(binary_auroc(probability, correct)), low, high


def main(words: list[str] | None = None) -> None:
    """Write the data, fit, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vectors", action="append", default=[], help="NAME=QUESTIONS,CONCEPTS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="further flags of every fit")
    options = parser.parse_args(words)
    data_folder = options.out / "data"
    unseen = without_questions(options.root, data_folder, options.seed)
    fits: dict[str, list[str]] = {"concepts": []}
    for one in options.vectors:
        name, _, files = one.partition("=")
        questions, concepts = files.split(",")
        width = next(iter(load_file(questions).values())).shape[1]
        flags = [f"--model.embeddings={questions}", f"--model.concept_embeddings={concepts}"]
        fits[name] = [*flags, f"--model.embedding_size={width}", "--data.keep_unseen_items=true"]
    results = {}
    print(f"unseen questions: {len(unseen)}\n| vectors | AUC, unseen questions | AUC, seen questions |\n|:--|--:|--:|")
    for name, flags in fits.items():
        folder = options.out / name
        if not list(folder.rglob("answers.safetensors")):
            base = ["fit", "--config", str(CONFIGS / "calibrated_dkt.yaml")]
            base += ["--config", str(CONFIGS / "data" / "dbe_kt22.yaml"), f"--data.root={data_folder}"]
            base += [f"--data.seed={options.seed}", "--trainer.enable_progress_bar=false"]
            base += [f"--trainer.default_root_dir={folder}", "--trainer.callbacks=[AnswerWriter]"]
            command_line([*base, *flags, *options.flags])
        answers = load_file(next(iter(folder.rglob("answers.safetensors"))))
        names = DBEKT22(str(data_folder), seed=options.seed).item_names
        held_out = torch.tensor([names.index(one) for one in unseen if one in names] + [-1])
        mark = torch.isin(answers["item"].long(), held_out)
        row = {}
        for title, part in (("unseen", mark), ("seen", ~mark)):
            probability, correct = answers["probability"][part].float(), answers["correct"][part].long()
            row[title] = interval(probability, correct, answers["learner"][part])
        results[name] = row
        cells = " | ".join(f"{auc:.3f} [{low:.3f}, {high:.3f}]" for auc, low, high in row.values())
        print(f"| {name} | {cells} |", flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
