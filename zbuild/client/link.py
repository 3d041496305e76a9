"""The client's sockets: the control link to the broker and the blob link to its store. One thread, native poller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zbuild.client.farm import Connected, FarmCore, FarmEvent
from zbuild.errors import ProtocolError
from zbuild.protocol.codec import encode, to_client
from zbuild.protocol.messages import ToClient
from zbuild.storage.transfer import BlobChannel, Transfer, TransferEvent
from zbuild.transport.loop import Poller, Socket, drain, new_context
from zbuild.transport.sockets import blob_dealer, control_dealer, peer_endpoint

if TYPE_CHECKING:
    from zbuild.storage.shared_transfer import SharedTransfer

Event = FarmEvent | TransferEvent


class FarmLink:
    """Carries a FarmCore and a Transfer.

    Args:
        broker: the broker's control endpoint.
        shared: the store's own directory, when this process may work in it; blobs then need no link.
    """

    def __init__(self, broker: str, farm: FarmCore, shared: SharedTransfer | None) -> None:
        self.farm = farm
        self._transfer = Transfer()
        self._shared = shared
        self.broker = broker
        self._context = new_context()
        self._control = control_dealer(self._context, broker)
        self._blobs: Socket | None = None
        self._blob_endpoint = ""
        self._epoch = 0
        self._poller: Poller | None = None
        self._malformed = 0
        self._last_malformed = ""

    @property
    def blobs(self) -> BlobChannel:
        """Where to ask for blobs."""
        return self._shared or self._transfer

    def register(self, poller: Poller) -> None:
        """Have ``poller`` wake when something comes."""
        self._poller = poller
        poller.register(self._control)
        if self._blobs is not None:
            poller.register(self._blobs)

    def unregister(self, poller: Poller) -> None:
        self._poller = None
        poller.unregister(self._control)
        if self._blobs is not None:
            poller.unregister(self._blobs)

    def pump(self, now_s: float) -> list[Event]:
        """Take in what has come, send what is due, and return what it means.

        A message that does not decode is counted and dropped: losing one costs an interval, ending a build costs more.

        Raises:
            VersionMismatch, NoEligibleWorker, ProtocolError: the broker refuses us.
        """
        events: list[Event] = []
        for frames in drain(self._control):
            try:
                message = self._decoded(frames)
            except ProtocolError as error:
                self._count_malformed(error)
                continue
            for event in self.farm.receive(message, now_s):
                if isinstance(event, Connected):
                    events += self._connect(event)
                events.append(event)
        if self._blobs is not None:
            for frames in drain(self._blobs):
                try:
                    events += self._transfer.receive(frames)
                except ProtocolError as error:
                    self._count_malformed(error)
                    events += self._transfer.reset(str(error))
            events += self._transfer.expire(now_s)
        if self._shared is not None:
            events += self._shared.take_events()
        self.flush(now_s)
        return events

    def flush(self, now_s: float) -> None:
        """Send what is due."""
        self.farm.tick(now_s)
        for send in self.farm.outgoing():
            self._control.send(encode(send.message))
        if self._blobs is not None:
            for message in self._transfer.outgoing(now_s):
                self._blobs.send_multipart(message)

    def next_deadline_s(self) -> float:
        if self._shared is not None and self._shared.has_events:
            return 0.0
        deadline_s = self._transfer.next_deadline_s()
        return min(self.farm.next_deadline_s(), deadline_s) if deadline_s is not None else self.farm.next_deadline_s()

    def close(self) -> None:
        self._control.close()
        if self._blobs is not None:
            self._blobs.close()
        self._context.term()

    def trouble(self) -> str:
        """What was wrong with messages that came, for the end of a sentence; "" when nothing was."""
        if not self._malformed:
            return ""
        return f"; {self._malformed} of its messages could not be decoded, the last one: {self._last_malformed}"

    @staticmethod
    def _decoded(frames: list[bytes]) -> ToClient:
        if len(frames) != 1:
            raise ProtocolError(f"a control message of {len(frames)} frames, expected 1")
        return to_client.decode(frames[0])

    def _count_malformed(self, error: ProtocolError) -> None:
        self._malformed += 1
        self._last_malformed = str(error)

    def _connect(self, event: Connected) -> list[TransferEvent]:
        if self._shared is not None:
            return []
        endpoint = peer_endpoint(event.welcome.blob_endpoint, self.broker)
        is_same_store, self._epoch = event.welcome.epoch == self._epoch, event.welcome.epoch
        if endpoint == self._blob_endpoint:
            if not is_same_store:
                self._transfer.restart()
            return []
        failed: list[TransferEvent] = []
        if self._blobs is not None:
            failed = self._transfer.reset("the store has moved")
            if self._poller is not None:
                self._poller.unregister(self._blobs)
            self._blobs.close()
        self._blob_endpoint = endpoint
        self._blobs = blob_dealer(self._context, endpoint)
        if self._poller is not None:
            self._poller.register(self._blobs)
        return failed
