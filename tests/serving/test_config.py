"""The files in serving/config are what the servers take, and agree with each other."""

import json
import re
from pathlib import Path

import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

import serving
from serving.client.requests import IMAGES_PER_REQUEST
from serving.server import __main__ as server_command
from serving.server.config_files import SSLConfig, problem_in, read_text_proto, single_model

CONFIG = Path(serving.__file__).parent / "config"
GRPC, REST = 8500, 8501


def load(name: str) -> dict:
    return yaml.safe_load((CONFIG / name).read_text())


def models() -> ModelServerConfig:
    return read_text_proto(CONFIG / "models.config", ModelServerConfig, "model_config_file")


def kubernetes(kind: str) -> dict:
    (found,) = [part for part in yaml.safe_load_all((CONFIG / "kubernetes.yaml").read_text()) if part["kind"] == kind]
    return found


def container() -> dict:
    return kubernetes("Deployment")["spec"]["template"]["spec"]["containers"][0]


def flags_of(arguments: list[str]) -> dict[str, str]:
    return dict(argument.removeprefix("--").split("=", 1) for argument in arguments)


COMPOSE = load("docker-compose.yaml")
SERVERS = {"compose": COMPOSE["services"]["serving"]["command"], "kubernetes": container()["args"]}


def test_models_config_serves_two_versions_by_labels():
    (model,) = models().model_config_list.config
    assert problem_in(models()) is None
    assert set(model.model_version_policy.specific.versions) == set(model.version_labels.values())
    assert dict(model.version_labels) == {"stable": 1, "canary": 2}


def test_batching_parameters_hold_what_clients_send():
    text = re.sub("#.*", "", (CONFIG / "batching_parameters.txt").read_text())
    given = {name: int(value) for name, value in re.findall(r"(\w+) { value: (\d+) }", text)}
    sizes = [int(size) for size in re.findall(r"allowed_batch_sizes: (\d+)", text)]
    assert set(given) == {"max_batch_size", "batch_timeout_micros", "num_batch_threads", "max_enqueued_batches"}
    assert given["max_batch_size"] == sizes[-1] >= IMAGES_PER_REQUEST
    assert sizes == sorted(set(sizes)) and sizes[0] == 1
    assert given["max_enqueued_batches"] * sizes[-1] >= 200  # one image each of 200 clients may wait


def test_ssl_config_has_every_field():
    config = read_text_proto(CONFIG / "ssl.config", SSLConfig, "ssl_config_file")
    assert config.server_key.startswith("-----BEGIN PRIVATE KEY-----\n")
    assert config.server_cert.startswith("-----BEGIN CERTIFICATE-----\n")
    assert config.custom_ca.endswith("-----END CERTIFICATE-----\n")
    assert not config.client_verify


def test_prometheus_looks_where_the_server_shows_its_figures():
    (path,) = re.findall(
        r'prometheus_config {\s+enable: true\s+path: "(.+)"\s+}', (CONFIG / "monitoring.config").read_text()
    )
    (scrape,) = load("prometheus.yaml")["scrape_configs"]
    annotations = kubernetes("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert scrape["metrics_path"] == annotations["prometheus.io/path"] == path
    assert scrape["static_configs"] == [{"targets": [f"serving:{REST}"]}]
    assert annotations["prometheus.io/port"] == str(REST)
    assert "serving" in COMPOSE["services"]


@pytest.mark.parametrize("name", SERVERS)
def test_servers_are_started_on_the_same_ports_with_files_that_exist(name):
    given = flags_of(SERVERS[name])
    assert (given["port"], given["rest_api_port"]) == (str(GRPC), str(REST))
    files = {value for flag, value in given.items() if flag.endswith("_file")}
    assert files == {f"/config/{name}" for name in ("models.config", "batching_parameters.txt", "monitoring.config")}
    assert all((CONFIG / Path(file).name).exists() for file in files)
    assert given["allow_version_labels_for_unavailable_models"] == given["enable_batching"] == "true"
    assert int(given["grpc_max_threads"]) >= 200  # clients at once


@pytest.mark.parametrize("name", SERVERS)
def test_the_embedded_server_knows_the_same_flags_but_for_rest_and_monitoring(name):
    known = set(re.findall(r'"(\w+)", ', Path(server_command.__file__).read_text()))
    assert set(flags_of(SERVERS[name])) - known == {"rest_api_port", "monitoring_config_file"}


def test_compose_mounts_what_its_servers_read_and_publishes_on_this_machine_only():
    services = COMPOSE["services"]
    (model,) = models().model_config_list.config
    mounts = [volume.split(":") for service in services.values() for volume in service["volumes"]]
    assert any(mount[-2] == model.base_path for mount in mounts)
    assert [".", "/config", "ro"] in mounts
    for source in (mount[0] for mount in mounts if mount[0].startswith("./")):
        assert (CONFIG / source).exists(), source
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service["ports"])
    assert set(COMPOSE["volumes"]) == {mount[0] for mount in mounts if re.fullmatch(r"\w+", mount[0])}


def test_grafana_shows_the_dashboard_from_the_source_that_compose_runs():
    (source,) = load("grafana/datasources.yaml")["datasources"]
    (provider,) = load("grafana/dashboards.yaml")["providers"]
    dashboard = json.loads((CONFIG / "grafana" / "alexnet.json").read_text())
    home = COMPOSE["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert source["url"] == "http://prometheus:9090"
    assert "127.0.0.1:9090:9090" in COMPOSE["services"]["prometheus"]["ports"]
    assert str(Path(home).parent) == provider["options"]["path"]
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}


def test_the_dashboard_uses_figures_that_tensorflow_serving_has():
    dashboard = json.loads((CONFIG / "grafana" / "alexnet.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    names = {re.sub("_(bucket|sum|count)$", "", name) for e in expressions for name in re.findall(r":[a-z_:]+", e)}
    assert names <= {
        ":tensorflow:serving:request",  # request_count
        ":tensorflow:serving:request_latency",
        ":tensorflow:serving:runtime_latency",
        ":tensorflow:serving:batching_session:queuing_latency",
        ":tensorflow:serving:batching_session:processed_batch_size",
        ":tensorflow:serving:batching_session:input_batch_size",
        ":tensorflow:cc:saved_model:load_attempt",  # load_attempt_count
    }
    assert all(e.count("(") == e.count(")") and e.count("{") == e.count("}") for e in expressions)
    areas = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert all(x + width <= 24 for x, _, width, _ in areas)
    assert len(set(areas)) == len(areas)


def test_kubernetes_probes_scales_and_routes_to_the_container_that_it_starts():
    (model,) = models().model_config_list.config
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports == {"grpc": GRPC, "rest": REST}
    for probe in ("startupProbe", "readinessProbe"):
        assert container()[probe]["httpGet"] == {"path": f"/v1/models/{model.name}", "port": "rest"}
    assert container()["livenessProbe"]["tcpSocket"]["port"] in ports
    service, scaler = kubernetes("Service"), kubernetes("HorizontalPodAutoscaler")
    assert {port["targetPort"]: port["port"] for port in service["spec"]["ports"]} == ports
    labels = kubernetes("Deployment")["spec"]["template"]["metadata"]["labels"]
    for selector in (
        service["spec"]["selector"],
        kubernetes("Deployment")["spec"]["selector"]["matchLabels"],
        kubernetes("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ):
        assert selector == labels
    assert scaler["spec"]["scaleTargetRef"]["name"] == kubernetes("Deployment")["metadata"]["name"]
    assert container()["resources"]["requests"]["cpu"]  # what averageUtilization is a share of


def test_kubernetes_volumes_are_where_the_configuration_says():
    (model,) = models().model_config_list.config
    pod = kubernetes("Deployment")["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container()["volumeMounts"]}
    (generated,) = load("kustomization.yaml")["configMapGenerator"]
    claim = kubernetes("PersistentVolumeClaim")["metadata"]["name"]
    assert mounts[model.base_path]["persistentVolumeClaim"]["claimName"] == claim
    assert mounts["/config"]["configMap"]["name"] == generated["name"]
    files = {Path(value).name for flag, value in flags_of(SERVERS["kubernetes"]).items() if flag.endswith("_file")}
    assert set(generated["files"]) == files


def test_servers_run_an_image_that_exists_and_can_be_replaced_with_onednn_on():
    (image,) = load("kustomization.yaml")["images"]
    assert COMPOSE["services"]["serving"]["image"] == f"${{TF_SERVING_IMAGE:-{image['name']}:{image['newTag']}}}"
    assert (container()["image"], image["newTag"]) == ("tensorflow/serving", "2.20.0")
    assert COMPOSE["services"]["serving"]["environment"] == {"TF_ENABLE_ONEDNN_OPTS": "1"}
    assert container()["env"] == [{"name": "TF_ENABLE_ONEDNN_OPTS", "value": "1"}]


def test_one_model_becomes_the_configuration_that_tensorflow_serving_makes_of_it():
    expected = 'model_config_list { config { name: "a" base_path: "/b/c" model_platform: "tensorflow" } }'
    assert single_model("a", "/b/c") == text_format.Parse(expected, ModelServerConfig())
