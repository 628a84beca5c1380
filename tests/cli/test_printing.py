"""Tables on a narrow terminal and in a file."""

import pytest

from u2net.cli.printing import console, print_table

HEADER = ("contestant", "batch", "median ms", "images/s", "vs eager", "IoU", "mean Δ", "peak MB")
ROW = ("model.fp16.onnx", "4", "1245.0", "3.21", "2.01× (1.94–2.10)", "0.9998", "7.0e-05", "1229")


def test_no_word_of_a_benchmark_is_broken_in_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_width", 80)
    monkeypatch.setattr(console, "_force_terminal", True)

    with console.capture() as printed:
        print_table(HEADER, [ROW])

    text = printed.get()
    assert max(map(len, text.splitlines())) <= 80
    for word in " ".join((*HEADER, *ROW)).split(" "):
        assert word in text.split(" ") or word in text.replace("\n", " ").split(" "), word


def test_a_row_is_one_line_in_a_file() -> None:
    with console.capture() as printed:
        print_table(("file", "here"), [("sha256", "0" * 500), ("size", "1")], words=2)

    assert "0" * 500 in printed.get()
    assert not [line for line in printed.get().splitlines() if line.endswith(" ")]
