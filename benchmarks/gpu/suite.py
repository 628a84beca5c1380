"""The tests marked ``gpu``, run by pytest in a process of its own; without pytest the report says so."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from u2net.benchmarks.gpu.arrays import write_array
from u2net.benchmarks.gpu.hosts import TREE, Hosts
from u2net.benchmarks.gpu.networks import FILES_HOST
from u2net.benchmarks.gpu.pictures import PRESET, SCENE_COUNT
from u2net.benchmarks.gpu.protocol import Close, Export, Infer, Open
from u2net.model.synthetic import make_scenes
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime.files import make_folder
from u2net.runtime.preprocess import preprocess_batch

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
ENGINE_TESTS = TESTS / "gpu"
"""These alone also run in a Python that has TensorRT and no torch."""

MARK = "mark.gpu"
LAST_WORDS = 600

GRAPH, METADATA, GRAPH_INPUT, GRAPH_OUTPUT = "graph.onnx", "artifact.json", "input.npz", "output.npz"
"""What :data:`ENGINE_TESTS` take with ``--graphs`` where they cannot export."""
GRAPH_SIDE = 192
PREPARING_SECONDS = 180.0


@dataclass(frozen=True)
class SuiteResult:
    """What came of the tests in one Python."""

    where: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    problems: tuple[str, ...] = ()
    """Each failure with its message."""
    reasons: tuple[str, ...] = ()
    """Why tests were skipped, each reason once."""
    note: str = ""
    """Why nothing ran, or not all."""


def run_suites(hosts: Hosts, engines_python: str, work: Path, seconds: float) -> tuple[SuiteResult, ...]:
    """Run the tests in this Python, and those of engines also in the engines' own, where that is another."""
    results = [run_suite(sys.executable, "this Python", work, seconds)]
    if engines_python != sys.executable:
        where = "the engines' Python, engines' tests alone"
        graphs, why = prepare_graphs(hosts, work)
        if graphs is None:
            results.append(SuiteResult(where, note=f"not run: no graph could be made for them: {why}"))
        else:
            results.append(run_suite(engines_python, where, work, seconds, graphs))
    return tuple(results)


def run_suite(python: str, where: str, work: Path, seconds: float, graphs: Path | None = None) -> SuiteResult:
    """Run the tests marked ``gpu`` in a Python.

    Args:
        where: names that Python in the report.
        work: folder of the protocol file.
        graphs: what the engines' tests are to take instead of exporting; then these tests alone are run.
    """
    files = find_marked(ENGINE_TESTS if graphs else TESTS)
    if not files:
        return SuiteResult(where, note="no test marked gpu is there")
    protocol = work / f"tests-{'engines' if graphs else 'all'}.xml"
    protocol.unlink(missing_ok=True)
    # The conftest of all tests needs torch and scikit-image.
    engines = [f"--confcutdir={ENGINE_TESTS}", f"--graphs={graphs}"] if graphs else []
    command = [python, "-P", str(TREE), "pytest", "-m", "gpu", "-v", "-p", "no:cacheprovider", "-o", "pythonpath=."]
    command += [*engines, f"--junitxml={protocol}", *map(str, files)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        return SuiteResult(where, note=f"not finished within {seconds:.0f} s")
    except OSError as error:
        return SuiteResult(where, note=f"{python} cannot be started: {error.strerror or error}")
    if "No module named pytest" in done.stderr:
        return SuiteResult(where, note="not run: pytest is not installed")
    if not protocol.is_file():
        words = (done.stderr.strip() or done.stdout.strip())[-LAST_WORDS:]
        return read_lines(done.stdout, where, f"pytest ended with status {done.returncode}: {words or 'no words'}")
    return read_protocol(protocol.read_text(encoding="utf-8"), where)


def find_marked(folder: Path) -> list[Path]:
    """Files with a test marked ``gpu``: what the others import may not be installed."""
    paths = sorted(folder.rglob("test_*.py"))
    return [path for path in paths if MARK in path.read_text(encoding="utf-8")]


def read_protocol(text: str, where: str) -> SuiteResult:
    """Counts and messages out of a JUnit protocol."""
    passed, problems, skipped = 0, [], []
    for case in ElementTree.fromstring(text).iter("testcase"):
        broken = [child for kind in ("failure", "error") for child in case.findall(kind)]
        skips = case.findall("skipped")
        name = f"{case.get('classname', '')}.{case.get('name', '')}".strip(".")
        problems += [f"{name}: {child.get('message', '')}" for child in broken[:1]]
        skipped += [skip.get("message", "") for skip in skips[:1]]
        passed += not broken and not skips
    reasons = tuple(dict.fromkeys(skipped))
    return SuiteResult(where, passed, len(problems), len(skipped), tuple(problems), reasons)


def read_lines(text: str, where: str, note: str) -> SuiteResult:
    """What pytest had printed before it died: one line a test, the last one without an outcome."""
    outcomes = dict(re.findall(r"^(\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED)\b", text, re.MULTILINE))
    counts = Counter(outcomes.values())
    broken = tuple(f"{name}: {word.lower()}" for name, word in outcomes.items() if word in ("FAILED", "ERROR"))
    last = re.search(r"^(\S+::\S.*?) *$", text.rstrip().rpartition("\n")[2])
    died = (f"{last[1]}: the process died in it",) if last and last[1] not in outcomes else ()
    return SuiteResult(where, counts["PASSED"], len(broken) + len(died), counts["SKIPPED"], (*broken, *died), note=note)


def prepare_graphs(hosts: Hosts, work: Path) -> tuple[Path | None, str]:
    """Write what the engines' tests need where there is no torch: graph, pictures, eager maps; or say why not."""
    folder = work / "test-graphs"
    make_folder(folder)
    preset = PRESET.with_size(GRAPH_SIDE, GRAPH_SIDE)
    write_array(folder / GRAPH_INPUT, preprocess_batch(make_scenes(SCENE_COUNT), preset))
    checkpoint, inside = str(BUNDLED_WEIGHTS), f"{folder.name}/"
    steps: Sequence[Export | Open | Infer | Close] = (
        Export(checkpoint, inside + GRAPH, GRAPH_SIDE, ""),
        Open("eager", "eager", checkpoint, "cpu", inside + GRAPH_INPUT),
        Infer("eager", inside + GRAPH_INPUT, inside + GRAPH_OUTPUT),
        Close("eager"),
    )
    for step in steps:
        answer = hosts.ask(FILES_HOST, step, PREPARING_SECONDS)
        if not answer.worked:
            return None, f"{type(step).__name__.lower()}: {answer.error}"
        if "artifact" in answer.value:
            (folder / METADATA).write_text(answer.value["artifact"], encoding="utf-8")
    return folder, ""
