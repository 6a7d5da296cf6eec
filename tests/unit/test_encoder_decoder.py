"""Networks on a pretrained encoder: their files, and what of the encoder a phase trains."""

from __future__ import annotations

import torch
from making_models import make_settings

from depthmask.models.model_card import EncoderCard
from depthmask.models.model_file import load_model, make_model, save_model

IMAGE = {"image": {"mean": [0.5] * 3, "std": [0.2] * 3}}
CARD = EncoderCard("imagenet", "a package 1.0 (PyPI)", "Apache-2.0", "0" * 64)


def test_a_file_says_where_the_weights_of_its_encoder_are_from(tmp_path):
    model = make_model(make_settings("encoder_decoder"), IMAGE, {"unit": "metre", "max": 20.0}, encoder=CARD).eval()
    save_model(model, tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.card == model.card
    assert loaded.card.encoder == CARD
    image = torch.rand(1, 3, 36, 52)
    with torch.inference_mode():
        assert torch.equal(loaded(image).depth_B1HW, model(image).depth_B1HW)
