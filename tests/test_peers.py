"""Tests of what speaks to other programs are skipped without them, but not in CI."""

import os
import shutil
from pathlib import Path

import pytest

from . import peers


@pytest.mark.parametrize("name", ["CI", "VOLCOMP_PEERS"])
def test_what_is_missing_is_an_error_where_it_could_be_installed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    nothing = Path("/nothing/here")
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    for variable in ("CI", "VOLCOMP_PEERS"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(pytest.skip.Exception, match="installs it on Debian"):
        peers.need(nothing)
    monkeypatch.setenv(name, "true")
    with pytest.raises(pytest.fail.Exception, match="installs it on Debian"):
        peers.need(nothing)
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(pytest.skip.Exception):
        peers.need(nothing)
    peers.need(Path(__file__))
