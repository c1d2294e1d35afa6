"""Errors that a user can act on: one clear line that says what is wrong, where, and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: a wrong file, name, size or setting. Its message is one line, fit to be shown as it is."""


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a `name` that is not among the `known` names of a `kind`, naming the nearest ones.

    Example:
        `raise unknown("arm", "ur10", ARMS)` says: unknown arm 'ur10': did you mean 'ur10e' or 'ur20'?
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return InputError(f"unknown {kind} {name!r}: did you mean {' or '.join(repr(n) for n in near)}?")
    listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return InputError(
        f"unknown {kind} {name!r}: known are {listed}" if names else f"unknown {kind} {name!r}: none known"
    )
