"""Wrong use of the command line: one sentence, with what was probably meant.

Use is wrong where the words alone are: an option or a value that no command has. What depends on the files that are
there is no wrong use.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, NoReturn

from ..errors import VolcompError

EXIT_CODES = "Exit codes: 0 done; 1 not possible, or not all of it; 2 wrong use; 130 interrupted."
_ALIASES = {  # what other programs call a command
    "compress": ("archive", "c", "create", "encode", "pack", "zip"),
    "decompress": ("d", "decode", "expand", "restore", "unpack", "untar", "unzip"),
    "extract": ("cat", "e", "get", "x"),
    "append": ("add", "update"),
    "list": ("contents", "dir", "files", "l", "ls"),
    "verify": ("check", "t", "test", "validate"),
    "repair": ("fix", "heal", "recover"),
    "protect": ("parity",),
    "serve": ("dicomweb", "host", "http", "server", "web"),
    "info": ("about", "describe", "inspect", "show", "stat"),
    "doctor": ("diagnose", "report"),
}


class UsageError(VolcompError):
    """The command line is wrong, whatever files there are; the command exits with 2."""


class _Formatter(argparse.HelpFormatter):
    """Gives each option one line of 80 columns; wraps each line of a text by itself, so that an example stands on its
    own line; what few need comes last."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=25)
        self._action_max_length = 14  # the longest command and its indent

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """Name the value of an option once: "-o, --output DIR"."""
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return ", ".join(action.option_strings) + f" {self._format_args(action, action.dest.upper())}"

    def add_arguments(self, actions: Iterable[argparse.Action]) -> None:
        """Add options to the help, those for the output first."""
        order = ("-o", "--force", "", "--json", "-h")

        def place(action: argparse.Action) -> int:
            return next((order.index(name) for name in action.option_strings if name in order), order.index(""))

        super().add_arguments(sorted(actions, key=place))

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(super(_Formatter, self)._fill_text(line, width, indent) for line in text.split("\n"))


class Parser(argparse.ArgumentParser):
    """A parser whose errors are sentences; `example` is one for its help, and for the error where something is missing.

    Raises UsageError where argparse would print its usage and end the process.
    """

    def __init__(self, *, example: str = "", **settings: Any) -> None:
        self.example = example
        self.commands: dict[str, Parser] = {}  # of the parser of all
        if example:
            settings["epilog"] = f"Example: {example}\n{EXIT_CODES}"
        super().__init__(formatter_class=_Formatter, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        required = "the following arguments are required: "
        advice = f"see {self.prog} --help"
        if message.startswith(required):
            message = f"{message.removeprefix(required)} is missing"
            advice = f"for example: {self.example}" if self.example else advice
        raise UsageError(f"{message.removeprefix('argument ')}; {advice}")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help; unlike argparse, let errors of a closed pipe be heard."""
        print(message, end="", file=file)

    def add_names(self, options: argparse.Namespace, names: list[str]) -> bool:
        """Add names that follow an option to those before it, which argparse takes for all; return whether it may."""
        for action in self._actions:
            if not action.option_strings and action.nargs in ("+", "*"):
                parse: Any = action.type or str
                setattr(options, action.dest, [*getattr(options, action.dest), *map(parse, names)])
                return True
        return False

    def has(self, option: str) -> bool:
        """Return whether an option, which may be shortened, is one of this parser."""
        return any(known.startswith(option) for known in self._option_string_actions)

    def nearest(self, option: str) -> str | None:
        """Return the option that is spelt most alike."""
        known = [name for name, action in self._option_string_actions.items() if action.help != argparse.SUPPRESS]
        if len(option) == 2:  # -f
            return next((name for name in known if name.startswith("-" + option)), None)
        return next(iter(get_close_matches(option, known, 1)), None)


def parsed(parser: Parser, words: list[str]) -> argparse.Namespace:
    """Parse a command line. Raises UsageError, and SystemExit when help or the version has been printed."""
    if words[:1] == ["help"]:
        words = [word for word in words[1:2] if word != "help"] + ["--help"]
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in parser.commands:
        raise UsageError(_no_command(parser, command))
    of_command = parser.commands[command] if command is not None else parser
    before = words.index(command) if command is not None else len(words)
    for number, word in enumerate(words[: words.index("--")] if "--" in words else words):
        own = of_command if number > before else parser
        if word.startswith("--") and not own.has(word.partition("=")[0]):
            raise UsageError(_no_option(parser, own, word.partition("=")[0]))
    options, others = parser.parse_known_args(words)
    for other in others:
        if other.startswith("-") and other != "-":
            raise UsageError(_no_option(parser, of_command, other[:2]))
    if others and not of_command.add_names(options, others):
        other = others[0]
        advice = f"see {of_command.prog} --help"
        if of_command.has("--output"):
            advice = f"name the target with -o: -o {other}"
        raise UsageError(f"{other!r} is one name too many for {of_command.prog}; {advice}")
    return options


def _no_command(parser: Parser, word: str) -> str:
    """Say that there is no such command, and which one was meant."""
    meant = next((name for name, others in _ALIASES.items() if word.lower() in others), None)
    meant = meant or next(iter(get_close_matches(word.lower(), parser.commands, 1)), None)
    if meant is None and os.path.lexists(word):
        likely = "decompress" if word.endswith(".vcz") else "compress"
        return f"a command comes first, as in volcomp {likely} {word}; volcomp help lists all"
    advice = f"did you mean volcomp {meant}? volcomp help lists all" if meant else "volcomp help lists all"
    return f"there is no command {word!r}; {advice}"


def _no_option(parser: Parser, own: Parser, option: str) -> str:
    """Say that a command has no such option, and which one was meant, or which commands have it."""
    elsewhere = [name for name, other in parser.commands.items() if option in other._option_string_actions]
    if elsewhere and own is parser:
        return f"{option} comes after a command, as in volcomp {elsewhere[0]} {option}; volcomp help lists all"
    nearest = own.nearest(option)
    if elsewhere and not (nearest and len(option) == 2):
        others = " and ".join([", ".join(elsewhere[:-1]), elsewhere[-1]] if elsewhere[1:] else elsewhere)
        has = "have" if elsewhere[1:] else "has"
        return f"{own.prog} has no option {option}, which {others} {has}; see {own.prog} --help"
    advice = f"did you mean {nearest}? " if nearest else ""
    return f"{own.prog} has no option {option}; {advice}{own.prog} --help lists all"
