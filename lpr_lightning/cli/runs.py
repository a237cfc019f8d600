"""Run folders `logs/<name>/version_N` and the checkpoints in them."""

from __future__ import annotations

from pathlib import Path

from lpr_lightning.errors import MissingFileError

CHECKPOINTS = "checkpoints"
LAST, BEST, INTERRUPTED = "last", "best", "interrupted"


def versions(folder: Path) -> list[Path]:
    """Return the run folders in `folder`, newest first."""
    found = [path for path in folder.glob("version_*") if path.name[8:].isdigit() and path.is_dir()]
    return sorted(found, key=lambda path: -int(path.name[8:]))


def claim(folder: Path, reserve: bool = True) -> Path:
    """Return the next run folder in `folder`, made unless `reserve` is off; two runs never get the same one.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> claim(folder).name, claim(folder).name, claim(folder, reserve=False).name
    ('version_0', 'version_1', 'version_2')
    """
    taken = versions(folder)
    number = int(taken[0].name[8:]) + 1 if taken else 0
    while True:
        path = folder / f"version_{number}"
        if not reserve:
            return path
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return path


def newest_checkpoint(folder: Path, kind: str) -> Path:
    """Return the `last` or `best` checkpoint of the newest run in `folder` that has one.

    `last` is the newest of the last and the interrupted checkpoint.
    """
    for run in versions(folder):
        found = _best(run / CHECKPOINTS) if kind == BEST else _last(run / CHECKPOINTS)
        if found is not None:
            return found
    raise MissingFileError(
        f"a {kind} checkpoint",
        folder,
        "run fit with the same first --config before, from the same folder, or give --ckpt_path a file",
    )


def run_of(checkpoint: Path) -> Path | None:
    """Return the run folder that a checkpoint lies in, if it lies in one.

    >>> run_of(Path("logs/dkt/version_3/checkpoints/last.ckpt"))
    PosixPath('logs/dkt/version_3')
    """
    run = checkpoint.parent.parent
    return run if checkpoint.parent.name == CHECKPOINTS and run.name.startswith("version_") else None


def _last(folder: Path) -> Path | None:
    found = [path for name in (LAST, INTERRUPTED) for path in folder.glob(f"{name}*.ckpt")]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def _best(folder: Path) -> Path | None:
    import torch

    found = list(folder.glob(f"{BEST}*.ckpt"))
    newest = _last(folder)
    if newest is not None and len(found) != 1:
        states = torch.load(newest, map_location="cpu", weights_only=True, mmap=True).get("callbacks", {})
        names = [Path(state["best_model_path"]).name for state in states.values() if state.get("best_model_path")]
        names = [name for name in names if not name.startswith((LAST, INTERRUPTED))]
        found = [folder / name for name in names if (folder / name).is_file()] or found
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)
