"""What the README names exists, and what exists is named."""

import ast
import dataclasses
import re
from pathlib import Path

import pytest

import kt_transfer
from kt_transfer import settings as config
from kt_transfer.shell.main import COMMANDS

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text()
CONFIGS = {
    name: getattr(config, f"{name.capitalize()}Config") for name in COMMANDS if name != "tune"
}
LAUNCH = {"--workers", "--restart"}
TUNE = [
    config.TunePretrainConfig,
    config.TuneFinetuneConfig,
    config.TuneDistillConfig,
    config.TuneCompareConfig,
]


def flags(*config_classes):
    return {
        f"--{field.name.replace('_', '-')}"
        for config_class in config_classes
        for field in dataclasses.fields(config_class)
    }


def test_every_command_is_in_the_table():
    section = TEXT.split("\n## The commands\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.M)) == set(COMMANDS)


def test_every_command_that_is_called_exists():
    called = set(re.findall(r"kt_transfer\.(\w+)", TEXT)) - {"COMMAND", "engine"}
    called |= set(re.findall(r"kt-transfer (\w+)", TEXT)) - {"COMMAND"}
    assert called
    assert called <= set(COMMANDS)


def test_every_flag_of_a_command_line_exists():
    lines = re.findall(r"^(?:.*/)?(?:python -m kt_transfer\.|.*kt-transfer )(\w+)(.*)$", TEXT, re.M)
    assert len(lines) >= 6
    for command, rest in lines:
        known = flags(*TUNE) if command == "tune" else flags(CONFIGS.get(command, config.Common))
        known |= LAUNCH if command == "engine" else set()
        own = rest.split("&&")[0].split("`")[0].split(" -- ")[0]  # not what the launcher starts
        used = set(re.findall(r"--[a-z-]+", own))
        assert used <= known | {"--help"}, command


def test_every_flag_that_is_named_exists():
    known = flags(*CONFIGS.values(), *TUNE) | LAUNCH | {"--help", "--quiet", "--editable"}
    ours = re.sub(r".*docker run.*", "", TEXT)  # a program with flags of its own
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours))
    assert named <= known


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert target.startswith("http") or (README.parent / target).exists(), target


def test_every_name_that_is_imported_exists():
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.S):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                assert node.module == "kt_transfer"
                for alias in node.names:
                    assert hasattr(kt_transfer, alias.name), alias.name


@pytest.mark.parametrize("spec", ["digits", "tfds:", "idx:", "npz:"])
def test_every_kind_of_data_is_described(spec):
    assert re.search(rf"^\| `{spec}", TEXT, re.M)
