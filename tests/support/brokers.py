"""Redis and RabbitMQ of the system on free ports of loopback, to be killed and to come back with nothing in them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import Daemon, free_port, kill_tree, listens, says

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


@dataclass(slots=True)
class Broker:
    """A running broker."""

    url: str
    daemon: Daemon
    memory: Path

    async def kill(self) -> None:
        """SIGKILL to it and all its processes."""
        pid = self.daemon.pid
        kill_tree(pid)
        await self.daemon.kill()

    async def start_empty(self) -> None:
        """Start it again; every queue and message that it held is gone."""
        shutil.rmtree(self.memory)
        self.memory.mkdir()
        await self.daemon.start(timeout_s=120)


@asynccontextmanager
async def running_redis() -> AsyncIterator[Broker]:
    """Redis that keeps nothing on disk."""
    with tempfile.TemporaryDirectory(prefix="arsenal-redis-") as name:
        folder, port = Path(name), free_port()
        memory = folder / "data"
        memory.mkdir()
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(memory), "--save", ""]
        daemon = Daemon("redis", command, log=folder / "log", ready=listens(port))
        await daemon.start()
        try:
            yield Broker(f"redis://127.0.0.1:{port}/0", daemon, memory)
        finally:
            await daemon.stop()


@asynccontextmanager
async def running_rabbitmq() -> AsyncIterator[Broker]:
    """RabbitMQ with an Erlang port mapper of its own, so that it meets no other node of this machine."""
    with tempfile.TemporaryDirectory(prefix="arsenal-rabbitmq-") as name:
        folder, port, mapper_port = Path(name), free_port(), free_port()
        memory = folder / "mnesia"
        memory.mkdir()
        environment = _rabbitmq_environment(folder, port=port, mapper_port=mapper_port)
        mapper = Daemon(
            "epmd", ["epmd", "-port", str(mapper_port), "-address", "127.0.0.1"],
            log=folder / "epmd.log", ready=listens(mapper_port), environment=environment,
        )  # fmt: skip
        daemon = Daemon(
            "rabbitmq", [RABBITMQ], log=folder / "log", ready=says("completed with"), environment=environment
        )
        await mapper.start()
        try:
            await daemon.start(timeout_s=120)
            yield Broker(f"amqp://guest:guest@127.0.0.1:{port}//", daemon, memory)
        finally:
            if daemon.is_running:
                kill_tree(daemon.pid)
            await daemon.stop()
            await mapper.stop()


def _rabbitmq_environment(folder: Path, *, port: int, mapper_port: int) -> dict[str, str]:
    (folder / "plugins").write_text("[].\n", encoding="ascii")
    (folder / "env.conf").write_text("", encoding="ascii")
    (folder / "rabbitmq.conf").write_text("", encoding="ascii")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"arsenal{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(mapper_port),
    }


BROKERS: dict[str, Callable[[], AbstractAsyncContextManager[Broker]]] = {
    "redis": running_redis,
    "rabbitmq": running_rabbitmq,
}


def missing() -> list[str]:
    """The Debian packages that these brokers need and this machine lacks."""
    lacking = [] if shutil.which("redis-server") else ["redis-server"]
    return lacking if RABBITMQ.exists() and shutil.which("epmd") else [*lacking, "rabbitmq-server"]
