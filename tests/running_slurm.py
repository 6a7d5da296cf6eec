"""A Slurm cluster of a login node and two compute nodes on this machine, for as long as a test needs it.

Each node has PID, mount and UTS namespaces of its own, so that its processes have other numbers and another host name than those
of the login node, as on a real cluster with a shared disk. Nothing is written outside the cluster's folder, not even into /etc,
and every process ends with the login node's first.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from running_tools import make_environment

HERE = Path(__file__).parent / "cluster"
NODES = ("n1", "n2")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "unshare", "nsenter", "setpriv")
LOGIN = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts", "bash"]
START_S = 60

SLURM_CONF = """\
ClusterName=test
SlurmctldHost=login(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
# a requeued job may not start before the credential of its last start has expired
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/spool.%n
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdParameters=config_overrides
SlurmdTimeout=15
ReturnToService=2
MinJobAge=300
KillWait=60
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=1,sched_interval=5
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=gpu
NodeName=n1 NodeHostname=login NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 CoresPerSocket=4 RealMemory=10000 Gres=gpu:1
NodeName=n2 NodeHostname=login NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 CoresPerSocket=4 RealMemory=10000 Gres=gpu:1
PartitionName=main Nodes=n[1-2] Default=YES
PartitionName=minute Nodes=n[1-2] MaxTime=1
"""


def find_obstacle() -> str | None:
    """Why no cluster can run on this machine; None if one can."""
    if missing := [
        program for program in PROGRAMS if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None
    ]:
        return f"Slurm is not installed ({missing[0]} is missing): apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "only root may start nodes with namespaces of their own"
    if not Path("/etc/slurm").is_dir():
        return "there is no /etc/slurm, which Debian's package slurm-client makes"
    tried = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", "--uts", "mount", "--bind", "/etc", "/etc"], capture_output=True, text=True
    )
    return f"this machine allows no namespaces: {tried.stderr.strip()}" if tried.returncode else None


@dataclass(frozen=True)
class Cluster:
    """A running cluster; commands of the login node have the project's environment, on the disk that all nodes share."""

    folder: Path
    init: psutil.Process  # the login node's first process

    def start(self, root: Path, *command: str, output: Path | None = None, **environ: str) -> subprocess.Popen[str]:
        """Start a command in `root` on the login node, in a process group of its own; its output goes to a file, or to a pipe."""
        words = ["nsenter", f"--target={self.init.pid}", "--mount", "--uts", "--pid", f"--wd={root}", "--", *command]
        target = output.open("w") if output else subprocess.PIPE
        path = {"PATH": f"{make_environment(root)['PATH']}:/usr/sbin:/sbin"}
        return subprocess.Popen(
            words,
            cwd=root,
            env=make_environment(root) | path | environ,
            stdout=target,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, root: Path, *command: str, check: bool = True, patience_s: float = 600, **environ: str) -> str:
        """Run a command in `root` on the login node; returns its output."""
        started = self.start(root, *command, **environ)
        try:
            output = started.communicate(timeout=patience_s)[0]
        except subprocess.TimeoutExpired:
            kill_all(started)
            raise AssertionError(
                f"{' '.join(command)}: not done after {patience_s:.0f} s\n{started.communicate()[0][-8000:]}"
            ) from None
        if check and started.returncode:
            raise AssertionError(f"{' '.join(command)}: exit code {started.returncode}\n{output[-8000:]}")
        return output

    def ask(self, *command: str) -> str:
        """The output of a Slurm command, without its last line break."""
        return self.run(self.folder, *command, patience_s=60).strip()

    def find_processes(self, *words: str) -> list[psutil.Process]:
        """Processes of the cluster whose command line holds all the words."""
        found = []
        for process in self.init.children(recursive=True):
            with suppress(psutil.Error):
                line = " ".join(process.cmdline())
                if all(word in line for word in words):
                    found.append(process)
        return found

    def wait_until_idle(self, patience_s: float = 120) -> None:
        """Wait until no job is left and both nodes may take one."""
        until = time.monotonic() + patience_s
        while self.ask("squeue", "--noheader") or self.ask("sinfo", "--noheader", "--partition=main", "--format=%t") != "idle":
            assert time.monotonic() < until, self.ask("squeue") + "\n" + self.ask("sinfo")
            time.sleep(0.5)


def kill_all(started: subprocess.Popen) -> None:
    """Kill a command on the login node and all that it started there."""
    with suppress(psutil.NoSuchProcess):
        for process in [*psutil.Process(started.pid).children(recursive=True), psutil.Process(started.pid)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    started.wait(30)


@contextmanager
def run_cluster(folder: Path) -> Iterator[Cluster]:
    """Start a cluster whose files lie in `folder`; it ends with the block, or with this process however that ends."""
    for name in ("etc", "hosts", "munge", "state", *(f"spool.{node}" for node in NODES)):
        (folder / name).mkdir(parents=True)
    (folder / "munge").chmod(0o700)
    key = folder / "munge/key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    (folder / "etc/slurm.conf").write_text(SLURM_CONF.format(folder=folder, ports=_find_free_ports(3)))
    (folder / "etc/gres.conf").write_text("NodeName=n[1-2] Name=gpu File=/dev/zero\n")
    for node in ("login", *NODES):
        (folder / "hosts" / node).write_text(f"127.0.0.1 localhost login {' '.join(NODES)}\n")
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    with (folder / "output.txt").open("w") as output:
        started = subprocess.Popen(
            [*LOGIN, HERE / "login.sh", folder, *NODES],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=make_environment(folder) | {"PATH": path},
            start_new_session=True,
        )
    try:
        cluster = Cluster(folder, _find_init(started, folder))
        _wait_for_nodes(cluster, folder)
        yield cluster
    finally:
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(started.pid).children():
                process.send_signal(signal.SIGKILL)  # the first process of its namespace: the kernel ends all others
        started.kill()
        started.wait(30)


def _find_init(started: subprocess.Popen, folder: Path) -> psutil.Process:
    until = time.monotonic() + START_S
    while not (folder / "started").exists():
        assert started.poll() is None and time.monotonic() < until, (folder / "output.txt").read_text()
        time.sleep(0.1)
    return psutil.Process(started.pid).children()[0]


def _wait_for_nodes(cluster: Cluster, folder: Path) -> None:
    until = time.monotonic() + START_S
    while True:
        states = cluster.run(folder, "sinfo", "--noheader", "--partition=main", "--format=%t", check=False).split()
        if states == ["idle"]:
            return
        assert time.monotonic() < until, "\n".join(file.read_text()[-2000:] for file in sorted(folder.glob("*.log")))
        time.sleep(0.3)


def _find_free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
