"""Keys of programs: made, kept as digests, found again, refused where a file is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.errors import SpecError, StoreError
from charter.studio.feedback_keys import KEY_VARIABLE, add_key, read_keys


def test_a_file_keeps_digests_alone_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first, second = add_key(path, "shop"), add_key(path, "app-2")
    assert path.stat().st_mode & 0o777 == 0o600
    assert first not in path.read_text() and second not in path.read_text()  # noqa: PT018
    keys = read_keys(path, {})
    assert [keys.find_sender(key) for key in (first, second, "", first[:-1], f"{first} ")] == [
        "shop", "app-2", None, None, None
    ]  # fmt: skip
    with pytest.raises(SpecError, match="has a key for shop already"):
        add_key(path, "shop")


def test_a_key_of_the_environment_counts_too(tmp_path: Path) -> None:
    key = "k" * 20
    assert read_keys(None, {KEY_VARIABLE: key}).find_sender(key) == "environment"
    with pytest.raises(SpecError, match="fewer than 20"):
        read_keys(None, {KEY_VARIABLE: key[1:]})
    with pytest.raises(SpecError, match="no key is known"):
        read_keys(None, {})


@pytest.mark.parametrize("text", ["shop\n", "shop 12ab\n", f"Shop {'0' * 64}\n", f"a {'0' * 64}\na {'1' * 64}\n"])
def test_a_wrong_line_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(SpecError, match=r"keys:[12]: is no line"):
        read_keys(tmp_path / "keys", {})


def test_what_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        read_keys(tmp_path / "none", {})
    with pytest.raises(StoreError, match="cannot be written"):
        add_key(tmp_path / "none" / "keys", "shop")
    with pytest.raises(SpecError, match="no name of a sender"):
        add_key(tmp_path / "keys", "Ann Bell")
