"""What the documents say is so: links, commands, options, keys of params, variables, files, and YAML to be copied.

Conventions: a shell block is ```sh; a ```text block whose names are on the disk is a tree of files and is checked as one; what is
printed is ```console; a ```yaml block that begins with a section of params.yaml must be valid when laid over it, unless
it is marked ```yaml fragment. Each check is a function of a page that lists what is wrong, so that it can be shown to find it.
"""

from __future__ import annotations

import ast
import re
import subprocess
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePosixPath

import pytest
import yaml
from checking_commands import CHECKS, find_fault_of_command, is_known
from reading_documents import ROOT, Page, list_files, list_folders, list_lines, read_pages, split_commands

from depthmask.base.errors import UserError
from depthmask.cross_validation.params import CrossValidationParams
from depthmask.leaderboard.params import LeaderboardParams
from depthmask.params import Params, make_params
from depthmask.params.messages import RENAMED
from depthmask.params.plain_yaml import parse_yaml
from depthmask.params.reading import fit_schema
from depthmask.sweep.params import SweepParams
from tools.schema_keys import walk_keys

PAGES = read_pages()
README = PAGES["README.md"]
SECTIONS = {*Params.model_fields, *LeaderboardParams.model_fields}
FILE_SUFFIXES = {
    "css",
    "csv",
    "html",
    "jpg",
    "js",
    "json",
    "lock",
    "log",
    "md",
    "onnx",
    "png",
    "pt2",
    "py",
    "safetensors",
    "txt",
    "yaml",
}
PLACEHOLDER = re.compile(r"(?<![a-z])[A-Z]{2,}|\.\.\.")
LIBRARY = "workflow/depthmask"  # pages also name its files by their place in it
IGNORED_VARIABLES = {"DEPTHMASK_"}  # the beginning that all have
# the schema of each graph's params; the page about a graph has its folder's name in its own
GRAPHS = {"": Params, "leaderboard": LeaderboardParams, "cross_validation": CrossValidationParams, "sweep": SweepParams}


@cache
def list_keys() -> frozenset[str]:
    """Every key of both params files, as messages write it: a transform's key stands behind the list's."""
    keys = {key.name for schema in GRAPHS.values() for key in walk_keys(schema)}
    in_lists = {re.sub(r"^(augment\.\w+)\.\w+\.", r"\1.", key) for key in keys}
    phases = {re.sub(r"^(pretrain|finetune)\.", r"\1.more_phases.", key) for key in keys}
    like_loss = {f"{stage}.{key}" for stage in ("pretrain", "finetune") for key in keys if key.startswith("loss.")}
    return frozenset(keys | in_lists | phases | like_loss)


@cache
def list_variables() -> frozenset[str]:
    """Every environment variable of ours that the code reads or sets."""
    sources = [path for path in list_files() if path.startswith(("workflow/", "profiles/")) or path.endswith("Snakefile")]
    texts = {
        path: (ROOT / path).read_text(encoding="utf-8") for path in sources if not path.endswith((".png", ".jpg", ".safetensors"))
    }
    named = {name for text in texts.values() for name in re.findall(r"DEPTHMASK_[A-Z_]*", text)}
    for node in ast.walk(ast.parse(texts["workflow/depthmask/execution/speed_options.py"])):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_read":
            named.add(f"DEPTHMASK_{node.args[1].value}")
    return frozenset(named - IGNORED_VARIABLES)


@cache
def list_outputs() -> frozenset[str]:
    """What the stages of both graphs make, with * for what differs from item to item."""
    outputs = set()
    for folder in GRAPHS:
        graph = yaml.safe_load((ROOT / folder / "dvc.yaml").read_text(encoding="utf-8"))
        for stage in graph["stages"].values():
            stage = stage.get("do", stage)
            for listed in (stage.get(kind, []) for kind in ("outs", "metrics", "plots")):
                paths = [next(iter(out)) if isinstance(out, dict) else out for out in listed]
                outputs |= {str(PurePosixPath(folder, re.sub(r"\$\{.*?\}", "*", path))) for path in paths}
    return frozenset(outputs)


@cache
def is_there(path: str) -> bool:
    """Whether a path is a file or folder of the project, an output of a stage or within one, or ignored by git."""
    path = str(PurePosixPath(path))
    if path in list_files() or path in list_folders():
        return True
    if "*" in path:
        return any(fnmatchcase(name, path) for name in (*list_files(), *list_outputs()))
    inside = [str(folder) for folder in [PurePosixPath(path), *PurePosixPath(path).parents]]
    if any(fnmatchcase(place, out) for out in list_outputs() for place in inside if place != "."):
        return True
    if any(PurePosixPath(out).is_relative_to(path) for out in list_outputs()):
        return True
    ask_git = ["git", "check-ignore", "-q", "--no-index"]
    return any(subprocess.run([*ask_git, name], cwd=ROOT).returncode == 0 for name in (path, f"{path}/"))


def find_broken_links(page: Page) -> list[str]:
    """Links and images whose file is not the project's, or whose anchor its page does not have."""
    broken = []
    for link in page.links:
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = str(PurePosixPath(*resolve(PurePosixPath(page.path).parent / target))) if target else page.path
        there = path in list_files() or path in list_folders()
        if there and anchor and path.endswith(".md"):
            there = anchor in (page if path == page.path else PAGES[path]).anchors
        broken += [] if there else [link]
    return broken


def resolve(path: PurePosixPath) -> list[str]:
    """The parts of a path without `..`."""
    parts: list[str] = []
    for part in path.parts:
        parts = parts[:-1] if part == ".." and parts else [*parts, part]
    return parts


def find_wrong_commands(page: Page) -> list[str]:
    """Commands that cannot be typed: in shell blocks whole ones, in the text as far as they go."""
    wrong = []
    for block in page.blocks:
        if block.info.split()[:1] in (["sh"], ["bash"], ["shell"]):
            for line in list_lines(block):
                commands = list(split_commands(line))
                wrong += [f"{line}: not known: {words[0]}" for words in commands if not is_known(words)]
                wrong += [f"{line}: {fault}" for words in commands if (fault := find_fault_of_command(words, whole=True))]
    for code in page.codes:
        if re.match(rf"(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?(?:{'|'.join(CHECKS)})(?: |$)", code):
            wrong += [
                f"{code}: {fault}" for words in split_commands(code) if (fault := find_fault_of_command(words, whole=False))
            ]
    return wrong


def find_blocks_without_language(page: Page) -> list[str]:
    """Fenced blocks that do not say what they are, so that nothing would look at them."""
    return [block.text.splitlines()[0] for block in page.blocks if not block.info]


def find_unknown_keys(page: Page) -> list[str]:
    """Dotted names that begin as a section of params and are no key; names that the page's own Python assigns are left out."""
    python = "\n".join(block.text for block in page.blocks if block.info == "python")
    assigned = set(re.findall(r"^(\w+) =", python, re.MULTILINE))
    unknown = []
    for code in page.codes:
        match = re.fullmatch(r"([a-z_]+)((?:\.[a-z0-9_]+)+)(?:[:=].*)?", code)
        if match and match[1] in SECTIONS - assigned and match[2].rpartition(".")[2] not in FILE_SUFFIXES:
            key = re.sub(r"\.\d+(?=\.|$)", "", match[1] + match[2])
            unknown += [code] if key not in {*list_keys(), *RENAMED} else []
    return unknown


def find_unknown_variables(page: Page) -> list[str]:
    """Environment variables of ours that no code reads or sets."""
    return sorted(set(re.findall(r"DEPTHMASK_[A-Z_]+", page.text)) - list_variables())


def find_missing_paths(page: Page) -> list[str]:
    """Paths in inline code below a folder of the project that are neither there nor made by a run."""
    missing = []
    for code in page.codes:
        if not re.fullmatch(r"\.?[\w-]+(/[\w.\-*]+)+/?", code) or PLACEHOLDER.search(code):
            continue
        places = [
            str(PurePosixPath(*resolve(PurePosixPath(base) / code))) for base in ("", PurePosixPath(page.path).parent, LIBRARY)
        ]
        below = (code.split("/")[0], f"{LIBRARY}/{code.split('/')[0]}")
        if any(folder in list_folders() for folder in below) and not any(map(is_there, places)):
            missing.append(code)
    return missing


def find_wrong_trees(page: Page) -> list[str]:
    """Names in trees of files that are not on the disk; a block of whose names most are not there is no tree."""
    wrong = []
    for block in page.blocks:
        if block.info != "text":
            continue
        missing, num_names, parents = [], 0, []
        for line in block.text.splitlines():
            indent = len(line) - len(line.lstrip())
            names = re.split(r"\s{2,}", line.strip())[0].split()
            parents = [parent for parent in parents if parent[0] < indent]
            base = PurePosixPath(*(name for _, name in parents))
            num_names += len(names)
            missing += [str(base / name) for name in names if not is_there(str(base / name))]
            parents.append((indent, names[-1] if names else ""))
        wrong += missing if 2 * len(missing) < num_names else []
    return wrong


def find_wrong_yaml(page: Page) -> list[str]:
    """YAML that does not parse, or that params.yaml could not be given."""
    wrong = []
    for block in page.blocks:
        if block.info.split()[:1] != ["yaml"]:
            continue
        try:
            values = parse_yaml(block.text, page.path)
        except UserError as error:
            wrong.append(str(error))
            continue
        if isinstance(values, dict) and set(values) & SECTIONS and "fragment" not in block.info.split():
            fault = find_fault_of_values(next((folder for folder in GRAPHS if folder and folder in page.path), ""), values)
            wrong += [fault] if fault else []
    return wrong


def find_fault_of_values(folder: str, values: dict) -> str | None:
    """Why values laid over a params.yaml make it invalid; None if they do not."""
    base = parse_yaml((ROOT / folder / "params.yaml").read_text(encoding="utf-8"), folder)
    try:
        laid = lay_over(base, values)
        fit_schema(GRAPHS[folder], laid, folder) if folder else make_params(laid)
    except UserError as error:
        return str(error)
    return None


def lay_over(base: dict, values: dict) -> dict:
    """Mappings are joined key by key, all else replaces what was there."""
    joined = {key: lay_over(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
              for key, value in values.items()}  # fmt: skip
    return {**base, **joined}


def find_wrong_python(page: Page) -> list[str]:
    """Python that does not parse."""
    wrong = []
    for block in page.blocks:
        if block.info == "python":
            try:
                compile(block.text, page.path, "exec")
            except SyntaxError as error:
                wrong.append(str(error))
    return wrong


# each with a page that it must find fault with
CHECKED = {
    find_broken_links: "[no file](nothing.md) [no heading](README.md#nothing) ![no image](docs/none.png)",
    find_wrong_commands: "```sh\nmake nothing\n```\n",
    find_blocks_without_language: "```\nmake repro\n```\n",
    find_unknown_keys: "`pretrain.epoch`",
    find_unknown_variables: "`DEPTHMASK_WORKER`",
    find_missing_paths: "`workflow/depthmask/nothing.py`",
    find_wrong_trees: "```text\ndvc.yaml\nworkflow/\n    depthmask/\n        nothing.py\n```\n",
    find_wrong_yaml: "```yaml\npretrain: {epoch: 3}\n```\n",
    find_wrong_python: "```python\nmodel = (\n```\n",
}


@pytest.mark.parametrize("check", CHECKED, ids=lambda check: check.__name__)
def test_every_page(check):
    faults = [f"{path}: {fault}" for path, page in PAGES.items() for fault in check(page)]
    assert faults == [], check.__doc__


@pytest.mark.parametrize(("check", "text"), CHECKED.items(), ids=[check.__name__ for check in CHECKED])
def test_the_check_finds_what_is_wrong(check, text):
    wanted = 3 if check is find_broken_links else 1
    assert len(check(Page("README.md", text))) == wanted
    assert len(check(Page("README.md", README.text + text))) == wanted, "also at the end of a page that is right"


def test_every_wrong_command_is_found():
    wrong = [
        "make reprod",
        "make repro RECEIPT=default",
        "depthmask predicts photos",
        "depthmask predict photos --out o --cut-out",
        "depthmask predict photos",
        "depthmask show --part nothing --out t.png",
        "python -m depthmask.nothing",
        "python -m tools.stage_deps --repair",
        "python benchmarks/nothing.py",
        "PYTHONPATH=workflow python benchmarks/scale.py --repeat 1",
        "python -m pytest tests/unit/test_nothing.py",
        "dvc reproduce",
        "dvc exp walk",
        "dvc repro --forced",
        "dvc exp run -S pretrain.epoch=1",
        "dvc exp run -S pretrain.epochs=none",
        "dvc exp run $(depthmask recipes dense_concat --set)",
        "snakemake --core 2",
        "cd leaderboard && snakemake --core 2",
        "pip install -e '.[peers]'",
        "conda activate depthmask",
    ]
    found = {command: find_wrong_commands(Page("README.md", f"```sh\n{command}      # why\n```\n")) for command in wrong}
    assert {command: faults for command, faults in found.items() if len(faults) != 1} == {}


def test_wrong_commands_in_the_text_are_found():
    wrong = ["make repros", "depthmask predict --cut-out", "dvc repr", "snakemake --core", "make test-none"]
    found = {command: find_wrong_commands(Page("README.md", f"Type `{command}`.")) for command in wrong}
    assert {command: faults for command, faults in found.items() if len(faults) != 1} == {}
    right = "`make TARGET`, `depthmask COMMAND --help`, `depthmask predict`, `dvc.lock`"
    assert find_wrong_commands(Page("README.md", right)) == []


def test_headings_are_named_as_github_does():
    text = "# One: two `x_y`\n## One: two `x_y`\n### A [link](b.md), *here*\n```sh\n# no heading\n```\n"
    assert Page("p.md", text).anchors == {"one-two-x_y", "one-two-x_y-1", "a-link-here"}


def test_a_fragment_needs_not_be_whole():
    block = "```yaml{}\nloss: {{mask: {{dice: 1.0, bce: oops}}}}\n```\n"
    assert find_wrong_yaml(Page("p.md", block.format(" fragment"))) == []
    assert len(find_wrong_yaml(Page("p.md", block.format("")))) == 1
    assert len(find_wrong_yaml(Page("p.md", "```yaml fragment\na: [\n```\n"))) == 1


def test_the_readme_has_a_tree():
    assert "dvc.yaml " in next(block.text for block in README.blocks if block.info == "text")


def test_every_variable_is_documented():
    documented = {name for page in PAGES.values() for name in re.findall(r"DEPTHMASK_[A-Z_]+", page.text)}
    assert list_variables() - documented == set()
    assert {"DEPTHMASK_WORKERS", "DEPTHMASK_TIMES", "DEPTHMASK_CACHE"} <= list_variables()


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), ["README.md"]
    while waiting:
        page = PAGES[waiting.pop()]
        reached.add(page.path)
        targets = [str(PurePosixPath(*resolve(Path(page.path).parent / link.partition("#")[0]))) for link in page.links]
        targets = [name for target in targets for name in (target, f"{target}/README.md")]
        waiting += [name for name in targets if name in PAGES and name not in reached]
    assert set(PAGES) - reached == set()
