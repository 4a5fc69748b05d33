"""Entry point of `python -m volcomp` and the command `volcomp`; handles interrupts before and after the work."""

import signal
import sys
from typing import Any

from .progress import remember_interrupt

_outside: list[int] = []  # signals that were heard outside the work


def main() -> int:
    """Run the command; return its exit code, also if interrupted at any moment."""
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:  # else it is ignored, as behind nohup
        signal.signal(signal.SIGINT, _heard)
    signal.signal(signal.SIGTERM, _heard)
    try:
        return _worked()
    except KeyboardInterrupt:  # during an import, or a second one while the first was handled
        print("volcomp: interrupted", file=sys.stderr)
        return 130
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # or Python's end would make them deadly again
            signal.signal(number, signal.SIG_IGN)


def _worked() -> int:
    """Run the command; see `_heard`."""
    try:
        if _outside:
            raise KeyboardInterrupt
        from .cli import main as command  # takes a tenth of a second

        return command()
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> int:
    """Say that volcomp itself has failed, or its installation, whatever of it can be imported; return the exit code."""
    import json
    import traceback

    if "--traceback" in sys.argv:
        traceback.print_exc()
    what = " ".join(f"{type(error).__name__}: {error}".split())
    sentence = (
        f"volcomp itself failed: {what}; please report this with the output of volcomp doctor and that of the same "
        "command after volcomp --traceback"
    )
    print(f"volcomp: {sentence}", file=sys.stderr)
    if "--json" in sys.argv:
        print(json.dumps({"error": sentence}))
    return 1


def _heard(number: int, frame: Any) -> None:
    """Raise KeyboardInterrupt in the work. Nothing would catch that before the work, which then does not begin, and
    after it, where all is done or undone, and reported."""
    while frame is not None:
        if frame.f_code is _worked.__code__:
            remember_interrupt(number)
            raise KeyboardInterrupt
        frame = frame.f_back
    _outside.append(number)


if __name__ == "__main__":
    sys.exit(main())
