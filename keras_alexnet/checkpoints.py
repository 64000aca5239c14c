"""Saving and restoring a training run, and the network that has been trained (see `keras_alexnet.run_directory`)."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_alexnet.run_directory import RunConfig, replace_file
from pipelines.cli import reason_of

_CHECKPOINTS, _BEST = "checkpoints", "best"
# What TensorFlow raises on files that are cut short, damaged, or of another network.
_UNREADABLE = (tf.errors.OpError, AssertionError, IndexError, KeyError, RuntimeError, ValueError)


def has_checkpoint(model_dir: str | os.PathLike) -> bool:
    """Whether a training in `model_dir` has come as far as a checkpoint."""
    return any((Path(model_dir) / _CHECKPOINTS).glob("ckpt-*.index"))


def load_trained(model_dir: str | os.PathLike) -> tuple[keras.Model, RunConfig, int]:
    """The network of `model_dir` with the weights of its newest checkpoint.

    Returns:
      The model (it gives logits `[N, classes]`), its description, and the number of steps that it was trained for.

    Raises:
      ValueError: if the folder holds no description, no checkpoint, or one that does not fit.
    """
    description = RunConfig.load(model_dir)
    folder = Path(model_dir) / _CHECKPOINTS
    newest = tf.train.latest_checkpoint(folder)
    if newest is None:
        raise ValueError(f"model_dir={model_dir}: found no checkpoint in {folder}; expected one, as training writes")
    model = description.build(RunConfig.mean(model_dir))
    steps = tf.Variable(0, dtype=tf.int64)
    try:
        status = tf.train.Checkpoint(weights=tracked_weights(model), steps=steps).restore(newest)
        status.assert_existing_objects_matched().expect_partial()
    except _UNREADABLE as error:
        raise ValueError(
            f"{newest}: found a checkpoint that is broken or not of this model: {reason_of(error)}"
        ) from error
    return model, description, int(steps)


def tracked_weights(model: keras.Model) -> dict[str, list[tf.Variable]]:
    """Layer name -> variables, weights and states of random generators alike, for tf.train.Checkpoint.

    Given a functional Keras model itself, tf.train.Checkpoint would find none of them.
    """
    return {layer.name: [variable.value for variable in layer.variables] for layer in model.layers if layer.variables}


class CheckpointError(Exception):
    """A checkpoint could not be written; the message says where and why. The older ones stay."""


class TrainingCheckpoints:
    """Saves and restores everything that the next step of a training run depends on.

    Args:
      model_dir: where `checkpoints/` is, and `best/` beside it.
      keep: how many of the newest checkpoints stay.
      model: its weights, random generators and optimizer are saved.
      read_only: whether another process writes here; saving is then that one's business, and here does nothing.
      **tracked: whatever else tf.train.Checkpoint can save.

    Beside these it saves a `state` that JSON can hold, and the number of steps done.
    """

    def __init__(
        self, model_dir: str | os.PathLike, keep: int, model: keras.Model, read_only: bool = False, **tracked: Any
    ):
        self._state = tf.Variable("{}", dtype=tf.string)
        self._steps = tf.Variable(0, dtype=tf.int64)
        checkpoint = self._checkpoint = tf.train.Checkpoint(
            weights=tracked_weights(model), optimizer=model.optimizer, state=self._state, steps=self._steps, **tracked
        )
        # A manager's index is replaced by one rename after the data is written: a checkpoint is complete or absent.
        folders = [Path(model_dir) / name for name in (_CHECKPOINTS, _BEST)]
        self._read_only = read_only
        for folder in folders if not read_only else ():
            _tidy(folder)
        self._manager, self._best = (
            tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=count)
            for folder, count in zip(folders, (keep, 1), strict=True)
        )

    @property
    def directory(self) -> str:
        """Where the newest checkpoints are."""
        return self._manager.directory

    def save(self, state: dict[str, Any], steps: int) -> None:
        """Writes a checkpoint.

        Raises:
          CheckpointError: on a full disk, in a read-only folder, ...
        """
        self._write(self._manager, state, steps)

    def save_best(self, state: dict[str, Any], steps: int, row: dict[str, float]) -> None:
        """Writes the checkpoint that stays beside the newest ones, in the place of the one that was best before.

        `best/best.json` says which it is, and holds `row`.

        Raises:
          CheckpointError: as `save`.
        """
        self._write(self._best, state, steps)
        if self._read_only:
            return
        try:
            replace_file(Path(self._best.directory) / "best.json", json.dumps({"checkpoint": f"ckpt-{steps}"} | row))
        except OSError as error:
            raise CheckpointError(f"cannot write best.json to {self._best.directory}: {reason_of(error)}") from error

    def _write(self, manager: tf.train.CheckpointManager, state: dict[str, Any], steps: int) -> None:
        if self._read_only:
            return
        self._state.assign(json.dumps(state))
        self._steps.assign(steps)
        try:
            manager.save(checkpoint_number=steps)
        except (tf.errors.OpError, OSError) as error:
            _remove_parts(Path(manager.directory))
            # TensorFlow's reason stands behind the name of a file that is gone by now.
            reason = reason_of(error).rsplit("; ", 1)[-1]
            raise CheckpointError(f"cannot write a checkpoint to {manager.directory}: {reason}") from error

    def restore_latest(self) -> dict[str, Any] | None:
        """Restores the newest checkpoint that can be read and returns its state; None if there is none at all.

        Raises:
          ValueError: if there are checkpoints but none can be read.
        """
        broken = []
        for path in reversed(self._manager.checkpoints):
            try:
                self._checkpoint.restore(path).assert_consumed()
            except _UNREADABLE as error:
                broken.append(path)
                print(f"{path}: cannot be read ({reason_of(error)}); trying the one before", flush=True)
                continue
            return json.loads(self._state.numpy())
        if broken:
            raise ValueError(f"found {len(broken)} checkpoints in {self._manager.directory}, none of which can be read")
        return None


def _tidy(folder: Path) -> None:
    """Makes `folder` ready for a manager, whatever a crash has left there."""
    _remove_parts(folder)
    try:
        index = tf.train.get_checkpoint_state(folder)
    except ValueError:
        index = None
    # The index is damaged or missing: without it TensorFlow would start again from nothing.
    found = sorted(folder.glob("ckpt-*.index"), key=lambda path: int(path.stem.split("-")[1]))
    if index is None and found:
        lines = [f'model_checkpoint_path: "{found[-1].stem}"']
        for path in found:
            # A manager passes over entries that are not newer than the last one preserved for good.
            lines += [f'all_model_checkpoint_paths: "{path.stem}"', "all_model_checkpoint_timestamps: 1"]
        lines += ["last_preserved_timestamp: 0"]
        replace_file(folder / "checkpoint", "\n".join(lines) + "\n")


def _remove_parts(folder: Path) -> None:
    """Removes what a write that was cut short has left behind."""
    for part in [*folder.glob("ckpt-*_temp"), *folder.glob("*.tempstate*"), *folder.glob("*.tmp*")]:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(model_dir: str | os.PathLike) -> Iterator[None]:
    """Makes `model_dir`, and keeps other trainings out of it while the block runs.

    Raises:
      ValueError: if the folder cannot be made or written, or another training holds it.
    """
    try:
        os.makedirs(model_dir, exist_ok=True)
        lock = open(Path(model_dir) / ".lock", "w")  # noqa: SIM115 (closed below; closing it frees the lock)
    except OSError as error:
        raise ValueError(f"model_dir={model_dir}: {reason_of(error)}; expected a folder that can be written") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"model_dir={model_dir}: found another training at work in it; expected none") from None
        yield
