"""The keys of programs that send feedback: only their digests are kept."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from charter.errors import SpecError, StoreError

KEY_VARIABLE = "CHARTER_FEEDBACK_KEY"
"""The environment variable that holds one key; its sender is called ``environment``."""
MIN_KEY_CHARACTERS = 20
"""Of a key that somebody chose: a digest of a short one can be guessed."""
_SENDER = r"[a-z0-9][a-z0-9_-]{0,39}"
_LINE = re.compile(rf"({_SENDER}) ([0-9a-f]{{64}})")


class FeedbackKeys:
    """Digests of keys by the name of their sender."""

    def __init__(self, digests: Mapping[str, str]) -> None:
        self._digests = dict(digests)

    def __len__(self) -> int:
        return len(self._digests)

    def find_sender(self, key: str) -> str | None:
        """Whose key it is; None where it is nobody's."""
        given, found = _digest_key(key), None
        for sender, digest in self._digests.items():  # every one is compared, so that the time says nothing
            if hmac.compare_digest(digest, given):
                found = sender
        return found


def read_keys(path: Path | None, environment: Mapping[str, str]) -> FeedbackKeys:
    """The keys of a file and of the environment. Raises SpecError where there is none, or a line is no key."""
    digests: dict[str, str] = {}
    if path is not None:
        try:
            lines = path.read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            what = f"{path} cannot be read as a file of keys"
            raise SpecError(what, cure=f"Make one: charter feedback key NAME --api-keys {path}") from error
        for number, line in enumerate(lines, 1):
            if (found := _LINE.fullmatch(line)) is None or found[1] in digests:
                cure = "A line is NAME and the SHA-256 of a key, each name once: charter feedback key writes it."
                raise SpecError(f"{path}:{number}: is no line of a file of keys", cure=cure)
            digests[found[1]] = found[2]
    if key := environment.get(KEY_VARIABLE, ""):
        if len(key) < MIN_KEY_CHARACTERS:
            cure = "Take a random one: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
            raise SpecError(f"{KEY_VARIABLE} has fewer than {MIN_KEY_CHARACTERS} characters", cure=cure)
        digests["environment"] = _digest_key(key)
    if not digests:
        cure = f"Make one: charter feedback key NAME --api-keys FILE; or set {KEY_VARIABLE}."
        raise SpecError("no key is known, so nobody could send feedback", cure=cure)
    return FeedbackKeys(digests)


def add_key(path: Path, sender: str) -> str:
    """Makes a key for a sender and adds its digest to a file that only its owner can read; the key, which is kept
    nowhere. Raises SpecError, StoreError."""
    if re.fullmatch(_SENDER, sender) is None or sender == "environment":
        raise SpecError(f"{sender!r:.60} is no name of a sender", cure="Use a-z, 0-9, - and _, at most 40 of them.")
    if path.exists() and any(line.startswith(f"{sender} ") for line in path.read_text(encoding="utf-8").splitlines()):
        raise SpecError(f"{path} has a key for {sender} already", cure="Take its line out first, or use another name.")
    key = secrets.token_urlsafe(32)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(f"{sender} {_digest_key(key)}\n")
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}", "Name another file.") from error
    return key


def _digest_key(key: str) -> str:
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()
