"""Checkpoints of a training run, and the trained network in them (see `keras_alexnet.run_directory`)."""

import collections
import contextlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_alexnet.networks import main_output_only
from keras_alexnet.run_directory import RunConfig, RunDirectory
from pipelines.atomic import write_file
from pipelines.cli import reason_of
from pipelines.cli.literal_path import literal_path

# What TensorFlow raises on files that are cut short, damaged, or of another network.
UNREADABLE = (tf.errors.OpError, AssertionError, IndexError, KeyError, RuntimeError, ValueError)

_STATE = "state/.ATTRIBUTES/VARIABLE_VALUE"


class CheckpointError(Exception):
    """A checkpoint could not be written; the message says where and why. The older ones stay."""


def load_trained(model_dir: str | os.PathLike[str], main_output: bool = True) -> tuple[keras.Model, RunConfig, int]:
    """The network of a run directory, with the weights of its newest checkpoint.

    Args:
      model_dir: the run directory.
      main_output: whether the auxiliary outputs and their layers are left out.

    Returns:
      The model (it gives logits `[N, classes]`), the run's configuration, and its number of training steps.

    Raises:
      ValueError: if the directory has no configuration, no checkpoint, or one that does not fit.
    """
    run = RunDirectory(model_dir)
    config = run.config
    numbers = checkpoint_numbers(run.checkpoints_dir)
    if not numbers:
        raise ValueError(f"model_dir={model_dir}: found no checkpoint in {run.checkpoints_dir}, expected one")
    model = run.build_model()
    steps = tf.Variable(0, dtype=tf.int64)
    try:
        with literal_path(run.checkpoints_dir) as folder:
            status = tf.train.Checkpoint(weights=tracked_weights(model), steps=steps).read(_prefix(folder, numbers[-1]))
        status.assert_existing_objects_matched().expect_partial()
    except UNREADABLE as error:
        path = _prefix(run.checkpoints_dir, numbers[-1])
        reason = "" if isinstance(error, AssertionError) else f": {reason_of(error)}"
        raise ValueError(f"{path}: the checkpoint is broken or of another network{reason}") from error
    return main_output_only(model) if main_output else model, config, int(steps)


def saved_state(folder: Path) -> dict[str, Any] | None:
    """The JSON state in the newest readable checkpoint of `folder`; None if there is none."""
    for number in reversed(checkpoint_numbers(folder)):
        with contextlib.suppress(*UNREADABLE), literal_path(folder) as plain:
            return json.loads(tf.train.load_variable(_prefix(plain, number), _STATE))
    return None


def tracked_weights(model: keras.Model) -> dict[str, list[tf.Variable]]:
    """Layer name -> variables, weights and states of random generators alike, for tf.train.Checkpoint.

    Given a functional Keras model itself, tf.train.Checkpoint would find none of them. Layers that Keras has named,
    such as dense_7, are counted from the beginning of the model: Keras counts the layers of the whole process.
    """
    counts: collections.Counter[str] = collections.Counter()
    tracked = {}
    for layer in model.layers:
        name, kind = layer.name, re.sub(r"_\d+$", "", layer.name)
        if kind.replace("_", "") == type(layer).__name__.lower():
            name = f"{kind}_{counts[kind]}" if counts[kind] else kind
            counts[kind] += 1
        if layer.variables:
            tracked[name] = [variable.value for variable in layer.variables]
    return tracked


def checkpoint_numbers(folder: Path) -> list[int]:
    """The numbers of the checkpoints in `folder`, ascending."""
    found = (re.fullmatch(r"ckpt-(\d+)\.index", path.name) for path in folder.glob("ckpt-*.index"))
    return sorted(int(match[1]) for match in found if match)


class CheckpointFiles:
    """Checkpoints in one directory: written to a temporary name and renamed, the newest `keep` of them.

    tf.train.CheckpointManager depends on the file `checkpoint`, which a crash can damage, and on patterns of names.
    This class reads the directory itself, and writes that file for `tf.train.latest_checkpoint`.

    Args:
      folder: created at the first write.
      keep: how many of the newest checkpoints stay.
      checkpoint: the objects to save.
    """

    def __init__(self, folder: Path, keep: int, checkpoint: tf.train.Checkpoint):
        self.folder, self._keep, self._checkpoint = folder, keep, checkpoint
        # CheckpointManager, with which older runs were written, saves this counter too: it must exist to be restored.
        _ = checkpoint.save_counter

    def write(self, number: int) -> None:
        """Writes checkpoint `number`; OSError or tf.errors.OpError if that fails."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = Path(self._checkpoint.write(os.fspath(self.folder / f"part-ckpt-{number}")))
        # The index last: with it the checkpoint exists.
        for path in sorted(self.folder.glob(f"{part.name}.*")):
            path.replace(path.with_name(path.name.removeprefix("part-")))
        numbers = checkpoint_numbers(self.folder)
        kept = [each for each in numbers if each <= number][-self._keep :]
        # Those with a larger number could not be read when the run was resumed.
        for old in set(numbers) - set(kept):
            for path in sorted(self.folder.glob(f"ckpt-{old}.*"), reverse=True):
                path.unlink(missing_ok=True)
        lines = [f'model_checkpoint_path: "ckpt-{number}"']
        lines += [f'all_model_checkpoint_paths: "ckpt-{each}"' for each in kept]
        write_file(self.folder / "checkpoint", "\n".join(lines) + "\n")

    def restore_newest(self) -> bool:
        """Restores the newest readable checkpoint; False if there is none at all.

        Raises:
          ValueError: if there are checkpoints but none can be read.
        """
        numbers = checkpoint_numbers(self.folder)
        for number in reversed(numbers):
            try:
                with literal_path(self.folder) as folder:
                    self._checkpoint.read(_prefix(folder, number)).assert_consumed()
                return True
            except UNREADABLE as error:
                reason = "of another network" if isinstance(error, AssertionError) else reason_of(error)
                path = _prefix(self.folder, number)
                print(f"{path}: cannot be read ({reason}); trying the one before", flush=True)
        if numbers:
            raise ValueError(f"{self.folder}: found {len(numbers)} checkpoints, none of which can be read")
        return False

    def remove_parts(self) -> None:
        """Removes what interrupted writes have left behind, of this version and of older ones."""
        for pattern in ("part-ckpt-*", "ckpt-*_temp", "*.tempstate*", "*.tmp*"):
            for part in self.folder.glob(pattern):
                if part.is_dir():
                    shutil.rmtree(part, ignore_errors=True)
                else:
                    part.unlink(missing_ok=True)


class TrainingCheckpoints:
    """Saves and restores everything that the next step of a training run depends on.

    Args:
      run: gets `checkpoints/`, and `best/` beside it.
      keep: how many of the newest checkpoints stay.
      model: its weights, random generators and optimizer are saved.
      read_only: for processes of a cluster other than the chief: saving does nothing.
      **tracked: other objects that tf.train.Checkpoint can save.

    It also saves a `state` that JSON can hold, and the number of steps done.
    """

    def __init__(self, run: RunDirectory, keep: int, model: keras.Model, read_only: bool = False, **tracked: Any):
        self._state = tf.Variable("{}", dtype=tf.string)
        self._steps = tf.Variable(0, dtype=tf.int64)
        checkpoint = tf.train.Checkpoint(
            weights=tracked_weights(model), optimizer=model.optimizer, state=self._state, steps=self._steps, **tracked
        )
        self._newest = CheckpointFiles(run.checkpoints_dir, keep, checkpoint)
        self._best = CheckpointFiles(run.best_dir, 1, checkpoint)
        self._read_only = read_only
        for files in (self._newest, self._best) if not read_only else ():
            files.remove_parts()

    def save(self, state: dict[str, Any], steps: int) -> None:
        """Writes a checkpoint; CheckpointError on a full disk, in a read-only directory, ..."""
        self._write(self._newest, state, steps)

    def save_best(self, state: dict[str, Any], steps: int, row: dict[str, float]) -> None:
        """Replaces the best checkpoint. `best/best.json` names it and holds `row`; CheckpointError as for `save`."""
        self._write(self._best, state, steps)
        if self._read_only:
            return
        try:
            write_file(self._best.folder / "best.json", json.dumps({"checkpoint": f"ckpt-{steps}"} | row))
        except OSError as error:
            raise CheckpointError(f"cannot write best.json to {self._best.folder}: {reason_of(error)}") from error

    def _write(self, files: CheckpointFiles, state: dict[str, Any], steps: int) -> None:
        if self._read_only:
            return
        self._state.assign(json.dumps(state))
        self._steps.assign(steps)
        try:
            files.write(steps)
        except (tf.errors.OpError, OSError) as error:
            files.remove_parts()
            # TensorFlow's reason stands behind the name of a file that is gone by now.
            reason = reason_of(error).rsplit("; ", 1)[-1]
            raise CheckpointError(f"cannot write a checkpoint to {files.folder}: {reason}") from error

    def restore_latest(self) -> dict[str, Any] | None:
        """Restores the newest readable checkpoint and returns its state; None if there is none at all.

        Raises:
          ValueError: if there are checkpoints but none can be read.
        """
        return json.loads(self._state.numpy()) if self._newest.restore_newest() else None


def _prefix(folder: str | os.PathLike[str], number: int) -> str:
    return os.path.join(folder, f"ckpt-{number}")
