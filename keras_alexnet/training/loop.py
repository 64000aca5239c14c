"""The training loop: it knows its step number, so resuming, signals and logs have one natural place."""

import contextlib
import dataclasses
import signal
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf

from keras_alexnet.callbacks.diagnostics import first_broken_layer, first_layer_not_finite, stuck_report
from keras_alexnet.callbacks.logs import RunLogs
from keras_alexnet.callbacks.schedules import ConstantSchedule, current_rate
from keras_alexnet.checkpoints import CheckpointError, TrainingCheckpoints
from keras_alexnet.distribute.cluster import Cluster
from keras_alexnet.training.evaluation import Evaluator
from keras_alexnet.training.input import Data
from keras_alexnet.training.progress import Progress, Row
from keras_alexnet.training.progress_meter import EpochMeter
from keras_alexnet.training.signals import TrainingInterrupted, stop_signals
from keras_alexnet.training.train_step import TrainingSteps


class TrainingLoop:
    """Trains a model, saving, resuming and logging on the way.

    Args:
      model: gives logits; its `optimizer` is set, by `compile`.
      strategy: the tf.distribute strategy under whose scope the model was built.
      data: batches.
      model_dir: gets checkpoints/, logs/ and metrics.csv.
      schedule: sets the learning rate; its `state` is saved and restored.
      checkpoint_steps: a checkpoint is written every so many steps of an epoch, and at its end.
      keep: how many of the newest checkpoints stay, beside the one with the lowest `val_top1_error`.
      steps_per_execution: steps in one call of TensorFlow. Between two calls only are signals heeded, and checkpoints
        and progress written.
    """

    def __init__(
        self,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        data: Data,
        model_dir: str,
        schedule: ConstantSchedule,
        checkpoint_steps: int,
        keep: int,
        steps_per_execution: int = 1,
    ):
        self.model, self.strategy, self.data, self.schedule = model, strategy, data, schedule
        self.checkpoint_steps, self.steps_per_execution = checkpoint_steps, steps_per_execution
        self.progress = Progress()
        with strategy.scope():
            model.optimizer.build(model.trainable_variables)
        self._workers = Cluster(strategy)
        self._steps = TrainingSteps(model, strategy, data.batch_size, data.finish)
        with self._workers.chief_first():
            self._checkpoints = TrainingCheckpoints(
                model_dir, keep, model, read_only=not self._workers.is_chief, sums=self._steps.sums
            )
        self._logs = RunLogs(model_dir, self._workers.is_chief)
        self._evaluate = Evaluator(model, "center", strategy)
        schedule.set_model(model)

    def run(self, epochs: int, max_steps: int | None = None) -> Row:
        """Goes on from the newest checkpoint, or from the start, until `epochs` or `max_steps` are done.

        Returns:
          The numbers of the last epoch, as in metrics.csv.

        Raises:
          TrainingInterrupted: on SIGTERM or Ctrl-C, after the step under way has been finished and saved.
          ValueError: if the last checkpoint cannot be written, none can be read, or the loss is no longer a number.
        """
        total = epochs * self.data.steps_per_epoch
        total = total if max_steps is None else min(total, max_steps)
        self._resume(total)
        row = self.progress.history[-1] if self.progress.history and not self.progress.step else None
        with stop_signals() as caught, contextlib.closing(self._logs):
            while self.steps_done < total:
                print(f"Epoch {self.progress.epoch + 1}/{epochs}", flush=True)
                row = self._epoch(total, caught)
            if row is None:
                row = self._row({}) | self._validation_row([])
        return row

    @property
    def steps_done(self) -> int:
        """Steps since the beginning of training, over all runs."""
        return self.progress.epoch * self.data.steps_per_epoch + self.progress.step

    def _resume(self, total: int) -> None:
        state = self._checkpoints.restore_latest()
        self.progress = Progress(**state or {})
        self._workers.expect_same({f"steps of the run in {self._checkpoints.directory}": self.steps_done})
        if state is None:
            return
        if self.progress.schedule:
            self.schedule.state = self.progress.schedule
        # Rows written after this checkpoint belong to steps that are run again.
        self._logs.write_rows(self.progress.history)
        left = f"resuming at epoch {self.progress.epoch + 1}" if self.steps_done < total else "nothing left to do"
        print(f"found a run of {self.steps_done} steps: {left}", flush=True)

    def _save(self, is_last: bool = False) -> None:
        """Saves; on a full disk training goes on, unless the process is about to end and its work would be lost."""
        layer = first_broken_layer(self.model)
        if layer:
            raise ValueError(
                f"the weights of {layer} are not finite at step {self.steps_done}: training has diverged; the "
                f"checkpoints before it are kept. A lower --learning_rate (now {self._rate():g}) is the usual cure"
            )
        self.progress.schedule = self.schedule.state
        state, history = dataclasses.asdict(self.progress), self.progress.history
        try:
            # The best one first: killed between the two, the run comes back to this point and writes both.
            if self.progress.is_best():
                self._checkpoints.save_best(state, self.steps_done, history[-1])
            self._checkpoints.save(state, self.steps_done)
        except CheckpointError as error:
            if is_last:
                raise ValueError(f"{error}; the steps since the last checkpoint are lost") from error
            print(f"{error}; training goes on, and so far the newest checkpoint stays", flush=True)
        if is_last:
            self._workers.barrier()  # workers that leave while the chief is still saving would be called dead

    def _epoch(self, total: int, caught: list[int]) -> Row:
        """Trains to the end of the epoch, or until `total` steps are done; validates, logs and saves."""
        self.schedule.on_epoch_begin(self.progress.epoch)
        means = self._train(total, caught)
        row = self._row(means) | self._validation_row(caught)
        rates = {name: means[name] for name in means.keys() - row.keys()}
        sample = (lambda: self._local_images(0)[0]) if self.progress.epoch == 0 else None
        self._logs.epoch(self.steps_done, row | rates, self.model, sample)
        if self.progress.step < self.data.steps_per_epoch:
            # Stopped by max_steps: the epoch can still be finished by a later run, so its row is not history yet.
            self._save(is_last=True)
            self._logs.write_rows([*self.progress.history, row])
            return row
        self.schedule.on_epoch_end(self.progress.epoch, row)
        self.progress.history.append(row)
        report = stuck_report(self.progress.history, self.data.steps_per_epoch, self.data.classes, self._rate())
        if report:
            print(report, flush=True)
        self.progress.epoch, self.progress.step = self.progress.epoch + 1, 0
        self._steps.sums.assign(tf.zeros_like(self._steps.sums))
        self._save(is_last=self.steps_done >= total)
        self._logs.write_rows(self.progress.history)
        return row

    def _train(self, total: int, caught: list[int]) -> Row:
        """Takes steps to the end of the epoch or to `total`, whichever comes first; returns the epoch's means."""
        progress, data = self.progress, self.data
        meter = EpochMeter(data.steps_per_epoch, data.batch_size)
        last = min(data.steps_per_epoch, progress.step + total - self.steps_done)
        batches = self._batches(progress.step)
        while progress.step < last:
            before = progress.step
            count = min(self.steps_per_execution, last - before)
            waited = self._steps.take(batches, count)
            progress.step += count
            meter.count_steps(count, waited)
            if self._is_to_stop(bool(caught)):
                self._check_loss()
                self._save(is_last=True)
                raise TrainingInterrupted(caught[0] if caught else signal.SIGTERM)
            if progress.step == last:
                break
            if progress.step // self.checkpoint_steps > before // self.checkpoint_steps:
                self._check_loss()
                self._save()
            if meter.is_due():
                meter.show(progress.step, self._means())
        means = self._means()
        meter.show(progress.step, means, last=True)
        return means | meter.rates()

    def _is_to_stop(self, caught: bool) -> bool:
        # Asking waits for the step to end, which a process that trains alone has no need of.
        return caught if self._workers.count == 1 else self._steps.vote_to_stop(caught)

    def _batches(self, start_step: int) -> Iterator:
        batches = self.data.training(self.progress.epoch, start_step)
        return iter(self._workers.distribute(batches) if isinstance(batches, tf.data.Dataset) else batches)

    def _local_images(self, step: int) -> Sequence[tf.Tensor]:
        """This worker's images of a step of the epoch, in as many parts as they come in."""
        inputs, _ = next(iter(self.data.training(self.progress.epoch, step)))
        return [self.data.finish(part) for part in self.strategy.experimental_local_results(inputs)]

    def _check_loss(self) -> None:
        """Raises ValueError if the loss of a step was not finite, with what can be found out about it."""
        finite = int(self._steps.sums[3])
        if finite == self.progress.step:
            return
        layer = None
        for images in self._local_images(finite):
            layer = layer or first_layer_not_finite(self.model, images)
        step = self.progress.epoch * self.data.steps_per_epoch + finite + 1
        where = f"first seen in the output of {layer}" if layer else "not seen again with another dropout mask"
        raise ValueError(
            f"the loss is not finite at step {step} ({where}): training has diverged; the checkpoints before it are "
            f"kept. A lower --learning_rate (now {self._rate():g}) is the usual cure"
        )

    def _means(self) -> Row:
        self._check_loss()
        images = self.progress.step * self.data.batch_size
        names = ("loss", "top1_error", "top5_error")
        return {name: float(total) / images for name, total in zip(names, self._steps.sums.numpy(), strict=False)}

    def _rate(self) -> float:
        # Six digits: the float32 that holds .01 would be written as 0.009999999776.
        return float(f"{current_rate(self.model.optimizer):.6g}")

    def _row(self, means: Row) -> Row:
        names = ("loss", "top1_error", "top5_error")
        row = {"epoch": self.progress.epoch + 1, "steps": self.steps_done, "learning_rate": self._rate()}
        return row | {name: means[name] for name in names if name in means}

    def _validation_row(self, caught: list[int]) -> Row:
        if self.data.validation is None:
            return {}

        def stop_if_asked(images: int) -> None:
            # Cluster see different numbers of batches here, and so cannot agree on when to stop.
            if caught and self._workers.count == 1:
                self._save(is_last=True)
                raise TrainingInterrupted(caught[0])

        rates = self._evaluate(self.data.validation, stop_if_asked)
        row = {"val_loss": rates.loss, "val_top1_error": rates.top1_error, "val_top5_error": rates.top5_error}
        named = f": {rates.bad[0]} ..." if rates.bad else ""
        skipped = f" ({rates.skipped} images skipped that cannot be decoded{named})" if rates.skipped else ""
        print(" - ".join(f"{name}: {value:.4f}" for name, value in row.items()) + skipped, flush=True)
        return row
