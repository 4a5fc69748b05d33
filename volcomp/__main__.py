"""`python -m volcomp`, and the command `volcomp`: what an interrupt may meet before the work and after it."""

import sys
from typing import Any, NoReturn


def main() -> int:
    """Run the command; returns its exit code, whenever an interrupt comes."""
    try:
        import signal

        signal.signal(signal.SIGTERM, _stop)
        from .cli import main as command  # which takes a tenth of a second

        code = command()
    except KeyboardInterrupt:  # in the midst of an import, or a second one while the first was being answered
        code = 130
        print("volcomp: interrupted", file=sys.stderr)
    for number in (signal.SIGINT, signal.SIGTERM):  # all is done, or undone, and has been said
        signal.signal(number, signal.SIG_IGN)
    return code


def _stop(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
