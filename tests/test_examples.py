"""The examples for clusters parse, and ask for what a cluster grants."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiledseg
from tiledseg.budget import parse_bytes

FOLDER = Path(__file__).parents[1] / "examples" / "clusters"
SCRIPTS = sorted(FOLDER.glob("*.sh"))
MANIFEST = list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))
PODS = {
    made["metadata"]["name"]: made["spec"]["template"]
    for made in MANIFEST
    if made["kind"] in ("Deployment", "Job")
}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_a_script_parses(path: Path) -> None:
    assert path.stat().st_mode & 0o100, "not executable"
    subprocess.run(["bash", "-n", path], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", path], check=True)


def test_every_file_is_explained() -> None:
    told = (FOLDER / "README.md").read_text()
    names = [path.name for path in FOLDER.iterdir() if path.name != "README.md"]
    assert [name for name in names if f"`{name}`" not in told] == []


def test_settings_of_the_batch_system_are_known() -> None:
    jobqueue = pytest.importorskip("dask_jobqueue")
    settings = yaml.safe_load((FOLDER / "slurm_dask.yaml").read_text())
    assert settings.pop("kind") == "slurm"
    assert settings.pop("jobs") >= 1
    job = jobqueue.slurm.SLURMJob(scheduler="tcp://127.0.0.1:1", name="w", **settings)
    script = job.job_script()
    assert "--lifetime 55m" in script
    assert "#SBATCH --cpus-per-task=4" in script
    assert "#SBATCH --no-requeue" in script


def test_the_manifest_has_the_kinds_it_needs() -> None:
    kinds = {made["kind"]: made["apiVersion"] for made in MANIFEST}
    assert kinds == {
        "ConfigMap": "v1",
        "PersistentVolumeClaim": "v1",
        "Service": "v1",
        "NetworkPolicy": "networking.k8s.io/v1",
        "Deployment": "apps/v1",
        "Job": "batch/v1",
    }
    assert sorted(PODS) == ["tiledseg-driver", "tiledseg-scheduler", "tiledseg-worker"]


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_locked_down_and_limited(name: str) -> None:
    spec = PODS[name]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["image"].rpartition(":")[2] != "latest"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}
    texts = [*container["command"], *container.get("args", ())]
    assert all(isinstance(text, str) for text in texts), "Kubernetes takes texts only"
    assert all(isinstance(entry["value"], str) for entry in container.get("env", ()))


def test_the_parts_of_the_manifest_find_each_other() -> None:
    by_kind: dict[str, Any] = {made["kind"]: made for made in MANIFEST}
    service = by_kind["Service"]
    assert service["spec"]["selector"].items() <= _labels("tiledseg-scheduler").items()
    (port,) = service["spec"]["ports"]
    address = f"tcp://{service['metadata']['name']}:{port['port']}"
    for name in ("tiledseg-worker", "tiledseg-driver"):
        assert address in _container(name)["command"]
    allowed = by_kind["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    for made in MANIFEST:
        if made["kind"] == "Deployment":
            labels = _labels(made["metadata"]["name"])
            assert made["spec"]["selector"]["matchLabels"] == labels
    assert all(allowed.items() <= _labels(name).items() for name in PODS)


def test_the_manifest_holds_a_config() -> None:
    (text,) = (made["data"]["run.yaml"] for made in MANIFEST if made["kind"] == "ConfigMap")
    config = tiledseg.RunConfig.parse(yaml.safe_load(text))
    worker = _container("tiledseg-worker")["resources"]
    assert config.runtime.threads == int(worker["limits"]["cpu"])
    room = parse_bytes(worker["limits"]["memory"].replace("Gi", "GiB"))
    assert parse_bytes(config.budget.memory) < room


def _container(name: str) -> dict[str, Any]:
    return PODS[name]["spec"]["containers"][0]


def _labels(name: str) -> dict[str, str]:
    return PODS[name]["metadata"]["labels"]
