"""Entry point of `python -m volcomp` and the command `volcomp`; handles interrupts before and after the work."""

import sys
from typing import Any, NoReturn


def main() -> int:
    """Run the command; return its exit code, also if interrupted at any moment."""
    try:
        import signal

        signal.signal(signal.SIGTERM, _stop)
        from .cli import main as command  # takes a tenth of a second

        code = command()
    except KeyboardInterrupt:  # during an import, or a second one while the first was handled
        code = 130
        print("volcomp: interrupted", file=sys.stderr)
    except Exception as error:
        code = _failed(error)
    for number in (signal.SIGINT, signal.SIGTERM):  # the work is finished or undone, and reported
        signal.signal(number, signal.SIG_IGN)
    return code


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


def _stop(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
