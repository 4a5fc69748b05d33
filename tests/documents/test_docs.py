"""What the documents show runs, and what the program can do is in the documents."""

import re
from pathlib import Path

import pytest

from volcomp import cli, models

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_examples_of_the_readme_run(code: str) -> None:
    exec(compile(code, "README.md", "exec"), {})


def test_the_readme_has_an_example() -> None:
    assert "```python" in README


def test_every_command_and_option_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    commands = re.findall(r"^    ([a-z]+)\b", capsys.readouterr().out, re.MULTILINE)
    assert "compress" in commands and len(commands) >= 4
    for command in commands:
        assert f"volcomp {command} " in README
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        for option in set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}:
            assert option in COMMANDS, f"volcomp {command} {option}"


@pytest.mark.parametrize("model", [name for name in models.CHOICES if models.chosen(name).pipeline == "row"])
def test_the_readme_states_how_large_the_models_are(model: str) -> None:
    assert f"`{model}` {models.chosen(model).file.stat().st_size / 1000:.0f} kB" in README


@pytest.mark.parametrize("name", re.findall(r"`((?:docs|volcomp|benchmarks)/[\w/]+\.\w+)`", README))
def test_files_that_the_readme_names_are_there(name: str) -> None:
    assert (ROOT / name).exists()
