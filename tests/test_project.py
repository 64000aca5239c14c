"""What holds for the project as a whole: its wheel, entry points, import habits and generated pages."""

import ast
import importlib
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hatchling.builders.wheel import WheelBuilder
from PIL import Image

ROOT = Path(__file__).parent.parent
PACKAGES = ("keras_alexnet", "pipelines", "serving")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(directory), versions=["standard"])
    return Path(path)


@pytest.mark.subprocess
def test_wheel_contains_every_tracked_file_of_the_packages(wheel):
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    missing = set(tracked.stdout.split()) - set(zipfile.ZipFile(wheel).namelist())
    # Files that are deleted but not yet committed are no longer part of it.
    assert not {name for name in missing if (ROOT / name).exists()}


def test_wheel_contains_package_data_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "keras_alexnet/configs/paper.flags",
        "keras_alexnet/configs/photos.flags",
        "keras_alexnet/cluster/slurm.sbatch",
        "keras_alexnet/cluster/kubernetes.yaml",
        "keras_alexnet/cluster/predict.sbatch",
        "keras_alexnet/cluster/predict.yaml",
        "pipelines/datasets/ilsvrc2012_wnids.txt",
        "serving/config/docker-compose.yaml",
        "serving/config/kubernetes.yaml",
        *(f"{package}/py.typed" for package in PACKAGES),
    ):
        assert needed in names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)


def test_the_version_is_the_same_everywhere():
    import keras_alexnet

    assert keras_alexnet.__version__ == PROJECT["version"]
    assert f"version: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", sorted(PROJECT["scripts"]))
def test_entry_points_exist(script):
    module, _, function = PROJECT["scripts"][script].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.subprocess
def test_importing_commands_loads_no_tensorflow():
    modules = sorted({target.partition(":")[0] for target in PROJECT["scripts"].values()})
    program = f"""
import importlib, sys
for name in ["keras_alexnet", "serving", *{modules}]:
    importlib.import_module(name)
    print(name, *sorted({{"keras", "tensorflow"}} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line for line in ran.stdout.splitlines() if " " in line] == []


@pytest.mark.subprocess
@pytest.mark.parametrize("module", ["keras_alexnet.train", "serving.client"])
def test_help_loads_no_large_library(module):
    # Modules are counted, because times depend on the machine: 30 packages of these cost more than half a second.
    program = f"""
import runpy, sys
sys.argv = [{module!r}, "--help"]
try:
    runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
except SystemExit:
    large = {{"tensorflow", "keras", "grpc", "google.protobuf", "numpy", "PIL", "rich", "tensorflow_serving"}}
    print(len(sys.modules), *sorted(large & set(sys.modules)))
"""
    # `make coverage` would load its own modules there.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    count, *large = ran.stdout.splitlines()[-1].split()
    # Python and absl alone load about 170.
    assert not large and int(count) < 260


@pytest.mark.subprocess
def test_the_table_of_flags_is_up_to_date():
    ran = subprocess.run(
        [sys.executable, "docs/flag_tables.py", "--check"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_import_no_private_names_of_others(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    private = [
        f"{node.module}.{name.name}"
        for node in imported
        if (node.module or "").split(".")[0] in PACKAGES
        for name in node.names
        if name.name.startswith("_") and not name.name.startswith("__")
    ]
    assert not private


def _write_photos(directory: Path) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3)):
        for name, color in (("blue", (40, 40, 200)), ("red", (200, 40, 40))):
            (directory / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(random.normal(color, 30, (260, 280, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(directory / split / name / f"{number}.jpg")


@pytest.fixture
def installed(wheel, tmp_path) -> Path:
    """The directory of programs of an environment that has the wheel and, by a .pth file, our dependencies.

    The .pth file names this environment's site-packages, so nothing is downloaded. Its own .pth files, which would
    bring an editable install of the checkout, are not read from there.
    """
    environment = tmp_path / "environment"
    venv.EnvBuilder(with_pip=False, symlinks=True).create(environment)
    programs = environment / "bin"
    site_packages = environment / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    install = ["-m", "pip", "--python", programs / "python", "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run([sys.executable, *map(str, install)], check=True)
    return programs


@pytest.mark.slow
@pytest.mark.subprocess
@pytest.mark.skipif(os.name == "nt", reason="environments have another layout on Windows")
def test_the_installed_wheel_prepares_trains_and_exports_outside_the_checkout(installed, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    _write_photos(work / "photos")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def call(program: str, *arguments: str) -> str:
        ran = subprocess.run(
            [str(installed / program), *arguments],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    where = call("python", "-c", "import keras_alexnet; print(keras_alexnet.__file__)")
    assert where.startswith(str(installed.parent))
    call("alexnet-prepare", "--dataset=folder:photos", "--output_dir=prepared")
    tiny = ("--width=0.03125", "--batch_size=4", "--steps=2")
    # The flagfile is not in the current directory: it is the one in the package.
    call("alexnet-train", "--flagfile=photos.flags", "--dataset=prepared", "--model_dir=run", *tiny)
    call("alexnet-export", "--model=run", "--export_base=export")
    assert (work / "export" / "1" / "saved_model.pb").exists()
