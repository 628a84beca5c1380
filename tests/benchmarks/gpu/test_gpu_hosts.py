"""Worker processes: real ones, and programs that stand for a broken one."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from u2net.benchmarks.gpu.hosts import Host, Hosts
from u2net.benchmarks.gpu.protocol import Hello, Infer, Open, Time

OPEN = Open("session", "session", "small.onnx", "cpu", "input.npz", "fp32")
PATIENCE = 120.0
ABSENT = ("torch", "onnx", "onnx_ir", "safetensors", "skimage", "cv2", "lightning_fabric")
"""What the Python of the engines may lack."""


@pytest.fixture
def hosts(work: Path) -> Iterator[Hosts]:
    """One real worker, named ``engines``."""
    with Hosts({"engines": sys.executable}, work) as hosts:
        yield hosts


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """A program in the place of an interpreter."""

    def write(text: str) -> str:
        path = tmp_path / "interpreter"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return write


def test_a_worker_needs_no_torch(hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the packages is there and cannot be imported."""
    for name in ABSENT:
        (tmp_path / "absent" / name).mkdir(parents=True)
        (tmp_path / "absent" / name / "__init__.py").write_text("raise ImportError('a worker must not import this')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "absent"))

    commands = (Hello(), OPEN, Infer("session", "pictures.npz", "maps.npz"), Time("session", "wall", 2, 1))
    answers = [hosts.ask("engines", command, PATIENCE) for command in commands]

    assert [answer.error for answer in answers] == [""] * 4
    assert len(answers[3].value["seconds"]) == 2


def test_a_worker_that_is_killed_is_reported_and_another_takes_its_place(hosts: Hosts) -> None:
    assert hosts.ask("engines", OPEN, PATIENCE).worked
    os.kill(process_id(hosts), signal.SIGSEGV)

    while alive(hosts):
        time.sleep(0.01)
    answer = hosts.ask("engines", Time("session", "wall", 1, 0), PATIENCE)

    assert answer.error.startswith("InputError: session is not open here: the process that it was open in has ended")
    assert hosts.ask("engines", OPEN, PATIENCE).worked


def process_id(hosts: Hosts) -> int:
    return hosts._hosts["engines"]._process.pid


def alive(hosts: Hosts) -> bool:
    return hosts._hosts["engines"].alive


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("read line; echo 'CUDA is on fire' >&2; kill -SEGV $$", "signal SIGSEGV; its last words: CUDA is on fire"),
        ("read line; exit 7", "exit status 7; its last words: none"),
        ("echo 'No module named numpy' >&2; exit 1", "exit status 1; its last words: No module named numpy"),
    ],
)
def test_a_process_that_dies_is_an_answer(script: Callable[[str], str], tmp_path: Path, text: str, how: str) -> None:
    with Hosts({"a": script(text)}, tmp_path) as hosts:
        answer = hosts.ask("a", Hello(), PATIENCE)

    assert answer.error == f"the process ended with {how}"
    assert not answer.timed_out


def test_long_last_words_are_cut(script: Callable[[str], str], tmp_path: Path) -> None:
    text = "read line; yes word | head -n 2000 >&2; echo 'the end' >&2; exit 1"
    with Hosts({"a": script(text)}, tmp_path) as hosts:
        answer = hosts.ask("a", Hello(), PATIENCE)

    assert len(answer.error) < 800
    assert answer.error.endswith("the end")


def test_last_words_of_an_earlier_process_are_not_repeated(script: Callable[[str], str], tmp_path: Path) -> None:
    with Hosts({"a": script("read line; echo $$ >&2; exit 1")}, tmp_path) as hosts:
        first, second = (hosts.ask("a", Hello(), PATIENCE) for _ in range(2))

    assert first.error != second.error
    assert len(first.error) < len(second.error) + 10


def test_a_worker_that_hangs_is_ended_with_what_it_started(script: Callable[[str], str], tmp_path: Path) -> None:
    child = tmp_path / "child"
    host = Host(script(f"sleep 600 & echo $! > {child}; wait"), tmp_path, tmp_path / "log")
    answer = host.ask(Hello(), 1.0)

    assert answer.timed_out
    assert answer.error == "gave no answer within 1 s and was ended"
    assert not host.alive
    for _ in range(100):
        if not running(int(child.read_text())):
            break
        time.sleep(0.05)
    assert not running(int(child.read_text()))


def running(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("python", ["/nowhere/python", "/"])
def test_a_program_that_cannot_be_started_is_an_answer(tmp_path: Path, python: str) -> None:
    with Hosts({"a": python}, tmp_path) as hosts:
        assert hosts.ask("a", Hello(), PATIENCE).error.startswith(f"{python} cannot be started")


def test_what_libraries_print_does_not_get_between_the_answers(
    hosts: Hosts, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NumPy, replaced by one that prints, from Python and from below it."""
    noisy = tmp_path / "noisy"
    noisy.mkdir()
    (noisy / "onnxruntime.py").write_text(
        "import os\nprint('loading')\nos.write(1, b'no JSON\\n')\nraise OSError('odd')"
    )
    monkeypatch.setenv("PYTHONPATH", str(noisy))

    assert hosts.ask("engines", OPEN, PATIENCE).error == "OSError: odd"
    assert "no JSON" in (work / "engines.log").read_text()


def test_the_workers_end_with_the_check(work: Path) -> None:
    with Hosts({"engines": sys.executable}, work) as hosts:
        assert hosts.ask("engines", Hello(), PATIENCE).worked
        process = process_id(hosts)

    assert not running(process)
