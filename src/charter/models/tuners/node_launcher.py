"""One training over several nodes of a Ray cluster: the launcher's command is started on each of them.

The nodes are taken all together or not at all. What runs on a node ends with the actor that started it, and that with
charter. Where a node is lost the others end too, and the command starts once more on nodes that are free: a launched
training goes on from its last checkpoint. The run's folder and the weights lie where every node sees them.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import closing
from math import inf
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from charter.errors import TuningError, UnavailableError
from charter.models import processes
from charter.models.engines.ray_cluster import RayCluster
from charter.models.engines.ray_workers import MOST_DEATHS, fetch_result
from charter.models.tuners.launched_tuner import GRACE_SECONDS

NEWS_SECONDS = 30.0
"""A node that is lost makes the processes of others fail, which may be heard of before the loss."""


STILL_AT_WORK = 75
"""The exit status for what may go later (EX_TEMPFAIL of sysexits.h)."""


class NodeProcess:
    """What an actor runs on its node."""

    def find_address(self) -> tuple[str, int]:
        """The node's address, and a port of it that is free."""
        from ray import util

        host = str(util.get_node_ip_address())  # type: ignore[no-untyped-call]
        with closing(socket.socket()) as free:
            free.bind((host, 0))
            return host, int(free.getsockname()[1])

    def run_command(self, command: list[str], log: Path, lock: Path) -> tuple[int, str]:
        """The command's exit status, and its last words. Waits for what an earlier one left behind; where that does not
        end, a status and a word of it."""
        try:
            with (
                processes.exclusive_lock(lock, 3 * GRACE_SECONDS) as held,
                processes.ManagedProcess(command, log, grace=GRACE_SECONDS, lock=held) as child,
            ):
                return child.wait(), child.tail()
        except TimeoutError as error:
            return STILL_AT_WORK, f"an earlier training of this run is still at work on this node: {error}"


class NodeLauncher:
    """Starts a command on so many nodes of ``cluster``, each with so many free ``cpus`` and ``gpus``."""

    def __init__(self, cluster: RayCluster, nodes: int, cpus: float, gpus: float) -> None:
        self.cluster, self.nodes = cluster, nodes
        self.share = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})

    def __call__(self, command: str, values: Mapping[str, str], folder: Path, lock: int) -> NodeProcesses:
        """The command, which is not yet at work: ``wait`` starts it. ``folder`` has the logs of the nodes."""
        del lock  # this process holds it; on its node each command holds one of its own
        return NodeProcesses(self, command, values, folder)


class NodeProcesses:
    """A command on several nodes. The names {nodes}, {node}, {host} and {port} stand for their number, a node's own
    from 0 on, and where the first can be met."""

    def __init__(self, launcher: NodeLauncher, command: str, values: Mapping[str, str], folder: Path) -> None:
        self._launcher, self._command, self._values, self._folder = launcher, command, values, folder
        self._group: Any = None
        self._actors: list[Any] = []
        self._said = ""

    def __enter__(self) -> NodeProcesses:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait(self) -> int:
        """Works until the command has ended on all nodes, or has failed on one; its exit status. Raises
        UnavailableError where the nodes are not free in time, TuningError where nodes are lost again and again."""
        for _ in range(MOST_DEATHS):
            try:
                status = self._run_once(self._launcher.cluster.join())
            finally:
                self.stop()
            if status is not None:
                return status
        raise TuningError(
            f"Training lost a node of the cluster {MOST_DEATHS} times.",
            "Look at Ray's logs. Where memory ran out, ask for more with tuner.cpus or tuner.gpus. Then: "
            "charter resume",
        )

    def tail(self) -> str:
        """The last lines of the node that failed."""
        return self._said

    def stop(self) -> None:
        """Ends the command on all nodes, and gives them back."""
        if self._group is not None:
            ray = self._launcher.cluster.join()
            for actor in self._actors:
                ray.kill(actor, no_restart=True)
            ray.util.remove_placement_group(self._group)
        self._group, self._actors = None, []

    def _run_once(self, ray: ModuleType) -> int | None:
        """The exit status; None where a node was lost."""
        self._take_nodes(ray)
        found, lost = fetch_result(ray, self._actors[0].find_address.remote())
        if lost:
            return None
        pending = []
        for node, actor in enumerate(self._actors):
            told = {"nodes": self._launcher.nodes, "node": node, "host": found[0], "port": found[1]}
            values = {**self._values, **{name: str(value) for name, value in told.items()}}
            command = processes.fill_command(self._command, values)
            log, lock = self._folder / f"log-{node}", self._folder / f"lock-{node}"
            pending.append(actor.run_command.remote(command, log, lock))
        while pending:
            ready, pending = ray.wait(pending, num_returns=1)
            found, lost = fetch_result(ray, ready[0])
            if lost:
                return None
            status, self._said = found
            if status:
                heard, _ = ray.wait(pending, num_returns=len(pending), timeout=NEWS_SECONDS) if pending else ([], [])
                return None if any(fetch_result(ray, one)[1] for one in heard) else int(status)
        return 0

    def _take_nodes(self, ray: ModuleType) -> None:
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        launcher = self._launcher
        launcher.cluster.make_room(None, inf, inf)  # what is free in sum says nothing of one node
        patience = launcher.cluster.options.wait_s
        self._group = ray.util.placement_group([launcher.share] * launcher.nodes, strategy="STRICT_SPREAD")
        if not self._group.wait(patience):
            share = " and ".join(f"{size:g} {name}s" for name, size in launcher.share.items())
            raise UnavailableError(
                f"the cluster gave no {launcher.nodes} nodes with {share} each within {patience:g} s",
                "Ask for less with tuner.nodes, tuner.cpus and tuner.gpus, or free some; then: charter resume",
            )
        for place in range(launcher.nodes):
            where = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=place)
            taken = {"num_cpus": launcher.share["CPU"], "num_gpus": launcher.share.get("GPU", 0)}
            actor = ray.remote(NodeProcess).options(max_restarts=0, scheduling_strategy=where, **taken)
            self._actors.append(actor.remote())
