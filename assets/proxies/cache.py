"""What has been decomposed once: files named by a hash of all that the result depends on.

A file appears whole (written aside, then renamed), so processes may share the folder; one that does not read is as
good as missing. The folder is `$PALLETLAB_CACHE`, or `~/.cache/palletlab/proxies`, and may be removed at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any


def folder() -> Path:
    """Where the files are."""
    chosen = os.environ.get("PALLETLAB_CACHE")
    return Path(chosen or os.path.expanduser("~/.cache/palletlab/proxies"))


def key(*parts: bytes | str) -> str:
    """A hash of the parts and of where each ends."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def read(name: str) -> dict[str, Any] | None:
    """What was stored under this key; None where there is nothing, or nothing whole."""
    try:
        entry = json.loads((folder() / f"{name}.json").read_text())
        content = entry["content"]
        return content if entry["sha256"] == key(_text(content)) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(name: str, content: dict[str, Any]) -> None:
    """Store content under a key; where the folder cannot be written, do nothing: it is computed again next time."""
    text = json.dumps({"sha256": key(_text(content)), "content": content})
    temporary = None
    try:
        folder().mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=folder(), suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            file.write(text)
        os.replace(temporary, folder() / f"{name}.json")
    except OSError:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, sort_keys=True)
