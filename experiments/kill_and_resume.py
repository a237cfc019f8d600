"""Kill every method at random moments, go on, and compare the end with that of a run that nobody disturbed.

    python experiments/kill_and_resume.py --out kills --kills 20

For each configuration in `configs/`, small as in `tests/conformance/cases.py`: one undisturbed fit, then for each
kill a fit that gets SIGKILL at a random moment, and `fit --ckpt_path last` (where that says that there is nothing to
resume, the fit again from the beginning). Moments are drawn by turns from the whole duration and from the part after
the set-up. Equal are two ends whose weights, optimizer states and every row of `metrics.csv` are the same in each
bit. Beside them a plain Lightning module (dropout, a shuffling DataLoader, Adam), once as it is with Lightning's own
checkpoints, once with `ExactResume`, `LastCheckpoint` and `SafeCheckpointIO`. Then kills while a checkpoint is saved
over and over, with the folder for temporary files on another file system.

Each run is a process of its own, forked after the imports. Interrupt it when you like: what is done is in
`<out>/kills.json`, and the same command goes on. The table goes into `--document`, between its two marks.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.context import ForkProcess
from pathlib import Path

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lpr_lightning.cache import STAGED, atomic_write
from lpr_lightning.callbacks import ExactResume, LastCheckpoint, SafeCheckpointIO
from lpr_lightning.checks.method import differences
from lpr_lightning.cli import main as command_line
from lpr_lightning.cli import session as _session  # noqa: F401, imported before runs are forked

PROJECT = Path(__file__).resolve().parents[1]
SAVED_EVERY, EPOCHS, ROWS, SIZE = 3, 3, 800, 8
PLAIN_EVERY = 7
"""Steps from one checkpoint of the plain module to the next."""
START, END = "<!-- kills -->", "<!-- end of kills -->"
OURS, STOCK = "plain module with ExactResume, LastCheckpoint, SafeCheckpointIO", "plain module, stock Lightning"
BEFORE, SAVING = "before the first checkpoint", "while saving"
Fit = Callable[[Path, bool], None]
"""A fit with its root folder, and whether it goes on."""


@dataclass
class Kill:
    """One kill and what came of it: the share of the run's duration, where it hit, how the end compares."""

    moment: float
    phase: str
    outcome: str


class Plain(LightningModule):
    """A module that knows nothing of this package."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = (self.net(batch[0]) - batch[0].sum(1, keepdim=True)).square().mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def plain_fit(stock: bool, folder: Path, resume: bool) -> None:
    """Fit the plain module, or go on with it."""
    seed_everything(0, verbose=False)
    module = Plain()
    rows = torch.randn(ROWS, 8, generator=torch.Generator().manual_seed(1))
    saved = folder / "checkpoints"
    callbacks: list[Callback] = [ModelCheckpoint(saved, every_n_train_steps=PLAIN_EVERY, save_last=True)]
    if not stock:
        callbacks = [ExactResume(), LastCheckpoint(saved, every_n_batches=PLAIN_EVERY)]
    start = saved / "last.ckpt"
    trainer = Trainer(
        default_root_dir=folder,
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=CSVLogger(folder, name="logs", version=int(resume)),
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
        plugins=None if stock else [SafeCheckpointIO()],
    )
    loader = DataLoader(TensorDataset(rows), SIZE, shuffle=True)
    trainer.fit(module, loader, ckpt_path=str(start) if resume and start.is_file() else None)
    trainer.save_checkpoint(folder / "end.ckpt")


def method_fit(words: list[str], folder: Path, resume: bool) -> None:
    """Fit a method, or go on with it; from the beginning where there is nothing to resume."""
    words = ["fit", *words, "--test_after_fit=false", f"--save_every_steps={SAVED_EVERY}"]
    words += [f"--trainer.default_root_dir={folder}", f"--trainer.max_epochs={2 * EPOCHS}"]
    try:
        command_line([*words, "--ckpt_path=last"] if resume else words)
    except SystemExit:
        saved = [one for one in folder.glob("logs/*/version_*/checkpoints/*.ckpt") if STAGED not in one.name]
        if not resume or saved:
            raise
        command_line(words)


def fits() -> dict[str, Fit]:
    """Return the fit of every row of the table."""
    sys.path.insert(0, str(PROJECT / "tests" / "conformance"))
    cases = importlib.import_module("cases").METHODS
    found: dict[str, Fit] = {}
    for case in cases:
        found[case.name] = partial(method_fit, case.words)
    found[OURS], found[STOCK] = partial(plain_fit, False), partial(plain_fit, True)
    return found


def started(work: Callable[[], None], log: Path) -> ForkProcess:
    """Run something in a process of its own, its output in a file."""

    def run() -> None:
        with log.open("a", encoding="utf-8") as out, redirect_stdout(out), redirect_stderr(out):
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            warnings.simplefilter("ignore")
            work()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def finished(work: Callable[[], None], log: Path) -> float:
    """Run something to its end; return the seconds.

    Raises:
        RuntimeError: it failed.
    """
    begun = time.monotonic()
    process = started(work, log)
    process.join()
    if process.exitcode:
        raise RuntimeError(f"a run ended with {process.exitcode}; its output is in {log}")
    return time.monotonic() - begun


def killed(work: Callable[[], None], log: Path, seconds: float) -> bool:
    """Run something and kill it after so many seconds; return whether it was still running."""
    process = started(work, log)
    process.join(seconds)
    running = process.exitcode is None
    if running and process.pid is not None:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return running


def end_of(folder: Path) -> dict[str, object]:
    """Return the weights, optimizer states and logged rows at the end of the newest run in a root folder."""
    ends = sorted(folder.glob("logs/*/version_*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    path = folder / "end.ckpt" if (folder / "end.ckpt").is_file() else ends[-1]
    content = torch.load(path, map_location="cpu", weights_only=True)
    names = ("state_dict", "optimizer_states", "global_step")
    logs = sorted(folder.glob("logs/**/metrics.csv"), key=lambda one: one.stat().st_mtime_ns)
    return {name: content[name] for name in names} | {"rows": logs[-1].read_text(encoding="utf-8")}


def phase_of(folder: Path) -> str:
    """Return where a kill hit, by what it left."""
    if any(folder.rglob(f"{STAGED}*ckpt*")) and any(folder.rglob("last.ckpt")):
        return SAVING
    return "after a checkpoint" if any(folder.rglob("last.ckpt")) else BEFORE


def steps_of(folder: Path) -> int:
    """Return the steps of the last checkpoint in a root folder; 0 where there is none that can be read."""
    for path in folder.rglob("last.ckpt"):
        if "tracer" not in str(path.relative_to(folder)):
            with suppress(Exception):  # torn
                return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"])
    return 0


def kill_once(fit: Fit, home: Path, seconds: float, moment: float, logs: bool) -> Kill:
    """Kill a fit, go on, and compare."""
    folder, log = home / "killed", home / "log.txt"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    last_step = end_of(home / "whole")["global_step"]
    while not killed(lambda: fit(folder, False), log, moment * seconds) or steps_of(folder) == last_step:
        shutil.rmtree(folder)  # it was faster than the undisturbed one: nothing is left to go on with
        folder.mkdir()
        moment *= 0.9
    phase = phase_of(folder)
    try:
        finished(lambda: fit(folder, True), log)
        apart = differences(end_of(home / "whole"), end_of(folder))
    except (RuntimeError, IndexError, FileNotFoundError) as error:
        return Kill(moment, phase, f"failed: {error}")
    weights = [name for name in apart if name != "rows"]
    if not logs:  # Lightning's own logger begins a new file: only weights and optimizer are compared
        apart = weights
    return Kill(moment, phase, "equal" if not apart else f"differs in {', '.join(apart[:3])}")


def save_for_ever(stock: bool, path: Path, temporary: Path, size: int) -> None:
    """Save a checkpoint over and over."""
    tempfile.tempdir = str(temporary)
    plugin = TorchCheckpointIO() if stock else SafeCheckpointIO()
    content = {"weight": torch.randn(size * 2**18)}
    while True:
        plugin.save_checkpoint(content, path)


def torn_once(stock: bool, home: Path, other: Path, size: int, seconds: float) -> Kill:
    """Kill a process that saves, and load what it left."""
    path, log = home / "saved" / "last.ckpt", home / "log.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        plugin = TorchCheckpointIO() if stock else SafeCheckpointIO()
        plugin.save_checkpoint({"weight": torch.zeros(size * 2**18)}, path)
    with tempfile.TemporaryDirectory(dir=other) as temporary:
        killed(lambda: save_for_ever(stock, path, Path(temporary), size), log, seconds)
        left = sum(one.stat().st_size for one in Path(temporary).iterdir()) >> 20
    try:
        torch.load(path, weights_only=True)
        outcome = "whole"
    except Exception as error:
        outcome = f"torn: {type(error).__name__}"
        path.unlink(missing_ok=True)
    return Kill(seconds, f"{left} MiB left in the other file system", outcome)


class Record:
    """What is done, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, object]] = json.loads(path.read_text()) if path.is_file() else {}

    def kills(self, row: str) -> list[dict[str, object]]:
        """Return the kills of a row."""
        found = self.rows.setdefault(row, {}).setdefault("kills", [])
        assert isinstance(found, list)
        return found

    def add(self, row: str, kill: Kill) -> None:
        """Keep a kill."""
        self.kills(row).append(asdict(kill))
        self.save()

    def save(self) -> None:
        """Write the file."""
        with atomic_write(self.path) as temporary:
            temporary.write_text(json.dumps(self.rows, indent=1), encoding="utf-8")


def kill_fits(record: Record, out: Path, names: list[str], count: int, seed: int) -> None:
    """Kill each fit so many times."""
    for name, fit in fits().items():
        if names and name not in names and name not in (OURS, STOCK):
            continue
        home = (out / name.partition(",")[0].replace(" ", "_")[:40]).resolve()
        home = home if name != STOCK else home.with_name("stock")
        home.mkdir(parents=True, exist_ok=True)
        whole, row = home / "whole", record.rows.setdefault(name, {})
        if "seconds" not in row:
            for _ in range(2):  # the first one fits what later ones find in the cache
                shutil.rmtree(whole, ignore_errors=True)
                whole.mkdir()
                begun = time.time()
                row["seconds"] = seconds = finished(partial(fit, whole, False), home / "log.txt")
                ready = [one.stat().st_mtime for one in whole.glob("logs/**/hparams.yaml")]
                row["set_up"] = (ready[0] - begun) / seconds if ready else 0.0
            record.save()
        for number in range(len(record.kills(name)), count):
            first = float(str(row["set_up"])) if number % 2 else 0.0
            moment = random.Random(f"{seed}/{name}/{number}").uniform(first, 1.0)
            kill = kill_once(fit, home, float(str(row["seconds"])), moment, name not in (OURS, STOCK))
            record.add(name, kill)
            print(
                f"{name}: kill {number + 1} of {count} at {kill.moment:.0%}, {kill.phase}: {kill.outcome}", flush=True
            )


def kill_saves(record: Record, out: Path, other: Path, count: int, size: int, seed: int) -> None:
    """Kill processes that save, so many times each."""
    for name, stock in (("saving: SafeCheckpointIO", False), ("saving: stock Lightning", True)):
        home = (out / ("saves_stock" if stock else "saves")).resolve()
        home.mkdir(parents=True, exist_ok=True)
        same = os.stat(home).st_dev == os.stat(other).st_dev
        record.rows.setdefault(name, {}).update(size=size, other=str(other), same_file_system=same)
        for number in range(len(record.kills(name)), count):
            seconds = random.Random(f"{seed}/{number}").uniform(0.1, 1.5)
            kill = torn_once(stock, home, other, size, seconds)
            record.add(name, kill)
            print(f"{name}: kill {number + 1} of {count}: {kill.outcome}, {kill.phase}", flush=True)


def table(record: Record) -> str:
    """Return the tables in markdown."""
    head = ("run", "kills", "before the first checkpoint", "while saving", "equal ends", "equal ends after a resume")
    lines = [f"| {' | '.join(head)} |", "|:--|--:|--:|--:|--:|--:|"]
    saves = ["| saved over and over | kills | torn |", "|:--|--:|--:|"]
    for name in record.rows:
        kills = record.kills(name)
        if not kills:
            continue
        if name.startswith("saving: "):
            torn = sum(str(kill["outcome"]) != "whole" for kill in kills)
            where = "one file system" if record.rows[name]["same_file_system"] else "temporary folder on another one"
            size = record.rows[name]["size"]
            saves[0] = f"| {size} MiB saved over and over, {where} | kills | torn |"
            saves.append(f"| {name.removeprefix('saving: ')} | {len(kills)} | {torn} |")
            continue
        before, saving = (sum(kill["phase"] == one for kill in kills) for one in (BEFORE, SAVING))
        equal = [kill for kill in kills if kill["outcome"] == "equal"]
        resumed = sum(kill["phase"] != BEFORE for kill in equal)
        shown = f"`configs/{name}.yaml`" if name not in (OURS, STOCK) else name
        figures = (len(kills), before, saving, f"{len(equal)}/{len(kills)}", f"{resumed}/{len(kills) - before}")
        lines.append(f"| {shown} | {' | '.join(map(str, figures))} |")
    return "\n".join([*lines, "", *saves])


def into(document: Path, text: str) -> None:
    """Put a text between the marks of a document; a document without them is left alone."""
    content = document.read_text(encoding="utf-8") if document.is_file() else ""
    if START in content and END in content:
        before, after = content.partition(START)[0], content.partition(END)[2]
        with atomic_write(document) as temporary:
            temporary.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}", encoding="utf-8")


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """Keep caches in a folder, the same for every run."""
    before = os.environ.get("LPR_CACHE")
    os.environ["LPR_CACHE"] = str(folder.resolve())
    try:
        yield
    finally:
        if before is None:
            del os.environ["LPR_CACHE"]
        else:
            os.environ["LPR_CACHE"] = before


def main(words: list[str] | None = None) -> None:
    """Kill, go on, compare, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("kills"), help="folder of the runs and of kills.json")
    parser.add_argument("--kills", type=int, default=20, help="of each run")
    parser.add_argument("--saves", type=int, default=60, help="kills while saving")
    parser.add_argument("--configs", nargs="*", default=[], help="names of configurations; default all")
    parser.add_argument("--other", type=Path, default=Path("/dev/shm"), help="folder on another file system")
    parser.add_argument("--size", type=int, default=160, help="MiB of the checkpoint that is saved over and over")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--document", type=Path, default=PROJECT / "docs" / "reliability.md")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    record = Record(options.out / "kills.json")
    with own_cache(options.out / "cache"):
        kill_fits(record, options.out, options.configs, options.kills, options.seed)
        kill_saves(record, options.out, options.other, options.saves, options.size, options.seed)
    text = table(record)
    into(options.document, text)
    print(text)


if __name__ == "__main__":
    main()
