"""The engines' tests, run in the Python that has TensorRT: it may have neither torch nor an installed package."""

import shutil
import subprocess
import sys
from pathlib import Path

from u2net.benchmarks.suite.workers import TREE

SOURCES = TREE.parents[2]
TESTS = SOURCES / "tests" / "gpu"
GRAPHS_SECONDS = 180.0


def run_engine_tests(python: str, work: Path, seconds: float) -> tuple[str, bool]:
    """Export what the tests need into ``test-graphs``, and run them. Return the outcome, and whether all passed."""
    graphs, log = work.absolute() / "test-graphs", work.absolute() / "tests.log"
    export = [sys.executable, "-P", str(TREE), "u2net.tests.gpu.graphs", str(graphs)]
    python = str(Path(shutil.which(python) or python).absolute())
    test = [python, "-P", str(TREE), "pytest", "-m", "gpu", "-v", "-p", "no:cacheprovider", "-o", "pythonpath=."]
    # The conftest of all tests needs torch and scikit-image.
    test += [f"--confcutdir={TESTS}", f"--graphs={graphs}", str(TESTS)]
    with log.open("w") as stream:
        for command, limit in ((export, GRAPHS_SECONDS), (test, seconds)):
            try:
                done = subprocess.run(
                    command, cwd=SOURCES, stdout=stream, stderr=stream, check=False, timeout=limit
                ).returncode
            except subprocess.TimeoutExpired:
                return f"The engines' tests did not finish within {limit:.0f} s; {log.name} has what they found.", False
            except OSError as error:
                return f"{command[0]} cannot be started: {error.strerror or error}", False
            if done:
                break
    words = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no words"])[-1]
    return f"The engines' tests: {words.strip('= ')}", done == 0
