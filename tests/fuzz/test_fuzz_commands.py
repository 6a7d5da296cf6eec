"""Commands with nonsense arguments: numbers, paths of every wrong kind, names that are none, damaged files."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from fuzzing import Tally, count_cases, run_in_process
from making_reports import make_reports

from depthmask import cli

PROJECT = Path(__file__).parents[2]
NUMBERS = ("0", "-1", "1", "2", "1e9", "nan", "inf", "-inf", "1e400", "x", "", "9" * 5000, "²", "0x1", "1.5", "9" * 20)
WORDS = ("", "x", "-", "--", "\udcff", "\x1b[31m", "a" * 5000, "../..", "compact", "default", "HEAD", "HEAD~99", "train", "%s")
KINDS = ("file", "folder", "fifo", "loop", "missing", "below_a_file", "device", "long", "null", "binary", "json", "yaml", "csv")
# of each command: its options, and what each takes
OPTIONS = {
    "check": {"--params": "path"},
    "scores": {"--reports": "reports"},
    "card": {"": "path", "--lock": "path"},
    "models": {"": "word", "--csv": "path"},
    "recipe": {"": "word", "--recipes": "path", "--params": "path", "--set": ""},
    "report": {"--reports": "reports", "--split": "split", "--compare": "word"}
    | dict.fromkeys(("--out", "--params", "--lock", "--recipes", "--leaderboard"), "path"),
    "show": {"--part": "word", "--source": "", "--augment": "", "--split": "split"}
    | dict.fromkeys(("--num", "--epoch", "--size"), "number")
    | dict.fromkeys(("--params", "--raw", "--store", "--out"), "path"),
    "lr-range": {"--stage": "word", "--split": "split"}
    | dict.fromkeys(("--steps", "--min-rate", "--max-rate"), "number")
    | dict.fromkeys(("--params", "--raw", "--store", "--init", "--out"), "path"),
    "nonsense": {"": "word", "--help": ""},
}
DAMAGES = ("", "", "", "empty", "cut", "byte", "other", "folder", "fifo")


def make_places(root: Path) -> dict[str, str]:
    """A path of every wrong kind."""
    root.mkdir()
    texts = {"file": b"text", "binary": b"\x00\xff" * 99, "json": b"[1, {}]", "yaml": b"a: [", "csv": b"a,b\n1,2\n"}
    for name, text in texts.items():
        (root / name).write_bytes(text)
    (root / "folder").mkdir()
    os.mkfifo(root / "fifo")
    (root / "loop").symlink_to("loop")
    (root / "null").symlink_to("/dev/null")  # by a link, since a mistake here would cost the machine its device
    special = {"below_a_file": root / "file/x", "device": "/dev/zero", "null": root / "null", "long": root / ("a" * 300)}
    return {kind: str(special.get(kind, root / kind)) for kind in KINDS}


def damage(draw: random.Random, folder: Path) -> None:
    """Change one of the files that a command reads."""
    path = draw.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    kind = draw.choice(DAMAGES)
    data = path.read_bytes()
    if kind in ("folder", "fifo"):
        path.unlink()
        path.mkdir() if kind == "folder" else os.mkfifo(path)
    elif kind == "byte" and data:
        place = draw.randrange(len(data))
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :])
    elif kind == "other":
        path.write_bytes(draw.choice([b"{}", b"[]", b"null", b'{"test": 3}', b"\xff\xfe", b"a,b\n\n", b"1" * 9999]))
    elif kind in ("empty", "cut"):
        path.write_bytes(b"" if kind == "empty" else data[: len(data) // 2])


def make_arguments(draw: random.Random, places: dict[str, str], folders: dict[str, Path]) -> list[str]:
    """A command, with from none to four of its options and a value for each, sometimes of the wrong kind or none."""
    command = draw.choice(sorted(OPTIONS))
    options = OPTIONS[command]
    arguments = [command]
    for kind in ("reports", "split"):
        arguments += [text for name, takes in options.items() if takes == kind for text in (name, str(folders[kind]))]
    if command == "report":
        arguments += ["--out", str(folders["out"] / "page.html")]
    if command in ("show", "lr-range"):
        arguments += ["--out", str(folders["out"] / "x.png")]
    arguments += ["compact"] if command == "models" else []  # all of them take half a minute
    for name in draw.sample(sorted(options), draw.randint(0, min(4, len(options)))):
        arguments += [name] if name else []
        kind = options[name] if draw.random() < 0.9 else draw.choice(["number", "word", "path"])
        values = {"number": NUMBERS, "word": WORDS, "path": [places[kind] for kind in KINDS]}.get(kind)
        if values and draw.random() < 0.95:
            arguments.append(draw.choice(values))
    return arguments


def test_nonsense_is_rejected_in_a_line(tmp_path, monkeypatch):
    reports, split = make_reports(tmp_path / "whole")
    tally = Tally()
    for number in range(count_cases(40)):
        draw = random.Random(f"command {number}")
        root = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", root, symlinks=True)
        places = make_places(root / "places")
        folders = {"reports": root / reports.name, "split": root / split.name, "out": root / "out"}
        folders["out"].mkdir()
        monkeypatch.chdir(root)
        shutil.copy(PROJECT / "params.yaml", root)
        (root / "workflow").symlink_to(PROJECT / "workflow")
        damage(draw, root / draw.choice([reports.name, split.name]))
        arguments = make_arguments(draw, places, folders)
        tally.add((number, [text[:60] for text in arguments]), run_in_process(cli.main, arguments, seconds=60))
        shutil.rmtree(root)
    tally.check("nonsense arguments")


@pytest.mark.parametrize("command", sorted(set(OPTIONS) - {"nonsense"}))
def test_the_options_are_those_that_the_command_has(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in OPTIONS[command] if name and name != "--set")
