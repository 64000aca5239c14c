"""The SLURM and Kubernetes files for training and prediction, run with what they call replaced by recorders."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from keras_alexnet import predict
from tests.helpers.commands import defined_flags

CLUSTER = Path(__file__).parents[2] / "keras_alexnet" / "cluster"


def recorder(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)


def records(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("record-*"))]


# Writes down TF_CONFIG and the arguments that Python was started with.
PYTHON = 'printf \'{"TF_CONFIG": %s, "arguments": "%s"}\' "$TF_CONFIG" "$*" > record-$RECORD'


@pytest.mark.subprocess
def test_slurm_starts_one_worker_a_node(tmp_path):
    recorder(tmp_path / "bin" / "scontrol", r'[ "$*" = "show hostnames n[1-2]" ] && printf "n1\nn2\n"')
    recorder(tmp_path / "bin" / "srun", 'shift; for i in 0 1; do RECORD=$i SLURM_PROCID=$i "$@"; done')
    recorder(tmp_path / ".venv" / "bin" / "python", PYTHON)
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "1234567",
        "SLURM_JOB_NODELIST": "n[1-2]",
    }
    script = ["bash", str(CLUSTER / "slurm.sbatch"), "--dataset=two words", "--model_dir=m"]
    subprocess.run(script, env=environment, cwd=tmp_path, check=True)
    for index, record in enumerate(records(tmp_path)):
        assert record["TF_CONFIG"] == {
            "cluster": {"worker": ["n1:24567", "n2:24567"]},
            "task": {"type": "worker", "index": index},
        }
        expected = "-m keras_alexnet.train --strategy=multiworker --dataset=two words --model_dir=m"
        assert record["arguments"] == expected
    assert len(records(tmp_path)) == 2


@pytest.mark.subprocess
def test_kubernetes_names_the_workers_as_its_service_does(tmp_path):
    service, job = yaml.safe_load_all((CLUSTER / "kubernetes.yaml").read_text())
    pod = job["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == int(environment["WORKERS"])
    # A pod of an indexed job is called <job>-<index>, under the name of its subdomain's headless service.
    assert job["spec"]["completionMode"] == "Indexed" and service["spec"]["clusterIP"] == "None"
    assert pod["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    recorder(tmp_path / "bin" / "python", PYTHON)
    for index in (0, 1):
        environment |= {"JOB_COMPLETION_INDEX": str(index), "RECORD": str(index)}
        environment["PATH"] = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        subprocess.run([*container["command"], *container["args"]], env=environment, cwd=tmp_path, check=True)
    job_name, domain = job["metadata"]["name"], service["metadata"]["name"]
    for index, record in enumerate(records(tmp_path)):
        workers = [f"{job_name}-{i}.{domain}:{container['ports'][0]['containerPort']}" for i in (0, 1)]
        assert record["TF_CONFIG"] == {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        assert record["arguments"].startswith("-m keras_alexnet.train --strategy=multiworker --flagfile=")
    assert len(records(tmp_path)) == 2


# Writes down the arguments that Python was started with.
ARGUMENTS = 'printf "%s\\n" "$@" > arguments'


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "16"}, ["--shard=3/16"]),
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "2", "SHARDS": "16"}, ["--shard=3/16"]),
        ({}, []),
    ],
)
def test_slurm_array_predicts_one_shard_a_task(tmp_path, variables, expected):
    recorder(tmp_path / ".venv" / "bin" / "python", ARGUMENTS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")} | variables
    script = ["bash", str(CLUSTER / "predict.sbatch"), "--images=two words", "--output=o.csv"]
    subprocess.run(script, env=environment, cwd=tmp_path, check=True)
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments == ["-m", "keras_alexnet.predict", "--images=two words", "--output=o.csv", *expected]


@pytest.mark.subprocess
def test_kubernetes_predicts_one_shard_a_pod(tmp_path):
    job = yaml.safe_load((CLUSTER / "predict.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert job["spec"]["completionMode"] == "Indexed" and job["spec"]["completions"] == int(environment["SHARDS"])
    recorder(tmp_path / "bin" / "python", ARGUMENTS)
    environment |= {"JOB_COMPLETION_INDEX": "15", "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    subprocess.run([*container["command"], *container["args"]], env=environment, cwd=tmp_path, check=True)
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments[:2] == ["-m", "keras_alexnet.predict"] and arguments[-1] == "--shard=15/16"
    with defined_flags(predict.define_flags) as options:
        options(["predict", *arguments[2:]])
        assert predict.parsed_shard(options.shard) == (15, 16)
