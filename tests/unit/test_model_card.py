"""The model card of a file from anybody: what its release says becomes neither markup, HTML nor a traceback."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from depthmask.base.errors import UserError
from depthmask.cli import main
from depthmask.export.release import check_release, escape_markdown, find_release, write_model_card
from depthmask.models.model_card import ModelCard, check_text
from depthmask.models.model_file import DepthMaskModel, load_model, save_model
from depthmask.params import NetworkParams

EVIL = "| [x](http://evil) |\n\n# Title `code` <script>alert(1)</script> ![i](http://evil) ```"
RELEASE = {
    "depthmask": EVIL,
    "data": {EVIL: EVIL},
    "params": {"pretrain": {"epochs": EVIL}, "download": {"source": EVIL}, "compose": [EVIL]},
    "runs": [
        {
            "stage": "pretrain",
            "started": "2026-01-02T03:04:05+00:00",
            "seconds": 61.5,
            "commit": EVIL,
            "dirty": True,
            "hardware": {},
        }
    ],
    "versions": {EVIL: EVIL},
    "scores": {"num_images": 4, "mask": {"iou": 0.5, EVIL: 0.1}, "depth": {"delta1": 0.5}},
    "baselines": {f"mask_{EVIL}": {"iou": 0.1}},
}


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    settings = NetworkParams(
        encoder="efficientnet_lite0", name="compact", width=4, dropout=0.0, background_input=False
    ).model_dump()
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    save_model(DepthMaskModel(ModelCard(settings, (0.5,) * 3, (0.2,) * 3, "metre", 8.0, 3, 32)), path, release=RELEASE)
    return path


def test_texts_of_a_release_are_neither_markup_nor_html(path):
    text = write_model_card(load_model(path), RELEASE)
    *_, fence, params, end = re.split(r"^(`{4,})yaml\n(.*)\n\1\n", text, flags=re.MULTILINE | re.DOTALL)
    assert EVIL.partition("\n")[0] in params and fence not in params and not end.strip()
    outside = text.partition(fence)[0]
    plain = re.sub(r"`[^`\n]*`", "", re.sub(r"\\.", "", re.sub(r"```.*?```", "", outside, flags=re.DOTALL)))  # without code spans
    assert "<script" not in plain and "](http" not in plain and "# Title" not in plain.splitlines()
    for line in outside.splitlines():
        if line.startswith("| pretrain"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 5  # four cells


def test_a_card_is_printed_from_a_release_that_says_little(path, tmp_path, capsys):
    for release in ({"scores": {"mask": {"iou": 0.5}}}, {"params": {"download": "demo"}}, {"runs": []}):
        save_model(load_model(path), tmp_path / "m.safetensors", release=release)
        assert main(["card", str(tmp_path / "m.safetensors")]) == 0
        assert capsys.readouterr().out.startswith("# Model card: compact")


def test_plain_texts_stay_as_they_are():
    for text in ("two_stream 2.13.0+cpu", "data/demo", "0123abc", "pytorch-msssim (1.0)", "größer 深度"):
        assert escape_markdown(text) == escape_markdown(text, in_code=True) == text == check_text(text)
    assert escape_markdown("a|b`c\nd", in_code=True) == r"a\|b'c d"
    assert escape_markdown("<b>[x]*") == r"&lt;b&gt;\[x\]\*"


LOCKS = {
    "no YAML": "stages: [",
    "a list": "- 1",
    "no stages": "schema: '2.0'",
    "stages that are a list": "stages: [1]",
    "a stage that is a text": "stages: {pretrain: yes indeed}",
    "outputs without a path": "stages: {pretrain: {outs: [{md5: HASH}]}}",
    "outputs that are a text": "stages: {pretrain: {outs: HASH}}",
}


@pytest.mark.parametrize("text", LOCKS.values(), ids=LOCKS)
def test_a_lock_file_that_is_none_is_one_line(path, tmp_path, text):
    lock = tmp_path / "dvc.lock"
    lock.write_text(text)
    with pytest.raises(UserError, match=r"is not a DVC lock file \(.*\); run dvc repro"):
        find_release(path, lock)


def test_what_the_files_of_a_run_say_is_checked_before_it_is_printed():
    assert check_release(RELEASE, Path("dvc.lock")) == RELEASE
    with pytest.raises(UserError, match=r"^dvc\.lock: its records are invalid \(its card: scores"):
        check_release({"scores": {"mask": {"iou": "good"}}}, Path("dvc.lock"))
