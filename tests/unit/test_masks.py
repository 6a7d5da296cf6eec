"""Masks as people have them: alpha of any depth, or class numbers and colours by the rule of `download.mask`."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from depthmask.base.errors import UserError
from depthmask.data.masks import read_mask
from depthmask.params import MaskParams

NUMBERS = np.zeros((6, 8), np.uint8)  # background 0, class 15, class 2, void 255
NUMBERS[1:4, 1:5], NUMBERS[4:, 5:], NUMBERS[0, 0] = 15, 2, 255
IS_15, IS_2, IS_VOID = (NUMBERS == number for number in (15, 2, 255))
COLOURS = {0: (0, 0, 0), 15: (192, 128, 128), 2: (0, 128, 0), 255: (224, 224, 192)}  # as VOC's palette has them
PAINTED = np.array([[COLOURS[number] for number in row] for row in NUMBERS.tolist()], np.uint8)


def _save_palette(path: Path) -> Path:
    image = Image.fromarray(NUMBERS, "P")
    palette = np.zeros((256, 3), np.uint8)
    for number, colour in COLOURS.items():
        palette[number] = colour
    image.putpalette(palette.tobytes())
    image.save(path)
    return path


def _save(path: Path, values: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        assert cv2.imwrite(str(path), values[..., ::-1] if values.ndim == 3 else values)
    return path


WRITERS = {
    "palette": lambda folder: _save_palette(folder / "m.png"),
    "palette tif": lambda folder: _save_palette(folder / "m.tif"),
    "palette bmp": lambda folder: _save_palette(folder / "m.bmp"),
    "grey": lambda folder: _save(folder / "m.png", NUMBERS),
    "tif": lambda folder: _save(folder / "m.tif", NUMBERS),
    "16 bit": lambda folder: _save(folder / "m.png", NUMBERS.astype(np.uint16)),
    "16-bit colour": lambda folder: _save(folder / "m.png", np.dstack([NUMBERS.astype(np.uint16)] * 3)),
    "npy": lambda folder: _save(folder / "m.npy", NUMBERS.astype(np.int64)),
    "npy of floats": lambda folder: _save(folder / "m.npy", NUMBERS.astype(np.float64)),
}
RULES = [
    (MaskParams(foreground=[15]), IS_15),
    (MaskParams(foreground=[15, 2]), IS_15 | IS_2),
    (MaskParams(background=[0]), IS_15 | IS_2 | IS_VOID),
    (MaskParams(background=[0], ignore=[255]), IS_15 | IS_2),
    (MaskParams(background=[0, 2], ignore=[255]), IS_15),
    (MaskParams(foreground=[7]), np.zeros_like(IS_15)),
]


@pytest.mark.parametrize("rule, wanted", RULES)
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_class_numbers_are_read_by_the_rule(tmp_path, write, rule, wanted):
    alpha = read_mask(write(tmp_path), rule)
    assert alpha.dtype == np.float32
    assert np.array_equal(alpha, wanted.astype(np.float32))


@pytest.mark.parametrize("is_palette", [True, False])
def test_class_colours_are_read_by_the_rule(tmp_path, is_palette):
    path = _save_palette(tmp_path / "m.png") if is_palette else _save(tmp_path / "m.png", PAINTED)
    person, void = list(COLOURS[15]), list(COLOURS[255])
    assert np.array_equal(read_mask(path, MaskParams(foreground=[person])), IS_15)
    assert np.array_equal(read_mask(path, MaskParams(background=[[0, 0, 0]], ignore=[void])), IS_15 | IS_2)


def test_numbers_of_16_bits_are_told_apart(tmp_path):
    """Cityscapes' instance numbers: class x 1000 + instance."""
    path = _save(tmp_path / "m.png", np.uint16([[24, 24000], [24001, 26000]]))
    assert read_mask(path, MaskParams(foreground=[24000, 24001])).tolist() == [[0, 1], [1, 0]]


def test_an_image_of_one_bit_has_the_numbers_0_and_1_or_0_and_255(tmp_path):
    Image.fromarray(np.array([[False, True]] * 2)).save(tmp_path / "m.png")
    for rule in (None, MaskParams(foreground=[1]), MaskParams(foreground=[255]), MaskParams(background=[0])):
        assert read_mask(tmp_path / "m.png", rule).tolist() == [[0, 1]] * 2


ALPHA = np.array([[0, 0.2], [0.6, 1]], np.float32)


@pytest.mark.parametrize(
    "name, values",
    [
        ("m.png", np.round(ALPHA * 255).astype(np.uint8)),
        ("m.png", np.round(ALPHA * 65535).astype(np.uint16)),
        ("m.tif", np.round(ALPHA * 65535).astype(np.uint16)),
        ("m.png", np.dstack([np.round(ALPHA * 65535).astype(np.uint16)] * 3)),
        ("m.tif", ALPHA),
        ("m.npy", ALPHA.astype(np.float64)),
        ("m.bmp", np.round(ALPHA * 255).astype(np.uint8)),
    ],
)
def test_alpha_keeps_its_scale(tmp_path, name, values):
    path = _save(tmp_path / name, values)
    assert np.allclose(read_mask(path, None), ALPHA, atol=0.5 / 255 if values.dtype == np.uint8 else 1e-5)
    assert np.allclose(read_mask(path, MaskParams(invert=True)), 1 - ALPHA, atol=1e-6 if values.dtype != np.uint8 else 0.5 / 255)


def test_16_bits_of_alpha_are_not_cut_to_8(tmp_path):
    path = _save(tmp_path / "m.png", np.dstack([np.full((2, 2), 32777, np.uint16)] * 3))
    assert read_mask(path, None)[0, 0] == np.float32(32777) / 65535  # 8 bits would be 128 / 255


def test_booleans_are_a_mask(tmp_path):
    assert np.array_equal(read_mask(_save(tmp_path / "m.npy", IS_15), None), IS_15)


def test_ignored_grey_values_are_no_foreground(tmp_path):
    path = _save(tmp_path / "m.png", np.uint8([[0, 128], [255, 255]]))
    assert read_mask(path, MaskParams(ignore=[128])).tolist() == [[0, 0], [1, 1]]


REFUSED = {
    "palette": (
        lambda f: _save_palette(f / "m.png"),
        None,
        r"numbers 0, 2, 15, 255, where .* download.mask: \{foreground: \[2, 15\]\}, or \{background: \[0\], ignore",
    ),
    "colours": (
        lambda f: _save(f / "m.png", PAINTED),
        None,
        r"4 colours \(\[0, 0, 0\], \[0, 128, 0\], \[192, 128, 128\], .* download.mask: \{foreground: \[\[0, 128, 0\]\]\}",
    ),
    "a photo": (
        lambda f: _save(f / "m.png", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)),
        None,
        "colour image where a greyscale one is expected; are folders swapped?",
    ),
    "colours by number": (
        lambda f: _save(f / "m.png", PAINTED),
        MaskParams(foreground=[15]),
        r"a colour image, but download.mask lists numbers; list its colours instead: \[0, 0, 0\], \[0, 128, 0\]",
    ),
    "an array by colour": (
        lambda f: _save(f / "m.npy", NUMBERS),
        MaskParams(foreground=[[1, 2, 3]]),
        "an array of numbers, but download.mask lists colours",
    ),
    "16 bits by colour": (
        lambda f: _save(f / "m.png", NUMBERS.astype(np.uint16)),
        MaskParams(foreground=[[1, 2, 3]]),
        "a grey image of more than 8 bits, but download.mask lists colours",
    ),
    "jpeg": (
        lambda f: _save(f / "m.jpg", NUMBERS),
        MaskParams(foreground=[15]),
        "JPEG does not keep the exact values that download.mask lists; export the masks as PNG",
    ),
    "fractions": (lambda f: _save(f / "m.npy", NUMBERS / 7), MaskParams(foreground=[1]), "holds fractions"),
    "floats above 1": (lambda f: _save(f / "m.npy", NUMBERS / 2), None, r"floating-point mask of 0 to 127.5, outside 0..1"),
    "negative": (lambda f: _save(f / "m.npy", NUMBERS.astype(int) - 1), None, r"values outside 0..65535"),
}


@pytest.mark.parametrize("write, rule, printed", REFUSED.values(), ids=REFUSED)
def test_what_the_rule_does_not_fit_is_one_line_that_names_the_key(tmp_path, write, rule, printed):
    path = write(tmp_path)
    with pytest.raises(UserError, match=printed) as error:
        read_mask(path, rule)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_a_grey_palette_is_grey(tmp_path):
    Image.fromarray(np.uint8([[0, 128], [255, 64]])).quantize().save(tmp_path / "m.png")
    assert np.allclose(read_mask(tmp_path / "m.png", None) * 255, [[0, 128], [255, 64]])


def _save_with_alpha(path: Path, rgba: np.ndarray) -> Path:
    Image.fromarray(rgba).save(path)
    return path


def _with_alpha(*visible: int) -> np.ndarray:
    """RGBA of 4 x 4: the upper half is visible, its rows in these grey values; below, hidden colours differ."""
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2, :, :3] = np.uint8(visible)[:, None, None]
    rgba[:2, :, 3] = 255
    rgba[2:, :, :3] = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    return rgba


@pytest.mark.parametrize("grey", [0, 90, 255])
def test_alpha_is_the_mask_if_everything_visible_has_one_grey_value(tmp_path, grey):
    path = _save_with_alpha(tmp_path / "m.png", _with_alpha(grey, grey))
    assert np.array_equal(read_mask(path, None), np.repeat([[1.0], [1.0], [0.0], [0.0]], 4, axis=1))
    assert np.array_equal(read_mask(path, MaskParams(invert=True)), np.repeat([[0.0], [0.0], [1.0], [1.0]], 4, axis=1))


def test_a_premultiplied_or_empty_mask_in_alpha_is_read(tmp_path):
    soft = np.repeat(np.uint8([[0, 100], [200, 255]])[..., None], 4, axis=2)
    assert (read_mask(_save_with_alpha(tmp_path / "soft.png", soft), None) * 255).round().tolist() == [[0, 100], [200, 255]]
    assert not read_mask(_save_with_alpha(tmp_path / "empty.png", np.zeros((4, 4, 4), np.uint8)), None).any()


def test_transparent_masks_of_several_values_are_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"m.png: partly transparent, and what is visible has several grey values.*save the right"
    ):
        read_mask(_save_with_alpha(tmp_path / "m.png", _with_alpha(0, 255)), None)


def test_the_mask_of_an_npz_is_the_one_that_is_called_so(tmp_path):
    mask = np.arange(30).reshape(5, 6) % 2 == 1
    np.savez(tmp_path / "m.npz", depth=np.ones((5, 6)), mask=mask, names=np.array(["a"]))
    assert np.array_equal(read_mask(tmp_path / "m.npz", None), mask)
