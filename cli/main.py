"""The ``u2net`` entry point: a user's mistake is one line on stderr and exit status 2, never a traceback."""

import logging
import signal
import sys
import warnings
from importlib.util import find_spec
from io import TextIOWrapper

from u2net.runtime.errors import DependencyError, U2NetError
from u2net.runtime.memory import keep_freed_memory

STATUS_USAGE = 2
"""Exit status for wrong input, a missing package or a missing device."""

STATUS_INTERRUPTED = 130

EXTRAS = {
    "cli": ("typer", "rich", "click"),
    "cpu": ("onnxruntime",),
    "export": (
        "torch",
        "onnx",
        "onnx_ir",
        "onnxscript",
        "onnxsim",
        "safetensors",
        "cv2",
        "jinja2",
        "pooch",
        "platformdirs",
    ),
    "train": ("lightning_fabric", "kornia", "py_sod_metrics"),
}
"""Modules that may be missing, by the extra that installs them."""


def printable(text: str) -> str:
    """Replace control characters: text from a file is untrusted and could steer the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for characters that the encoding lacks, as in file names
    warnings.filterwarnings("ignore", module="PIL")  # of damaged metadata; a picture that cannot be read is an error
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # the same
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C, so that temporary files are removed
    keep_freed_memory()
    try:
        from u2net.cli.app import run_app

        sys.exit(run_app())
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extras = [extra for extra, modules in EXTRAS.items() if package in modules]
        if not extras:
            raise
        message = str(DependencyError(package, *extras))
        if find_spec(package):
            message = (
                f"{package} is too old, it lacks {error.name}; `pip install --upgrade {package}` brings a newer one"
            )
    except (U2NetError, OSError, MemoryError) as error:  # OSError: a name too long, a full disk
        message = str(error) or "memory ran out"
    except KeyboardInterrupt:
        sys.exit(STATUS_INTERRUPTED)
    print(f"u2net: {printable(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(STATUS_USAGE)


if __name__ == "__main__":
    main()
