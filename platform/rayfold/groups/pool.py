"""All groups of one or several studies: started when the cluster has room, ended with them."""

import logging
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path

import ray

from rayfold.data import DataSet
from rayfold.errors import DispatcherLostError
from rayfold.groups.client import DispatcherClient
from rayfold.groups.group import GroupWork
from rayfold.groups.launchers.ray_train import RayTrainLauncher
from rayfold.groups.plan import Groups
from rayfold.groups.snapshot import Arrival, Snapshot
from rayfold.groups.supervision import GRACE_SECONDS, Supervisor
from rayfold.training import StudySetup

logger = logging.getLogger(__name__)


class Pool:
    """The groups of one study, or of several on the same data.

    Args:
        groups: Their number and size.
        setups: The setup of each study, by the study's name.
        data: Reference to the staged data set.
        folder: Where workers may write while the pool exists; all nodes see it.
        grace_seconds: Seconds that a group may take to end a job after it was told to.

    Attributes:
        dispatcher: Client of the dispatcher, for the trials.
    """

    def __init__(
        self,
        groups: Groups,
        *,
        setups: Mapping[str, StudySetup],
        data: "ray.ObjectRef[DataSet]",
        folder: Path,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._folder = folder
        self._ending = threading.Event()
        self._stopped = False
        self.dispatcher = DispatcherClient.start(groups.minimum)
        launcher = RayTrainLauncher(
            groups,
            lambda group: GroupWork(
                group=group, dispatcher=self.dispatcher, setups=setups, data=data
            ),
            folder=folder,
            told=lambda text: _told(text, setups),
        )
        self._supervisor = Supervisor(
            groups, launcher, self.dispatcher, grace_seconds=grace_seconds
        )
        self._thread = threading.Thread(
            target=self._supervisor.watch, args=[self._ending], name="groups", daemon=True
        )

    def start(self) -> None:
        """Request as many groups as the cluster has room for, at least ``groups.minimum``.

        Returns at once; trials wait for groups by themselves. A cluster without room may grow, or
        the groups wait. Further groups start when there is room.
        """
        self._supervisor.begin()
        self._thread.start()

    def snapshot(self) -> Snapshot:
        """Return the present state of the pool.

        Raises:
            ResourcesError: If no group is left, because all started ones could not work, or if the
                supervisor has failed.
        """
        state = self.dispatcher.snapshot()
        self._supervisor.check(state)
        return state

    def arrivals(self) -> tuple[Arrival, ...]:
        """Return when each group was ready for the first time, and where it is."""
        return self.dispatcher.arrivals()

    def interrupt(self) -> None:
        """Let groups finish their epoch and write a checkpoint, and trials end."""
        self._ending.set()
        self.dispatcher.interrupt()

    def release(self, study: str, trial: str) -> None:
        """Give a trial's groups back, without waiting for it."""
        self.dispatcher.release_soon(study, trial)

    def stop(self) -> None:
        """End all groups and the dispatcher, and remove the workers' files."""
        if self._stopped:
            return
        self._stopped = True
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            self.dispatcher.stop()
            self._supervisor.end()
        except DispatcherLostError:  # the study says so
            self._supervisor.kill()
        except ray.exceptions.RayError as error:
            logger.warning("Groups could not be told to stop: %s", error)
            self._supervisor.kill()
        self.dispatcher.end()
        shutil.rmtree(self._folder, ignore_errors=True)


def _told(text: str, setups: Mapping[str, StudySetup]) -> str:
    """Return a text with the user's own files in it, of whichever study they are."""
    for setup in setups.values():
        text = setup.model.told(text)
    return text
