"""`Experiment` and `Run`: an experiment as data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Run:
    """One configuration of an experiment. It is trained once for each seed, or averages the networks of another.

    Attributes:
      name: short, in lower case; part of file names.
      flags: of `keras_alexnet.train`, in addition to those of the experiment.
      label: for tables and legends; `name` if empty.
      published: what the source of the claim reports for it, as text; empty if nothing.
      claimed: "higher" or "lower" if the source claims a higher or lower error than that of its baseline; else empty.
      baseline: name of the run that it is compared with; the first of the experiment if empty.
      subset: name of the classes of `Experiment.subsets` that it is trained and evaluated on; empty for all.
      init_from: name of an earlier run, whose network of the same seed it starts from; empty for random weights.
      average_of: name of an earlier run, the networks of all whose seeds are averaged; nothing is trained then.
    """

    name: str
    flags: tuple[str, ...] = ()
    label: str = ""
    published: str = ""
    claimed: str = ""
    baseline: str = ""
    subset: str = ""
    init_from: str = ""
    average_of: str = ""

    @property
    def title(self) -> str:
        """The run in tables and legends."""
        return self.label or self.name


@dataclass(frozen=True)
class Experiment:
    """A claim, and the runs that test it.

    Attributes:
      name: of the command line and of the result file.
      title: heading of its section in the report.
      claim: what the source says, with its section and numbers.
      dataset: name of a TFDS dataset, used unless the user names another.
      image_size: side of the prepared images in pixels.
      runs: the first is the baseline of those that name no other.
      flags: of `keras_alexnet.train`, for all runs.
      seeds: the seeds to run by default.
      measure: "error" (ten-crop top-1 error after the last epoch), "overfitting" (the same, and how far the error is
        above that on the training images) or "epochs_to_target" (epochs until the latter falls to `target`).
      target: see `measure`; a fraction.
      budget: time for one run, and on what, as text.
      remarks: what a reader must know to judge the numbers, whatever the data.
      subsets: name -> some of the classes of the dataset, which is prepared with these alone.
    """

    name: str
    title: str
    claim: str
    dataset: str
    image_size: int
    runs: tuple[Run, ...]
    flags: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    measure: str = "error"
    target: float = 0.0
    budget: str = ""
    remarks: str = ""
    subsets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def run(self, name: str) -> Run:
        """The run called `name`.

        Raises:
          ValueError: if the experiment has no such run.
        """
        for run in self.runs:
            if run.name == name:
                return run
        raise ValueError(f"runs={name}: expected some of {', '.join(run.name for run in self.runs)}")


def parse_seeds(texts: Sequence[str]) -> list[int]:
    """The seeds of the flag --seeds.

    Raises:
      ValueError: one is not an integer, or negative.
    """
    if not all(text.strip().isdecimal() for text in texts):
        raise ValueError(f"seeds={','.join(texts)}: expected integers from 0 separated by commas")
    return [int(text) for text in texts]
