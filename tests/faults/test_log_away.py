"""The log goes away under load: events are acknowledged from a spool, or refused; none is lost, none is applied twice."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest
from msgspec.structs import replace

from processes import wait_for
from torture import PATIENCE, Platform, platform

pytestmark = pytest.mark.slow


def spooled(it: Platform) -> int:
    """Events that wait in the spool, as the server tells Prometheus."""
    with urlopen(f"{it.base}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return int(float(next(line.split()[1] for line in lines if line.startswith("tastemaker_spool_events "))))


def test_events_go_to_the_spool_while_the_log_is_frozen_and_on_in_order_when_it_is_back(tmp_path: Path) -> None:
    with platform(tmp_path) as it:
        it.kafka.pause()
        it.goes_on(60)
        wait_for(lambda: spooled(it) >= 40)
        assert all(sender.refused == 0 for sender in it.senders), "the spool took them all"
        it.kafka.resume()
        wait_for(lambda: spooled(it) == 0, 60)
        it.goes_on()
        it.whole()


def test_the_log_ends_and_starts_again(tmp_path: Path) -> None:
    with platform(tmp_path) as it:
        # The small broker keeps what it acknowledged only when it is asked to end, and not what it acknowledges while it ends.
        with it.quiet():
            it.kafka.send(signal.SIGTERM)
            assert it.kafka.process is not None
            it.kafka.process.wait()
        it.goes_on(60)
        it.kafka.start()
        wait_for(lambda: spooled(it) == 0, 60)
        it.goes_on()
        it.whole()


def test_a_full_spool_refuses_with_retry_after_and_loses_nothing(tmp_path: Path) -> None:
    with platform(tmp_path, patience=replace(PATIENCE, spool_mb=0.02)) as it:
        it.kafka.pause()
        wait_for(lambda: sum(sender.refused for sender in it.senders) > 5, 60)
        it.kafka.resume()
        it.goes_on(40, 60)
        it.whole()
        assert all(sender.wrong == [] for sender in it.senders)


def test_a_server_killed_while_it_spools_leaves_its_spool_to_the_next_one(tmp_path: Path) -> None:
    with platform(tmp_path) as it:
        it.kafka.pause()
        it.goes_on(60)
        wait_for(lambda: spooled(it) >= 40)
        it.server.process.send_signal(signal.SIGKILL)
        it.server.process.wait()
        it.kafka.resume()
        port = it.base.rpartition(":")[2]
        again = subprocess.Popen(
            it.server.command, env={**it.server.environment, "TASTEMAKER_SERVING__PORT": port}, cwd=tmp_path,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            it.goes_on(40, 60)
            it.whole()
        finally:
            again.terminate()
            again.wait(20)


def test_a_full_disk_refuses_with_retry_after_and_loses_nothing(tmp_path: Path) -> None:
    """The disk of the spool: the process may write files of so many bytes only, as a quota would have it."""
    with platform(tmp_path) as it:
        subprocess.run(["prlimit", "--pid", str(it.server.process.pid), f"--fsize={256 << 10}:unlimited"], check=True)
        it.kafka.pause()
        wait_for(lambda: sum(sender.refused for sender in it.senders) > 5, 90)
        subprocess.run(["prlimit", "--pid", str(it.server.process.pid), "--fsize=unlimited:unlimited"], check=True)
        it.goes_on(20, 60)
        it.kafka.resume()
        it.goes_on(20, 60)
        it.whole()
