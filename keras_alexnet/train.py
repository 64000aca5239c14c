"""Command: trains a network, or resumes a run.

    python -m keras_alexnet.train --flagfile=photos.flags --dataset=photos --model_dir=runs/photos
    python -m keras_alexnet.train --dataset=folder:photos --model_dir=runs/mine --init=he --learning_rate=0.005

A run that was interrupted, by Ctrl-C, SIGTERM or a crash, is resumed by the same command.
"""

from collections.abc import Sequence

from keras_alexnet.training.flags import define_flags, flag_values, help_text
from pipelines.cli import run


def main(argv: Sequence[str]) -> int:
    """Trains and prints the result; returns 128 + signal number after an interruption."""
    config = flag_values()
    from keras_alexnet.training.loop import TrainingInterrupted
    from keras_alexnet.training.train_and_evaluate import train_and_evaluate

    try:
        row = train_and_evaluate(config)
    except TrainingInterrupted as interrupted:
        print(f"interrupted by {interrupted}, saved in {config.model_dir}; the same command resumes the run")
        return 128 + interrupted.number
    if config.synthetic and not config.model_dir:
        print(f"done after {row['steps']} steps on noise; nothing is kept")
        return 0
    errors = [f"{name} {row[name]:.2%}" for name in ("val_top1_error", "val_top5_error") if name in row]
    print(
        f"done after {row['steps']} steps: {', '.join(errors) or 'no validation split'}; checkpoints, metrics.csv and "
        f"logs (tensorboard --logdir={config.model_dir}/logs) are in {config.model_dir}"
    )
    return 0


def command() -> None:
    """Entry point of the command."""
    run(main, define_flags, help_text=help_text)


if __name__ == "__main__":
    command()
