"""Checkpoints are whole or not there, damage is noticed, and a module that is not ours profits by one line."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import stat
import time
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest
import torch
from foreign_module import ForeignData, ForeignModule, make_trainer
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lpr_lightning.cache import STAGED, sweep
from lpr_lightning.callbacks import SafeCheckpointIO
from lpr_lightning.checked_files import PREVIOUS, SUMS, whole
from lpr_lightning.errors import DamagedFileError, UnwritableFileError

Damage = Callable[[bytes, int], bytes]


def state(step: int, size: int = 600) -> dict[str, object]:
    return {"step": step, "weight": torch.full((size,), float(step))}


def step_of(path: Path) -> int:
    step: int = SafeCheckpointIO().load_checkpoint(path, weights_only=True)["step"]
    return step


def truncated(content: bytes, place: int) -> bytes:
    return content[:place]


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0x40]) + content[place + 1 :]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint, of step 2, that replaced one of step 1."""
    path = tmp_path / "last.ckpt"
    for step in (1, 2):
        SafeCheckpointIO().save_checkpoint(state(step), path)
    return path


@pytest.mark.parametrize("damage", [truncated, flipped])
def test_every_damage_is_noticed_and_the_one_before_is_loaded(saved: Path, damage: Damage) -> None:
    content = saved.read_bytes()
    assert step_of(saved) == 2
    for place in range(0, len(content), len(content) // 50):
        saved.write_bytes(damage(content, place))
        with pytest.warns(UserWarning, match="its checksum is wrong"):
            assert step_of(saved) == 1
    saved.unlink()
    with pytest.warns(UserWarning, match="it is not there"):
        assert step_of(saved) == 1


def test_where_both_are_damaged_it_is_one_error(saved: Path) -> None:
    for path in (saved, saved.with_name(saved.name + PREVIOUS)):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedFileError, match=r"last.ckpt is damaged: its checksum is wrong"):
        step_of(saved)


def test_a_damaged_checkpoint_does_not_take_the_place_of_the_good_one_before(saved: Path) -> None:
    saved.write_bytes(b"torn")
    SafeCheckpointIO().save_checkpoint(state(3), saved)
    assert step_of(saved) == 3
    saved.write_bytes(b"torn")
    with pytest.warns(UserWarning, match="damaged"):
        assert step_of(saved) == 1


def test_checkpoints_of_others_load_and_torn_ones_are_one_error(tmp_path: Path) -> None:
    path = tmp_path / "stock.ckpt"
    torch.save(state(5), path)
    assert step_of(path) == 5
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DamagedFileError, match=r"stock.ckpt is damaged: it cannot be read"):
        step_of(path)


def test_the_checksums_are_those_of_sha256sum_and_files_have_usual_permissions(saved: Path) -> None:
    names = [line.split("  ")[1] for line in saved.with_name(saved.name + SUMS).read_text().splitlines()]
    assert names == ["last.ckpt", "last.ckpt.previous"]
    usual = saved.with_name("usual")
    usual.touch()
    assert {stat.S_IMODE(path.stat().st_mode) for path in saved.parent.iterdir()} == {
        stat.S_IMODE(usual.stat().st_mode)
    }


def test_removing_one_removes_all_of_it_and_nothing_before_is_kept_where_it_is_not_wanted(saved: Path) -> None:
    SafeCheckpointIO().remove_checkpoint(saved)
    assert list(saved.parent.iterdir()) == []
    for step in (1, 2):
        SafeCheckpointIO(keep_previous=False).save_checkpoint(state(step), saved)
    assert {path.name for path in saved.parent.iterdir()} == {"last.ckpt", "last.ckpt.sha256"}


def in_a_process(work: Callable[[], None]) -> ForkProcess:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def fails(path: Path, before: Callable[[], None], words: str) -> None:
    """Exit with 0 if saving is one clear error."""
    before()
    with pytest.raises(UnwritableFileError, match=words):
        SafeCheckpointIO().save_checkpoint(state(3, size=10**6), path)


def small_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_a_full_disk_is_an_error_and_leaves_what_was_there(saved: Path) -> None:
    names = {path.name for path in saved.parent.iterdir()}
    process = in_a_process(lambda: fails(saved, small_disk, "File too large"))
    process.join(60)
    assert process.exitcode == 0
    assert {path.name for path in saved.parent.iterdir()} == names
    assert step_of(saved) == 2


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)

    def somebody_else() -> None:
        os.chdir(folder)
        if os.geteuid() == 0:  # whom no permissions stop
            os.seteuid(65534)

    process = in_a_process(lambda: fails(Path("last.ckpt"), somebody_else, "Permission denied"))
    process.join(60)
    assert process.exitcode == 0
    assert list(folder.iterdir()) == []


def test_kills_while_saving_leave_a_whole_checkpoint_and_the_next_save_clears_up(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    big = {step: state(step, size=10**6) for step in (1, 2, 3)}
    SafeCheckpointIO().save_checkpoint(big[1], path)

    def save_for_ever() -> None:
        plugin = SafeCheckpointIO()
        while True:
            for one in big.values():
                plugin.save_checkpoint(one, path)

    for number in range(6):
        process = in_a_process(save_for_ever)
        time.sleep(0.03 + 0.011 * number)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert whole(path)
        assert step_of(path) in big
    (tmp_path / f"{STAGED}0-last.ckpt").touch()
    SafeCheckpointIO().save_checkpoint(big[1], path)
    assert not list(tmp_path.glob(f"{STAGED}*"))
    assert sweep(tmp_path) == []


def test_a_trainer_of_somebody_elses_saves_safely(tmp_path: Path) -> None:
    def trainer(epochs: int) -> Trainer:
        saving = ModelCheckpoint(tmp_path, "kept", enable_version_counter=False)
        return make_trainer(tmp_path, [saving], max_epochs=epochs, plugins=[SafeCheckpointIO()])

    trainer(2).fit(ForeignModule(), ForeignData())
    path = tmp_path / "kept.ckpt"
    path.write_bytes(path.read_bytes()[:-100])
    going_on = trainer(3)
    with pytest.warns(UserWarning, match="going on with the one before it"):
        going_on.fit(ForeignModule(), ForeignData(), ckpt_path=path)
    assert going_on.current_epoch == 3
