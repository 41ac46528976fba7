"""The example for ssh, where every host is this machine."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tiledseg import cli

SCRIPT = Path(__file__).parents[2] / "examples" / "clusters" / "ssh_cluster.sh"
#: An ssh that does not leave the machine: ssh -n -o BatchMode=yes HOST COMMAND.
FAKE = """#!/bin/bash
echo "$4" >>hosts
exec bash -c "$5"
"""


@pytest.mark.slow
def test_two_hosts(
    place: Path, make_configs: Callable[..., list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    serial, spread = make_configs(600, "serial", "spread")
    with spread.open("a") as file:  # nobody knows how much memory the hosts have
        file.write("budget: {memory: 2GB}\n")
    assert cli.run(["run", str(serial), "--quiet"]) == 0
    (place / "ssh").write_text(FAKE)
    (place / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(place), prepend=":")
    monkeypatch.setenv("ADDRESS", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PORT", str(free.getsockname()[1]))
    subprocess.run([SCRIPT, spread, "1", "one", "two"], check=True, timeout=120)
    assert sorted((place / "hosts").read_text().split()) == ["one", "two"]
    assert (place / "spread.tif").read_bytes() == (place / "serial.tif").read_bytes()
