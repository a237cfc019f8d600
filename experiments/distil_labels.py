"""Ask a language model, offline, for what LDSim distils: prerequisites of concepts, and mastery from answers.

    python experiments/distil_labels.py --data dbe_kt22 --root DIR --model NAME --base_url URL --out labels/dbe_kt22

Two jobs, one after the other. Of every concept it is asked which others it builds on (a request a concept); then, at
`--prefixes` random moments of training learners' logs, how well the learner masters `--concepts` concepts, practised
ones and others (a request a moment, three where the endpoint gives no token probabilities). Answers are checked and
stored at once: the same command goes on where it was stopped, and pays for no answer twice. `--dry_run` counts what
would be asked and sends nothing.

`--out` then holds `prerequisites.jsonl` and `labels.jsonl`, for `--model.graph` and `--model.labels` of LDSim, and what
was set aside with the reasons. Only training learners' answers are sent, without names: concepts, and right or wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lpr_lightning.annotation import ChatEndpoint, Prices, Templates
from lpr_lightning.annotation.chat import Client
from lpr_lightning.annotation.distillation import PREREQUISITES, RECORDS, Prefix, ask_mastery, ask_prerequisites
from lpr_lightning.annotation.work import Limits, Plan, Status
from lpr_lightning.datamodules.base import LearnerDataModule
from lpr_lightning.distilled_files import load_concept_relations
from lpr_lightning.draws import Draws
from lpr_lightning.errors import LPRError
from lpr_lightning.functional.prefix_sample import concepts_to_judge, sampled_moments
from lpr_lightning.studies.tracer_fits import data_description, data_module

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def prefixes_of(data: LearnerDataModule, count: int, concepts: int, weight: Tensor, seed: int) -> list[Prefix]:
    """Return random moments of training learners, with the concepts to judge and the prerequisites around them.

    Args:
        data: whose training learners are shown.
        count: how many moments.
        concepts: to judge at each.
        weight: how surely each concept builds on each other one, [N, N].
        seed: of learners, moments and concepts.
    """
    log, names = data.interactions("train"), data.concept_names
    place, step = sampled_moments(log, count, seed)
    practised = torch.zeros(len(place), data.num_concepts, dtype=torch.int64)
    batch = log.batch(place, stop=step)
    for number in range(batch.mask.shape[1]):
        concept = batch.concept[:, number].clamp_min(0)
        seen = batch.mask[:, number, None] & (batch.concept[:, number] >= 0)
        practised.scatter_reduce_(1, concept, torch.where(seen, number + 1, 0), "amax")
    draws = Draws.of(seed, 1, torch.arange(len(place)))
    chosen = concepts_to_judge(practised, weight > 0, concepts, draws).tolist()
    found = []
    for row in range(len(place)):
        judged = [one for one in chosen[row] if one >= 0]
        pairs = [(int(j), c) for c in judged for j in weight[c].nonzero().squeeze(1)]
        first = max(int(step[row]) - RECORDS, 0)
        records = [
            (" and ".join(names[one] for one in batch.concept[row, number].tolist() if one >= 0), right == 1)
            for number, right in enumerate(batch.correct[row, : int(step[row])].tolist())
            if number >= first
        ]
        found.append(
            Prefix(
                int(log.learner[place[row]]),
                int(step[row]),
                tuple(records),
                tuple(names[one] for one in judged),
                tuple((names[j], names[c]) for j, c in pairs),
            )
        )
    return found


def say(what: str, status: Status) -> None:
    """Show how far a job is."""
    print(f"\r{what}: {status}", end="", flush=True)


def distil(
    data: LearnerDataModule, client: Client, plan: Plan, prefixes: int, concepts: int, seed: int
) -> list[Status]:
    """Run both jobs; return how they ended."""
    names = data.concept_names
    if len(set(names)) < len(names):
        names = list({number: name for name, number in data.concept_vocabulary.items()}.values())
    first = ask_prerequisites(names, client, plan, report=lambda status: say("prerequisites", status))
    print()
    if first.stopped:
        return [first]
    path = Path(plan.folder) / PREREQUISITES
    empty = not path.read_text(encoding="utf-8").strip()
    count = data.num_concepts
    weight = torch.zeros(count, count) if empty else load_concept_relations(path, data.concept_vocabulary, count)
    chosen = prefixes_of(data, prefixes, concepts, weight, seed)
    second = ask_mastery(chosen, client, plan, report=lambda status: say("mastery", status))
    print()
    return [first, second]


def options_of(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="synthetic", help="synthetic, or the name of an overlay in configs/data")
    parser.add_argument("--root", help="folder of the data set")
    parser.add_argument("--out", type=Path, required=True, help="folder of answers and files")
    parser.add_argument("--model", required=True, help="the model's name at the endpoint")
    parser.add_argument("--base_url", help="the endpoint, such as http://localhost:8000/v1; default OpenAI's")
    parser.add_argument("--api_key_env", help="environment variable that holds the key; default none")
    parser.add_argument("--prefixes", type=int, default=500, help="moments at which mastery is asked for")
    parser.add_argument("--concepts", type=int, default=8, help="concepts that are judged at each")
    parser.add_argument("--workers", type=int, default=8, help="requests at once")
    parser.add_argument("--max_tokens", type=int, help="sent and received at most, all runs in the folder together")
    parser.add_argument("--prompt_price", type=float, help="of a million tokens that are sent")
    parser.add_argument("--answer_price", type=float, help="of a million tokens that are received")
    parser.add_argument("--max_money", type=float, help="most that all runs in the folder may cost together")
    parser.add_argument("--templates", help="folder of own prompts; default ours")
    parser.add_argument("--seed", type=int, default=0, help="of moments and concepts")
    parser.add_argument("--dry_run", action="store_true", help="count the requests, send none")
    options, extra = parser.parse_known_args(words)
    if extra and not all(word.startswith("--data.") for word in extra):
        parser.error(f"{' '.join(extra)} is unknown; only --data.ARGUMENT=VALUE may be added")
    if min(options.prefixes, options.concepts) < 1:
        parser.error("--prefixes and --concepts must be 1 or more")
    options.extra = extra
    return options


def main(words: Sequence[str] | None = None) -> None:
    """Ask what is still to be asked, and write."""
    options = options_of(words)
    config = CONFIGS / "grpo.yaml" if options.data == "synthetic" else CONFIGS / "data" / f"{options.data}.yaml"
    try:
        data = data_module(data_description(config, options.root, options.extra)[0])
        if options.dry_run:
            count = len(sampled_moments(data.interactions("train"), options.prefixes, options.seed)[0])
            print(
                f"{data.num_concepts} requests for prerequisites, {count} for mastery, three times as many of these "
                "where the endpoint gives no token probabilities"
            )
            return
        prices = Prices(options.prompt_price, options.answer_price)
        limits = Limits(tokens=options.max_tokens, money=options.max_money)
        plan = Plan(
            str(options.out), Templates(options.templates), workers=options.workers, prices=prices, limits=limits
        )
        client = ChatEndpoint(options.model, options.base_url, options.api_key_env)
        found = distil(data, client, plan, options.prefixes, options.concepts, options.seed)
    except LPRError as error:
        raise SystemExit(f"error: {error}") from error
    print(json.dumps({"tokens": found[-1].tokens, "money": found[-1].money, "out": str(options.out)}))
    if stopped := [one.stopped for one in found if one.stopped]:
        raise SystemExit(f"stopped: {stopped[0]}. The same command goes on.")


if __name__ == "__main__":
    main(sys.argv[1:])
