"""Tokens and passwords: which are taken, which files are read, and which are refused."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.serve.running import settings
from volcomp.errors import UnsupportedError
from volcomp.serve.security import sha_crypt
from volcomp.serve.security.keys import Keys

# Made with `openssl passwd -5` and `-6` (OpenSSL 3.0), and with crypt() of libxcrypt 4.4.
HASHES = {
    "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.": "secret",
    "$5$rounds=1000$abc$UxKib5kobt2BZp/yfOEWbjik.BPMiS9MzbXyO6zXMC0": "x",
    "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5": "Hello world!",
    "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1": (
        "Hello world!"
    ),
    "$6$s$.ZBEl9liET9mKM6jGxl//vp8wOnIJwfkp.7sG2Ahu2q68bf4LasDRE6k5T5NPzLqBFx3oUbMl6xWpBsFfgm6..": "",
    "$5$rounds=1400$anotherlongsalts$Rx.j8H.h8HjEDGomFU8bDkXm3XIUnzyxf12oP84Bnq1": (
        "a very much longer text to encrypt.  This one even stretches over morethan one line."
    ),
    "$6$rounds=1400$0123456789abcdef$"
    "DqB5bVRFSXQ9QgkB.MTml3H98HqcZAnYyngIRQWBMIpsFvSEGIZmp5j4rjCDkKV2uJxeUpZ.8k3/rTa/HaUzF.": "ä" * 40,
}
SECRET = "correct horse battery staple"


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def keys(tmp_path: Path, *, tokens: str = "", users: str = "") -> Keys:
    (tmp_path / "tokens").write_text(tokens)
    (tmp_path / "users").write_text(users)
    return Keys(
        settings(
            tmp_path,
            token_file=tmp_path / "tokens" if tokens else None,
            htpasswd=tmp_path / "users" if users else None,
        )
    )


@pytest.mark.parametrize("right", HASHES)
def test_hashes_by_sha_two(right):
    password = HASHES[right].encode()
    assert sha_crypt.is_one(right) and sha_crypt.matches(password, right)
    assert not sha_crypt.matches(password + b"x", right) and not sha_crypt.matches(password[1:] or b"y", right)


SHORT = "UxKib5kobt2BZp/yfOEWbjik.BPMiS9MzbXyO6zXMC0"


@pytest.mark.parametrize("text", [
    "", "$5$abc$", "$6$salt$tooshort", "$1$abc$def", f"$5$rounds=10$abc${SHORT}", f"$5$rounds=999999999$abc${SHORT}",
    f"$6$abc${SHORT}", f"$5$a:b${SHORT}", f"$5$0123456789abcdefg${SHORT}",
])  # fmt: skip
def test_what_is_no_such_hash(text):
    assert not sha_crypt.is_one(text)


def test_tokens(tmp_path):
    made = keys(tmp_path, tokens=f"# of the viewer\n\nviewer {'a' * 32}\n{'b' * 16}\n")
    assert not made.open
    assert made.check("Bearer " + "a" * 32) == "viewer" and made.check("bearer  " + "b" * 16) == "token"
    assert made.check(basic("anybody", "a" * 32)) == "viewer"
    not_utf8 = "Basic " + base64.b64encode(b"\xff:\xff").decode()
    alone = ["Bearer", "Bearer ", "Bearer aaaa", "Basic", "Basic !!", "Digest x", "", "a" * 32]
    for wrong in [*alone, not_utf8, "Basic " + "a" * 32, "Bearer " + "a" * 5000, basic("a" * 32, "")]:
        assert made.check(wrong) is None, wrong


def test_what_was_right_is_known(tmp_path):
    made = keys(tmp_path, tokens="a" * 32)
    assert made.known("Bearer " + "a" * 32) is None
    assert made.check("Bearer " + "a" * 32) == made.known("Bearer " + "a" * 32) == "token"
    made.check("Bearer wrong")
    assert made.known("Bearer wrong") is None


def test_passwords(tmp_path):
    ours = "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG."
    made = keys(tmp_path, users=f"ann:{ours}\nbob:$5$rounds=1000$abc$UxKib5kobt2BZp/yfOEWbjik.BPMiS9MzbXyO6zXMC0\n")
    assert made.check(basic("ann", "secret")) == "ann" and made.check(basic("bob", "x")) == "bob"
    for name, password in (("ann", "x"), ("bob", "secret"), ("carl", "secret"), ("", ""), ("ann", "")):
        assert made.check(basic(name, password)) is None
    assert made.check("Bearer secret") is None


def test_passwords_by_bcrypt(tmp_path):
    bcrypt = pytest.importorskip("bcrypt")
    right = bcrypt.hashpw(SECRET.encode(), bcrypt.gensalt(4)).decode()
    made = keys(tmp_path, users=f"ann:{right}\nbob:{right.replace('$2b$', '$2y$')}\n")
    assert made.check(basic("ann", SECRET)) == "ann" and made.check(basic("bob", SECRET)) == "bob"
    assert made.check(basic("ann", "wrong")) is None and made.check(basic("ann", "x" * 200)) is None


def test_bcrypt_is_named_where_it_is_missing(tmp_path, monkeypatch):
    from volcomp.serve.security import keys as module

    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"package bcrypt: pip install 'volcomp\[serve\]'"):
        keys(tmp_path, users="ann:$2y$05$" + "a" * 53)


@pytest.mark.parametrize("line", [
    "ann", "ann:", ":$5$s$x", "ann:secret", "ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "ann:$apr1$abc$def",
    "ann:rqXexS6ZhobKA",
])  # fmt: skip
def test_weak_passwords_are_refused(tmp_path, line):
    with pytest.raises(UnsupportedError, match=r"line 2 of .* is no NAME:HASH by bcrypt") as error:
        keys(tmp_path, users="# people\n" + line + "\n")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("line", ["short", "a name " + "a" * 32, "name short"])
def test_tokens_that_are_none(tmp_path, line):
    with pytest.raises(UnsupportedError, match=r"line 1 of .* is no token of 16"):
        keys(tmp_path, tokens=line)


def test_files_that_cannot_be_read(tmp_path):
    for data, says in ((b"", "is empty"), (b"# nothing\n", "is empty"), (b"\xff\xfe\x00", "is no text")):
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(UnsupportedError, match=says):
            Keys(settings(tmp_path, token_file=tmp_path / "file"))
    (tmp_path / "file").write_bytes(b"a" * (2 << 20))
    with pytest.raises(UnsupportedError, match="more than a megabyte"):
        Keys(settings(tmp_path, token_file=tmp_path / "file"))
    with pytest.raises(UnsupportedError, match="cannot be read: No such file"):
        Keys(settings(tmp_path, htpasswd=tmp_path / "gone"))
    assert Keys(settings(tmp_path)).open
