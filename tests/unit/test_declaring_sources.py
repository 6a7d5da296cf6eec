"""How several sources are declared, and what is said of mistakes in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from making_mixtures import MASK_AND_SHAPE
from PIL import Image

from depthmask.base.errors import ParamsError, UserError
from depthmask.params import make_params
from depthmask.params.mixture import name_keys, put_key
from depthmask.preflight.paths import check_layout, check_paths

PARAMS = Path(__file__).parents[2] / "params.yaml"
METRES = {"unit": "metre", "polarity": "near_is_small", "max": 10.0, "raw_max": 255, "raw_unknown": None}
RELATIVE = METRES | {"unit": "relative", "polarity": "near_is_large", "max": 1.0}
LOSS = {"loss": yaml.safe_load(PARAMS.read_text())["loss"] | MASK_AND_SHAPE}


def declare(**more):
    values = yaml.safe_load(PARAMS.read_text()) | LOSS
    rooms = {"weight": 1.0, "source": "assets", "path": "rooms", "depth": METRES}
    values["download"]["more_sources"] = {name: rooms | changes for name, changes in more.items()}
    return values


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"rooms": {"weight": 0}}, r"download.more_sources.rooms.weight: 0; allowed: 0.001 to 1000; to leave the source out"),
        ({"rooms": {"wieght": 1.0}}, r"download.more_sources.rooms.wieght: unknown key; allowed keys: path, source"),
        ({"Rooms": {}}, r"download.more_sources: 'Rooms'; allowed: names of at most 40 lower-case letters, digits and _"),
        ({"a/b": {}}, r"download.more_sources: 'a/b'; allowed: names"),
        ({"a\n": {}}, r"download.more_sources: 'a\\n'; allowed: names"),
        ({"demo": {}}, r"download.more_sources.demo: has the name of the first source, download.source: demo; rename it"),
        ({"a": {}, "b": {}}, r"download.more_sources.b.path: rooms is also that of more_sources.a; use each source once"),
        ({"a": {"path": "data/demo/"}}, r"download.more_sources.a.path: data/demo/ is also that of download"),
        ({"a": {"source": "flat_numbered"}}, r"which download.more_sources.a.source: flat_numbered does not have unless"),
        ({"a": {"background_group": "("}}, r"download.more_sources.a.background_group: \( is not a regular expression"),
    ],
)
def test_a_mistake_in_a_further_source_is_named_by_its_key(more, message):
    with pytest.raises(ParamsError, match=message):
        make_params(declare(**more))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([{"weight": 1.0}], r"download.more_sources: \[.*\]; allowed: {} for none, or a mapping from the name of each source"),
        (None, r"download.more_sources: null; allowed: {} for none"),
        ({"a": None}, r"download.more_sources.a: null; allowed: a mapping of path, source, urls, .*weight"),
        ({"a": "rooms"}, r"download.more_sources.a: 'rooms'; allowed: a mapping of path"),
    ],
)
def test_what_is_no_mapping_of_sources_is_rejected(value, message):
    values = declare()
    values["download"]["more_sources"] = value
    with pytest.raises(ParamsError, match=message):
        make_params(values)


def test_a_source_on_another_scale_needs_the_loss_that_can_learn_from_it():
    values = declare(a={"depth": RELATIVE})
    assert make_params(values).download.more_sources["a"].depth.unit == "relative"
    values["loss"] = values["loss"] | {"depth": {"log_l1": 1.0}}
    with pytest.raises(ParamsError, match=r"loss.depth.scale_shift_invariant: 0; the relative depth of download.more_sources.a"):
        make_params(values)
    values["loss"] = values["loss"] | {"depth": {}}
    make_params(values)  # no depth is learnt at all


def test_metres_cannot_follow_a_relative_source():
    values = declare(a={})
    values["download"]["depth"] = RELATIVE
    with pytest.raises(ParamsError, match=r"download.more_sources.a.depth.unit: metre, but that of the first source is relative"):
        make_params(values)
    values["download"]["more_sources"]["a"]["depth"] = RELATIVE | {"polarity": "near_is_small"}
    with pytest.raises(ParamsError, match=r"download.more_sources.a.depth.polarity: near_is_small, but that of the first"):
        make_params(values)


def test_nested_and_missing_folders_are_rejected(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("data/demo", "data/demo/inner", "data/photos", "data/ensemble", "rooms"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "linked").symlink_to("rooms")
    for path, message in {
        "data/demo/inner": r"more_sources.a.path: data/demo/inner lies in that of download.path: data/demo",
        "data/../data/demo": r"more_sources.a.path: data/../data/demo is that of download.path",
        "nowhere": r"more_sources.a.path: nowhere does not exist",
    }.items():
        with pytest.raises(ParamsError, match=message):
            check_paths(make_params(declare(a={"path": path})), "params.yaml")
    with pytest.raises(ParamsError, match=r"more_sources.b.path: linked is that of download.more_sources.a.path: rooms"):
        check_paths(make_params(declare(a={}, b={"path": "linked"})), "params.yaml")
    check_paths(make_params(declare(a={})), "params.yaml")


def test_messages_about_a_further_source_name_its_keys():
    line = "../download.depth/a.png: set download.depth.raw_max, download.masks or download.mask: null, in my.download.depth"
    expected = (
        "../download.depth/a.png: set download.more_sources.a.depth.raw_max, download.masks or download.more_sources.a.mask"
    )
    assert put_key(line, "download.more_sources.a") == f"{expected}: null, in my.download.depth"
    assert put_key(line, "download") == line
    with pytest.raises(UserError) as caught, name_keys("download.more_sources.a"):
        raise UserError("set download.path", hint="or download.urls")
    assert str(caught.value) == "set download.more_sources.a.path; or download.more_sources.a.urls"


def test_a_network_that_needs_backgrounds_is_not_trained_where_a_source_has_none(tmp_path, small_demo):
    for kind, mode in {"images": "RGB", "masks": "L"}.items():
        (tmp_path / "photos" / kind).mkdir(parents=True)
        Image.new(mode, (32, 32)).save(tmp_path / "photos" / kind / "a.png")
    values = declare(a={"source": "image_mask_depth", "path": str(tmp_path / "photos")})
    values["download"]["path"] = str(small_demo)
    params = make_params(values)
    with pytest.raises(
        ParamsError, match=r"clean backgrounds, which download.more_sources.a.path: .*photos does not have; allowed: false"
    ):
        check_layout(params.download, "params.yaml", params.model)
    check_layout(params.download, "params.yaml", params.model.model_copy(update={"background_input": False}))
