"""Decode pre-composited samples once, at every size that a phase needs; backgrounds and cut-outs need no packing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from depthmask.base.arguments import add_more_option, make_stage_parser
from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import UserError
from depthmask.base.files import read_json, write_json
from depthmask.execution.speed_options import read_num_processes
from depthmask.packing.pack import pack_shard, pack_sources
from depthmask.packing.shards import PackPlan
from depthmask.params import Params, load_params
from depthmask.runs.run_record import record_run
from depthmask.sources import print_findings
from depthmask.sources.folders import list_downloaded, list_packed
from depthmask.sources.packed import verify_store
from depthmask.sources.store_format import FORMAT_OF_PHOTOS, INDEX


def list_sizes(params: Params) -> set[int]:
    """The sizes of all phases, and of the test set."""
    phases = [*params.pretrain.phases(), *params.finetune.phases()]
    return {phase.image_size_px for phase in phases} | {params.evaluate.image_size_px}


@print_errors_as_lines
def main(
    argv: list[str] | None = None,
    load: Callable[[str], Any] = load_params,
    sizes: Callable[[Any], set[int]] = list_sizes,
) -> int:
    """load: reads the params file (another graph's file has the same sections). sizes: lists the sizes to pack."""
    parser = make_stage_parser("pack", __doc__)
    parser.add_argument("--raw", type=Path, help="folder that the download stage made")
    add_more_option(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="folder to write")
    what.add_argument("--shard", type=int, help="make only this shard, for a later run with --out")
    what.add_argument("--verify", type=Path, metavar="STORE", help="read every byte of a store and compare its checksums")
    parser.add_argument("--other", metavar="NAME", help="pack the data set of this name in evaluate.more, at the test set's size")
    parser.add_argument("--run", type=Path, help="with --out: JSON file to write: the run record")
    parser.add_argument("--note", type=Path, help="with --shard: file to write when the shard is finished")
    args = parser.parse_args(argv)
    if args.verify:
        num_files = sum(map(verify_store, list_packed(args.verify)))
        print(f"{args.verify}: {num_files} files are intact")
        return 0
    if args.raw is None or (args.shard is None) != (args.note is None):
        parser.error("--raw is required, and --note with --shard")

    params = load(args.params)
    sizes_px = sizes(params) if args.other is None else {params.evaluate.image_size_px}
    plan = PackPlan(tuple(sorted(sizes_px)), params.compose.fit, params.pack.shards)
    raws = list_downloaded(args.raw, args.more)
    if args.shard is not None:
        if not 0 <= args.shard < plan.num_shards:
            raise UserError(f"--shard {args.shard}: allowed: 0 to {plan.num_shards - 1}, by pack.shards")
        made = pack_shard(raws, plan, args.shard, other=args.other)
        write_json(args.note, {"shard": args.shard, "made": [str(path) for path in made]})
        return 0
    in_force = {"pack": params.pack.model_dump(), "fit": plan.fit, "sizes_px": plan.sizes_px}
    about = f"{', '.join(map(str, plan.sizes_px))} px, {plan.num_shards} shards, {read_num_processes()} at once"
    stage = "pack" if args.other is None else f"pack {args.other}"
    with record_run(stage, args.run, in_force, about, "finished shards are kept; rerun to make the others") as run:
        packed = pack_sources(raws, args.out, plan, read_num_processes(), other=args.other)
        run.result = "nothing to pack: samples are composed during training"
        if packed:
            run.extra["shards_found"] = sum(store.num_found for store in packed)
            for store in packed:
                print_findings(store.record, store.folder, store.name)
            indices = [read_json(store.folder / INDEX) for store in packed]
            kinds = {"photos" if index["format"] == FORMAT_OF_PHOTOS else "composites" for index in indices}
            num_rows = sum(sum(index["rows"]) for index in indices)
            run.result = f"{num_rows:,} {' and '.join(sorted(kinds))}; {args.out}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
