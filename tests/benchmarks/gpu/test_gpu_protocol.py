import json

import pytest

from u2net.benchmarks.gpu import protocol
from u2net.benchmarks.gpu.protocol import Answer, Command

COMMANDS: list[Command] = [
    protocol.Hello(),
    protocol.Seed("u2net", "u2net.safetensors"),
    protocol.Train("u2net", "u2net.safetensors", 2.5, "cuda:0"),
    protocol.Describe("given.pth"),
    protocol.Export("u2net.safetensors", "u2net.onnx", 320, ""),
    protocol.Build("u2net.onnx", "u2net.engine", "tensorrt", (1, 8, 32), 0, None, '{"schema": 1}'),
    protocol.Inspect("u2net.engine", 1),
    protocol.Open("eager", "eager", "u2net.safetensors", "cuda:1", "input.npz", "fp16", tf32=True, cuda_graph=True),
    protocol.Infer("eager", "photographs.npz", "maps.npz"),
    protocol.Time("eager", "device", 10, 3),
    protocol.Close("eager"),
]


def test_there_is_a_sample_of_every_command() -> None:
    assert {type(command).__name__ for command in COMMANDS} == set(protocol.COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_command_comes_back_as_it_was(command: Command) -> None:
    line = protocol.encode_command(command)

    assert line.count("\n") == 1 and line.endswith("\n")
    assert protocol.decode_command(line) == command


@pytest.mark.parametrize(
    "answer",
    [
        Answer(),
        Answer({"seconds": [0.1, 0.2], "memory_mb": None}, warnings=("no CUDA graph", "two\nlines")),
        Answer(error="DeviceError: node 3 «Größe»\nsecond line", timed_out=True),
    ],
)
def test_an_answer_comes_back_as_it_was(answer: Answer) -> None:
    line = protocol.encode_answer(answer)

    assert line.count("\n") == 1
    assert protocol.decode_answer(line) == answer
    assert answer.worked == (not answer.error)


@pytest.mark.parametrize("line", ["", "no JSON", json.dumps({"do": "Dance"}), json.dumps({"do": "Close"})])
def test_what_is_no_command_is_refused(line: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        protocol.decode_command(line)
