"""msgpack in the place of every pickle of PySyncObj: no byte from outside becomes anything but data.

Arrays decode as tuples. One extension type exists, a node by its name and address.
"""

from __future__ import annotations

from typing import IO, Any, Final

import msgpack
import pysyncobj.journal
import pysyncobj.pickle

from raftchaos.consensus.node import PeerNode

_NODE: Final = 1


def _default(value: object) -> msgpack.ExtType:
    if isinstance(value, PeerNode):
        return msgpack.ExtType(_NODE, msgpack.packb((value.name, value.address)))
    raise TypeError(f"a {type(value).__name__} cannot travel between peers")


def _extension(code: int, data: bytes) -> PeerNode:
    if code != _NODE:
        raise ValueError(f"unknown msgpack extension {code}")
    name, address = msgpack.unpackb(data, use_list=False)
    if not isinstance(name, str) or not isinstance(address, str):
        raise ValueError("a node is a name and an address")
    return PeerNode(name, address)


_packer: Final = msgpack.Packer(default=_default)  # of the loop's thread: making one costs more than most values


def dumps(value: object, protocol: int | None = None) -> bytes:
    """The value as msgpack. `protocol` is there because pickle's function has it."""
    return bytes(_packer.pack(value))


def loads(data: bytes | bytearray | memoryview) -> Any:
    """The value that `dumps` wrote. Raises ValueError for anything that is not exactly one msgpack value."""
    try:
        return msgpack.unpackb(data, use_list=False, ext_hook=_extension, strict_map_key=False)
    except (msgpack.UnpackException, TypeError, RecursionError) as error:
        raise ValueError(f"not msgpack: {error or type(error).__name__}") from error


def _dump(value: object, file: IO[bytes], protocol: int | None = None) -> None:
    file.write(dumps(value))


def _load(file: IO[bytes]) -> Any:
    return loads(file.read())


def install() -> None:
    """Replace every name through which PySyncObj serialises; its journal bound two of them when it was imported."""
    pysyncobj.pickle.dumps, pysyncobj.pickle.loads = dumps, loads
    pysyncobj.pickle.dump, pysyncobj.pickle.load = _dump, _load
    pysyncobj.journal.dumps, pysyncobj.journal.loads = dumps, loads
