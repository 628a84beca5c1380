"""The command line of ``make gpu-check``: the engines' tests, then the suite on a GPU. ``--help`` lists the options.

It needs nothing that the suite does not need, because a Python with PyTorch may lack the packages of ``u2net``.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

try:
    from u2net.benchmarks.gpu.engine_tests import run_engine_tests
    from u2net.benchmarks.suite.contestants import ENGINES
    from u2net.benchmarks.suite.options import SuiteOptions
    from u2net.benchmarks.suite.report import write_suite
    from u2net.benchmarks.suite.suite import SuiteReport, run_suite
    from u2net.runtime.device import CUDA, Device
    from u2net.runtime.errors import U2NetError
    from u2net.runtime.files import make_folder
except ImportError as error:
    sys.exit(f"gpu-check needs PyTorch and the packages of [export], and this Python lacks one: {error}")


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line; ``options`` of the result are those of the suite. A mistake ends the program."""
    base = SuiteOptions(device=CUDA, minutes=20.0, rounds=60, work=Path("build/gpu-check"))
    parser = argparse.ArgumentParser(prog="gpu-check", description="Measure every way to run a U²-Net on one GPU.")
    add = parser.add_argument
    add("--device", default=str(base.device), help="cuda, cuda:N or cpu (%(default)s)")
    add("--networks", type=_words, default=base.networks, help="u2netp,u2net")
    add("--batches", type=_numbers, default=base.batches, help="batch sizes, separated by commas")
    add("--size", type=int, default=base.size, help="side of the input in pixels (%(default)s)")
    add("--contestants", type=_words, default=base.contestants, help="keys, separated by commas; by default all")
    add("--rounds", type=int, default=base.rounds, help="largest number of turns of each (%(default)s)")
    add("--minutes", type=float, default=base.minutes, help="time limit of the measurement, in minutes (%(default)s)")
    add("--build-minutes", type=float, default=base.build_minutes, help="limit of building an engine (%(default)s)")
    add("--opt-level", type=int, default=base.opt_level, help="of TensorRT's builder, 0 to 5")
    add("--checkpoint", type=Path, action="append", default=[], dest="checkpoints", help="weights; may be repeated")
    add("--images", type=Path, default=base.images, help="folder of photographs; by default synthetic scenes")
    add("--work", type=Path, default=base.work, help="folder of graphs and engines (%(default)s)")
    add("--tensorrt-python", help="another Python, which has TensorRT")
    add("--skip-tests", action="store_true", help="do not run the engines' tests")
    add("--test-minutes", type=float, default=5.0, help="limit of the tests (%(default)s)")
    add("--output", type=Path, default=Path("docs/results"), help="folder of the report (%(default)s)")
    add("--name", default=f"gpu-{date.today()}", help="name of the report's files (%(default)s)")
    found = parser.parse_args(words)
    values = {name: value for name, value in vars(found).items() if hasattr(base, name)}
    pythons = {ENGINES: found.tensorrt_python} if found.tensorrt_python else {}
    values |= {"device": Device.parse(found.device), "checkpoints": tuple(found.checkpoints), "pythons": pythons}
    found.options = SuiteOptions(**values)
    return found


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    words = text.split(",")
    if not all(word.isdecimal() for word in words):
        raise argparse.ArgumentTypeError(f"these are numbers, separated by commas; got {text!r}")
    return tuple(map(int, words))


def main(words: Sequence[str]) -> int:
    """Run the check. The exit status is 1 if the tests did not pass, 2 for a mistake of the user's, else 0."""
    passed, notes = True, tuple[str, ...]()

    def write(report: SuiteReport) -> None:
        write_suite(replace(report, notes=(*notes, *report.notes)), found.output, found.name)

    try:
        found = parse_arguments(words)
        options: SuiteOptions = found.options
        options.check()
        make_folder(options.work)
        if not found.skip_tests:
            python = options.python(ENGINES) or sys.executable
            outcome, passed = run_engine_tests(python, options.work, 60 * found.test_minutes)
            notes = (outcome,)
            print(outcome, flush=True)
        run_suite(options, lambda message: print(message, flush=True), write)
    except U2NetError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"Wrote to {found.output}: {found.name}.json, {found.name}.md, {found.name}.html")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
