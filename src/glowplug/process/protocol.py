"""What a host and the process of its model say to each other: a length of four bytes, then one msgpack message.

    host                              child
     │ Begin ───────────────────────────▶ │  import the target
     │ ◀─────────────────────── Described │
     │ Prepare ─────────────────────────▶ │  import libraries, while the host fetches weights
     │ Load ────────────────────────────▶ │  look for devices
     │ ◀─────────────────────────── Needs │
     │ Placed ──────────────────────────▶ │  load, warm up
     │ ◀───────── Moved … Serving │ Broken │
     │ Run, Stop, Confirmed, Credit ────▶ │
     │ ◀──── Progressed, …, Saved … Ended │
     │ Sleep ───────────────────────────▶ │  to host memory
     │ ◀─────────────────────────── Slept │
     │ Wake ────────────────────────────▶ │  back to the device
     │ ◀───────────────── Serving │ Slept │
     │ Unload ──────────────────────────▶ │  ends

Both ends are always of one installation, so there is no version.
"""

from __future__ import annotations

from typing import Any

import msgspec

from glowplug.artifact import Artifact
from glowplug.errors import BugError, GlowplugError, TaskFailed, error_classes
from glowplug.job import OutcomeKind
from glowplug.model import TaskOptions
from glowplug.process.cards import Card
from glowplug.store import ModelInfo

LENGTH_BYTES = 4
LARGEST_FRAME_BYTES = 256 * 1024 * 1024
WINDOW = 64
"""So many reports of one call may be under way before its task waits for the host to have dealt with them."""


class Begin(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The first message: what to import and how to run it. `slots` of None leaves it to the model."""

    target: str
    device: str
    options: dict[str, str]
    slots: int | None
    parent_pid: int
    dies_with_parent: bool


class Load(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Bring the model into memory; `weights` are local paths."""

    weights: dict[str, str]


class Item(msgspec.Struct, frozen=True, array_like=True):
    """One call of a `Run`; `scratch` is a folder that is made when it is first used."""

    id: str
    input_json: bytes
    scratch: str
    prefix: str = ""
    files: dict[str, str] = {}
    resumed: tuple[int, str] | None = None


class Run(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Run a task: once for one item, as a batch for several."""

    task: str
    items: list[Item]


class Stop(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Let the next `check` of a call raise."""

    id: str
    interrupted: bool


class Confirmed(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """The answer to `Checkpointed`; refused when the job is somebody else's by now."""

    id: str
    accepted: bool


class Credit(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """So many reports of a call have been dealt with."""

    id: str
    count: int


class Warm(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Warm up again, between calls."""


class Unload(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """End, after what is running."""


class Placed(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """The answer to `Needs`: the device to load onto, and how many bytes may be used there, None without a bound."""

    device: str
    room_bytes: int | None = None


class Sleep(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """Move what lies on the device to host memory; no call runs."""


class Wake(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """Move it back; `Serving` or `Slept` with an error answers."""


class Check(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """Look now whether what the model leans on works."""


class Prepare(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """The model is wanted: import what its load needs."""


class Described(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """What the import told about the model; `options` are those of its tasks by full name."""

    info: ModelInfo
    options: dict[str, TaskOptions]
    weights: dict[str, str]
    required: bool
    slots: int


class Moved(msgspec.Struct, frozen=True, array_like=True, tag=21):
    """The load came to a stage, or came on in it."""

    stage: str
    done: float = 0.0
    total: float | None = None
    unit: str = ""


class Serving(msgspec.Struct, frozen=True, array_like=True, tag=22):
    """Loaded and warm: takes calls from now on, on `device`, where it holds so many bytes (None: nobody can tell)."""

    device: str = "cpu"
    held_bytes: int | None = None


class Broken(msgspec.Struct, frozen=True, array_like=True, tag=23):
    """The load failed. `error_class` is a value of the readiness core's class of the same name."""

    message: str
    error_class: str


class Warmed(msgspec.Struct, frozen=True, array_like=True, tag=24):
    """The answer to `Warm`."""

    seconds: float
    error: WireError | None


class Warming(msgspec.Struct, frozen=True, array_like=True, tag=32):
    """A warm-up begins that was asked for with `Warm`: calls wait for its end."""


class WireError(msgspec.Struct, frozen=True, array_like=True):
    """An error of ours on its way to the host."""

    code: str
    message: str
    data: dict[str, Any]

    @classmethod
    def of(cls, error: GlowplugError) -> WireError:
        """Take an error apart."""
        return cls(error.code, error.message, error.data)

    def error(self) -> GlowplugError:
        """Put the error together again; an unknown code becomes `TaskFailed`."""
        kind = error_classes().get(self.code, TaskFailed)
        return kind(self.message, **self.data)


class Ended(msgspec.Struct, frozen=True, array_like=True, tag=25):
    """A call is over. `scratch_used` says whether there is a folder to remove."""

    id: str
    kind: OutcomeKind
    output_json: bytes = b"null"
    artifacts: list[Artifact] = []
    error: WireError | None = None
    scratch_used: bool = False


class Progressed(msgspec.Struct, frozen=True, array_like=True, tag=26):
    """How far a call is; `preview` is the reference of the newest one, an artifact that was `Saved` before."""

    id: str
    done: float
    total: float | None
    note: str
    preview: str | None


class Measured(msgspec.Struct, frozen=True, array_like=True, tag=27):
    """Numbers that a call reports."""

    id: str
    values: dict[str, float | None]


class Logged(msgspec.Struct, frozen=True, array_like=True, tag=28):
    """Text for the log of a call."""

    id: str
    text: str


class Saved(msgspec.Struct, frozen=True, array_like=True, tag=29):
    """A file is ready to be stored."""

    id: str
    artifact: Artifact
    path: str


class Checkpointed(msgspec.Struct, frozen=True, array_like=True, tag=30):
    """A checkpoint is ready to be stored; the call waits for `Confirmed`."""

    id: str
    step: int
    path: str


class Yielded(msgspec.Struct, frozen=True, array_like=True, tag=31):
    """One value of a task that streams."""

    id: str
    output_json: bytes


class Needs(msgspec.Struct, frozen=True, array_like=True, tag=33):
    """Before the load: the devices it may go to, and the bytes there that the model says it takes, None if it does not.

    `can_sleep` says whether the model moves to host memory and back.
    """

    cards: list[Card]
    estimate_bytes: int | None
    can_sleep: bool


class Slept(msgspec.Struct, frozen=True, array_like=True, tag=34):
    """The answer to `Sleep`, and to a `Wake` that failed; `held_bytes` are still on the device."""

    held_bytes: int | None
    error: WireError | None = None


class Holding(msgspec.Struct, frozen=True, array_like=True, tag=35):
    """What the model holds on the device has grown, or shrunk."""

    held_bytes: int


class Checked(msgspec.Struct, frozen=True, array_like=True, tag=36):
    """What the model leans on has changed: `error` says what is wrong with it, None that it works."""

    error: str | None


ToChild = Begin | Prepare | Load | Run | Stop | Confirmed | Credit | Warm | Unload | Placed | Sleep | Wake | Check
Report = Progressed | Measured | Logged | Saved | Checkpointed | Yielded
ToHost = Described | Moved | Needs | Serving | Broken | Warming | Warmed | Slept | Holding | Checked | Ended | Report

_ENCODER = msgspec.msgpack.Encoder(enc_hook=str)
to_child: msgspec.msgpack.Decoder[ToChild] = msgspec.msgpack.Decoder(ToChild)
to_host: msgspec.msgpack.Decoder[ToHost] = msgspec.msgpack.Decoder(ToHost)


def packed(message: ToChild | ToHost) -> bytes:
    """Return the bytes of one message, its length in front."""
    body = _ENCODER.encode(message)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


class Unpacker:
    """Cuts a stream of bytes into message bodies."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes and return the bodies that are complete now.

        Raises:
            BugError: a length is out of bounds: somebody else wrote into the stream.
        """
        rest = self._rest
        rest += data
        bodies: list[bytes] = []
        start = 0
        while (body_start := start + LENGTH_BYTES) <= len(rest):
            length = int.from_bytes(rest[start:body_start], "big")
            if length > LARGEST_FRAME_BYTES:
                raise BugError("the stream between a model's process and its host is damaged")
            if len(rest) < body_start + length:
                break
            start = body_start + length
            bodies.append(bytes(rest[body_start:start]))
        del rest[:start]
        return bodies
