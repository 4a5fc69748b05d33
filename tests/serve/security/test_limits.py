"""How often and how much: buckets, bodies, clients that take nothing; the audit log."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from volcomp.errors import TargetError
from volcomp.serve.security import limits
from volcomp.serve.security.audit import Audit
from volcomp.serve.security.limits import Buckets, bounded, is_loopback, patient


class Clock:
    """A clock that a test turns."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_buckets():
    clock = Clock()
    made = Buckets(0.5, 3, clock)
    assert [made.take("a") for _ in range(3)] == [0, 0, 0] and made.take("a") == pytest.approx(2)
    assert made.wait("a") == pytest.approx(2) and made.wait("b") == 0 and made.take("b") == 0
    clock.now += 2
    assert made.take("a") == 0 and made.take("a") > 0
    clock.now += 1000
    assert [made.take("a") for _ in range(3)] == [0, 0, 0] and made.take("a") > 0


def test_addresses_of_a_network_count_as_one_and_few_are_remembered(monkeypatch):
    made = Buckets(1, 1, Clock())
    assert made.take("2001:db8:1:2::1") == 0 and made.take("2001:db8:1:2:ffff::9") > 0
    assert made.take("2001:db8:1:3::1") == 0 and made.take("10.0.0.1") == 0 and made.take("10.0.0.2") == 0
    monkeypatch.setattr(limits, "_ADDRESSES", 3)
    for number in range(50):
        made.take(f"10.1.0.{number}")
    assert len(made._levels) <= 6


@pytest.mark.parametrize(("host", "there"), [
    ("127.0.0.1", True), ("localhost", True), ("::1", True), ("[::1]", True), ("127.9.9.9", True), ("0.0.0.0", False),
    ("192.168.0.4", False), ("::", False), ("example.org", False), ("", False),
])  # fmt: skip
def test_loopback(host, there):
    assert is_loopback(host) == there


def receiving(*messages: dict[str, Any] | None, clock: Clock | None = None, seconds: float = 0.0) -> Any:
    """What receives these messages, each after so many seconds of a clock; None is silence."""
    left = list(messages)

    async def receive() -> Any:
        message = left.pop(0)
        if clock:
            clock.now += seconds
        if message is None:
            await asyncio.Event().wait()
        return message

    return receive


def piece(data: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


def test_a_body_of_any_length_up_to_the_limit():
    async def scene() -> None:
        receive = bounded(receiving(piece(b"a" * 6), piece(b"b" * 4, False), {"type": "http.disconnect"}), 10)
        assert [(await receive())["type"] for _ in range(3)] == ["http.request", "http.request", "http.disconnect"]
        receive = bounded(receiving(piece(b"a" * 6), piece(b"b" * 5)), 10)
        await receive()
        with pytest.raises(HTTPException) as error:
            await receive()
        assert error.value.status_code == 413

    asyncio.run(scene())


def test_a_body_that_comes_too_slowly(monkeypatch):
    async def scene() -> None:
        clock = Clock()
        receive = bounded(receiving(*[piece(b"a")] * 100, clock=clock, seconds=31), 1000, clock)
        await receive()
        with pytest.raises(HTTPException) as error:
            await receive()
        assert error.value.status_code == 408
        clock = Clock()
        receive = bounded(receiving(*[piece(b"a" * 60_000)] * 9, clock=clock, seconds=55), 10**6, clock)
        for _ in range(9):  # a thousand bytes a second are enough
            await receive()
        receive = bounded(receiving(*[piece(b"a")] * 9, clock=clock), 10**6, clock)
        for _ in range(9):  # the time that the server takes is not the client's
            await receive()
            clock.now += 1000
        monkeypatch.setattr(limits, "_SILENCE", 0.01)
        receive = bounded(receiving(None), 10)
        with pytest.raises(HTTPException) as error:
            await receive()
        assert error.value.status_code == 408

    asyncio.run(scene())


def test_a_client_that_takes_nothing(monkeypatch):
    async def scene() -> None:
        async def stuck(message: Any) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(limits, "_STALLED", 0.01)
        with pytest.raises(ConnectionError):
            await patient(stuck)({"type": "http.response.body"})

    asyncio.run(scene())


def test_the_audit_log(tmp_path):
    path = tmp_path / "audit"
    for number in range(2):
        made = Audit(path)
        made.note("ann", "127.0.0.1", "GET", "/dicom-web/studies/1.2", {"study": f"1.{number}", "sop": "ä"}, 200)
        made.close()
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [line["study"] for line in found] == ["1.0", "1.1"] and found[0]["sop"] == "ä" and found[0]["who"] == "ann"
    assert found[0].keys() == {"time", "who", "address", "method", "resource", "study", "sop", "status"}
    assert found[0]["time"].endswith("+00:00") and os.stat(path).st_mode & 0o077 == 0


def test_an_audit_log_that_cannot_be_written(tmp_path):
    with pytest.raises(TargetError, match="cannot be written"):
        Audit(tmp_path / "gone" / "audit")
    with pytest.raises(TargetError):
        Audit(tmp_path)
