"""The command line of ``make gpu-check``; ``--help`` lists the options, :class:`GpuOptions` explains them."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    from u2net.benchmarks.gpu.check import check_gpu
    from u2net.benchmarks.gpu.options import GpuOptions
    from u2net.runtime.errors import U2NetError
except ImportError as error:
    sys.exit(f"gpu-check compares with eager PyTorch and exports graphs; this Python lacks something for that: {error}")


def parse_arguments(words: Sequence[str]) -> GpuOptions:
    """Read the command line; a word that is none ends the program with argparse's message."""
    base = GpuOptions()
    parser = argparse.ArgumentParser(prog="gpu-check", description="Measure every way to run a U²-Net on one GPU.")
    add = parser.add_argument
    add("--device", default=base.device, help="cuda, cuda:N, or cpu for a dry run (%(default)s)")
    add("--networks", type=_words, default=base.networks, help="u2netp,u2net")
    add("--batches", type=_numbers, default=base.batches, help="batch sizes with commas")
    add("--size", type=int, default=base.size, help="side of the input in pixels (%(default)s)")
    add("--contestants", type=_words, default=base.contestants, help="keys with commas; all without it")
    add("--rounds", type=int, default=base.rounds, help="turns of each at most (%(default)s)")
    add("--minutes", type=float, default=base.minutes, help="limit of all but tests and training (%(default)s)")
    add("--open-minutes", type=float, default=base.open_minutes, help="limit of opening one (%(default)s)")
    add("--build-minutes", type=float, default=base.build_minutes, help="limit of building an engine (%(default)s)")
    add("--train-minutes", type=float, default=base.train_minutes, help="train what has no weights (%(default)s)")
    add("--checkpoint", type=Path, action="append", default=[], help="weights to take; may be given twice")
    add("--images", type=Path, help="folder of photographs; scikit-image's without it")
    add("--tensorrt-python", help="another Python, which has TensorRT")
    add("--opt-level", type=int, help="of TensorRT's builder, 0 to 5")
    add("--skip-tests", action="store_true", help="do not run the tests marked gpu")
    add("--test-minutes", type=float, default=base.test_minutes, help="limit of the tests (%(default)s)")
    add("--work", type=Path, default=base.work, help="folder of what is made on the way (%(default)s)")
    add("--output", type=Path, default=base.output, help="folder of the report (%(default)s)")
    add("--name", help="of the report's files; GPU and date without it")
    values = vars(parser.parse_args(words))
    values["checkpoints"] = tuple(values.pop("checkpoint"))
    values["tests"] = not values.pop("skip_tests")
    return GpuOptions(**values)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def main(words: Sequence[str]) -> int:
    """Run the check; the exit status is 1 where a test failed, 2 for a mistake of the user's, else 0."""
    options = parse_arguments(words)
    try:
        result = check_gpu(options, lambda message: print(message, flush=True))
    except U2NetError as error:
        print(error, file=sys.stderr)
        return 2
    for target in result.report.targets:
        print(f"{target.verdict}: {target.what}: {target.found}")
    print(f"{result.files[0]} and {result.files[1].name} are written")
    return 1 if any(suite.failed for suite in result.report.tests) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
