"""The Slurm engine against Slurm's own daemons: a controller and two nodes on this machine, one of them with the GPU.

Needs Debian's packages and root (`make test-system`), or a folder that they were unpacked into: MMN_SLURM_ROOT.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.orchestration.test_engines import check_semantics, run_job

pytestmark = pytest.mark.system
CONF = """
ClusterName=bench
SlurmctldHost={host}
SlurmctldPort={port}
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PluginDir={plugins}
ReturnToService=2
SlurmUser=root
SlurmdUser=root
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/%n
SlurmctldPidFile={root}/controller.pid
SlurmdPidFile={root}/%n.pid
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
Licenses=gpu:1
MinJobAge=300
NodeName=cpu1 NodeHostname={host} NodeAddr=127.0.0.1 Port={cpu_port} CPUs=2 RealMemory=4000
NodeName=gpu1 NodeHostname={host} NodeAddr=127.0.0.1 Port={gpu_port} CPUs=2 RealMemory=4000
PartitionName=cpu Nodes=cpu1 Default=YES State=UP
PartitionName=gpu Nodes=gpu1 State=UP
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The environment in which `sbatch` reaches it."""
    packages = Path(os.environ.get("MMN_SLURM_ROOT", "/"))
    daemons = [packages / "usr" / "sbin" / f"{name}-wlm" for name in ("slurmctld", "slurmd", "slurmstepd")]
    assert all(daemon.exists() for daemon in daemons), "Slurm is not installed; `make test-system` installs it"
    root = tmp_path_factory.mktemp("slurm")
    for name in ("state", "cpu1", "gpu1"):
        (root / name).mkdir()
    library = packages / "usr" / "lib" / "x86_64-linux-gnu"
    ports = dict(zip(("port", "cpu_port", "gpu_port"), free_ports(3), strict=True))
    conf = root / "slurm.conf"
    conf.write_text(CONF.format(host=socket.gethostname(), plugins=library / "slurm-wlm", root=root, **ports))
    told = {"SLURM_CONF": str(conf)}
    if packages != Path("/"):  # installed packages find theirs; for another Python's these would be the wrong ones
        folders = (library, library / "slurm-wlm", packages / "lib" / "x86_64-linux-gnu")
        told["LD_LIBRARY_PATH"] = ":".join(map(str, folders))
    environment = {**os.environ, **told}
    commands = [
        [daemons[0], "-D", "-c"],
        *([daemons[1], "-D", "-N", node, "-d", daemons[2]] for node in ("cpu1", "gpu1")),
    ]
    log = (root / "daemons.log").open("w")
    running = [
        subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        for command in commands
    ]
    try:
        idle = ""
        deadline = time.monotonic() + 60
        while idle.split() != ["cpu1", "gpu1"] and time.monotonic() < deadline:
            time.sleep(0.5)
            idle = subprocess.run(
                [packages / "usr" / "bin" / "sinfo", "--noheader", "--Node", "--states=idle", "--format=%N"],
                env=environment, capture_output=True, text=True, check=False,
            ).stdout  # fmt: skip
        assert idle.split() == ["cpu1", "gpu1"], (root / "daemons.log").read_text()[-3000:]
        yield told, str(packages / "usr" / "bin")
    finally:
        for process in reversed(running):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)
        log.close()
        shutil.rmtree(root, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def test_real_slurm_retries_a_killed_step_and_gives_every_training_step_to_the_gpu_node(cluster, tmp_path):
    environment, binaries = cluster
    said, notes = run_job(
        tmp_path, "slurm", binaries, **environment, MMN_TEST_GRES="license:gpu", MMN_TEST_GPU_PARTITION="gpu"
    )
    check_semantics(said, notes, "gpu1")
