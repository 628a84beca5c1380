"""Fine-tune the bundled weights on your own photographs and deploy them: ``python finetune.py folder/ out/ 30``.

``folder/images`` and ``folder/masks`` hold files of the same stems; masks are white on the object. After 30 minutes of
training, ``out/`` gets model.onnx, model.fp16.onnx and, with TensorRT, model.engine. It prints the scores of held-out
pictures before and after, and what each file costs. The same command goes on with an interrupted training.
It needs ``pip install 'u2net-deploy[cli,cpu,export,train]'``, and at least five pairs.
"""

import sys
from pathlib import Path

import torch

from u2net.benchmarks.report import accuracy_table
from u2net.cli.printing import describe_scores, print_table, progress_lines, training_bar
from u2net.export import BuildOptions, BuildResult, build_artifacts
from u2net.model.dataset import find_pairs, hold_out
from u2net.model.evaluation import score_sessions
from u2net.model.opening import open_session
from u2net.model.training import TrainOptions, find_recipe, train_network
from u2net.model.weights import BUNDLED_WEIGHTS
from u2net.runtime import U2NetError
from u2net.runtime.device import Device


def finetune(folder: Path, output: Path, minutes: float) -> BuildResult:
    """Train from the bundled weights, then export, verify and compile."""
    device = Device("cuda" if torch.cuda.is_available() else "cpu")
    fast, resume = find_recipe("fast", device), (output / "training" / "last.ckpt").exists()
    # The small crops and the learning rate of a training from scratch would undo much of what the weights know.
    recipe = fast.with_overrides(crop=fast.crop, learning_rate=2e-4, batch=4)
    options = TrainOptions(recipe=recipe, init=BUNDLED_WEIGHTS, minutes=minutes, device=device, resume=resume)
    with training_bar() as report:
        trained = train_network(folder, output / "training", options, report)
    if trained.scores is None:
        sys.exit(f"stopped at {trained.progress:.0%}")
    _, held_out = hold_out(find_pairs(folder), options.val_fraction)
    for when, weights in (("before", BUNDLED_WEIGHTS), ("after", trained.weights)):
        with open_session(weights, device) as session:
            print(f"{when}: {describe_scores(score_sessions([session], held_out)[0].scores)}")
    with progress_lines() as say:
        return build_artifacts(trained.weights, output, BuildOptions(images=folder / "images", dataset=folder), say)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        built = finetune(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
    except (U2NetError, ValueError) as error:
        sys.exit(f"finetune: {error}")
    if built.accuracy:
        print_table(*accuracy_table(built.accuracy), "Scores of all pictures, and what each file changes in them")
    print(f"{'passed' if built.passed else 'FAILED'}: {', '.join(built.parities())}", *built.failures, sep="\n")
    if built.engine and built.engine.remark:
        print(built.engine.remark)
    sys.exit(not built.passed)
