"""The training loop. It knows its step number, so that resuming, signals and logs have one place."""

import signal
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf

from keras_alexnet.callbacks.csv_log import CSVLog, Row
from keras_alexnet.callbacks.diagnostics import TrainingDivergedError, first_layer_not_finite, stuck_report
from keras_alexnet.callbacks.resume import Progress, Resume
from keras_alexnet.callbacks.schedules import Schedule, current_learning_rate
from keras_alexnet.callbacks.tensorboard import TensorBoardLog
from keras_alexnet.checkpoints import CheckpointError
from keras_alexnet.networks import main_output_only
from keras_alexnet.training.context import TrainingContext
from keras_alexnet.training.evaluation import Evaluator
from keras_alexnet.training.input import TrainingInput
from keras_alexnet.training.progress_meter import EpochMeter
from keras_alexnet.training.train_step import TrainingSteps
from pipelines.cli import StopRequest, stop_signals

_MEANS = ("loss", "top1_error", "top5_error")


class TrainingInterrupted(Exception):  # noqa: N818 (not an error: the user requested it)
    """SIGTERM or Ctrl-C was received, and the run has been saved. `number` is the signal's."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


class TrainingLoop:
    """Trains a model, with checkpoints, resuming and logs.

    Args:
      context: the run; `checkpoint_steps`, `keep` and `steps_per_execution` are those of its config.
      model: gives logits; compiled under the context's strategy, with its optimizer built.
      data: the batches.
      schedule: sets the learning rate; its `state` is saved and restored.
      class_weights: see `TrainingSteps`.
    """

    def __init__(
        self,
        context: TrainingContext,
        model: keras.Model,
        data: TrainingInput,
        schedule: Schedule,
        class_weights: Sequence[float] = (),
    ):
        self.context, self.model, self.data, self.schedule = context, model, data, schedule
        self._cluster, run = context.cluster, context.run_directory
        self._steps = TrainingSteps(
            model,
            context.strategy,
            data.batch_size,
            data.augment_on_device,
            steps_per_execution=context.config.steps_per_execution,
            label_smoothing=context.config.label_smoothing,
            class_weights=class_weights,
            aux_loss_weights=context.network.aux_loss_weights,
        )
        self._resume = Resume(
            run.path,
            keep=context.config.keep,
            schedule=schedule,
            read_only=not self._cluster.is_chief,
            sums=self._steps.sums,
        )
        self._csv = CSVLog(run.metrics_file)
        self._tensorboard = TensorBoardLog(run.logs_dir, self._sample) if self._cluster.is_chief else None
        with context.strategy.scope():
            main_output = main_output_only(model)
            self._evaluate = Evaluator(
                main_output, "center", context.strategy, confusion_classes=main_output.output_shape[-1]
            )
        for callback in (schedule, self._resume, self._csv, self._tensorboard):
            if callback is not None:
                callback.set_model(model)

    def run(self, epochs: int, max_steps: int | None = None) -> Row:
        """Resumes from the newest checkpoint, or starts, and trains until `epochs` or `max_steps` are done.

        It ends earlier if the config has `early_stopping_epochs` and the validation error does not fall.

        Returns:
          The last row of metrics.csv.

        Raises:
          TrainingInterrupted: on SIGTERM or Ctrl-C, after the current step has been finished and saved.
          TrainingDivergedError: if the loss or a weight is not finite.
          OSError: if the last checkpoint cannot be written.
          ValueError: if there are checkpoints but none can be read.
        """
        total = epochs * self.data.steps_per_epoch
        total = total if max_steps is None else min(total, max_steps)
        self._restore(total)
        row = self.progress.history[-1] if self.progress.history and not self.progress.step else None
        with stop_signals() as stop:
            while not self._is_done(total):
                row = self._epoch(epochs, total, stop)
            if row is None:
                row = self._row({}) | self._validation_row(stop)
        if self._tensorboard:
            self._tensorboard.on_train_end()
        if self.steps_done < total:
            print(self.progress.early_stop_report(), flush=True)
        return row

    @property
    def progress(self) -> Progress:
        """The position of the run."""
        return self._resume.progress

    @property
    def steps_done(self) -> int:
        """Steps since the beginning of training, over all processes that resumed it."""
        return self.progress.epoch * self.data.steps_per_epoch + self.progress.step

    def _restore(self, total: int) -> None:
        with self._cluster.chief_first():
            found = self._resume.restore()
        directory = self.context.run_directory.path
        self._cluster.expect_same({f"steps of the run in {directory}": self.steps_done})
        if not found:
            return
        # Rows written after this checkpoint belong to steps that are taken again.
        self._write_rows(self.progress.history)
        state = "nothing left to do" if self._is_done(total) else f"resuming at epoch {self.progress.epoch + 1}"
        print(f"found a run of {self.steps_done} steps: {state}", flush=True)

    def _is_done(self, total: int) -> bool:
        if self.progress.step == self.data.steps_per_epoch:
            return False  # interrupted in the validation: the epoch has no row yet
        return self.steps_done >= total or self.progress.stops_early(self.context.config.early_stopping_epochs)

    def _epoch(self, epochs: int, total: int, stop: StopRequest) -> Row:
        """Trains to the end of the epoch, or until `total` steps are done; validates, logs and saves."""
        self.schedule.on_epoch_begin(self.progress.epoch)
        means = self._train(epochs, total, stop)
        row = self._row(means) | self._validation_row(stop)
        if self._tensorboard:
            rates = {name: means[name] for name in means.keys() - row.keys()}
            self._tensorboard.on_epoch_end(self.progress.epoch, row | rates)
        if self.progress.step < self.data.steps_per_epoch:
            # Stopped by max_steps: a later run can finish the epoch, so its row is not part of the history yet.
            self._save(is_last=True)
            self._write_rows([*self.progress.history, row])
            return row
        self.schedule.on_epoch_end(self.progress.epoch, row)
        self._resume.end_epoch(row)
        rate = current_learning_rate(self.model.optimizer)
        report = stuck_report(self.progress.history, self.data.steps_per_epoch, self.data.classes, rate)
        if report:
            print(report, flush=True)
        self._steps.sums.assign(tf.zeros_like(self._steps.sums))
        self._save(is_last=self._is_done(total))
        self._write_rows(self.progress.history)
        return row

    def _train(self, epochs: int, total: int, stop: StopRequest) -> Row:
        """Takes steps to the end of the epoch or to `total`; returns the epoch's means."""
        progress, data, config = self.progress, self.data, self.context.config
        last = min(data.steps_per_epoch, progress.step + total - self.steps_done)
        batches = self._batches(progress.step)
        with EpochMeter(progress.epoch + 1, epochs, data.steps_per_epoch, data.batch_size, progress.step) as meter:
            while progress.step < last:
                before = progress.step
                count = min(config.steps_per_execution, last - before)
                waited = self._steps.take(batches, self._learning_rates(count))
                progress.step += count
                meter.count_steps(count, waited)
                self._stop_if_requested(stop)
                if progress.step == last:
                    break
                if progress.step // config.checkpoint_steps > before // config.checkpoint_steps:
                    self._check_loss()
                    self._save()
                if meter.is_due():
                    meter.show(progress.step, self._means())
            means = self._means()
            meter.show(progress.step, means, last=True)
            return means | meter.rates()

    def _learning_rates(self, count: int) -> list[float]:
        """The learning rates of the next `count` steps."""
        epoch, step, steps = self.progress.epoch, self.progress.step, self.data.steps_per_epoch
        return [self.schedule.learning_rate_of_step(epoch, step + index, steps) for index in range(count)]

    def _stop_if_requested(self, stop: StopRequest) -> None:
        requested = stop.received is not None
        # Voting waits for the end of the step, which is not necessary in a process that trains alone.
        if self._cluster.count > 1:
            requested = self._steps.vote_to_stop(requested)
        if requested:
            self._check_loss()
            self._save(is_last=True)
            raise TrainingInterrupted(stop.received or signal.SIGTERM)

    def _save(self, is_last: bool = False) -> None:
        """Saves a checkpoint; if that fails, training continues unless this is the last one."""
        try:
            self._resume.save(self.steps_done)
        except CheckpointError as error:
            if is_last:
                raise OSError(f"{error}; the steps since the last checkpoint are lost") from error
            print(f"{error}; training continues with the previous checkpoint", flush=True)
        if is_last:
            self._cluster.barrier()  # workers that end while the chief saves would be reported as lost

    def _batches(self, start_step: int) -> Iterator:
        batches = self.data.batches(self.progress.epoch, start_step)
        return iter(self._cluster.distribute(batches) if isinstance(batches, tf.data.Dataset) else batches)

    def _local_images(self, step: int) -> Sequence[tf.Tensor]:
        """This worker's images of a step of the epoch, in one or more parts."""
        inputs, _ = next(iter(self.data.batches(self.progress.epoch, step)))
        return [self.data.augment_on_device(part) for part in self.context.strategy.experimental_local_results(inputs)]

    def _sample(self) -> tf.Tensor:
        return self._local_images(0)[0]

    def _check_loss(self) -> None:
        """Raises TrainingDivergedError if the loss of a step was not finite, with the first layer that was not."""
        finite = int(self._steps.sums[3])
        if finite == self.progress.step:
            return
        layer = None
        for images in self._local_images(finite):
            layer = layer or first_layer_not_finite(self.model, images)
        step = self.progress.epoch * self.data.steps_per_epoch + finite + 1
        where = f" (first seen in the output of {layer})" if layer else " (not seen again with another dropout mask)"
        raise TrainingDivergedError("the loss is", step, current_learning_rate(self.model.optimizer), where)

    def _means(self) -> Row:
        self._check_loss()
        images = self.progress.step * self.data.batch_size
        return {name: float(total) / images for name, total in zip(_MEANS, self._steps.sums.numpy(), strict=False)}

    def _row(self, means: Row) -> Row:
        rate = current_learning_rate(self.model.optimizer)
        row: Row = {"epoch": self.progress.epoch + 1, "steps": self.steps_done, "learning_rate": rate}
        return row | {name: means[name] for name in _MEANS if name in means}

    def _write_rows(self, rows: Sequence[Row]) -> None:
        if self._cluster.is_chief:
            self._csv.rows = list(rows)
            self._csv.write()

    def _validation_row(self, stop: StopRequest) -> Row:
        if self.data.validation is None:
            return {}

        def stop_if_requested(images: int) -> None:
            # Workers see different numbers of batches here and so cannot agree on when to stop.
            if stop.received is not None and self._cluster.count == 1:
                self._save(is_last=True)
                raise TrainingInterrupted(stop.received)

        rates = self._evaluate(self.data.validation, stop_if_requested)
        if self._tensorboard:
            self._tensorboard.confusion = rates.confusion
        row: Row = {f"val_{name}": getattr(rates, name) for name in _MEANS}
        named = f": {rates.bad[0]} ..." if rates.bad else ""
        skipped = f" (skipped {rates.skipped} images that cannot be decoded{named})" if rates.skipped else ""
        print(" - ".join(f"{name}: {value:.4f}" for name, value in row.items()) + skipped, flush=True)
        return row
