"""Fine-tune the bundled weights on your own photographs and deploy them: ``python finetune.py folder/ out/ 30``.

``folder/images`` and ``folder/masks`` hold files of the same stems; masks are white on the object. After 30 minutes of
training, ``out/`` gets model.onnx, model.fp16.onnx and, with TensorRT, model.engine. What each costs in the metrics is
printed. It needs ``pip install 'u2net-deploy[cli,cpu,export,train]'``, and at least five pairs.
"""

import sys
from pathlib import Path

import torch

from u2net.benchmarks.report import accuracy_table
from u2net.cli.printing import describe_scores, print_table, progress_lines, training_bar
from u2net.export import BuildOptions, BuildResult, build_artifacts
from u2net.model.training import TrainOptions, find_recipe, train_network
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime import U2NetError
from u2net.runtime.device import Device

LEARNING_RATE = 2e-4  # far lower than in a training from scratch, so that the weights keep what they know


def finetune(folder: Path, output: Path, minutes: float) -> BuildResult:
    """Train from the bundled weights, then export, verify and compile."""
    device = Device("cuda" if torch.cuda.is_available() else "cpu")
    fast = find_recipe("fast", device)
    # One crop throughout: the recipe's small crops would undo much of what the weights know.
    recipe = fast.with_overrides(crop=fast.crop, learning_rate=LEARNING_RATE, batch=4)
    options = TrainOptions(recipe=recipe, init=BUNDLED_WEIGHTS, minutes=minutes, device=device)
    with training_bar() as report:
        trained = train_network(folder, output / "training", options, report)
    if trained.scores is None:
        sys.exit(f"stopped at {trained.progress:.0%}")
    print(describe_scores(trained.scores))
    with progress_lines() as say:
        return build_artifacts(trained.weights, output, BuildOptions(images=folder / "images", dataset=folder), say)


if __name__ == "__main__":
    try:
        built = finetune(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
    except U2NetError as error:
        sys.exit(f"finetune: {error}")
    if built.accuracy:
        print_table(*accuracy_table(built.accuracy), "scores of eager PyTorch, and what each file changes in them")
    print(f"{'passed' if built.passed else 'FAILED'}: {', '.join(built.parities())}", *built.failures, sep="\n")
    if built.engine and built.engine.remark:
        print(built.engine.remark)
    sys.exit(not built.passed)
