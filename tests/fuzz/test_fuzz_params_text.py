"""Files that a user writes, attacked: each is refused in a line or read, and what is read is what DVC reads."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.exceptions import DvcException
from dvc.utils.serialize import parse_yaml as read_as_dvc
from dvc.utils.serialize import parse_yaml_for_update as read_as_dvc_changes_it
from fuzzing import Outcome, Tally, count_cases, run_in_process
from nasty_values import JSON_VALUES, KEYS, PIECES, VALUES

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.commands.check import main as check
from depthmask.commands.recipe import main as use_recipe
from depthmask.params import load_params
from depthmask.sources.assets import DemoSource
from stages.leaderboard.check import main as check_leaderboard

ROOT = Path(__file__).resolve().parents[2]
SHORT = 500
SECONDS = 8  # for a case, of which most take a hundredth
DIFFERENTIAL = 4  # texts compared with DVC for each case
LAUGHS = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghijkl", "bcdefghijklm"))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Iterator[Path]:
    """A folder with this project's graph, recipes and data; what is attacked lies in it, and it is the working folder."""
    root = tmp_path_factory.mktemp("attacked")
    for name in ("workflow", "dvc.yaml"):
        (root / name).symlink_to(ROOT / name)
    (root / "data").mkdir()
    for name in ("demo", "photos", "sources.csv"):
        (root / "data" / name).symlink_to(ROOT / "data" / name)
    (root / "leaderboard").mkdir()
    (root / "leaderboard/dvc.yaml").symlink_to(ROOT / "leaderboard/dvc.yaml")
    shutil.copytree(ROOT / "workflow/recipes", root / "recipes")
    for kind, suffix in (("bg", "jpg"), ("bg_depth", "png"), ("fg", "png"), ("fg_depth", "png")):
        (root / "pack" / kind).mkdir(parents=True)
        for number in range(2):
            shutil.copy(ROOT / f"data/demo/{kind}/{number:03}.{suffix}", root / "pack" / kind)
    before = Path.cwd()
    os.chdir(root)
    yield root
    os.chdir(before)


def change_line(text: str, rng: random.Random) -> str:
    """A text of YAML with the value, or the key, of one of its lines replaced."""
    lines = text.split("\n")
    shape = (
        r" *(- )?[a-z0-9_]+: *[^# ]" if rng.random() < 0.8 else r" *(- )?[a-z0-9_]+:"
    )  # with a value behind, or whole sections too
    number = rng.choice([number for number, line in enumerate(lines) if re.match(shape, line)])
    key, _, _ = lines[number].partition(":")
    if rng.random() < 0.15:
        indent = len(key) - len(key.lstrip(" -"))
        lines[number] = key[:indent] + rng.choice(KEYS) + lines[number][len(key) :]
    else:
        lines[number] = f"{key}: {rng.choice(VALUES)}"
    return "\n".join(lines)


def mutate(text: str, rng: random.Random) -> str:
    """A text with a few pieces put in, taken out, doubled or swapped."""
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.choice((1, 1, 2, 5, 40, 400)))
        other = rng.randrange(len(text) + 1)
        text = rng.choice(
            (
                text[:start] + rng.choice(PIECES) + text[start:],
                text[:start] + rng.choice(PIECES) + text[end:],
                text[:start] + text[end:],
                text[:end] + text[start:end] + text[end:],
                text[:other] + text[start:end] + text[other:],
            )
        )
    return text


def attack(text: str, rng: random.Random) -> str:
    return change_line(text, rng) if rng.random() < 0.75 else mutate(text, rng)


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def attack_params(project: Path, rng: random.Random) -> tuple[Callable, list[str]]:
    path = write(project / "params.yaml", attack((ROOT / "params.yaml").read_text(), rng))
    return check, ["--params", str(path)]


def attack_recipe(project: Path, rng: random.Random) -> tuple[Callable, list[str]]:
    """A user's recipe, or the one that the others are laid over."""
    name = rng.choice(("default", "dilated_small", "own"))
    origin = ROOT / "workflow/recipes" / f"{'dilated_small' if name == 'own' else name}.yaml"
    shutil.rmtree(project / "recipes")
    shutil.copytree(ROOT / "workflow/recipes", project / "recipes")
    write(project / f"recipes/{name}.yaml", attack(origin.read_text(), rng))
    shutil.copy(ROOT / "params.yaml", project / "params.yaml")
    return use_recipe, [name, "--recipes", "recipes", *rng.choice(([], ["--check"], ["--set"], ["--write"]))]


def attack_leaderboard(project: Path, rng: random.Random) -> tuple[Callable, list[str]]:
    text = (ROOT / "leaderboard/params.yaml").read_text().replace("../data/demo", "data/demo")
    path = write(project / "leaderboard/params.yaml", attack(text, rng))
    return check_leaderboard, [
        "--params",
        str(path),
        "--recipes",
        str(ROOT / "workflow/recipes"),
        "--out",
        str(project / "out.txt"),
    ]


def attack_pack(project: Path, rng: random.Random) -> tuple[Callable, list[str]]:
    """pack.json of a folder of backgrounds and cut-outs, which are then read."""
    pack = json.loads((ROOT / "data/demo/pack.json").read_text())
    pack = {role: {key: pack[role][key] for key in ("000", "001")} for role in ("backgrounds", "cutouts")}
    text = json.dumps(pack, indent=1)
    if rng.random() < 0.7:
        lines = text.split("\n")
        number = rng.choice([number for number, line in enumerate(lines) if ": " in line and not line.endswith("{")])
        lines[number] = lines[number].partition(":")[0] + ": " + rng.choice(JSON_VALUES) + "," * lines[number].endswith(",")
        text = "\n".join(lines)
    else:
        text = mutate(text, rng)
    write(project / "pack/pack.json", text)
    return read_pack_folder, [str(project / "pack")]


@print_errors_as_lines
def read_pack_folder(argv: list[str]) -> int:
    source = DemoSource(Path(argv[0]), load_params(ROOT / "params.yaml").download)
    return 0 if all(source.check()) else 1


def make_whole_files() -> dict[str, Callable[[Path], object]]:
    """Attacks on the file as a whole, by name; each makes it."""
    text = (ROOT / "params.yaml").read_text()
    encodings = ("utf-16", "utf-16-le", "utf-8-sig", "utf-32")
    made: dict[str, Callable[[Path], object]] = {
        encoding: lambda path, encoding=encoding: path.write_bytes(text.encode(encoding)) for encoding in encodings
    }
    texts = {
        "empty": "",
        "blank": "\n\n",
        "comment": "# x",
        "list": "- 1",
        "scalar": "x",
        "null": "~",
        "two": f"{text}---\n{text}",
        "end": f"{text}...\nx",
        "version": f"%YAML 1.1\n---\n{text}",
        "directive": f"%TAG ! tag:x,2000:\n---\n{text}",
        "laughs": LAUGHS + text,
        "lists": "[" * 200_000,
        "mappings": "{a: " * 200_000,
        "blocks": "- " * 20_000,
        "indent": "".join(f"{' ' * n}a:\n" for n in range(3000)),
        "keys": "? " * 5000,
        "open": text + "x: '",
        "tabs": text.replace("  ", "\t"),
        "breaks": text.replace("\n", "\u2028"),
        "returns": text.replace("\n", "\r"),
        "many": "".join(f"k{n}: {n}\n" for n in range(20_000)),
        "long key": f"{'k' * 200_000}: 1\n{text}",
        "twice": text + text,
        "nul": text + "\0",
        "brackets": text + "x: " + "]" * 9,
        "quotes": "'" * 99_999,
        "anchors": "".join(f"a{n}: &a{n} 1\n" for n in range(5000)),
    }
    made |= {name: lambda path, text=text: path.write_text(text) for name, text in texts.items()}
    return made | {
        "latin-1": lambda path: path.write_bytes((text + "# é").encode("latin-1")),
        "bytes": lambda path: path.write_bytes(bytes(range(256)) * 9),
        "large": lambda path: path.write_text(text + "# x\n" * 400_000),
        "missing": lambda path: None,
        "folder": lambda path: path.mkdir(),
        "fifo": lambda path: os.mkfifo(path),
        "loop": lambda path: path.symlink_to(path.name),
        "device": lambda path: path.symlink_to("/dev/zero"),
        "dangling": lambda path: path.symlink_to("nothing"),
    }


ATTACKS = (*[attack_params] * 6, *[attack_recipe] * 2, attack_leaderboard, attack_pack)


def run_case(project: Path, case: int) -> tuple[str, Outcome]:
    """Attack one file; the case's number says which, and how."""
    rng = random.Random(case)
    kind = rng.choice(ATTACKS)
    main, arguments = kind(project, rng)
    return kind.__name__, run_in_process(main, arguments, SECONDS)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)


def test_every_file_is_rejected_in_a_line_or_read(project):
    tally = Tally()
    for name, make in make_whole_files().items():
        for main, more in ((check, []), (use_recipe, ["dilated_small"])):
            remove(project / "params.yaml")
            make(project / "params.yaml")
            tally.add(name, run_in_process(main, [*more, "--params", "params.yaml"], SECONDS))
    remove(project / "params.yaml")
    for case in range(count_cases(SHORT)):
        kind, outcome = run_case(project, case)
        tally.add(f"{kind} {case}", outcome)
    tally.check("files that a user writes")
    assert tally.counts["refused"] and tally.counts["ran"]


def is_same(ours: Any, theirs: Any) -> bool:
    """Equal, and of the same JSON type, whatever class it is of."""
    if isinstance(ours, dict):
        return isinstance(theirs, Mapping) and list(ours) == list(theirs) and all(is_same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list):
        return isinstance(theirs, list) and len(ours) == len(theirs) and all(map(is_same, ours, theirs))
    if ours is None or isinstance(ours, bool):
        return theirs is ours or (isinstance(ours, bool) and type(theirs).__name__ == "ScalarBoolean" and bool(theirs) == ours)
    return isinstance(theirs, type(ours)) and not isinstance(theirs, bool) and ours == theirs


def make_text(rng: random.Random) -> str:
    """A text of YAML: the project's own with an attack on it, or a few scalars made of what is ambiguous."""
    if rng.random() < 0.1:
        return attack((ROOT / "params.yaml").read_text(), rng)

    def scalar() -> str:
        if rng.random() < 0.3:
            return rng.choice(VALUES)[:200]
        characters = rng.choice(
            ("0123456789", "0123456789+-._eE:", "01xobn_", "yesnoYESNOtrufalTRUFAL~", "abc 'é", "\"'\\nx", "a:-#,[]{} ")
        )
        return "".join(rng.choice(characters) for _ in range(rng.randint(1, 6)))

    templates = (
        "a: {0}\nb: {1}\n",
        "a: [{0}, {1}]\n",
        "a: {{b: {0}, c: {1}}}\n",
        "a:\n- {0}\n- {1}\n",
        "a:\n  b: {0} {1}\n",
        "{0}: {1}\n",
        "a: '{0}'\nb: \"{1}\"\n",
        "a: {0}\n  {1}\n",
        "a: |\n  {0}\n  {1}\n",
        "? {0}\n: {1}\n",
        "- {0}\n-   {1}\n",
        "a:   {0}   # {1}\n",
        "{{{0}, {1}}}\n",
        "a: >-\n  {0}\n{1}: x\n",
        "a: {0}\r\nb: {1}\r\n",
        "a: '{0}\n\n  {1}'\n",
    )
    return rng.choice(templates).format(scalar(), scalar())


def test_what_is_read_is_what_dvc_reads(project):
    from depthmask.base.errors import ParamsError
    from depthmask.params.plain_yaml import parse_yaml

    read = 0
    for case in range(DIFFERENTIAL * count_cases(SHORT)):
        text = make_text(random.Random(case))
        try:
            ours = parse_yaml(text, "params.yaml")
        except ParamsError as error:
            assert "\n" not in str(error)
            continue
        read += 1
        for reader in (read_as_dvc, read_as_dvc_changes_it):
            try:
                theirs = reader(text, "params.yaml")
            except DvcException as error:
                pytest.fail(f"case {case}: DVC refuses {text!r}: {error}")
            assert is_same(ours or {}, theirs), f"case {case}: {text!r} is {ours!r} here and {theirs!r} for {reader.__name__}"
    assert read > 200


def test_what_yaml_1_1_takes_for_another_value_is_rejected(project):
    """PyYAML reads YAML 1.1: a plain scalar that is accepted here means the same there, but for exponents, which 1.1 lacks."""
    from depthmask.base.errors import ParamsError
    from depthmask.params.plain_yaml import parse_yaml

    read = 0
    for case in range(DIFFERENTIAL * count_cases(SHORT)):
        rng = random.Random(case)
        value = "".join(rng.choice("0123456789+-._:xobyesnOYENTRUtruflas~=<") for _ in range(rng.randint(1, 5)))
        try:
            ours = parse_yaml(f"a: {value}\n", "params.yaml")["a"]
        except ParamsError:
            continue
        read += 1
        if not (isinstance(ours, float) and "e" in value.lower()):
            theirs = yaml.safe_load(f"a: {value}\n")["a"]
            assert is_same(ours, theirs), f"{value} is {ours!r} here and {theirs!r} in YAML 1.1"
    assert read > 200
