"""How fast `depthmask dataset` writes, how large it gets, and whether all of it is read back: python benchmarks/dataset_files.py

Writes composites of the demo pack's training part with each number of processes, one after the other, and prints composites a
second, by the clock and by the processors' time (which others on the machine do not change), and the bytes of one; then what
400,000 would take. With --read every composite is read back through the source of its layout and compared with the one that
training composes: image, mask, valid and clean background bit for bit, depth as it was rounded.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from depthmask.commands.dataset import main as write_dataset
from depthmask.data.images import decode_depth
from depthmask.dataset.about import TABLE
from depthmask.dataset.encoding import to_raw
from depthmask.dataset.layouts import LAYOUTS
from depthmask.dataset.plan import Folders, Request, make_plan
from depthmask.download.fetch import fetch
from depthmask.params import DownloadParams, load_params
from depthmask.sources import find_source_class, open_source
from depthmask.split.assets import split_source, write_parts

PROJECT = Path(__file__).resolve().parents[1]
MANY = 400_000


def prepare(folder: Path) -> list[str]:
    """Download and split the demo pack; the options that name the folders."""
    params = load_params(PROJECT / "params.yaml")
    fetch(params.download.model_copy(update={"path": str(PROJECT / "data/demo")}), folder / "raw")
    write_parts(folder / "split", split_source(open_source(folder / "raw"), params.split, params.split_seed))
    return ["--params", str(PROJECT / "params.yaml"), "--raw", str(folder / "raw"), "--split", str(folder / "split")]


def measure_processor_s() -> float:
    """Processor time of this process and of those it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def write(args: argparse.Namespace, options: list[str], out: Path, num_processes: int) -> DownloadParams:
    """Write once, print the figures, and return how the folder is read back."""
    os.environ["DEPTHMASK_WORKERS"] = str(num_processes)
    argv = ["--out", out, "--count", args.count, "--size", args.size, "--layout", args.layout, "--format", args.format, *options]
    printed, since, processor_s = io.StringIO(), time.monotonic(), measure_processor_s()
    with contextlib.redirect_stdout(printed):
        assert write_dataset([*map(str, argv)]) == 0
    took_s, processor_s = time.monotonic() - since, measure_processor_s() - processor_s
    sizes = [path.stat().st_size for path in out.rglob("*") if path.is_file() and path.relative_to(out).parts[0] != ".dataset"]
    each = sum(sizes) / args.count
    print(
        f"{num_processes} process(es): {args.count / took_s:,.0f} a second by the clock, {args.count / processor_s:,.0f} a second"
        f" of processor time; {len(sizes):,} files, {sum(sizes) / 1e9:.3f} GB, {each:,.0f} bytes each"
    )
    print(
        f"  {MANY:,}: {MANY * took_s / args.count / 60:,.0f} min by the clock,"
        f" {MANY * processor_s / args.count / 60:,.0f} min of processor time, {MANY * each / 1e9:,.1f} GB"
    )
    declared = load_params(PROJECT / "params.yaml").download
    return type(declared)(**(declared.model_dump() | yaml.safe_load(printed.getvalue())["download"]))


def compare(args: argparse.Namespace, out: Path, download: DownloadParams, folder: Path) -> None:
    """Read everything back and compare it with the samples; raises AssertionError at the first difference."""
    params = load_params(PROJECT / "params.yaml")
    request = Request(args.layout, "train", args.count, args.size, image_format=args.format)
    plan = make_plan(request, params, Folders(folder / "raw", folder / "more", folder / "split"))
    source, since = find_source_class(download.source)(out, download), time.monotonic()
    origins = {source.name_files(origin.key)["image"]: origin for origin in source.composites}
    rows = [line.split(",") for line in (out / TABLE).read_text().splitlines()[1:]]
    assert len(rows) == len(origins) == args.count
    for index, image, *_ in rows:
        found, expected = source.read_composite(origins[image]), plan.samples[[(0, int(index))]]
        for name in ("image", "mask", "valid", "background"):
            assert np.array_equal(getattr(found, name), getattr(expected, name)), f"{image}: {name} differs"
        scale = plan.encoder.scale
        assert np.array_equal(found.depth, decode_depth(to_raw(expected.depth, expected.valid, scale), scale)[0]), image
        assert np.abs(found.depth - expected.depth).max() <= 0.5 / scale.raw_max + 1e-7, image
    print(f"{len(rows):,} read back by the source {download.source} in {time.monotonic() - since:,.0f} s: all equal")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--layout", choices=LAYOUTS, default="image_mask_depth")
    parser.add_argument("--format", choices=("png", "jpg"), default="png")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--read", action="store_true", help="read everything back and compare it (png)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = prepare(folder)
        for num_processes in args.processes:
            out = folder / f"written_{num_processes}"
            download = write(args, options, out, num_processes)
        if args.read:
            compare(args, out, download, folder)


if __name__ == "__main__":
    main()
