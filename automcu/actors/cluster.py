"""Starting, joining and leaving Ray, and the check that a cluster has what a run will ask for."""

from collections.abc import Mapping

import ray

from automcu.errors import ConfigError, InfraFailure

BOARD_RESOURCE = "board:{}"
"""The custom resource of a host that a board is wired to; holding it is holding the board."""


def start_local(
    *, cpus: int | None, gpus: int, object_store_bytes: int, boards: Mapping[str, int] | None = None
) -> None:
    """Start Ray on this machine; keeps the one that this process started before, if it has the boards asked for.

    `boards` gives how many boards of each name are wired up (a virtual board counts as one). Raises `InfraFailure`
    when Ray does not start, `ConfigError` when this machine has not what is asked.
    """
    resources = {BOARD_RESOURCE.format(name): count for name, count in (boards or {}).items()}
    if ray.is_initialized():
        if all(ray.cluster_resources().get(name, 0) >= count for name, count in resources.items()):
            return
        ray.shutdown()
    for last in (False, True):
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=gpus,
                resources=resources,
                object_store_memory=object_store_bytes,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="error",
            )
            return
        except RuntimeError as error:  # on a busy machine Ray's own 30 seconds for its first process may not do
            ray.shutdown()
            if last:
                raise InfraFailure(
                    f"Ray does not start on this machine ({error}); close other programs or use cluster=inline"
                ) from error
        except ValueError as error:
            raise ConfigError(
                f"Ray cannot be started as asked ({error}); lower cluster.object_store_mb or cluster.gpus, or use "
                "cluster=inline"
            ) from error


def join(address: str) -> None:
    """Connect to the Ray cluster at `address`; does nothing when this process is connected already.

    Raises `InfraFailure` when there is none.
    """
    if ray.is_initialized():
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InfraFailure(
            f"no Ray cluster answers at {address} ({error}); start one with `ray start --head`, or use cluster=local"
        ) from error


def stop_local() -> None:
    """Leave Ray; stops it where this process started it."""
    ray.shutdown()


def require_resources(demands: Mapping[str, Mapping[str, float]]) -> None:
    """Make sure that the cluster could ever run what is asked, so that nothing waits for ever.

    `demands` gives for each purpose the resources that one node, or for custom resources some node, must have.
    Raises `ConfigError` naming what is missing.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for purpose, resources in demands.items():
        if not any(all(node.get(name, 0) >= amount for name, amount in resources.items()) for node in nodes):
            wanted = ", ".join(f"{name} {amount:g}" for name, amount in resources.items())
            raise ConfigError(
                f"no node of the Ray cluster has what {purpose} needs ({wanted}); add a node that has, or ask for less"
            )
