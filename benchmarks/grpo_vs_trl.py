"""How many sampled paths a second GRPO takes in: this package against TRL, on one language model.

Same weights (all are trained), prompts, K, optimizer, number of updates and rewards, from the same simulator in one
call a step; any token of the vocabulary may be written. After each step of TRL's GRPOTrainer the same step is done by
`GroupSampler`, `PolicyLoss` and `LanguageModelNet`, so that both meet the same machine; medians are compared. TRL
writes `steps` tokens for each path, this package up to one more, for the end; the mean is printed. Needs the extra
`benchmark`. The last printed line is JSON: `ratio` is ours over TRL's, in paths a second; asked: 5 on a processor.
`cpu_ratio` is the same by the processor's time of this process, which other processes on the machine disturb less.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from lpr_lightning.draws import Draws
from lpr_lightning.functional.advantage import group_zscore
from lpr_lightning.goals import SoftExam, Targets
from lpr_lightning.models.dkt import DKT
from lpr_lightning.nets.backbones import ConceptTokens, HuggingFace, SmallModel
from lpr_lightning.nets.backbones.language_net import LanguageModelNet
from lpr_lightning.objectives import LearningEffect, Objectives, PolicyLoss
from lpr_lightning.objectives.policy_loss import Tokens
from lpr_lightning.policies.planned import follow_paths
from lpr_lightning.policies.sampled_groups import GroupSampler
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.types import PAD, InteractionBatch, PathRequest, Rollout

CONCEPTS, TARGETS, RATE, TEMPERATURE = 149, 6, 1e-5, 1.0


@dataclass
class Clock:
    """Seconds of each part, step by step."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same function, whose time is kept under `name`."""

        def timing(*args: Any, **others: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*args, **others)
            finally:
                self.add(name, time.perf_counter() - start)

        return timing

    def add(self, name: str, seconds: float) -> None:
        """Keep a time."""
        self.seconds.setdefault(name, []).append(seconds)

    def median(self, name: str, first: int = 1) -> float:
        """Return the median, without the first steps, which set things up."""
        return statistics.median(self.seconds[name][first:])


def requests(count: int, steps: int) -> PathRequest:
    """Return random requests with histories of 50 answers."""
    generator = torch.Generator().manual_seed(0)
    concept = torch.randint(CONCEPTS, (count, 50, 1), generator=generator)
    correct = torch.randint(2, (count, 50), generator=generator).float()
    targets = torch.zeros(count, CONCEPTS, dtype=torch.bool)
    targets[:, :TARGETS] = True
    rows = torch.arange(count)
    history = InteractionBatch(concept, concept[..., 0], correct, torch.ones(count, 50, dtype=torch.bool), rows)
    return PathRequest(history, targets, torch.full((count,), steps), rows, rows)


class Names:
    """What a network asks of data."""

    concept_names: tuple[str, ...] = tuple(f"Concept {number}" for number in range(CONCEPTS))


@dataclass
class Job:
    """One GRPO job by the parts of this package."""

    net: LanguageModelNet
    request: PathRequest
    group: int
    steps: int
    clock: Clock
    tokens: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.simulator, self.goal = KESSimulator(DKT(CONCEPTS, 64, 128)), Targets(SoftExam())
        self.optimizer = torch.optim.AdamW(self.net.parameters(), RATE)
        follow = self.clock.timed("ours reward", self.follow)
        self.sampler = GroupSampler(self.net, follow, Objectives([LearningEffect()]), self.group, TEMPERATURE)
        self.loss = PolicyLoss(entropy_weight=0.0)

    def follow(self, request: PathRequest, path: Tensor, draws: Draws | None) -> Rollout:
        """Let learners follow paths."""
        return follow_paths(self.simulator, self.goal, request, path, draws, self.group)

    def step(self, number: int) -> None:
        """Sample, reward, update."""
        start, used = time.perf_counter(), time.process_time()
        draws = Draws.of(0, number, self.request.row)
        groups = self.sampler(self.request, None, draws)
        sampled_at = time.perf_counter()
        advantage = group_zscore(groups.rewards["learning_effect"]).flatten()
        log_prob, mask, entropy = self.net.log_prob_of(self.request, groups.sampled, self.group, TEMPERATURE)
        tokens = Tokens(log_prob, log_prob.detach(), None, entropy, mask)
        loss, _ = self.loss(tokens, advantage, self.steps)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        end = time.perf_counter()
        self.clock.add("ours sampling", sampled_at - start - self.clock.seconds["ours reward"][-1])
        self.clock.add("ours update", end - sampled_at)
        self.clock.add("ours", end - start)
        self.clock.add("ours cpu", time.process_time() - used)
        self.tokens.append(float(mask.sum()) / len(mask))

    def reward(self, completion_ids: list[list[int]], row: list[int], **others: object) -> list[float]:
        """Return TRL's rewards: learning effects of the paths that tokens write."""
        index = torch.tensor(row[:: self.group])
        read = [self.net.wording.read(tokens, self.steps).path for tokens in completion_ids]
        path = torch.full((len(read), self.steps), PAD)
        for number, concepts in enumerate(read):
            path[number, : len(concepts)] = torch.tensor(concepts)
        taught = self.follow(self.request.select(index), path, None)
        return [float(value) for value in LearningEffect()(taught)]


class Between(TrainerCallback):  # type: ignore[misc]
    """Times TRL's steps, and does one of ours after each."""

    def __init__(self, job: Job, clock: Clock) -> None:
        self.job, self.clock, self.start, self.used = job, clock, 0.0, 0.0

    def on_step_begin(self, *args: object, **others: object) -> None:
        self.start, self.used = time.perf_counter(), time.process_time()

    def on_step_end(self, args: object, state: Any, control: object, **others: object) -> None:
        self.clock.add("trl", time.perf_counter() - self.start)
        self.clock.add("trl cpu", time.process_time() - self.used)
        self.job.step(state.global_step)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--prompt-tokens", type=int, default=60)
    parser.add_argument("--group", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--updates", type=int, default=6, help="the first one is not counted")
    options = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    logging.disable(logging.WARNING)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    torch.manual_seed(0)
    small = SmallModel("qwen2", 128, 3, 4, vocabulary_size=320)
    backbone = HuggingFace(small=small, prompt=ConceptTokens(), lora=None, max_length=options.steps)
    net = backbone.build(CONCEPTS)
    net.connect(Names())  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randint(CONCEPTS, (options.prompts, options.prompt_tokens), generator=generator)
    prompts = [[net.added[number] for number in row] for row in drawn.tolist()]
    net.wording.prompts = lambda request: [prompts[row] for row in request.row.tolist()]  # type: ignore[method-assign]
    clock = Clock()
    job = Job(net, requests(options.prompts, options.steps), options.group, options.steps, clock)

    tokenizer = net.wording.tokenizer
    texts = [tokenizer.decode(ids) for ids in prompts]
    if [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts] != prompts:
        raise RuntimeError("the prompts' texts do not give the prompts' tokens")
    model = copy.deepcopy(net.lm.plain[0])
    model.set_attn_implementation("sdpa")
    rows = options.prompts * options.group
    settings = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=rows,
        num_generations=options.group,
        max_completion_length=options.steps,
        max_steps=options.updates,
        num_train_epochs=options.updates,
        steps_per_generation=1,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        weight_decay=0.01,
        temperature=TEMPERATURE,
        generation_kwargs={"min_new_tokens": options.steps},
        beta=0.0,
        epsilon_high=0.28,
        shuffle_dataset=False,
        use_cpu=not torch.cuda.is_available(),
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    data = Dataset.from_dict({"prompt": texts, "row": list(range(options.prompts))})
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=clock.timed("trl reward", job.reward),
        args=settings,
        train_dataset=data,
        processing_class=tokenizer,
        callbacks=[Between(job, clock)],
    )
    trainer._generate = clock.timed("trl sampling", trainer._generate)
    trainer.train()

    for side in ("trl", "ours"):
        whole, sampling, reward = (clock.median(name) for name in (side, f"{side} sampling", f"{side} reward"))
        print(
            f"{side}: {rows / whole:.0f} paths a second, {whole:.2f} s an update: sampling {sampling:.2f}, "
            f"reward {reward:.2f}, update and the rest {whole - sampling - reward:.2f}"
        )
    print(f"tokens of a path: {statistics.mean(job.tokens):.2f} here, {options.steps} in TRL's")
    ratios, by_processor = (
        [trl / ours for trl, ours in zip(clock.seconds[f"trl{kind}"][1:], clock.seconds[f"ours{kind}"][1:])]
        for kind in ("", " cpu")
    )
    figures = {
        "ratio": round(statistics.median(ratios), 2),
        "cpu_ratio": round(statistics.median(by_processor), 2),
        "ratios": [round(one, 2) for one in ratios],
        "ours": round(rows / clock.median("ours"), 1),
        "trl": round(rows / clock.median("trl"), 1),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
