"""`python -m lpr_lightning annotate`: questions get solution steps, knowledge concepts and their mapping."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from jsonargparse import ActionConfigFile, ActionYesNo, Namespace
from lightning.pytorch import LightningDataModule
from rich.console import Console

from lpr_lightning.annotation.asker import Retries
from lpr_lightning.annotation.budget import Budget, Prices
from lpr_lightning.annotation.chat import Client
from lpr_lightning.annotation.concepts import Requests
from lpr_lightning.annotation.demo import MODEL, script_of
from lpr_lightning.annotation.extension import Extension
from lpr_lightning.annotation.extension_job import ExtensionJob
from lpr_lightning.annotation.progress import Progress
from lpr_lightning.annotation.prompt_templates import Templates, copy_templates
from lpr_lightning.annotation.scripted_server import ScriptedServer
from lpr_lightning.annotation.store import in_use
from lpr_lightning.annotation.work import SET_ASIDE, ConceptJob, Limits, Plan, Status, still_to_ask
from lpr_lightning.annotation.worker import GRACE, Described, built_client, follow
from lpr_lightning.cli import closest, names, registry
from lpr_lightning.cli.parsing import CommandLine, Parser, Settings, read_config
from lpr_lightning.errors import LPRError, SettingError
from lpr_lightning.protocols import HasQuestions
from lpr_lightning.question_files import load_questions
from lpr_lightning.questions import Question

JobName = Literal["annotate", "extend"]
ENDPOINT = "lpr_lightning.annotation.endpoint.ChatEndpoint"
_PARTS = {"templates": Templates, "retries": Retries, "prices": Prices, "limits": Limits}


class Found(NamedTuple):
    """Questions to annotate, and what was left out or mended, by reason."""

    questions: list[Question]
    counts: dict[str, int]


def run(arguments: list[str]) -> Status | Requests | None:
    """Run the subcommand; return how it ended, what it would take (`--dry_run`), or None (`--copy_templates`)."""
    line = CommandLine.parse(arguments)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    with registry.allowed(line.packages), names.understood():
        given = parse(line)
        if given.copy_templates is not None:
            written = copy_templates(given.copy_templates)
            console.print(f"{len(written)} templates written to {given.copy_templates}")
            return None
        plan, client = plan_of(given), client_of(given)
        found = questions_of(given)
    chosen = plan.chosen(found.questions)
    told = "".join(f"; {what} {count:,}" for what, count in found.counts.items())
    console.print(f"{len(chosen):,} of {len(found.questions):,} questions{told}")
    with ExitStack() as stack:
        if given.demo:
            server = stack.enter_context(ScriptedServer(script_of(chosen)))
            console.print(f"a scripted server answers at {server.url}: nothing leaves this machine")
            client = Described(
                class_path=ENDPOINT, init_args={"model": MODEL, "base_url": server.url, "api_key_env": None}
            )
            if given.job == "annotate":
                chosen = [replace(one, steps=(), concepts=(), pairs=()) for one in chosen]
        if client is None:
            raise SettingError(
                "client", None, "a language model", "Give --client ChatEndpoint --client.model NAME, or --demo"
            )
        extension = Extension(**vars(given.extension)) if given.job == "extend" else None
        job: ConceptJob | ExtensionJob = ConceptJob(chosen, plan)
        if extension is not None:
            job = ExtensionJob(chosen, plan, extension)
        if given.dry_run:
            return _dry_run(console, job, chosen, client, plan)
        return _asked(console, job, chosen, client, plan, extension)


def parse(line: CommandLine) -> Namespace:
    """Return the settings of a command line and its configuration files.

    Raises:
        LPRError: a setting is unknown or of the wrong type.
    """
    layers: list[Settings] = [read_config(name, names.short_names()) for name in line.configs]
    what = "Solution steps, knowledge concepts and their mapping for questions, by a language model."
    parser = Parser(prog="python -m lpr_lightning annotate", description=what, allow_abbrev=False)
    parser.add_argument("--config", action=ActionConfigFile, help="A yaml file; later ones are laid over earlier ones.")
    parser.add_argument("--questions", type=str | None, help="A file: .jsonl, or .json of KCQRL and ExRec.")
    parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True, required=False)
    parser.add_subclass_arguments(Client, "client", required=False, help="The language model.")
    for name, kind in _PARTS.items():
        parser.add_argument(f"--{name}", type=kind, default=kind())
    parser.add_argument("--folder", type=str, default="logs/annotate", help="Where answers and files go.")
    parser.add_argument("--keep", type=bool, default=True, help="Keep steps, concepts and pairs that questions have.")
    parser.add_argument("--attempts", type=int, default=3, help="How often a request is asked until it is valid.")
    parser.add_argument("--workers", type=int, default=8, help="How many questions at once.")
    jobs = get_args(JobName)
    parser.add_argument("--job", type=JobName, default=jobs[0], help="Annotate questions, or extend annotated ones.")
    parser.add_argument("--extension", type=Extension, default=Extension())
    parser.add_argument("--demo", action=ActionYesNo(no_prefix="no_"), default=False, help="Ask a scripted server.")
    parser.add_argument("--dry_run", action="store_true", help="Say what it would cost, and send nothing.")
    parser.add_argument("--copy_templates", type=str | None, help="Write the templates into a folder, and leave.")
    arguments = [*(f"--config={json.dumps(layer)}" for layer in layers), *line.flags]
    try:
        return parser.parse_args(arguments)
    except LPRError as error:
        hint = closest.advice(str(error), layers, line.flags) or _hint(str(error), list(vars(parser.get_defaults())))
        raise LPRError(f"{str(error).rstrip('.')}.{hint}") if hint else error from error


def _hint(message: str, options: Sequence[str]) -> str:
    """Return a sentence that names the option which an unknown one was perhaps meant to be; else an empty text."""
    unknown = re.search(r"unrecognized arguments: --(\w+)", message)
    close = get_close_matches(unknown[1], options, n=1) if unknown else []
    return f" Did you mean --{close[0]}?" if close else ""


def plan_of(given: Namespace) -> Plan:
    """Return the plan that settings describe.

    Raises:
        SettingError: a number out of its range.
        MissingFileError, DataError: of the templates.
    """
    parts = {name: kind(**vars(given[name])) for name, kind in _PARTS.items()}
    folder = Path(given.folder) / "demo" if given.demo else Path(given.folder)
    plan = Plan(str(folder), keep=given.keep, attempts=given.attempts, workers=given.workers, **parts)
    Budget(plan.prices, plan.limits.tokens, plan.limits.money)
    return plan


def client_of(given: Namespace) -> Described | None:
    """Return the client that settings describe; None where there is none."""
    if given.client is None:
        return None
    return Described(class_path=given.client.class_path, init_args=given.client.init_args.as_dict())


def questions_of(given: Namespace) -> Found:
    """Return the questions of the file that settings name, else of their data; those without words are left out.

    Raises:
        SettingError: neither is given, or the data has no questions in words.
        MissingFileError, DataError: of the file.
    """
    if given.questions is not None:
        read = load_questions(given.questions)
        every, counts = read.questions.questions, dict(read.counts)
    elif given.data is not None:
        every, counts = _questions_of_data(given.data), {}
    else:
        raise SettingError("questions", None, "questions in words", "Give --questions FILE.jsonl, or --data CLASS")
    worded = [one for one in every if one.text.strip()]
    if len(worded) < len(every):
        counts["without words, left out"] = len(every) - len(worded)
    if not worded:
        raise SettingError("questions", given.questions, "questions in words: none of them has a text")
    return Found(worded, counts)


def _questions_of_data(config: Namespace) -> tuple[Question, ...]:
    builder = registry.Builder()
    alone = Parser()
    alone.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True)
    with builder.unwrapped():
        data = alone.instantiate(Namespace(data=config), instantiators=[(builder, object, True)]).data
    if not isinstance(data, HasQuestions):
        raise SettingError("data", type(data).__name__, "data with questions in words", "Give --questions FILE.jsonl")
    return data.questions.questions


def _dry_run(
    console: Console, job: ConceptJob | ExtensionJob, questions: Sequence[Question], client: Described, plan: Plan
) -> Requests:
    """Say what the questions would still cost."""
    arguments = dict(client["init_args"])
    if client["class_path"] == ENDPOINT:
        arguments["api_key_env"] = None  # nothing is sent
    model = built_client(Described(class_path=client["class_path"], init_args=arguments))
    needed = still_to_ask(job.still_to_ask, questions, model, plan)
    cost = plan.prices.cost(needed.prompt_tokens, needed.answer_tokens)
    unknown = "give --prices.prompt and --prices.answer, of a million tokens, to see the money"
    console.print(
        f"{model.model}: {needed.requests:,} requests to send, about {needed.prompt_tokens:,.0f} tokens sent and "
        f"{needed.answer_tokens:,.0f} received: {unknown if cost is None else f'about {cost:,.2f}'}. "
        "Answers that are not valid are asked again, on top of it. Nothing was sent."
    )
    return needed


def _asked(
    console: Console,
    job: ConceptJob | ExtensionJob,
    questions: Sequence[Question],
    client: Described,
    plan: Plan,
    extension: Extension | None,
) -> Status:
    """Do the job, and say how it ended."""
    timeout = client["init_args"].get("timeout")
    wait = GRACE + (float(timeout) if isinstance(timeout, int | float) else 60.0)
    if in_use(plan.store):
        console.print(f"another process still uses {plan.folder}: waiting for its requests, at most {wait:.0f} seconds")
    with Progress(console, job.total) as progress:
        status = follow(client, plan, questions, wait, progress, extension)
    console.print(str(status))
    if status.lost:
        console.print(
            f"{status.lost:,} requests were under way when an earlier run was killed; they may have been charged"
        )
    for reason, count in sorted(status.set_aside.items(), key=lambda one: -one[1])[:5]:
        console.print(f"  set aside {count:,}: {reason}", markup=False)
    if status.stopped:
        left = status.total - status.done - sum(status.set_aside.values())
        console.print(f"left {left:,}: {status.stopped}; the same command goes on", markup=False)
    folder = Path(plan.folder)
    aside = f", {folder / SET_ASIDE}" if status.set_aside else ""
    console.print(f"written: {folder / job.file}{aside}")
    return status
