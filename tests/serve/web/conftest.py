"""A server of the pages on a free port of this machine, and a browser that looks at it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from tests import peers
from volcomp.serve import web
from volcomp.serve.settings import Settings

from . import fakes, scenes

BROWSER = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
WAIT = 300_000  # ms, for what happens at once on a machine that is not busy


@dataclass
class Served:
    """A server that answers."""

    url: str
    store: fakes.FakeStore
    settings: Settings


@contextlib.contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an application on a free port; yield its address."""
    place = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", lifespan="on", ws="none", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([place],), daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{place.getsockname()[1]}"
        while thread.is_alive():
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{url}/static/icon.svg", timeout=60)
                break
        yield url
    finally:
        server.should_exit = True
        thread.join(60)
        place.close()


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    """Folders of series, and the archive of each."""
    return scenes.make(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def server(scene: dict[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The pages of a store of these series."""
    store = fakes.FakeStore(scene)
    settings = Settings(tmp_path_factory.mktemp("root"), max_upload=64 << 20)
    with web.opened(store, fakes.FakeInbox(), settings) as routes, served(Starlette(routes=routes)) as url:
        yield Served(url, store, settings)


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    """A client that is no browser."""
    with httpx.Client(base_url=server.url, timeout=300, headers={"Accept": "application/json"}) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, that draws with WebGL2 in software."""
    peers.need(peers.CHROMIUM)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        peers.missing("playwright is not installed")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=str(peers.CHROMIUM),
            args=BROWSER,
        )
        yield made
        made.close()


@pytest.fixture
def opened(browser: Any, server: Served) -> Iterator[Callable[..., Any]]:
    """A function that opens a page, in a window of its own; its scripts may fail at nothing, and ask nobody else.

    `refused` allows answers that say no, which the console notes too.
    """
    contexts, faults = [], []

    def open(path: str, *, refused: bool = False, **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(WAIT)
        page = context.new_page()

        def heard(message: Any) -> None:
            allowed = refused and message.text.startswith("Failed to load resource")
            if message.type in ("error", "warning") and not allowed:
                faults.append(f"{path}: {message.text}")

        def asked(request: Any) -> None:
            if not request.url.startswith((server.url + "/", "data:", "blob:" + server.url)):
                faults.append(f"{path} asks {request.url}")

        page.on("console", heard)
        page.on("pageerror", lambda error: faults.append(f"{path}: {error}"))
        page.on("request", asked)
        page.goto(server.url + path)
        return page

    yield open
    for context in contexts:
        context.close()
    assert faults == []
