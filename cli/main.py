"""The ``u2net`` entry point: a user's mistake is one line on stderr and exit status 2, never a traceback."""

import sys
import warnings

from u2net.cli.terminal import printable, write_any_text
from u2net.runtime.errors import DependencyError, U2NetError

STATUS_USAGE = 2
"""Exit status for wrong input, a missing package or a missing device."""

STATUS_INTERRUPTED = 130

EXTRAS = {
    "typer": "cli",
    "rich": "cli",
    "click": "cli",
    "torch": "export",
    "onnx": "export",
    "onnx_ir": "export",
    "onnxscript": "export",
    "onnxsim": "export",
    "safetensors": "export",
    "cv2": "export",
    "onnxruntime": "cpu",
    "lightning_fabric": "train",
    "kornia": "train",
    "py_sod_metrics": "train",
}
"""Extra that installs each module that may be missing."""


def main() -> None:
    """Run the command line."""
    write_any_text()
    warnings.filterwarnings("ignore", module="PIL")  # of damaged metadata; a picture that cannot be read is an error
    try:
        from u2net.cli.app import run_app

        sys.exit(run_app())
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        sys.exit(_complain(DependencyError(package, EXTRAS[package])))
    except (U2NetError, OSError) as error:  # OSError: a name too long, a full disk
        sys.exit(_complain(error))
    except KeyboardInterrupt:
        sys.exit(STATUS_INTERRUPTED)


def _complain(error: Exception) -> int:
    message = " ".join(str(error).split())
    print(f"u2net: {printable(message)}", file=sys.stderr)
    return STATUS_USAGE


if __name__ == "__main__":
    main()
