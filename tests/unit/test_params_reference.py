"""docs/params_reference.md is what its command writes, and every key has one text."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from pydantic import Field

from depthmask.base.errors import UserError
from depthmask.params import Params, make_params
from depthmask.params.augment import TRANSFORMS
from depthmask.params.fields import Section
from depthmask.registry.losses import LOSSES
from tools.params_reference import MORE, PAGE, find_text, main, make_page, read_comments, read_file
from tools.schema_keys import walk_keys

ROOT = Path(__file__).resolve().parents[2]
FILES = [PAGE, MORE, Path("docs/losses_and_metrics.md")]
FILES += [Path(folder, name) for folder in ("", "leaderboard", "cross_validation") for name in ("params.yaml", "dvc.yaml")]
KEYS = {key.name: key for key in walk_keys(Params)}


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A copy of the files that the page is made of."""
    for path in FILES:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def lay_over(base: dict, more: dict) -> dict:
    return {
        key: lay_over(base.get(key) or {}, more[key]) if isinstance(more.get(key), dict) else more.get(key, base.get(key))
        for key in {**base, **more}
    }


def test_the_page_is_up_to_date():
    assert (ROOT / PAGE).read_text() == make_page(ROOT), f"{PAGE} is not what the schema and the comments say: run `make docs`"


def test_a_changed_comment_is_found_and_repaired(project, capsys):
    assert main([]) == 0
    change(project / "params.yaml", "# side of the images", "# side of an image")
    assert main([]) == 1
    printed = capsys.readouterr().out
    assert "make docs" in printed and "side of an image" in printed
    assert main(["--write"]) == 0 and main([]) == 0
    page = (project / PAGE).read_text()
    assert page.count("| side of an image |") == 2, "finetune's key has the text of pretrain's"


def test_a_key_without_a_comment_is_an_error(project, capsys):
    change(project / "params.yaml", "# side of the images", "")
    assert main([]) == 1
    assert "params.yaml: pretrain.image_size_px: no comment" in capsys.readouterr().err


def test_a_new_key_of_the_schema_is_an_error():
    class Larger(Params):
        brightness: int = Field(ge=0)

    file = read_file(ROOT, "", Larger, {})
    assert "brightness" in {key.name for key in walk_keys(Larger)}
    with pytest.raises(UserError, match="brightness"):
        find_text(file, "brightness")


def test_every_variant_has_its_keys():
    for name, transform in TRANSFORMS.items():
        wanted = {f"{name}.{key}" for key in transform.model_fields}
        found = {key.split(".", 2)[2] for key in KEYS if key.startswith("augment.") and key.split(".")[2:3] == [name]}
        assert found == wanted
    assert {tuple(key.split(".")[1:]) for key in KEYS if re.match(r"loss\.(mask|depth)\.", key)} == set(LOSSES)
    assert {"download.pseudo_labels.revision", "loss.balance.max", "pretrain.more_phases", "compute.compile"} <= set(KEYS)


def test_ranges_and_values_are_the_schemas():
    assert (KEYS["compute.compile"].value, KEYS["compute.compile"].bounds) == ("`true` or `false`", "")
    assert KEYS["split.fraction"].bounds == "above 0, at most 1"
    assert KEYS["compose.field_of_view_deg"].value == "number or `null`"
    assert KEYS["compose.field_of_view_deg"].bounds == "1 to 170 degrees"
    assert KEYS["model.width"].bounds == "4 to 256, multiples of 4"
    assert KEYS["pretrain.loss"].value == "mapping like [loss](#loss) or `null`"


def test_a_list_of_a_schema_is_reported():
    class Listing(Section):
        sizes_px: list[int] = Field(min_length=1)

    (key,) = walk_keys(Listing)
    assert (key.value, key.bounds) == ("list: whole number", "at least 1; px")


def test_every_comment_is_a_keys():
    own, more = (read_comments((ROOT / path).read_text()) for path in ("params.yaml", MORE))
    assert set(own) | set(more) <= set(KEYS)
    assert set(own) & set(more) == set(), "a text stands twice"


def test_the_further_keys_can_be_used():
    own, more = (yaml.safe_load((ROOT / path).read_text()) for path in ("params.yaml", MORE))
    params = make_params(lay_over(own, more), str(MORE))
    assert params.download.pseudo_labels.batch_size == more["download"]["pseudo_labels"]["batch_size"]
    listed = {transform.transform for transform in (*params.augment.geometric, *params.augment.photometric)}
    assert listed == set(TRANSFORMS), "one example of each"


def test_a_comment_continues_below_in_its_column():
    text = "one: 1  # begins\n        # goes on\n# another\ntwo:  # of two\n  three: [1,  # no key's\n    2]\n"
    assert read_comments(text) == {"one": "begins goes on", "two": "of two"}


def test_every_key_can_be_linked_to():
    page = (ROOT / PAGE).read_text()
    anchors = re.findall(r'<a id="([\w.]+)">', page)
    assert len(anchors) == len(set(anchors))
    headings = set(re.findall(r"^## (\w+)$", page, re.MULTILINE))
    assert set(KEYS) - set(anchors) - headings == set()


def test_every_key_is_read_by_a_stage():
    rows = [[cell.strip() for cell in row.split(" | ")] for row in make_page(ROOT).splitlines() if row.startswith("| <a id=")]
    assert [row[0] for row in rows if not row[4]] == []
