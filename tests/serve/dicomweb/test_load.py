"""Many clients at once, clients that hang up, and archives that cannot be read."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import pytest
import uvicorn
from starlette.requests import ClientDisconnect, Request

from tests.serve.dicomweb.conftest import CT, MULTI, STUDY, filled, one, samples
from tests.serve.dicomweb.test_retrieve import parts
from tests.serve.memory import Memory
from tests.serve.running import WAIT, dataset, served, settings, written
from volcomp.serve import app
from volcomp.serve.work import Room, Work, while_connected

CLIENTS = 64


def test_sixty_four_clients(server):
    there = one(server.store, CT)
    files = [one(server.store, CT, number).data for number in range(5)]

    def ask(number: int) -> None:
        with httpx.Client(timeout=WAIT) as client:
            for kind in range(4):
                kind = (kind + number) % 4
                if kind == 0:
                    assert [data for _, data in parts(client.get(f"{server.url}/studies/{STUDY}/series/{CT}"))] == files
                elif kind == 1:
                    got = client.get(
                        f"{server.url}{there.path}/frames/1", headers={"Accept": "application/octet-stream"}
                    )
                    assert got.content == there.dataset.PixelData
                elif kind == 2:
                    assert len(client.get(f"{server.url}/studies/{STUDY}/series/{CT}/metadata").json()) == 5
                else:
                    assert len(client.get(f"{server.url}/studies/{STUDY}/series").json()) == 12

    with ThreadPoolExecutor(CLIENTS) as threads:
        for done in [threads.submit(ask, number) for number in range(CLIENTS)]:
            done.result(WAIT)


def test_a_search_does_not_wait_behind_decoding(tmp_path):
    store = filled()
    with served(store, store, settings(tmp_path)) as url, ThreadPoolExecutor(CLIENTS) as threads:
        store.hold = threading.Event()
        frame = f"{url}/dicom-web{one(store, MULTI).path}/frames/1"
        waiting = [threads.submit(httpx.get, frame, timeout=WAIT) for _ in range(CLIENTS)]
        try:
            assert store.reading.acquire(timeout=WAIT)
            for _ in range(3):
                assert len(httpx.get(f"{url}/dicom-web/instances", timeout=WAIT).json()) == 16
                assert httpx.get(f"{url}/dicom-web{one(store, CT).path}/metadata", timeout=WAIT).status_code == 200
            assert store.calls["frames"] < CLIENTS  # no thread for each
        finally:
            store.hold.set()
        for done in waiting:
            assert parts(done.result(WAIT))[0][1] == samples(6, 10, 12)[0].tobytes()


def test_who_hangs_up_is_not_worked_for(tmp_path):
    """A series of which the first instance is being read: the others are not, when nobody waits."""
    store = filled()
    with served(store, store, settings(tmp_path)) as url:
        store.hold = threading.Event()
        place = url.removeprefix("http://")
        host, port = place.split(":")
        with socket.create_connection((host, int(port)), timeout=WAIT) as connection:
            path = f"/dicom-web/studies/{STUDY}/series/{CT}"
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
            assert store.reading.acquire(timeout=WAIT)
        with httpx.Client(timeout=WAIT) as client:  # while the server hears of it
            for _ in range(20):
                client.get(f"{url}/dicom-web/studies")
        store.hold.set()
        store.hold = None
        assert httpx.get(f"{url}/dicom-web{one(store, CT).path}").status_code == 200
        assert store.calls["file"] == 2


def test_who_hangs_up_amid_an_answer(tmp_path):
    store = Memory()
    for number in range(40):
        store.add(written(dataset(samples(1000, 1000), series=CT, number=number)))
    with served(store, store, settings(tmp_path)) as url:
        with httpx.stream("GET", f"{url}/dicom-web/studies/{STUDY}/series/{CT}") as got:
            for _ in got.iter_raw(1 << 16):
                break
        with httpx.Client(timeout=WAIT) as client:
            for _ in range(20):
                client.get(f"{url}/dicom-web/studies/1.9/series")
        assert store.calls["file"] < 40


def test_a_damaged_archive_is_an_error_of_its_series_alone(tmp_path, caplog):
    store = filled()
    store.damaged.add(CT)
    with served(store, store, settings(tmp_path)) as url:
        base, path = f"{url}/dicom-web", one(store, CT).path
        for asked in (path, f"{path}/frames/1", f"{path}/bulkdata/7FE00010", f"{path}/rendered", f"{path}/metadata",
                      f"/studies/{STUDY}/series/{CT}", f"/studies/{STUDY}/series/{CT}/metadata"):  # fmt: skip
            got = httpx.get(base + asked)
            assert got.status_code == 500 and "damaged" in got.json()["error"]["sentence"], asked
            assert "/home" not in got.text and "vcz" not in got.text
        assert httpx.get(base + one(store, MULTI).path).status_code == 200
        assert len(httpx.get(f"{base}/studies").json()) == 1
    assert "DamagedError" in caplog.text and "/home" not in caplog.text and "Doe" not in caplog.text


def test_damage_amid_a_study_is_no_whole_answer(tmp_path):
    store = Memory()
    for number in range(20):
        store.add(written(dataset(samples(8, 8), series=MULTI if number == 18 else CT, number=number)))
    store.damaged.add(MULTI)
    with served(store, store, settings(tmp_path)) as url:
        for path in (f"/studies/{STUDY}", f"/studies/{STUDY}/metadata"):
            with pytest.raises(httpx.RemoteProtocolError):
                httpx.get(f"{url}/dicom-web{path}", headers={"Accept": "*/*"})
        assert httpx.get(f"{url}/dicom-web/studies").status_code == 200


def test_what_fails_unforeseen_says_nothing_of_the_machine(tmp_path, monkeypatch, caplog):
    store = filled()
    with served(store, store, settings(tmp_path)) as url:
        for error in (ZeroDivisionError("Doe^Jane"), OSError(5, "broken", "/home/doe"), MemoryError()):
            monkeypatch.setattr(store, "search", lambda query, error=error: (_ for _ in ()).throw(error))
            got = httpx.get(f"{url}/dicom-web/studies")
            assert got.status_code in (500, 503) and "sentence" in got.json()["error"]
            assert "doe" not in got.text.lower() and "Traceback" not in got.text
    ours = [record.getMessage() for record in caplog.records if record.name == "volcomp.serve"]
    assert len(ours) == 3 and not any("doe" in line.lower() for line in ours)


def test_a_request_that_runs_is_finished_when_the_server_stops(tmp_path):
    store = filled()
    store.hold = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        with served(store, store, settings(tmp_path)) as url:
            waiting = threads.submit(httpx.get, f"{url}/dicom-web{one(store, CT).path}", timeout=WAIT)
            assert store.reading.acquire(timeout=WAIT)
            threading.Timer(0.5, store.hold.set).start()
        assert parts(waiting.result(WAIT))[0][1] == one(store, CT).data and store.closed == 2


def test_a_connection_whose_headers_never_end_is_closed(tmp_path, monkeypatch):
    """And a request that runs for as long is not."""
    monkeypatch.setattr(app, "_HEADER_SECONDS", 3.0)
    store = filled()
    with served(store, store, settings(tmp_path)) as url, ThreadPoolExecutor(1) as threads:
        host, port = url.removeprefix("http://").split(":")
        store.hold = threading.Event()
        waiting = threads.submit(httpx.get, f"{url}/dicom-web{one(store, CT).path}", timeout=WAIT)
        assert store.reading.acquire(timeout=WAIT)
        with socket.create_connection((host, int(port)), timeout=WAIT) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
            assert connection.recv(1000) == b""
        store.hold.set()
        assert waiting.result(WAIT).status_code == 200


def test_which_connections_are_closed(monkeypatch):
    """Those without a request since the last look: not one that has had another, nor one that is answered."""
    monkeypatch.setattr(app, "_HEADER_SECONDS", 0.0)
    closed = []

    class Connection:
        def __init__(self, name: str, cycle: SimpleNamespace | None) -> None:
            self.cycle = cycle
            self.transport = SimpleNamespace(close=lambda: closed.append(name))

    async def scene() -> None:
        server = app.HttpServer(uvicorn.Config(lambda scope: None), lambda: None)
        done, running = SimpleNamespace(response_complete=True), SimpleNamespace(response_complete=False)
        new, idle, busy, answered = (
            Connection(name, cycle)
            for name, cycle in (("new", None), ("idle", done), ("busy", done), ("answered", running))
        )
        server.server_state.connections |= {new, idle, busy, answered}
        await server.on_tick(1)
        assert not closed
        busy.cycle = SimpleNamespace(response_complete=True)
        await asyncio.sleep(0.01)
        await server.on_tick(2)

    asyncio.run(scene())
    assert sorted(closed) == ["idle", "new"]


def test_room_is_given_in_order_and_back():
    async def scene() -> list[str]:
        room, said, go = Room(10), [], asyncio.Event()

        async def take(name: str, need: int) -> None:
            async with room.taken(need):
                said.append(name)
                await go.wait()
            said.append(f"{name} out")

        first = asyncio.create_task(take("a", 6))
        await asyncio.sleep(0)
        whole = asyncio.create_task(take("b", 99))  # more than there is: all of it
        small = asyncio.create_task(take("c", 1))  # there is room, and b was first
        gone = asyncio.create_task(take("d", 5))
        for _ in range(3):
            await asyncio.sleep(0)
        assert said == ["a"]
        gone.cancel()
        go.set()
        await asyncio.gather(first, whole, small)
        async with room.taken(10):  # nothing was lost
            pass
        return said

    assert asyncio.run(scene()) == ["a", "a out", "b", "b out", "c", "c out"]


def test_a_cancelled_turn_gives_its_room_to_the_next():
    async def scene() -> None:
        room = Room(4)
        async with room.taken(3):
            waiting = asyncio.create_task(room.taken(4).__aenter__())
            behind = asyncio.create_task(room.taken(1).__aenter__())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not behind.done()
            waiting.cancel()
            await asyncio.wait([behind], timeout=WAIT)
            assert behind.done()

    asyncio.run(scene())


def test_work_that_nobody_waits_for_is_not_begun():
    async def scene() -> int:
        work, hold, begun = Work(1 << 30), threading.Event(), []
        gone = asyncio.Event()

        async def receive() -> dict[str, str]:
            await gone.wait()
            return {"type": "http.disconnect"}

        request = Request({"type": "http", "method": "GET", "headers": []}, receive)

        def slow(number: int) -> None:
            begun.append(number)
            assert hold.wait(WAIT)

        tasks = [asyncio.ensure_future(while_connected(request, work.slowly(slow, number))) for number in range(200)]
        while not begun:
            await asyncio.sleep(0.001)
        gone.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, ClientDisconnect) for result in results)
        hold.set()
        work.close()
        return len(begun)

    assert asyncio.run(scene()) < 200
