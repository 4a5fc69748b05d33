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
    for number in (signal.SIGINT, signal.SIGTERM):  # the work is finished or undone, and reported
        signal.signal(number, signal.SIG_IGN)
    return code


def _stop(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
