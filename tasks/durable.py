"""Files and folders that appear whole or not at all, also when the process is killed or the power fails.

Everything is written aside under a name ending in `.tmp`, flushed to the disk, and renamed. Whatever still ends in
`.tmp` when a run starts was never finished.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from assets.errors import InputError

TEMPORARY = ".tmp"


class FullDiskError(InputError):
    """The disk or the quota is full: no fault of the episode that was being written."""


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries: without it a rename may be lost although the file's bytes are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, flushing each new entry."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def write_file(path: Path, data: bytes) -> None:
    """Write a file that is replaced as a whole; its folder is created where missing.

    Raises:
        FullDiskError: the disk is full; nothing is left behind.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    with full_disk_told(path):
        make_folder(path.parent)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def link_file(source: Path, target: Path) -> None:
    """Give a finished file a second name, so that the first stays until the caller removes it."""
    with full_disk_told(target):
        make_folder(target.parent)
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            write_file(target, source.read_bytes())  # a file system without hard links
        sync_folder(target.parent)


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Write a folder of files that appears as a whole; where it exists already, that one stays.

    Raises:
        FullDiskError: the disk is full; nothing is left behind.
    """
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}{TEMPORARY}")
    with full_disk_told(folder):
        make_folder(folder.parent)
        try:
            temporary.mkdir()
            for name, data in files.items():
                write_file(temporary / name, data)
            os.rename(temporary, folder)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        except FullDiskError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(folder.parent)


def remove_temporaries(root: Path) -> None:
    """Remove everything under a folder that was still being written."""
    for folder, subfolders, files in os.walk(root):
        for name in [name for name in subfolders if name.endswith(TEMPORARY)]:
            shutil.rmtree(Path(folder, name))
            subfolders.remove(name)
        for name in files:
            if name.endswith(TEMPORARY):
                Path(folder, name).unlink()


@contextlib.contextmanager
def full_disk_told(path: Path) -> Iterator[None]:
    """Turn the system's error for a full disk or quota into one clear line."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise FullDiskError(f"{path}: the disk is full; free some space, then go on with resume") from error
