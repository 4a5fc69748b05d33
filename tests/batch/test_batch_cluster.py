"""A batch on many machines: a Dask cluster of two workers here."""

import os
import signal

import pytest

from tests.batch.test_batch import check, tree
from volcomp.batch.report import Report
from volcomp.batch.run import run as run_batch
from volcomp.options import EncodeOptions


@pytest.mark.long
@pytest.mark.filterwarnings("default")  # what Dask says while a worker dies
def test_a_cluster_that_loses_a_worker(tmp_path, monkeypatch):
    from distributed import LocalCluster

    source, target = tree(tmp_path / "in", 40), tmp_path / "out"
    add = Report.add

    def add_and_kill(report, row):
        """Twenty-five series are left when a worker dies."""
        add(report, row)
        if len(report.rows) == 15:
            os.kill(cluster.workers[0].pid, signal.SIGKILL)

    monkeypatch.setattr(Report, "add", add_and_kill)
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, resources={"MEMORY": 10**10}, silence_logs=50
    ) as cluster:
        options = EncodeOptions("fast", effort=1)
        totals = run_batch(source, target, options, memory=10**10, scheduler=cluster.scheduler_address)
    assert (totals.failed, totals.done + totals.there) == (0, 40)
    check(source, target, {f"p{i // 2}/s{i}" for i in range(40)})
