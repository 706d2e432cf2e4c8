"""Every file of deploy/ against what it has to fit: schemas, linters, and the rest of the repository."""

import json
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from adapter.settings import Settings
from scripts.launch import layout, ports, state, triton

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CI = ROOT / ".ci" / "run"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
SCRIPTS = [CI, *(path for path in sorted(DEPLOY.iterdir()) if path.is_file() and path.read_text().startswith("#!"))]
# In the place of docker or podman: one that does not answer, and one that prints what it is told, a word a line.
ABSENT = "exit 1"
ECHO = """[ "$1" = info ] || printf '%s\\n' "$DOCKER_BUILDKIT" "$@" """
NETWORKS = ("doc_onnx", "det_onnx", "cls_onnx", "rec_onnx")


def command(*words: object) -> "subprocess.CompletedProcess[str]":
    """Run a program of the virtual environment."""
    program, *arguments = map(str, words)
    return subprocess.run(
        [Path(sys.prefix) / "bin" / program, *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )


def script(path: Path, *arguments: str, programs: dict[str, str], into: Path, **settings: str) -> Any:
    """Run a script with `programs` (shell commands by name, put into the folder `into`) instead of the machine's.

    Its environment is `settings` alone.
    """
    into.mkdir(exist_ok=True)
    for name, commands in programs.items():
        (into / name).write_text(f"#!/bin/sh\n{commands}\n")
        (into / name).chmod(0o755)
    environment = {"PATH": f"{into}:{os.environ['PATH']}", **settings}
    return subprocess.run([path, *arguments], env=environment, capture_output=True, text=True, check=False)


def loaded(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def compose() -> Any:
    return loaded("compose.yaml")


@pytest.fixture(scope="module")
def bases() -> dict[str, dict[str, str]]:
    rows = [line.split() for line in (DEPLOY / "bases").read_text().splitlines() if not line.startswith("#")]
    return {kind: dict(zip(("image", "triton", "configuration", "python"), rest, strict=True)) for kind, *rest in rows}


def test_the_files_are_those_that_are_checked_here_or_by_deploy_check() -> None:
    files = {str(path.relative_to(DEPLOY)) for path in DEPLOY.rglob("*") if path.is_file()}
    assert files - {".env"} == {
        "Caddyfile",
        "Containerfile",
        "Containerfile.dockerignore",
        "README.md",
        "bases",
        "build",
        "check",
        "compose.yaml",
        "faults.md",
        "monitoring/dashboards.yml",
        "monitoring/grafana.yml",
        "monitoring/ocr.json",
        "monitoring/prometheus.yml",
        "prune",
        "run",
    }


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_sound(script: Path) -> None:
    result = command("shellcheck", script)
    assert result.returncode == 0, result.stdout


def test_the_image_definition_is_sound() -> None:
    result = command("hadolint", DEPLOY / "Containerfile")
    assert result.returncode == 0, result.stdout


def copied() -> list[str]:
    """What the image definition takes from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_the_image_is_made_of_what_is_there_and_not_ignored() -> None:
    ignored = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    kept = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    assert copied()
    for source in copied():
        assert (ROOT / source).exists(), source
        assert any((source + "/").startswith(f"{name}/") for name in kept), source


def ignored(path: str) -> bool:
    """Whether it is kept from the builder: the last line that fits it, or a folder that it is in, decides."""
    verdict = False
    folders = [PurePosixPath(path), *PurePosixPath(path).parents]
    for line in (DEPLOY / "Containerfile.dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if not line.startswith("#") and any(fits(folder, pattern) for folder in folders):
            verdict = not line.startswith("!")
    return verdict


def fits(path: PurePosixPath, pattern: str) -> bool:
    """By Docker's rules: part by part; two stars at the beginning are any number of folders."""
    parts, wanted = path.parts, PurePosixPath(pattern).parts
    if wanted[0] == "**":
        wanted = wanted[1:]
        parts = parts[-len(wanted) :]
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def test_the_image_has_the_models_and_nothing_of_the_profiles_that_this_checkout_has_imported() -> None:
    ensemble = "model_repository/ocr_ensemble/1"
    for pattern in ("model_repository/*/config.pbtxt", "model_repository/*/configs/*", f"{ensemble}/profiles/*.json"):
        found = [str(path.relative_to(ROOT)) for path in ROOT.glob(pattern)]
        assert found
        assert not any(map(ignored, found))
    assert ignored(f"{ensemble}/profiles/imported/mine.json")
    assert ignored(f"{ensemble}/dictionaries/mine.txt")
    # The whole folder: Triton would look for a model in an empty one.
    assert all(ignored(f"model_repository/{network}/1001") for network in NETWORKS)


def test_what_makes_the_weights_is_whole(tmp_path: Path) -> None:
    stage = (DEPLOY / "Containerfile").read_text().partition(" AS weights\n")[2].partition("\nFROM ")[0]
    sources = re.findall(r"^COPY (scripts/\S+) ", stage, re.MULTILINE)
    assert sources
    (tmp_path / "scripts").mkdir()
    for source in sources:
        (tmp_path / source).symlink_to(ROOT / source)
    program = [sys.executable, "-m", "scripts.weights", "--help"]
    result = subprocess.run(program, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_every_kind_has_a_pinned_base_and_configurations(bases: Any) -> None:
    assert set(bases) == {"cpu", "cuda", "vllm", "rocm"}
    for kind, base in bases.items():
        assert re.search(r":.*\d{2}\.\d{2}|:.*\d{8}", base["image"]), kind
        assert not base["image"].endswith(":latest")
        for network in NETWORKS:
            assert (ROOT / "model_repository" / network / "configs" / f"{base['configuration']}.pbtxt").exists()
    assert bases["cpu"]["image"] in (DEPLOY / "Containerfile").read_text()


def test_a_kind_that_is_not_known_is_refused() -> None:
    result = subprocess.run([DEPLOY / "build", "abacus"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "abacus" in result.stderr


def test_docker_builds_with_what_knows_the_image_definition(tmp_path: Path) -> None:
    result = script(DEPLOY / "build", "cuda", programs={"docker": ECHO}, into=tmp_path)
    buildkit, subcommand, *arguments = result.stdout.splitlines()
    assert (buildkit, subcommand) == ("1", "build")
    assert "ocr:cuda" in arguments


def arguments_of_run(tmp_path: Path, *arguments: str, engine: str = "docker", **settings: str) -> str:
    """What the engine is told by deploy/run, each word between blanks."""
    programs = {"docker": ABSENT, "podman": ABSENT, "stat": "echo 992", engine: ECHO}
    result = script(DEPLOY / "run", *arguments, programs=programs, into=tmp_path / "programs", **settings)
    assert result.returncode == 0, result.stderr
    return f" {' '.join(result.stdout.split())} "


@pytest.mark.parametrize(
    ("engine", "kind", "devices"),
    [
        ("docker", "cuda", "--gpus=all"),
        ("docker", "vllm", "--gpus=all"),
        ("podman", "cuda", "--device=nvidia.com/gpu=all"),
        ("docker", "rocm", "--device /dev/kfd --device /dev/dri --group-add 992"),
    ],
)
def test_run_gives_each_kind_its_gpus(tmp_path: Path, engine: str, kind: str, devices: str) -> None:
    told = arguments_of_run(tmp_path, kind, engine=engine)
    assert f" {devices} " in told
    assert told.split()[-2] == f"ocr:{kind}"
    assert not re.search("gpu|device|group", arguments_of_run(tmp_path, engine=engine))


def test_run_publishes_the_ports_of_what_listens(tmp_path: Path) -> None:
    def ports(*arguments: str, **settings: str) -> list[str]:
        return re.findall(r"--publish (\S+)", arguments_of_run(tmp_path, *arguments, **settings))

    assert ports() == ports("cpu", "serve") == ["8080:8080"]
    assert ports("cpu", "serve", OCR_PORT="80") == ["80:80"]
    assert ports("cpu", "triton") == ["8000:8000", "8001:8001", "8002:8002"]
    assert ports("vllm", OCR_TRITON_GRPC_PORT="9001") == ["8000:8000", "9001:9001", "8002:8002"]


def test_run_lets_the_weights_that_are_folders_be_read(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    told = arguments_of_run(tmp_path, "vllm", MODEL_PATH=f"{weights}/../weights", DOTS_MODEL_PATH="owner/dots.ocr")
    assert re.findall(r"--volume (\S+)", told) == [f"{weights}:{weights}:ro"]
    assert " --env=MODEL_PATH " in told
    assert " --env=DOTS_MODEL_PATH " in told


def test_vllm_alone_may_load_what_it_compiles(tmp_path: Path, compose: Any) -> None:
    for kind in ("cpu", "cuda", "rocm", "vllm"):
        (options,) = re.findall(r"--tmpfs /tmp:(\S+)", arguments_of_run(tmp_path, kind))
        assert ("exec" in options.split(",")) == (kind == "vllm")
    for service in ours(compose).values():
        (options,) = [mount.partition(":")[2] for mount in service["tmpfs"]]
        assert ("exec" in options.split(",")) == (service["image"] == "ocr:vllm")


def test_without_docker_and_podman_a_kind_for_gpus_is_refused(tmp_path: Path) -> None:
    result = script(DEPLOY / "run", "cuda", programs={"docker": ABSENT, "podman": ABSENT}, into=tmp_path)
    assert result.returncode == 1
    assert "cuda needs docker or podman" in result.stderr


def test_without_docker_names_are_looked_up_as_on_the_machine(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for name in ("dev", "etc"):
        (root / name).mkdir(parents=True)
    (root / "etc" / "hosts").symlink_to(outside)
    programs = {
        "docker": ABSENT,
        "podman": ABSENT,
        "buildah": f'case $1 in mount) echo "{root}" ;; from) echo container ;; esac',
        "unshare": 'shift\nexec "$@"',
        "mount": 'echo mount "$@"',
        "chroot": 'echo chroot "$@"',
    }
    result = script(DEPLOY / "run", programs=programs, into=tmp_path / "programs")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    closed = lines.index(f"mount --options remount,bind,ro {root}")
    there = [name for name in ("/etc/hosts", "/etc/resolv.conf") if Path(name).exists()]
    assert there
    for name in there:
        bound = lines.index(f"mount --bind {name} {root}{name}")
        assert bound < closed, "nothing can be made there any more"
        assert lines[bound + 1] == f"mount --options remount,bind,ro {root}{name}"
        assert (root / name.removeprefix("/")).is_file()
    assert not outside.exists(), "the link led out of the image"
    assert lines[-1].startswith(f"chroot {root} ")


def test_what_serves_imports_nothing_of_what_the_image_leaves_out() -> None:
    surplus = re.findall(r"^ *surplus=['\"](?:\$surplus )?(.+)['\"]$", (DEPLOY / "prune").read_text(), re.MULTILINE)
    modules = {name.replace("-", "_") for line in surplus for name in line.split()} - {"nvidia_pytriton"}
    assert {"onnx", "onnxruntime_openvino"} <= modules
    modules = modules - {"onnxruntime_openvino"} | {"onnxruntime", "pytriton"}
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({sorted(modules)}))\n"
        "import adapter.app, adapter.pdf_worker, scripts.launch.server, scripts.launch.dots\n"
        "import ppocr.pipeline"
    )
    path = f"{ROOT}:{ROOT / 'model_repository' / 'ocr_ensemble' / '1'}"
    result = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_compose_fits_its_schema() -> None:
    result = command("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")
    assert result.returncode == 0, result.stdout


def ours(compose: Any) -> dict[str, Any]:
    return {name: service for name, service in compose["services"].items() if service["image"].startswith("ocr:")}


def test_compose_runs_images_that_can_be_built_and_pins_the_others(compose: Any, bases: Any) -> None:
    for name, service in compose["services"].items():
        image, _, tag = service["image"].rpartition(":")
        assert tag in bases if image == "ocr" else re.match(r"v?\d+\.\d+\.\d+", tag), name


def test_each_profile_has_a_triton_that_the_adapter_finds(compose: Any) -> None:
    for profile, kind in {"cpu": "cpu", "cuda": "cuda", "rocm": "rocm"}.items():
        (service,) = [service for service in ours(compose).values() if service.get("profiles") == [profile]]
        assert service["image"] == f"ocr:{kind}"
        assert service["command"] == ["triton"]
        assert service["networks"]["default"]["aliases"] == ["triton"]
    assert compose["services"]["adapter"]["environment"]["OCR_TRITON_URL"] == "triton:8001"


def test_what_is_ours_runs_without_rights_and_writes_nowhere(compose: Any) -> None:
    assert len(ours(compose)) == 5
    for service in ours(compose).values():
        assert service["read_only"] is True
        assert service["user"] == "1000:1000"
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_what_is_ours_has_bounded_memory_with_room_for_what_lies_in_it(compose: Any) -> None:
    def gigabytes(size: str) -> int:
        return int(re.sub(r"\${\w+:-(\d+g)}", r"\1", size).removesuffix("g"))

    for name, service in ours(compose).items():
        (tmp,) = [int(mount.rpartition("size=")[2].removesuffix("g")) for mount in service["tmpfs"]]
        assert gigabytes(service["mem_limit"]) >= 2 * (tmp + gigabytes(service.get("shm_size", "0g"))), name


def test_where_a_volume_is_ours_to_write_the_image_has_a_folder_of_ours(compose: Any) -> None:
    (made,) = re.findall(r"install --directory --owner 1000 --group 1000 (.+)$", CONTAINERFILE, re.MULTILINE)
    volumes = [volume.split(":") for service in ours(compose).values() for volume in service.get("volumes", [])]
    written = {target for source, target, *_ in volumes if source in compose["volumes"]}
    assert written == set(made.split())


def test_groups_are_named_by_their_numbers_on_the_machine(compose: Any) -> None:
    groups = compose["services"]["triton-rocm"]["group_add"]
    assert groups
    assert all(re.fullmatch(r"\${[A-Z]+_GID:-\d+}", group) for group in groups)


def test_the_health_check_is_the_images_for_whatever_runs(compose: Any) -> None:
    assert '"scripts.launch.health"]' in CONTAINERFILE
    assert not any("test" in service.get("healthcheck", {}) for service in ours(compose).values())


def test_the_adapter_has_every_setting_and_the_weights_that_are_loaded(compose: Any) -> None:
    adapter = compose["services"]["adapter"]
    assert adapter["env_file"] == [{"path": ".env", "required": False}]
    assert adapter["environment"]["MODEL_PATH"] is None


def test_the_cpus_triton_has_the_settings_that_hold_for_it(compose: Any) -> None:
    settings = set(compose["services"]["triton-cpu"]["environment"])
    assert settings == {"OCR_TRITON_KEY", "OCR_PRECISION", "OCR_MODE", "OCR_DEFAULT_PROFILE"}


def test_triton_is_reached_from_inside_alone(compose: Any) -> None:
    for name, service in compose["services"].items():
        if name.startswith("triton"):
            assert "ports" not in service
            assert "network_mode" not in service


def test_the_settings_in_deploy_are_settings(compose: Any) -> None:
    known = {f"OCR_{name.upper()}" for name in Settings.model_fields}
    known |= set(ports.SETTINGS) | {triton.HOME_SETTING, triton.CONFIGURATION_SETTING, state.SETTING}
    known |= {layout.PRECISION_SETTING, layout.MODE_SETTING, layout.PROFILE_SETTING}
    used = {name for service in ours(compose).values() for name in service.get("environment", {})}
    used |= set(re.findall(r"^ +(?:ENV )?(OCR_\w+)=", (DEPLOY / "Containerfile").read_text(), re.MULTILINE))
    assert {"OCR_TRITON_URL", "OCR_TRITON_HOME"} <= used
    assert {name for name in used if name.startswith("OCR_")} <= known


def test_what_compose_mounts_is_there(compose: Any) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), source
                assert target.startswith("/")


def test_prometheus_looks_where_compose_puts_the_servers(compose: Any) -> None:
    adapter, triton_job = loaded("monitoring/prometheus.yml")["scrape_configs"]
    assert adapter["static_configs"] == [{"targets": ["adapter:8080"]}]
    aliases = {
        alias
        for service in compose["services"].values()
        for alias in service.get("networks", {}).get("default", {}).get("aliases", [])
    }
    assert set(triton_job["dns_sd_configs"][0]["names"]) == aliases
    assert triton_job["dns_sd_configs"][0]["port"] == ports.SETTINGS["OCR_TRITON_METRICS_PORT"].default


def test_grafana_finds_its_source_and_its_dashboard(compose: Any) -> None:
    (source,) = loaded("monitoring/grafana.yml")["datasources"]
    dashboard = json.loads((DEPLOY / "monitoring" / "ocr.json").read_text())
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    (provider,) = loaded("monitoring/dashboards.yml")["providers"]
    mounted = [volume.split(":")[1] for volume in compose["services"]["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/ocr.json" in mounted


def test_the_proxy_has_what_compose_sets(compose: Any) -> None:
    used = set(re.findall(r"{(?:\$|env\.)(OCR_\w+)", (DEPLOY / "Caddyfile").read_text()))
    assert set(compose["services"]["proxy"]["environment"]) <= used


def test_what_check_asks_and_does_not_find_is_told_apart_from_a_fault(tmp_path: Path) -> None:
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    result = script(DEPLOY / "check", programs={}, into=tmp_path, PATH=str(tmp_path))
    assert result.returncode == 3
    assert "promtool is missing" in result.stderr
    programs = {"promtool": "exit 1", "caddy": "exit 0"}
    assert script(DEPLOY / "check", programs=programs, into=tmp_path, PATH=str(tmp_path)).returncode == 1


@pytest.mark.parametrize(
    ("part", "status", "passes", "word"),
    [
        ("scripts/test", 0, True, ""),
        ("scripts/test", 1, False, ""),
        ("scripts/audit", 3, True, "NOT AUDITED"),
        ("scripts/audit", 1, False, "FAILED: a dependency"),
        ("deploy/check", 3, True, "NOT CHECKED"),
        ("deploy/check", 1, False, "FAILED: deploy/check"),
    ],
)
def test_ci_fails_by_each_part_and_says_what_it_could_not_look_at(
    tmp_path: Path, part: str, status: int, passes: bool, word: str
) -> None:
    parts = dict.fromkeys(("scripts/audit", "deploy/check", "scripts/test"), "#!/bin/sh\nexit 0\n")
    parts |= {".ci/run": CI.read_text(), part: f"#!/bin/sh\nexit {status}\n"}
    for name, text in parts.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    # All there, so that nothing is installed.
    programs = dict.fromkeys(("chromium", "promtool", "caddy"), "exit 0")
    result = script(tmp_path / ".ci" / "run", programs=programs, into=tmp_path / "programs")
    assert (result.returncode == 0) == passes
    assert word in result.stderr
    assert bool(word) == bool(result.stderr)
