"""`depthmask app`: a local page in the browser: a photo in, mask, cut-out, depth and a scene to turn out."""

from __future__ import annotations

import argparse

from depthmask.base.entry_points import print_errors_as_lines
from depthmask.base.errors import Interrupted
from depthmask.base.terminal import warn
from depthmask.commands.predict import add_prediction_options
from depthmask.commands.predicting import MODEL, claim_process, read_prediction_options
from depthmask.hub.address import read_model

HOST, PORT, PORT_MAX = "127.0.0.1", 7860, 65535

DESCRIPTION = f"""\
A page in the browser, served by this machine: drop a photo, and for models that take it the clean background, or take both
with the webcam; see mask, cut-out and depth, set the mask's threshold, read values under the pointer, turn the scene, and
download everything. Nothing is sent to or fetched from anywhere else. Ctrl-C ends it and removes what was uploaded.

The page lets choose among the models named, those in {MODEL.parent}, and those that come with depthmask.
"""


@print_errors_as_lines
def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    from depthmask.app.server import format_address, is_local, isolate, list_hosts, open_socket, require_gradio, serve
    from depthmask.point_clouds.camera import validate_angle

    require_gradio()
    if args.field_of_view_deg is not None:
        validate_angle(args.field_of_view_deg, "--field-of-view-deg")
    with open_socket(args.host, args.port) as listening:  # before anything that takes time
        address = format_address(listening)
        from depthmask.app.choices import list_choices
        from depthmask.app.results import Results, make_workplace
        from depthmask.app.worker import Worker
        from depthmask.data.images import silence_pillow
        from depthmask.hub.fetching import find_model

        silence_pillow()
        claim_process(args.threads)
        choices = list_choices([find_model(one) for one in args.model or ()], MODEL.parent)
        worker = Worker(read_prediction_options(args), args.field_of_view_deg)
        try:
            worker.load(choices[0])
            if not is_local(args.host):
                warn(f"--host {args.host}: whoever reaches this machine can use the page, without a password")
            with make_workplace() as folder:
                isolate(folder / "uploads")
                from depthmask.app.application import make_app
                from depthmask.app.page import build_page, make_theme, read_style

                results = Results(folder / "results")
                page = build_page(choices, worker, results)
                hosts = list_hosts(address) if is_local(args.host) else []
                app = make_app(page, results, folder / "archives", hosts, theme=make_theme(), css=read_style())
                serve(app, listening, _announce, args.open)
        except KeyboardInterrupt:
            raise Interrupted.by_signal(address, "what was uploaded is removed") from None
        finally:
            worker.close()
    return 0


def _announce(address: str) -> None:
    print(f"{address}: open it in a browser; Ctrl-C ends it", flush=True)


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="depthmask app", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", type=read_model, action="append", metavar="FILE", help="model file to choose from, or hf://...; several: each"
    )
    parser.add_argument("--host", default=HOST, help="address to serve on; 0.0.0.0 lets other machines in (%(default)s)")
    parser.add_argument("--port", type=_read_port, default=PORT, metavar="N", help="0: any that is free (%(default)s)")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    add_prediction_options(parser)
    return parser.parse_args(argv)


def _read_port(text: str) -> int:
    if text.isascii() and text.isdecimal() and int(text[:6]) <= PORT_MAX:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text[:40]}; allowed: a whole number from 0 to {PORT_MAX}")
