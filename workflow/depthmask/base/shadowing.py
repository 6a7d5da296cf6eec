"""Every stage can import whatever is in workflow/; a stray file there could shadow a package and run any code.

Stages, the `depthmask` command and the Snakefiles import this module first; it imports only what Python has loaded before our
code runs. What Python imports earlier (sitecustomize, encodings, collections, ...) is out of reach.
"""

import os
import sys

OURS = ("depthmask", "stages", "tools", "cluster", "stage_graph.py", "stage_job.py", "run_folder.py", "snakemake_lock.py")
DATA = ("captions", "envs", "recipes", "__pycache__")  # without an __init__ any package of the same name takes precedence
SUFFIXES = (".py", ".pyc", ".so", ".pyd")


def find_strangers(workflow: str) -> list[str]:
    """Importable names in workflow/ that are not ours, including folders without an `__init__`.

    Such a folder could add modules to a namespace package such as `google`.
    """
    with os.scandir(workflow) as entries:
        return sorted(entry.name for entry in entries if entry.name not in OURS and _is_importable(entry, entry.name not in DATA))


def find_shadows(folder: str) -> list[str]:
    """Names in the working folder, which `python -m` searches first, that shadow an installed or built-in module."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if _is_importable(entry, False)]
    elsewhere = [path for path in sys.path if os.path.isabs(path) and os.path.realpath(path) != os.path.realpath(folder)]
    return sorted(name for name in names if _is_known(name.partition(".")[0], elsewhere))


def validate_workflow_folder(workflow: str | None = None) -> None:
    """End the process with one line if workflow/ contains importable files that are not ours; costs a few system calls.

    workflow: the folder; None: the one this package is in, if that is the project and not site-packages.
    """
    if workflow is None:
        workflow = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
        if not os.path.isfile(os.path.join(workflow, "stages", "__init__.py")):
            return
    strangers = [os.path.join(workflow, name) for name in find_strangers(workflow)]
    if sys.path[:1] in ([""], [os.getcwd()]) and os.path.realpath(".") != os.path.realpath(workflow):
        strangers += find_shadows(".")
    if not strangers:
        return
    more = f" (and {len(strangers) - 1} more)" if len(strangers) > 1 else ""
    message = (
        f"{ascii(strangers[0])[1:-1]}{more}: could be imported instead of a package; remove it if you do not know where it comes"
        " from, else move it into a folder of its own"
    )
    sys.stderr.write(f"error: {message}\n")
    sys.stderr.flush()
    os._exit(2)  # not an exception: Snakemake would wrap the line in a traceback


def _is_importable(entry: os.DirEntry, as_namespace: bool) -> bool:
    if not entry.name.partition(".")[0].isidentifier():
        return False
    if entry.name.endswith(SUFFIXES):
        return True
    try:
        return entry.is_dir() and (
            ("." not in entry.name and as_namespace) or any(name.startswith("__init__.") for name in os.listdir(entry.path))
        )
    except OSError:
        return False


def _is_known(name: str, paths: list[str]) -> bool:
    places = [os.path.join(path, name) for path in paths]
    return name in sys.stdlib_module_names or any(os.path.isdir(place) or os.path.isfile(f"{place}.py") for place in places)
