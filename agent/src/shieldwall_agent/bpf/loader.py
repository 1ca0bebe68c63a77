"""A small loader of BPF objects: libbpf.so.1 by ctypes, no compiler and no headers on the endpoint."""

import ctypes
import os
from collections.abc import Callable, Iterable
from pathlib import Path

_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_SAMPLE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)

FOLDER = Path(__file__).parent


class BpfError(OSError):
    """Something was not there, or the kernel refused it; the text says which."""


def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise BpfError("libbpf.so.1 is not installed") from error
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in (
        ("bpf_object__open_mem", pointer, (pointer, ctypes.c_size_t, pointer)),
        ("bpf_object__load", number, (pointer,)),
        ("bpf_object__close", None, (pointer,)),
        ("bpf_object__find_program_by_name", pointer, (pointer, text)),
        ("bpf_object__find_map_by_name", pointer, (pointer, text)),
        ("bpf_program__set_autoload", number, (pointer, ctypes.c_bool)),
        ("bpf_program__attach", pointer, (pointer,)),
        ("bpf_program__attach_cgroup", pointer, (pointer, number)),
        ("bpf_link__destroy", number, (pointer,)),
        ("bpf_map__fd", number, (pointer,)),
        ("bpf_map_lookup_elem", number, (number, pointer, pointer)),
        ("bpf_map_update_elem", number, (number, text, text, ctypes.c_uint64)),
        ("bpf_map_delete_elem", number, (number, text)),
        ("ring_buffer__new", pointer, (number, _SAMPLE, pointer, pointer)),
        ("ring_buffer__poll", number, (pointer, number)),
        ("ring_buffer__consume", number, (pointer,)),
        ("ring_buffer__epoll_fd", number, (pointer,)),
        ("ring_buffer__free", None, (pointer,)),
        ("libbpf_set_print", pointer, (_PRINT,)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.libbpf_set_print(_SILENT)
    return library


# libbpf writes to standard error unless told otherwise; its errno says enough.
_SILENT = _PRINT(lambda _level, _format, _arguments: 0)


class BpfObject:
    """One loaded object. Its programs run until `close`, or until the process ends."""

    def __init__(self, name: str, without: Iterable[str] = ()) -> None:
        """`name` is that of a built object beside this module, `without` the programs in it that stay out.

        Raises BpfError when it does not load.
        """
        self._library = _library()
        self._links: list[int] = []
        self._maps: dict[str, int] = {}
        self._rings: list[int] = []
        self._callbacks: list[object] = []
        try:
            self._image = (FOLDER / f"{name}.bpf.o").read_bytes()
        except OSError as error:
            raise BpfError(f"{name}.bpf.o cannot be read") from error
        self._object = self._library.bpf_object__open_mem(self._image, len(self._image), None)
        if not self._object:
            raise self._error(f"{name} is no BPF object")
        for program in without:
            self._library.bpf_program__set_autoload(self._program(program), False)
        if self._library.bpf_object__load(self._object):
            refusal = self._error(f"the kernel refuses {name}")
            self.close()
            raise refusal

    def attach(self, program: str, cgroup: int | None = None) -> None:
        """Let a program run where its section says, or for the cgroup of this descriptor. Raises BpfError."""
        found = self._program(program)
        if cgroup is None:
            link = self._library.bpf_program__attach(found)
        else:
            link = self._library.bpf_program__attach_cgroup(found, cgroup)
        if not link:
            raise self._error(f"{program} cannot be attached")
        self._links.append(link)

    def _program(self, name: str) -> int:
        found = self._library.bpf_object__find_program_by_name(self._object, name.encode())
        if not found:
            raise BpfError(f"there is no program {name}")
        return int(found)

    def map_fd(self, name: str) -> int:
        """The descriptor of a map, owned by this object. Raises BpfError."""
        if name not in self._maps:
            found = self._library.bpf_object__find_map_by_name(self._object, name.encode())
            if not found:
                raise BpfError(f"there is no map {name}")
            self._maps[name] = int(self._library.bpf_map__fd(found))
        return self._maps[name]

    def number(self, name: str) -> int:
        """The first 64-bit value of an array map."""
        key, value = ctypes.c_uint32(0), ctypes.c_uint64(0)
        self._library.bpf_map_lookup_elem(self.map_fd(name), ctypes.byref(key), ctypes.byref(value))
        return value.value

    def put(self, name: str, key: bytes, value: bytes) -> None:
        """Set an entry of a map. Raises BpfError."""
        if self._library.bpf_map_update_elem(self.map_fd(name), key, value, 0):
            raise self._error(f"an entry does not fit into {name}")

    def remove(self, name: str, key: bytes) -> None:
        """Remove an entry of a map, if it is there."""
        self._library.bpf_map_delete_elem(self.map_fd(name), key)

    def ring(self, name: str, take: Callable[[bytes], None]) -> "Ring":
        """A reader of a ring buffer; `take` gets a copy of each sample and must not raise."""

        def sample(_context: int, data: int, size: int) -> int:
            take(ctypes.string_at(data, size))
            return 0

        callback = _SAMPLE(sample)
        ring = self._library.ring_buffer__new(self.map_fd(name), callback, None, None)
        if not ring:
            raise self._error(f"the ring {name} cannot be read")
        self._callbacks.append(callback)
        self._rings.append(ring)
        return Ring(self._library, ring)

    def close(self) -> None:
        """Detach and unload. No ring may be polled any more."""
        for ring in self._rings:
            self._library.ring_buffer__free(ring)
        for link in self._links:
            self._library.bpf_link__destroy(link)
        if self._object:
            self._library.bpf_object__close(self._object)
        self._rings, self._links, self._maps, self._object = [], [], {}, None

    def _error(self, text: str) -> BpfError:
        number = ctypes.get_errno()
        return BpfError(number, f"{text}: {os.strerror(number)}" if number else text)


class Ring:
    """Reads samples, in the thread that polls."""

    def __init__(self, library: ctypes.CDLL, ring: int) -> None:
        self._library = library
        self._ring = ring

    def fileno(self) -> int:
        """Readable while there are samples."""
        return int(self._library.ring_buffer__epoll_fd(self._ring))

    def poll(self, milliseconds: int) -> None:
        """Wait for the kernel's wake-up, at most so long, then take all that is there."""
        self._library.ring_buffer__poll(self._ring, milliseconds)
        self._library.ring_buffer__consume(self._ring)
