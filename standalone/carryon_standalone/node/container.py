"""One container: prepared, started, probed, ended and started again, until its restart policy says that is enough."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from carryon_standalone.node import environment, logs, probes, processes, status, volumes
from carryon_standalone.node.actions import Launch, perform
from carryon_standalone.node.client import Refused
from carryon_standalone.node.environment import ConfigError
from carryon_standalone.node.events import Kind
from carryon_standalone.node.pods import Object, grace_seconds, references
from carryon_standalone.node.quantity import thousandths, whole
from carryon_standalone.node.sandbox import Sandbox
from carryon_standalone.node.status import ContainerStatus, Running, Terminated, Waiting
from carryon_standalone.node.stopping import unless

log = logging.getLogger(__name__)

_MESSAGE_BYTES: Final = 4096
_LONGEST_BACKOFF: Final = 300.0
_HEALTHY_AFTER: Final = 600.0
"""Seconds that a container must have run for its backoff to start anew."""
_START_ERROR: Final = 128
_CONFIG_RETRY: Final = 2.0
_AFTER_HOOK: Final = 2.0
"""Seconds that a container has after its preStop hook, however long that took."""


class Container:
    """Runs one container of a pod; `status` is always what `kubectl` should see."""

    def __init__(
        self,
        spec: Object,
        sandbox: Sandbox,
        restart_policy: str,
        waiting: str,
        changed: Callable[[], None],
        sidecar: bool = False,
    ) -> None:
        self.status = status.waiting_status(spec, waiting, sidecar)
        self.started = asyncio.Event()
        """Set when it runs for the first time, and its startup probe, if any, has succeeded."""
        self.devices: tuple[str, ...] = ()
        self._spec = spec
        self._name: str = spec["name"]
        self._sandbox = sandbox
        self._policy = restart_policy
        self._changed = changed
        self._stopping = asyncio.Event()
        self._process: processes.Process | None = None
        self._launched: Launch | None = None
        self._ending: asyncio.Future[None] | None = None
        self._backoff = 0.0

    @property
    def succeeded(self) -> bool:
        """Whether its last attempt ended with exit code 0."""
        return isinstance(self.status.state, Terminated) and self.status.state.exit_code == 0

    async def run(self) -> None:
        """Attempt after attempt; returns when nothing of the container lives and nothing will be started again."""
        while (launch := await self._prepare()) is not None:
            ended = await self._attempt(launch)
            self._update(status.ended(self.status, ended))
            restart = self._policy == "Always" or (self._policy == "OnFailure" and ended.exit_code != 0)
            if not restart or self._stopping.is_set():
                return
            await self._back_off(ended)

    def stop(self, grace: float) -> None:
        """Ask it to end, and end it when the grace period is over; a second call may only shorten the time."""
        first = not self._stopping.is_set()
        self._stopping.set()
        if self._process is not None:
            if first:
                self._event("Normal", "Killing", f"Stopping container {self._name}")
            self._end(self._process, grace)

    def _update(self, new: ContainerStatus) -> None:
        if new != self.status:
            self.status = new
            if new.started:
                self.started.set()
            self._changed()

    def _wait_as(self, reason: str, message: str) -> None:
        before = self.status
        last = before.state if isinstance(before.state, Terminated) else before.last
        self._update(replace(before, state=Waiting(reason, message), last=last, started=False, ready=False))

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not longer than the container is wanted."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _prepare(self) -> Launch | None:
        """What to start; waits while the container can't be started as it is. None: it is not wanted any more."""
        pull_delay = self._sandbox.services.config.crash_backoff
        reason = "ErrImagePull"
        while not self._stopping.is_set():
            try:
                launch = await unless(self._stopping, self._launch())
            except (ConfigError, Refused, OSError) as error:
                self._wait_as("CreateContainerConfigError", str(error))
                self._event("Warning", "Failed", f"Error: {error}")
                await self._pause(_CONFIG_RETRY)
                continue
            if launch is not None or self._stopping.is_set():
                return launch if not self._stopping.is_set() else None
            if not environment.is_image(self.status.image):
                message = f'Failed to apply default image tag "{self.status.image}": it is no name of an image'
                self._wait_as("InvalidImageName", message)
                self._event("Warning", "InspectFailed", message)
                await self._pause(pull_delay)
                continue
            message = (
                f'image "{self.status.image}" can\'t be pulled: this machine runs processes, not images. Give '
                f'container "{self._name}" a command, or use an image that the node was told about with --image'
            )
            self._wait_as(reason, message)
            self._event("Warning", "Failed", message)
            await self._pause(pull_delay)
            reason, pull_delay = "ImagePullBackOff", min(pull_delay * 2, _LONGEST_BACKOFF)
        return None

    async def _launch(self) -> Launch | None:
        sandbox, spec = self._sandbox, self._spec
        folder = sandbox.folder
        mounts = volumes.mounts(spec, sandbox.pod, folder.volumes, folder.termination_file(self._name))
        sources = await sandbox.sources((*references(spec), *volumes.references(sandbox.pod)))
        volumes.write(sandbox.pod, folder.volumes, sources)
        folder.termination_file(self._name).write_bytes(b"")
        for mount in mounts:
            if not mount.folder.exists():  # a subPath; a hostPath without type is made as container runtimes do
                mount.folder.mkdir(parents=True)
        known = environment.variables(spec, sandbox.pod, sandbox.placement, sources)
        command = environment.command(spec, sandbox.services.config.images, known)
        if command is None:
            return None
        own = environment.own(spec, folder.marker(self._name), folder.termination_file(self._name), self.devices)
        rewritten = {name: volumes.rewrite(value, mounts) for name, value in known.items()}
        services = sandbox.services
        inherited = environment.base(services.inherited, folder.home, folder.temporary, services.config.data / "models")
        working = volumes.rewrite(spec.get("workingDir") or str(folder.home), mounts)
        return Launch(
            command=[volumes.rewrite(part, mounts) for part in command],
            environment=inherited | rewritten | own,
            folder=Path(working),
            marker=folder.marker(self._name),
        )

    async def _attempt(self, launch: Launch) -> Terminated:
        folder = self._sandbox.folder
        file = folder.log_file(self._name)
        if file.exists():
            file.replace(folder.log_file(self._name, previous=True))
        started = datetime.now(UTC)
        group = self._limit()
        pipe = logs.LogPipe(logs.LogFile(file))
        try:
            process = await self._start(launch, pipe, group)
        except (OSError, ValueError) as error:
            await pipe.drain()
            self._forget_limits(group)
            return self._start_error(str(error), started)
        self._process, self._launched = process, launch
        waiting = asyncio.ensure_future(process.wait())
        error_text = await process.release()
        watching = None
        if error_text is None:
            watching = asyncio.ensure_future(self._watch(process, launch, started))
        code = await waiting
        self._process = None
        if self._ending is not None:
            self._ending.cancel()  # a hook may still be at work
            await asyncio.wait([self._ending])
            self._ending = None
        if watching is not None:
            watching.cancel()
            (problem,) = await asyncio.gather(watching, return_exceptions=True)
            if isinstance(problem, Exception):
                log.error("%s: probes of %s ended: %s", self._sandbox.ref, self._name, problem, exc_info=problem)
        # The container ends with its first process, as it would with its namespace.
        await processes.end_all(process.identity, folder.marker(self._name))
        await pipe.drain()
        if error_text is not None:
            return self._start_error(error_text, started)
        return self._terminated(code, started, self._forget_limits(group), self._container_id(process))

    async def _start(self, launch: Launch, pipe: logs.LogPipe, group: str | None) -> processes.Process:
        """A process at its gate that is on disk already."""
        try:
            process = processes.start(launch.command, launch.environment, launch.folder, pipe.writer)
        finally:
            pipe.started()
        try:
            if group is not None and self._sandbox.services.limits is not None:
                self._sandbox.services.limits.join(group, process.identity.pid)
            self._sandbox.folder.save_process(self._name, process.identity)
        except OSError:
            process.signal(signal.SIGKILL)
            await process.wait()
            raise
        return process

    def _limit(self) -> str | None:
        wanted = (self._spec.get("resources") or {}).get("limits") or {}
        memory, cpu = wanted.get("memory"), wanted.get("cpu")
        limits = self._sandbox.services.limits
        if limits is None or (memory is None and cpu is None):
            return None
        group = f"{self._sandbox.ref.uid}-{self._name}"
        limits.limit(group, None if memory is None else whole(memory), None if cpu is None else thousandths(cpu))
        return group

    def _forget_limits(self, group: str | None) -> bool:
        """Whether the container ran out of memory."""
        limits = self._sandbox.services.limits
        if group is None or limits is None:
            return False
        exceeded = limits.was_exceeded(group)
        limits.remove(group)
        return exceeded

    def _container_id(self, process: processes.Process) -> str:
        return f"process://{self._sandbox.ref.uid}-{self._name}-{process.identity.pid}-{process.identity.ticks}"

    async def _watch(self, process: processes.Process, launch: Launch, started: datetime) -> None:
        """Say that it runs, and what its probes find."""
        before = self.status
        begun = before.last is not None or isinstance(before.state, Terminated)
        self._update(
            ContainerStatus(
                name=self._name,
                image=before.image,
                state=Running(started),
                last=before.state if isinstance(before.state, Terminated) else before.last,
                restarts=before.restarts + 1 if begun else 0,
                started="startupProbe" not in self._spec,
                ready="startupProbe" not in self._spec and "readinessProbe" not in self._spec,
                container_id=self._container_id(process),
                sidecar=before.sidecar,
            )
        )
        self._event("Normal", "Started", f"Started container {self._name}")
        if not await self._hook("postStart", launch):
            self._end(process, grace_seconds(self._sandbox.pod))
            return
        if "startupProbe" in self._spec:
            async for verdict in probes.follow(self._spec["startupProbe"], self._check("startupProbe", launch)):
                if not verdict.healthy:
                    self._fail_probe(process, "startupProbe", verdict.message)
                    return
                break
            self._update(replace(self.status, started=True, ready="readinessProbe" not in self._spec))
        async with asyncio.TaskGroup() as tasks:
            if "livenessProbe" in self._spec:
                tasks.create_task(self._watch_liveness(process, launch))
            if "readinessProbe" in self._spec:
                tasks.create_task(self._watch_readiness(launch))

    async def _watch_liveness(self, process: processes.Process, launch: Launch) -> None:
        async for verdict in probes.follow(self._spec["livenessProbe"], self._check("livenessProbe", launch)):
            if not verdict.healthy:
                self._fail_probe(process, "livenessProbe", verdict.message)
                return

    async def _watch_readiness(self, launch: Launch) -> None:
        async for verdict in probes.follow(self._spec["readinessProbe"], self._check("readinessProbe", launch)):
            self._update(replace(self.status, ready=verdict.healthy))
            if not verdict.healthy:
                self._event("Warning", "Unhealthy", f"Readiness probe failed: {verdict.message}")

    def _fail_probe(self, process: processes.Process, key: str, message: str) -> None:
        kind = key.removesuffix("Probe")
        self._event("Warning", "Unhealthy", f"{kind.capitalize()} probe failed: {message}")
        self._event("Normal", "Killing", f"Container {self._name} failed {kind} probe, will be restarted")
        grace = self._spec[key].get("terminationGracePeriodSeconds")
        self._end(process, grace_seconds(self._sandbox.pod) if grace is None else float(grace))

    def _check(self, key: str, launch: Launch) -> probes.Check:
        return partial(perform, self._spec[key], self._spec, self._sandbox.ip, launch)

    async def _hook(self, name: str, launch: Launch) -> bool:
        """Do what a lifecycle hook says, where there is one; whether that went well."""
        hook = (self._spec.get("lifecycle") or {}).get(name)
        problem = None if hook is None else await perform(hook, self._spec, self._sandbox.ip, launch)
        if problem is not None:
            title = f"{name[0].upper()}{name[1:]}Hook"
            self._event("Warning", f"Failed{title}", f"{title} failed: {problem}")
        return problem is None

    def _end(self, process: processes.Process, grace: float) -> None:
        """Its preStop hook, then SIGTERM, and SIGKILL when the grace period is over."""
        if self._ending is not None or self._launched is None:  # asked already: it may only have less time
            _kill_later(process, grace)
        else:
            self._ending = asyncio.ensure_future(self._end_gently(process, grace, self._launched))

    async def _end_gently(self, process: processes.Process, grace: float, launch: Launch) -> None:
        loop = asyncio.get_running_loop()
        kill_at = loop.time() + grace
        if grace > 0 and "preStop" in (self._spec.get("lifecycle") or {}):
            try:
                async with asyncio.timeout(grace):
                    await self._hook("preStop", launch)
            except TimeoutError:
                self._event("Warning", "FailedPreStopHook", f"PreStopHook did not end within {grace:g} s")
            kill_at = max(kill_at, loop.time() + _AFTER_HOOK)
        process.signal(signal.SIGTERM)
        _kill_later(process, kill_at - loop.time())

    def _start_error(self, message: str, started: datetime) -> Terminated:
        self._event("Warning", "Failed", f"Error: {message}")
        return Terminated(_START_ERROR, "StartError", started, datetime.now(UTC), "", message=message)

    def _terminated(self, code: int, started: datetime, out_of_memory: bool, container_id: str) -> Terminated:
        number = -code if code < 0 else 0
        failed = "OOMKilled" if out_of_memory else "Error"
        return Terminated(
            exit_code=128 + number if number else code,
            reason=failed if code else "Completed",
            started_at=started,
            finished_at=datetime.now(UTC),
            container_id=container_id,
            signal=number,
            message=self._message(code),
        )

    def _message(self, code: int) -> str:
        folder = self._sandbox.folder
        try:
            with folder.termination_file(self._name).open("rb") as file:
                message = file.read(_MESSAGE_BYTES).decode(errors="ignore")
        except OSError:
            message = ""
        fallback = self._spec.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        if not message and code != 0 and fallback:
            return logs.tail(folder.log_file(self._name))
        return message

    async def _back_off(self, ended: Terminated) -> None:
        """Wait before the next attempt: not at all at first, then 10 s, doubling up to 5 minutes."""
        config = self._sandbox.services.config
        if (ended.finished_at - ended.started_at).total_seconds() > _HEALTHY_AFTER:
            self._backoff = 0.0
        delay, self._backoff = self._backoff, min(max(self._backoff * 2, config.crash_backoff), _LONGEST_BACKOFF)
        if delay:
            name = f"{self._name} in pod {self._sandbox.ref.name}_{self._sandbox.ref.namespace}"
            self._wait_as("CrashLoopBackOff", f"back-off {delay:g}s restarting failed container={name}")
            self._event("Warning", "BackOff", f"Back-off restarting failed container {name}")
            await self._pause(delay)

    def _event(self, kind: Kind, reason: str, message: str) -> None:
        self._sandbox.services.recorder.record(self._sandbox.ref, kind, reason, message)


def _kill_later(process: processes.Process, grace: float) -> None:
    # After the process has ended and was reaped, signal() does nothing: the timer may outlive it.
    asyncio.get_running_loop().call_later(grace, process.signal, signal.SIGKILL)
