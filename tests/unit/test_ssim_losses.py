"""SSIM and MS-SSIM against a reference of plain numpy: two-dimensional windows, one scale after the other, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from depthmask.losses import find_loss
from depthmask.losses.maps import MS_SSIM_MIN_SIDE_PX
from depthmask.registry.losses import LOSSES

C1, C2 = 0.01**2, 0.03**2
EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003


def compare_windows(first: np.ndarray, second: np.ndarray, window_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Luminance term and contrast-structure term of every window inside two images (H x W)."""
    offsets = np.arange(window_px) - window_px // 2
    bell = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    bell /= bell.sum()
    one, other = (sliding_window_view(picture, (window_px, window_px)) for picture in (first, second))

    def weigh(values: np.ndarray) -> np.ndarray:
        return (values * bell).sum(axis=(-2, -1))

    mean_1, mean_2 = weigh(one), weigh(other)
    centred_1, centred_2 = one - mean_1[..., None, None], other - mean_2[..., None, None]
    variances = weigh(centred_1**2) + weigh(centred_2**2)
    luminance = (2 * mean_1 * mean_2 + C1) / (mean_1**2 + mean_2**2 + C1)
    return luminance, (2 * weigh(centred_1 * centred_2) + C2) / (variances + C2)


def halve(picture: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels; an odd side is first given a zero on either end."""
    picture = np.pad(picture, [(side % 2, side % 2) for side in picture.shape])
    height, width = (side // 2 * 2 for side in picture.shape)
    return picture[:height, :width].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))


def reference_ssim(first: np.ndarray, second: np.ndarray) -> float:
    luminance, contrast = compare_windows(first, second, 11)
    return float((luminance * contrast).mean())


def reference_ms_ssim(first: np.ndarray, second: np.ndarray, window_px: int) -> float:
    product = 1.0
    for scale, exponent in enumerate(EXPONENTS):
        luminance, contrast = compare_windows(first, second, window_px)
        term = contrast.mean() if scale < len(EXPONENTS) - 1 else (luminance * contrast).mean()
        product *= max(term, 0) ** exponent
        first, second = halve(first), halve(second)
    return product


def make_pictures(height: int, width: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Three smooth images with a disc, and three that differ from them by noise and brightness."""
    rng = np.random.default_rng(height)
    rows, columns = np.mgrid[:height, :width] / height
    truth = np.stack([0.3 + 0.3 * rows + 0.3 * ((rows - c) ** 2 + (columns - 0.5) ** 2 < 0.06) for c in (0.3, 0.5, 0.7)])
    return (0.9 * truth + noise * rng.standard_normal(truth.shape)).clip(0, 1), truth


def compute(name: str, first: np.ndarray, second: np.ndarray, valid: np.ndarray, dtype: torch.dtype) -> float:
    """The loss of a batch of images (B x H x W); mask and depth have the same one."""
    assert LOSSES["mask", name] == LOSSES["depth", name]
    maps = (torch.from_numpy(pictures)[:, None].to(dtype) for pictures in (first, second))
    return find_loss("mask", name)(*maps, torch.from_numpy(valid)[:, None]).item()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (33, 40), (48, 48)])
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.4])
def test_ssim_is_the_reference(height, width, noise, dtype):
    first, second = make_pictures(height, width, noise)
    expected = np.mean([1 - reference_ssim(a, b) for a, b in zip(first, second, strict=True)])
    assert compute("ssim", first, second, np.ones(first.shape, bool), dtype) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("height", "width", "window_px"), [(33, 40, 3), (48, 64, 3), (80, 80, 5), (112, 99, 7), (176, 161, 11)])
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.4])
def test_ms_ssim_is_the_reference_with_the_largest_window_that_fits(height, width, window_px, noise, dtype):
    first, second = make_pictures(height, width, noise)
    expected = np.mean([1 - reference_ms_ssim(a, b, window_px) for a, b in zip(first, second, strict=True)])
    assert compute("ms_ssim", first, second, np.ones(first.shape, bool), dtype) == pytest.approx(expected, abs=1e-5)


def test_unknown_pixels_are_taken_for_equal():
    first, second = make_pictures(48, 48, 0.2)
    valid = np.ones(first.shape, bool)
    valid[:, 10:20, 5:30] = False
    shown = np.where(valid, first, second)
    for name, reference in (("ssim", reference_ssim), ("ms_ssim", lambda a, b: reference_ms_ssim(a, b, 3))):
        expected = np.mean([1 - reference(a, b) for a, b in zip(shown, second, strict=True)])
        assert compute(name, first, second, valid, torch.float64) == pytest.approx(expected, abs=1e-5)


def test_a_picture_that_is_the_opposite_has_no_similarity_and_no_slope():
    truth = torch.from_numpy(make_pictures(40, 40, 0.0)[1])[:, None]
    opposite = (1 - truth).requires_grad_()
    value = find_loss("depth", "ms_ssim")(opposite, truth, torch.ones_like(truth, dtype=torch.bool))
    value.backward()
    assert value.item() == 1
    assert opposite.grad.abs().max() == 0


def test_the_smallest_picture_of_ms_ssim_is_the_one_that_the_schema_allows():
    for side_px, is_enough in ((MS_SSIM_MIN_SIDE_PX, True), (MS_SSIM_MIN_SIDE_PX - 1, False)):
        picture = torch.rand(1, 1, side_px, side_px + 9, generator=torch.Generator().manual_seed(0))
        everywhere = torch.ones_like(picture, dtype=torch.bool)
        if is_enough:
            assert find_loss("mask", "ms_ssim")(picture, picture, everywhere).item() == pytest.approx(0, abs=1e-6)
        else:
            with pytest.raises(ValueError, match=f"at least {MS_SSIM_MIN_SIDE_PX} px, not {side_px}"):
                find_loss("mask", "ms_ssim")(picture, picture, everywhere)


def test_ssim_of_a_picture_smaller_than_its_window_has_a_smaller_one():
    picture = torch.rand(1, 1, 6, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    other = picture.flip(-1)
    everywhere = torch.ones_like(picture, dtype=torch.bool)
    luminance, contrast = compare_windows(picture[0, 0].numpy(), other[0, 0].numpy(), 5)
    expected = 1 - (luminance * contrast).mean()
    assert find_loss("mask", "ssim")(picture, other, everywhere).item() == pytest.approx(expected, abs=1e-5)
