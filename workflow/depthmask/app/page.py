"""The page, laid out with Gradio. Import it only after `server.isolate`: Gradio reads the environment when it is loaded."""

from __future__ import annotations

import html
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData
from gradio_client.utils import is_http_url_like

from depthmask import __version__
from depthmask.app.choices import Choice
from depthmask.app.results import Results
from depthmask.app.shown import describe_result
from depthmask.app.worker import Upload, Worker
from depthmask.base.errors import UserError
from depthmask.base.paths import show_path
from depthmask.base.terminal import clean

HERE = Path(__file__).parent
WAITING_MAX = 20  # photos of all open pages that wait for their turn
UPLOADS_CHECKED_S, UPLOADS_KEPT_S = 3600, 24 * 3600
FONTS = ["system-ui", "sans-serif"]  # of the reader's machine: none is fetched
MONO_FONTS = ["ui-monospace", "monospace"]
INTRO = """<header class="dm-head"><h1>depthmask</h1>
<p>Foreground mask and depth from one photo. Everything stays on this machine.</p></header>"""
HINT = "the same view without the subject: the camera must not have moved in between."


def read_upload(payload: ImageData | None) -> Upload | None:
    """The file that the browser sent, which is to be read, or refused, as `depthmask predict` does: Gradio would decode it.

    payload: of a file that Gradio has found to be among the uploads.
    """
    if payload is None or payload.path is None:
        return None
    path = Path(payload.path)
    return Upload(path, clean(show_path(Path(payload.orig_name or path.name).name)))


def make_input(label: str, name: str) -> gr.Image:
    """A place for a picture: dropped, chosen, pasted, or taken with the webcam, which is not mirrored. name: its HTML id."""
    image = gr.Image(
        label=label,
        elem_id=name,
        type="filepath",
        sources=["upload", "webcam", "clipboard"],
        webcam_options=gr.WebcamOptions(mirror=False),
        buttons=["fullscreen"],
        height=230,
    )
    move = image.async_move_resource_to_block_cache

    async def move_upload(path: str | Path | None) -> str | None:
        if path is not None and is_http_url_like(path):  # Gradio would fetch it for whoever asks
            raise gr.Error("pictures are not fetched from other addresses; drop the file", print_exception=False)
        return await move(path)

    # not in a subclass: for one, Gradio writes a file beside this module
    image.preprocess, image.async_move_resource_to_block_cache = read_upload, move_upload
    return image


def build_page(choices: Sequence[Choice], worker: Worker, results: Results) -> gr.Blocks:
    """The page; its functions take turns in `worker` and keep what they find in `results`."""
    by_label = {choice.label: choice for choice in choices}
    first = choices[0]

    def predict(
        label: str, photo: Upload | None, background: Upload | None, request: gr.Request
    ) -> tuple[dict[str, Any] | None, str]:
        session = str(request.session_hash)
        try:
            result, seconds = worker.predict(by_label[label], photo, background)
            shown = describe_result(result, results.put(session, result), seconds)
        except Exception as error:
            results.drop(session)  # or the files of the photo before would pass for this one's
            if not isinstance(error, UserError):
                traceback.print_exception(error)
                error = UserError(f"cannot be predicted ({type(error).__name__}); report this, with what the terminal says")
            return None, _format_error(str(error))
        return shown, ""

    def choose(label: str) -> tuple[Any, Any]:
        choice = by_label[label]
        # not of the picture itself, which Gradio would make anew, as it was before `make_input` changed it
        return gr.update(visible=choice.takes_background), _describe_background(choice)

    def leave(request: gr.Request) -> None:
        results.drop(str(request.session_hash))

    with gr.Blocks(
        title="depthmask", analytics_enabled=False, fill_width=True, delete_cache=(UPLOADS_CHECKED_S, UPLOADS_KEPT_S)
    ) as page:
        gr.HTML(INTRO)
        with gr.Row(elem_classes="dm-columns"):
            with gr.Column(scale=2, min_width=300):
                model = gr.Dropdown([choice.label for choice in choices], value=first.label, label="Model", elem_id="model")
                photo = make_input("Photo", "photo")
                with gr.Column(visible=first.takes_background, elem_id="clean", min_width=0) as place:
                    background = make_input("Clean background", "background")
                    hint = gr.HTML(_describe_background(first))
                start = gr.Button("Predict", variant="primary", elem_id="predict")
                status = gr.HTML(elem_id="status")
            with gr.Column(scale=5, min_width=300):
                viewer = gr.HTML(
                    None,
                    elem_id="viewer",
                    html_template='<div class="dm"></div>',
                    js_on_load=(HERE / "viewer.js").read_text(encoding="utf-8"),
                    apply_default_css=False,
                )
        gr.HTML(f'<footer class="dm-foot">depthmask {html.escape(__version__)}</footer>')
        model.change(choose, model, [place, hint], api_visibility="private", show_progress="hidden")
        start.click(
            predict,
            [model, photo, background],
            [viewer, status],
            api_visibility="private",
            concurrency_limit=1,
            show_progress_on=[viewer],
        )
        page.unload(leave)
    page.queue(max_size=WAITING_MAX, api_open=False)
    return page


def make_theme() -> gr.Theme:
    """Gradio's plain theme without any font from elsewhere."""
    return gr.themes.Default(font=FONTS, font_mono=MONO_FONTS)


def read_style() -> str:
    """The page's style sheet."""
    return (HERE / "viewer.css").read_text(encoding="utf-8")


def _describe_background(choice: Choice) -> str:
    start = "This model needs the clean background" if choice.needs_background else "Optional, and better with it"
    return f'<p class="dm-hint">{start}: {HINT}</p>'


def _format_error(line: str) -> str:
    return f'<p class="dm-error" role="alert">{html.escape(line)}</p>'
