"""How long `depthmask predict` takes from its start, for 1, 10 and 100 photos, with torch and with OpenVINO.

    PYTHONPATH=workflow python benchmarks/predict_command.py [--photos 1 10 100] [--threads 1] [--repeats 3]

The photos are one of the demo pack's backgrounds, copied, predicted by the model that comes with depthmask for the photo alone.
OpenVINO runs twice: `first` converts the network, with an empty cache; `later` finds it in the cache. Printed are the least
seconds of the repeats.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from depthmask.serving.shipped import SHIPPED

PHOTO = next(Path("data/demo/bg").glob("*.jpg"))
START = "import sys; from depthmask.cli import main; sys.exit(main())"  # as the command depthmask does
KINDS = {"torch": "torch", "OpenVINO, first": "openvino", "OpenVINO, later": "openvino"}


def time_command(folder: Path, kind: str, threads: int) -> float:
    """Seconds of one call on the photos in `folder`/photos."""
    cache, out = folder / "cache", folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    if kind == "OpenVINO, first":
        shutil.rmtree(cache, ignore_errors=True)
    command = [sys.executable, "-c", START, "predict", str(folder / "photos"), "--out", str(out), "--device", "cpu"]
    command += ["--model", str(SHIPPED[False]), "--threads", str(threads), "--engine", KINDS[kind]]
    began = time.perf_counter()
    subprocess.run(command, env={**os.environ, "DEPTHMASK_CACHE": str(cache)}, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    if len(list(out.glob("*_mask.png"))) != len(list((folder / "photos").iterdir())):
        raise RuntimeError(f"{kind}: not every photo was predicted")
    return seconds


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    for count in args.photos:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "photos").mkdir()
            for number in range(count):
                shutil.copy(PHOTO, folder / "photos" / f"{number}.jpg")
            times = {kind: [] for kind in KINDS}
            for _ in range(args.repeats):
                for kind in KINDS:
                    times[kind].append(time_command(folder, kind, args.threads))
        print(f"{count} photos, {args.threads} threads: " + ", ".join(f"{kind} {min(s):.2f} s" for kind, s in times.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
