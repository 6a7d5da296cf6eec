"""What the golden files hold, and how they are written anew: python tests/golden/make.py

A refactor reproduces them exactly; a change of behaviour writes them anew, in a commit of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn

FOLDER = Path(__file__).parent
PROJECT = FOLDER.parents[1]
SIZE = 32
NUM_COMPOSITES = 6


def set_keyed_weights(modules: Iterable[nn.Module]) -> None:
    """Weights of convolutions, linear layers and batch norms that follow from each one's place among `modules`."""
    for k, module in enumerate(modules):
        norm = isinstance(module, nn.BatchNorm2d)
        for j, name in enumerate(("weight", "bias", "running_mean", "running_var")):
            tensor = getattr(module, name, None)
            if tensor is not None:
                rng = np.random.default_rng([k, j])
                z = rng.standard_normal(tuple(tensor.shape))
                if norm:
                    value = {"weight": 1 + 0.1 * z, "running_var": 1 + 0.5 * rng.random(z.shape)}.get(name, 0.1 * z)
                else:
                    value = 0.05 * z if name == "bias" else z * np.sqrt(2 / z[0].size)
                tensor.data.copy_(torch.from_numpy(value))


def predict_with_keyed_weights(background: bool) -> dict[str, np.ndarray]:
    """The default network with weights that follow from each module's place, in eval mode, on keyed noise."""
    from making_models import make_settings

    from depthmask.models import make_network

    network = make_network(make_settings("compact", width=8, dropout=0.5, background_input=background)).eval()
    set_keyed_weights(m for m in network.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.BatchNorm2d | nn.Linear))
    r = np.random.default_rng(99)
    inputs = [torch.from_numpy(r.standard_normal((2, 3, SIZE, SIZE)).astype(np.float32)) for _ in range(2 if background else 1)]
    with torch.inference_mode():
        mask_logits, depth, *_ = network(*inputs)
    return {"mask_logits": mask_logits.numpy(), "depth": depth.numpy()}


def compose_samples(placement: str) -> dict[str, np.ndarray]:
    """The first composites of the demo pack's first backgrounds and cut-outs, without augmentation."""
    from depthmask.compose.composer import Composer
    from depthmask.data.batch import ByteBatch
    from depthmask.params import load_params
    from depthmask.sources import find_source_class

    params = load_params(PROJECT / "params.yaml")
    source = find_source_class("demo")(PROJECT / "data/demo", params.download)
    compose = params.compose.model_copy(update={"placement": placement})
    composer = Composer(source, source.backgrounds[:6], source.cutouts[:8], SIZE, compose, seed=7)
    maps = ByteBatch.allocate(NUM_COMPOSITES, SIZE, SIZE, with_background=False)
    composer.fill(maps, [1] * NUM_COMPOSITES, range(NUM_COMPOSITES))
    return {"image": maps.image, "mask": maps.mask / np.float32(255), "depth": maps.depth, "valid": maps.valid}


GOLDEN = {
    "compact": lambda: predict_with_keyed_weights(background=False),
    "compact_background": lambda: predict_with_keyed_weights(background=True),
    "composites_floor": lambda: compose_samples("floor"),
    "composites_uniform": lambda: compose_samples("uniform"),
    "composites_grid": lambda: compose_samples("grid"),
}

if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT / "workflow"))
    for name, make in GOLDEN.items():
        np.savez_compressed(FOLDER / f"{name}.npz", **make())
        print(FOLDER / f"{name}.npz")
