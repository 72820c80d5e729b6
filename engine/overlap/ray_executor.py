"""The executors that Ray gives: Tune trials train, a pool of actors evaluates."""

from collections.abc import Iterable

from overlap.executor import Executor
from overlap.plan import Stage
from overlap.ray_cluster import Cluster
from overlap.ray_nodes import require_feasible
from overlap.ray_pool import ActorPool
from overlap.ray_training import TuneExecutor
from overlap.resources import Resources
from overlap.workplace import Workplace


def make_ray_executor(
    stage: Stage,
    needs: Iterable[Resources],
    workplace: Workplace,
    store_url: str,
    cluster: Cluster,
    *,
    max_workers: int | None = None,
) -> Executor:
    """The executor of a stage whose attempts need these resources.

    Raises:
        ClusterError: a variant asks for more than any machine of the cluster has.
    """
    elastic = require_feasible(list(needs))
    if stage is Stage.TRAIN:
        return TuneExecutor(workplace, store_url, cluster, elastic=elastic, max_workers=max_workers)
    return ActorPool(workplace, store_url, cluster, elastic=elastic, max_workers=max_workers)
