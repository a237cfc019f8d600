"""Do the two top-level folders become part of the package, and only of the package?"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest


@pytest.mark.parametrize("package", ["datamodules", "callbacks"])
def test_top_level_folders_refuse_to_be_imported_from_the_root(package: str, project: Path) -> None:
    command = [sys.executable, "-c", f"import {package}"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"import lpr_lightning.{package}, not {package}" in done.stderr


@pytest.mark.parametrize("package", ["datamodules", "callbacks"])
def test_they_are_relative_links(package: str, project: Path) -> None:
    link = project / "lpr_lightning" / package
    assert link.is_symlink()
    assert link.readlink() == Path("..") / package


@pytest.mark.slow
def test_wheel_and_sdist_hold_real_files(project: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "logs", "build", "dist", "tests")
    shutil.copytree(project, source, symlinks=True, ignore=unwanted)
    build = "from setuptools import build_meta as b; print(b.build_sdist('out')); print(b.build_wheel('out'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    templates = list((source / "lpr_lightning" / "annotation" / "templates").glob("*.txt"))
    assert templates
    wanted = {
        path.relative_to(source).as_posix()
        for path in [*(source / "lpr_lightning").rglob("*.py"), source / "lpr_lightning" / "py.typed", *templates]
    }
    for package in ("datamodules", "callbacks"):
        wanted |= {f"lpr_lightning/{package}/{path.name}" for path in (source / package).glob("*.py")}
    with zipfile.ZipFile(next((source / "out").glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        assert wanted <= names
        assert not {name.split("/")[0] for name in names} & {"datamodules", "callbacks", "tests"}
        assert wheel.getinfo("lpr_lightning/datamodules/__init__.py").file_size > 0
    with tarfile.open(next((source / "out").glob("*.tar.gz"))) as sdist:
        members = {member.name.partition("/")[2]: member for member in sdist.getmembers()}
        assert wanted <= members.keys()
        assert members["lpr_lightning/callbacks/__init__.py"].isreg()
