"""Several workers (`pytest -n 2`): how many, which of them runs what, and in what order.

pytest-xdist's own way to keep tests together, the mark xdist_group, is written into their ids. From
pytest 9.2 on it is lost there without a word, and each test goes to any worker: so this.
"""

import os
import socket

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

MACHINES = ("test_machines_", "test_rebuild_machines", "test_host_machine")
"""Files whose tests boot machines. Each machine takes 6 or 7 of the 128 instances of inotify that
Linux gives a user, so there can be one LAN of 11 at a time, and not two."""

LONGEST = (
    "machines",
    "test_nginx_silence.py",
    "test_cli_end_to_end.py",
    "test_safety_matrix.py",
    "test_ui_app.py",
    "test_ui_push.py",
    "test_ui_keys.py",
    "test_ui_hostile.py",
    "test_trials.py",
    "test_nginx_render_property.py",
    "test_node_script_trial.py",
    "test_node_script_faults.py",
    "test_node_script.py",
    "test_nginx_limits.py",
    "test_nginx_page.py",
    "test_lab_exit.py",
    "test_cli.py",
    "test_topology_hostile.py",
    "test_node_host.py",
    "test_console_end_to_end.py",
    "test_purge.py",
    "test_nginx_log.py",
    "test_node_script_readings.py",
)
"""What takes longest, in this order. All else is a matter of seconds, and evens out at the end."""


class Groups(LoadScopeScheduling):
    """A file goes to one worker, and all with machines do; what takes longest begins first."""

    def _split_scope(self, nodeid: str) -> str:
        name = nodeid.partition("::")[0].rpartition("/")[2]
        return "machines" if name.startswith(MACHINES) else name

    def _assign_work_unit(self, node: WorkerController) -> None:
        longest = next((group for group in LONGEST if group in self.workqueue), None)
        if longest is not None:
            self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    """Replace the scheduler that `--dist` names."""
    return Groups(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` is: one for each core, and one more, for machines mostly wait."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (cores or 1) + 1


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Spare each test up to 40 ms.

    pytest-rerunfailures sends two small messages for each test and awaits the answer to the second:
    TCP holds that back until the other side acknowledges the first, and takes its time.
    """
    connection = getattr(getattr(config, "failures_db", None), "sock", None)
    if isinstance(connection, socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
