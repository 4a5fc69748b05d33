"""A batch on many machines: a Dask cluster of two workers here."""

import os
import signal
import threading
import time

import pytest

from tests.batch.test_batch import check, tree
from volcomp.batch.run import run as run_batch
from volcomp.options import EncodeOptions


@pytest.mark.long
@pytest.mark.filterwarnings("default")  # what Dask says while a worker dies
def test_a_cluster_that_loses_a_worker(tmp_path):
    from distributed import LocalCluster

    source, target = tree(tmp_path / "in", 40), tmp_path / "out"
    at_kill = []

    def kill(nanny):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with_rows = (target / "batch.csv").read_text().count("\n") - 1 if (target / "batch.csv").exists() else 0
            if with_rows >= 15:
                break
            time.sleep(0.005)
        at_kill.append(with_rows)
        os.kill(nanny.pid, signal.SIGKILL)

    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, resources={"MEMORY": 10**10}, silence_logs=50
    ) as cluster:
        killer = threading.Thread(target=kill, args=[cluster.workers[0]])
        killer.start()
        options = EncodeOptions("fast", effort=1)
        totals = run_batch(source, target, options, memory=10**10, scheduler=cluster.scheduler_address)
        killer.join()
    assert 15 <= at_kill[0] < 40 and (totals.failed, totals.done + totals.there) == (0, 40)
    check(source, target, {f"p{i // 2}/s{i}" for i in range(40)})
