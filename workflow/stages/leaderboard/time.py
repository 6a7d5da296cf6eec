"""Time every network on one image of the common size, one after another, while no other stage runs."""

from __future__ import annotations

import sys
from pathlib import Path

from depthmask.base.arguments import make_stage_parser
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.files import write_json
from depthmask.base.terminal import count, show_stage
from depthmask.compute.device import prepare_device
from depthmask.leaderboard.inference_time import measure_inference_ms
from depthmask.leaderboard.params import load_leaderboard_params
from depthmask.leaderboard.plan import load_plan
from depthmask.models.model_file import load_model


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    parser = make_stage_parser("leaderboard.time", __doc__)
    parser.add_argument("--plans", type=Path, required=True, help="folder of plans")
    parser.add_argument("--weights", type=Path, required=True, help="folder of model files, RECIPE-SEED.safetensors")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    args = parser.parse_args(argv)

    params = load_leaderboard_params(args.params)
    compute, device = params.compute, prepare_device(params.compute)
    about = f"one image of {params.evaluate.image_size_px} px, {device.type}, {count(compute.threads, 'thread')}"
    with show_stage("time", about) as shown:
        milliseconds: dict[str, float] = {}
        for name in params.recipes:
            if load_plan(args.plans / f"{name}.json").missing is None:
                model = load_model(args.weights / f"{name}-{params.seeds[0]}.safetensors")
                measured = measure_inference_ms(model, params.evaluate.image_size_px, device, compute.channels_last)
                milliseconds[name] = float(f"{measured:.4g}")
                shown.print_line(f"{name}: {milliseconds[name]:g} ms")
        write_json(args.out, {"device": device.type, "threads": compute.threads, "inference_ms": milliseconds})
        shown.result = f"{count(len(milliseconds), 'network')}; {args.out}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
