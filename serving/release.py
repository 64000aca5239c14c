"""Moves versions and labels of a model on a running server: TensorFlow Serving or the embedded one.

  python -m serving.release status
  python -m serving.release promote --model_config_file=models.config --label=canary --version=2
  python -m serving.release promote --model_config_file=models.config
  python -m serving.release rollback --model_config_file=models.config

The first `promote` loads version 2 beside the others and calls it canary; the second one makes the canary stable and
keeps the version before it loaded, as previous; `rollback` makes that one stable again. Clients that ask for the label
stable get one whole version or the other at any moment. Clients that ask for no version get the newest one loaded,
which may be the canary.

A server takes a configuration wholly and does not give it back. So the file that it was started with is read, changed,
sent and written back; every model in it is kept, a model that is not in it would be dropped. A label moves only after
its version answers. When a version cannot be loaded, the server gets the configuration back that it had.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags
from google.protobuf import text_format
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

from pipelines.cli import reason_of, run
from serving import target_flags
from serving.configuration import problem_in, read_text_proto
from serving.live_server import LiveServer, state_name
from serving.target import Target

STABLE, CANARY, PREVIOUS = "stable", "canary", "previous"

Labels = dict[str, int]


def define_flags() -> None:
    """Flags of `python -m serving.release`."""
    flags.DEFINE_string("server", "127.0.0.1:8500", "host:port of the server's gRPC port.")
    target_flags.define_certificates()
    flags.adopt_module_key_flags(target_flags)
    flags.DEFINE_string("model_name", "alexnet", "Name under which the server serves the model.")
    flags.DEFINE_string("model_config_file", None, "The server's own; changed together with the server.")
    flags.DEFINE_integer("version", None, "Which version to promote; the canary if it is not given.", 1)
    flags.DEFINE_enum("label", STABLE, [STABLE, CANARY], "What to promote to, or what to take back.")
    flags.DEFINE_float("timeout_s", 120.0, "Seconds that a version may take to load.", 0.1)


def promoted(labels: Labels, available: set[int], label: str, version: int | None) -> Labels:
    """The labels after `version` (the canary if None) has become `label`.

    Args:
        labels: as they are.
        available: the versions that answer.
        label: STABLE or CANARY.
        version: any, also one that is not loaded yet.

    Raises:
        ValueError: there is no such version to speak of, or it has that label.
    """
    target = labels.get(CANARY) if version is None and label == STABLE else version
    if target is None:
        raise ValueError(f"promote --label={label}: no version is {CANARY}; expected --version=N")
    if labels.get(label) == target:
        raise ValueError(f"promote: version {target} is {label} already")
    newest_other = max(available - {target}, default=None)
    before = labels.get(STABLE, newest_other)
    if label == CANARY:
        return labels | ({} if before is None else {STABLE: before}) | {CANARY: target}
    kept = {name: number for name, number in labels.items() if (name, number) != (CANARY, target)}
    return kept | {STABLE: target} | ({} if before is None else {PREVIOUS: before})


def rolled_back(labels: Labels, label: str) -> Labels:
    """The labels after what was promoted to `label` last has been taken back.

    Raises:
        ValueError: there is nothing to go back to.
    """
    needed = CANARY if label == CANARY else PREVIOUS
    if needed not in labels:
        raise ValueError(f"rollback --label={label}: no version is {needed}; found {described(labels)}")
    if label == CANARY:
        return {name: number for name, number in labels.items() if name != CANARY}
    withdrawn = labels.get(STABLE)
    gone = {(PREVIOUS, labels[PREVIOUS]), (CANARY, withdrawn)}
    kept = {name: number for name, number in labels.items() if (name, number) not in gone}
    return kept | {STABLE: labels[PREVIOUS]}


def described(labels: Labels) -> str:
    """The labels in one line, for people."""
    return ", ".join(f"{label} {version}" for label, version in sorted(labels.items())) or "no labels"


def release(live: LiveServer, config: ModelServerConfig, model: ModelConfig, labels: Labels) -> None:
    """Moves a server from `config` to `labels` without an unanswered request, and changes `config` likewise.

    Args:
        live: the server.
        config: what it has now.
        model: which part of `config` to change.
        labels: of that model, afterwards; the versions that they name stay loaded and no others.

    Raises:
        ValueError: a version could not be loaded in time, and the server has `config` again; or it was not reached.
    """
    before = ModelServerConfig()
    before.CopyFrom(config)
    needed = set(labels.values())
    _serve_exactly(model, live.available(model.name) | needed)
    try:
        live.reload(config)
        live.wait_available(model.name, needed)
        _serve_exactly(model, needed)
        model.version_labels.clear()
        model.version_labels.update(labels)
        live.reload(config)
    except ValueError:
        config.CopyFrom(before)
        with contextlib.suppress(ValueError):  # the first error says more
            live.reload(config)
        raise
    found = live.labels(model.name, labels)
    if found != labels:
        raise ValueError(
            f"the server has {described(found)}; expected {described(labels)}: does something else configure it "
            "(--model_config_file_poll_wait_seconds)?"
        )


def _serve_exactly(model: ModelConfig, versions: set[int]) -> None:
    model.model_version_policy.Clear()
    model.model_version_policy.specific.versions.extend(sorted(versions))


@contextlib.contextmanager
def edited(path: Path) -> Iterator[ModelServerConfig]:
    """Yields the configuration in `path`, and writes it back if the block ends well; one at a time.

    The comment at the head of the file stays, other comments do not.

    Raises:
        ValueError: it cannot be read or written, is no good, or is being edited.
    """
    config = read_text_proto(path, ModelServerConfig, "model_config_file")
    problem = problem_in(config)
    if problem:
        raise ValueError(f"model_config_file={path}: {problem}")
    target = path.resolve()
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=target.parent)
    except OSError as error:
        os.close(folder)
        busy = isinstance(error, BlockingIOError)
        reason = "another release is under way" if busy else f"its folder cannot be written: {reason_of(error)}"
        raise ValueError(f"model_config_file={path}: {reason}") from error
    try:
        yield config
        with os.fdopen(descriptor, "w") as file:
            descriptor = -1
            file.write(_head(target.read_text()) + text_format.MessageToString(config))
        os.chmod(beside, target.stat().st_mode)
        os.rename(beside, target)
    finally:
        if descriptor >= 0:
            os.close(descriptor)
        Path(beside).unlink(missing_ok=True)
        os.close(folder)


def _head(text: str) -> str:
    lines = text.splitlines(keepends=True)
    end = next((number for number, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    return "".join(lines[:end])


def print_status(live: LiveServer, model: str) -> None:
    """Shows what the server says of its versions."""
    labels = live.labels(model, (STABLE, CANARY, PREVIOUS))
    table = Table("version", "state", "labels", "problem")
    for status in live.versions(model):
        names = ", ".join(label for label, version in labels.items() if version == status.version)
        table.add_row(
            str(status.version), state_name(status), names, Text(status.status.error_message, overflow="fold")
        )
    Console().print(table)


def _change(live: LiveServer, command: str, given: flags.FlagValues) -> None:
    if not given.model_config_file:
        raise ValueError(f"{command} needs --model_config_file: the file that the server was started with")
    with edited(Path(given.model_config_file)) as config:
        model = next((m for m in config.model_config_list.config if m.name == given.model_name), None)
        if model is None:
            raise ValueError(f"model_config_file={given.model_config_file}: no model {given.model_name!r} in it")
        labels = dict(model.version_labels)
        found = live.labels(model.name, {STABLE, CANARY, PREVIOUS, *labels})
        if found != labels:
            raise ValueError(
                f"model_config_file={given.model_config_file} says {described(labels)}, the server says "
                f"{described(found)}; expected the configuration that the server has"
            )
        if command == "promote":
            after = promoted(labels, live.available(model.name), given.label, given.version)
        else:
            after = rolled_back(labels, given.label)
        release(live, config, model, after)
    print(f"{given.model_name}: {described(labels)} -> {described(after)}")


def _target(given: flags.FlagValues) -> Target:
    certificates = (given.ca_certificate, given.client_certificate, given.client_key)
    return Target(given.server, given.model_name, given.timeout_s, None, None, *certificates)


def main(argv: Sequence[str]) -> None:
    """Does what `argv[1]` says: status, promote or rollback."""
    given, commands = flags.FLAGS, ("status", "promote", "rollback")
    if len(argv) != 2 or argv[1] not in commands:
        raise ValueError(f"expected one of {', '.join(commands)}, and flags as --name=value; found {list(argv[1:])}")
    with contextlib.closing(LiveServer(_target(given))) as live:
        if argv[1] == "status":
            print_status(live, given.model_name)
        else:
            _change(live, argv[1], given)


main.takes_arguments = True

if __name__ == "__main__":
    run(main, define_flags)
