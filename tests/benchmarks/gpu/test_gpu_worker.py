"""A worker in this process, with ONNX Runtime on the CPU in the place of an engine."""

import io
import logging
import re
from pathlib import Path

import numpy as np
import pytest

from u2net.benchmarks.gpu import protocol, worker
from u2net.benchmarks.gpu.arrays import read_array, write_array
from u2net.benchmarks.gpu.protocol import Answer, Close, Command, Hello, Infer, Open, Time
from u2net.benchmarks.gpu.worker import Worker, serve
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime import DeviceError, InputError, load
from u2net.runtime.device import Device

OPEN = Open("session", "session", "small.onnx", "cpu", "input.npz", "fp32")
EAGER = Open("eager", "eager", str(BUNDLED_WEIGHTS), "cpu", "input.npz", "fp32")


@pytest.fixture(autouse=True)
def _in_its_folder(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)


def talk(*commands: Command | str) -> list[Answer]:
    """What a worker answers to these commands, of which a text is sent as it is."""
    lines = [command if isinstance(command, str) else protocol.encode_command(command) for command in commands]
    replies = io.StringIO()
    assert serve(io.StringIO("".join(lines)), replies) == 0
    return [protocol.decode_answer(line) for line in replies.getvalue().splitlines()]


def test_a_session_is_opened_and_says_what_it_runs_on() -> None:
    (answer,) = talk(OPEN)

    assert answer.worked
    assert "onnxruntime" in answer.value["provider"] and "CPUExecutionProvider" in answer.value["provider"]
    assert answer.value["seconds"] > 0
    assert answer.value["memory_mb"] is None


@pytest.mark.parametrize("command", [OPEN, EAGER])
def test_any_number_of_pictures_goes_through_a_runner_of_batch_two(command: Open, work: Path) -> None:
    pictures = read_array(Path("pictures.npz"))
    with load(work / "small.onnx") as session:
        wanted = session.infer(pictures)["d0"]

    for count in (1, 2, 5):
        write_array(Path("some.npz"), pictures[:count])
        answers = talk(command, Infer(command.key, "some.npz", "maps.npz"))

        assert [answer.error for answer in answers] == ["", ""]
        np.testing.assert_allclose(read_array(Path("maps.npz")), wanted[:count], atol=1e-4)


def test_wall_time_is_one_number_a_counted_run() -> None:
    _, answer = talk(OPEN, Time("session", "wall", 3, 1))

    assert len(answer.value["seconds"]) == 3
    assert all(0 < seconds < 60 for seconds in answer.value["seconds"])


@pytest.mark.parametrize("command", [OPEN, EAGER])
def test_a_processor_has_no_device_time(command: Open) -> None:
    _, answer = talk(command, Time(command.key, "device", 3, 1))

    assert answer == Answer({"seconds": None})


@pytest.mark.parametrize("command", [Infer("session", "input.npz", "maps.npz"), Time("session", "wall", 1, 0)])
def test_what_is_not_open_cannot_run(command: Command) -> None:
    first, _, _, second = talk(command, OPEN, Close("session"), command)

    for answer in (first, second):
        assert answer.error.startswith("InputError: session is not open here")


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (Open("a", "session", "nowhere.onnx", "cpu", "input.npz"), r"ArtifactError: nowhere\.onnx: there is no such"),
        (Open("a", "session", "small.onnx", "cpu", "nowhere.npz"), r"FileNotFoundError: .*nowhere\.npz"),
        (Open("a", "session", "small.onnx", "tpu", "input.npz"), r"InputError: there is no device 'tpu'"),
        (Open("a", "eager", "nowhere.pth", "cpu", "input.npz"), r"CheckpointError: nowhere\.pth"),
        (Open("a", "eager", str(BUNDLED_WEIGHTS), "cpu", "input.npz", "fp16"), r"DeviceError: this needs a CUDA"),
        (Open("a", "captured", str(BUNDLED_WEIGHTS), "cpu", "input.npz"), r"DeviceError: this needs a CUDA"),
        (Open("a", "compiled", str(BUNDLED_WEIGHTS), "cpu", "input.npz"), r"DeviceError: this needs a CUDA"),
        ("no command\n", r"JSONDecodeError"),
        ('{"do": "Dance"}\n', r"KeyError: 'Dance'"),
    ],
)
def test_a_mistake_is_an_answer_and_the_next_command_works(command: Command | str, error: str) -> None:
    broken, fine = talk(command, Hello())

    assert re.match(error, broken.error)
    assert fine.worked


def test_warnings_come_with_the_answer_they_belong_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(_worker: Worker, command: Command) -> dict[str, object]:
        logging.getLogger("u2net.tensorrt").warning("no CUDA graph for %s", type(command).__name__)
        return {}

    monkeypatch.setattr(Worker, "do", warn)

    assert [answer.warnings for answer in talk(Hello(), Close("a"))] == [
        ("no CUDA graph for Hello",),
        ("no CUDA graph for Close",),
    ]


def test_a_worker_whose_gpu_is_lost_answers_and_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An illegal access leaves a process whose every further call fails: others must not be blamed for it."""
    lost: list[bool] = []

    def free(_device: Device, **_options: bool) -> None:
        if lost:
            raise DeviceError("cudaErrorIllegalAddress")

    def time(_worker: Worker, _command: Time) -> None:
        lost.append(True)
        raise InputError("the run failed")

    monkeypatch.setattr(worker, "free_bytes", free)
    monkeypatch.setattr(Worker, "_time", time)
    lines = [protocol.encode_command(command) for command in (OPEN, Time("session", "wall", 1, 0), Hello())]
    replies = io.StringIO()

    assert serve(io.StringIO("".join(lines)), replies) == 1
    answers = [protocol.decode_answer(line) for line in replies.getvalue().splitlines()]
    assert [answer.error for answer in answers] == ["", "InputError: the run failed"]
    assert "cudaErrorIllegalAddress" in capsys.readouterr().err


def test_hello_tells_versions() -> None:
    (answer,) = talk(Hello())

    assert answer.value["versions"]["torch"]
    assert answer.value["python"].count(".") == 2
    assert isinstance(answer.value["flavours"], dict) and isinstance(answer.value["broken"], dict)
