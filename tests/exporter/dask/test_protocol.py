from __future__ import annotations

import contextlib
import itertools
import struct
import time
import tracemalloc
from collections.abc import Callable

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter import dask_protocol as protocol
from exporter.errors import CollectError, Reason
from tests.exporter.dask.framing import split_block

TRANSFER = ("incoming_bytes", "incoming_count", "outgoing_bytes", "outgoing_count")


def block(*frames: bytes, sizes: list[int] | None = None) -> bytes:
    sizes = [len(frame) for frame in frames] if sizes is None else sizes
    return struct.pack(f"<Q{len(sizes)}Q", len(sizes), *sizes) + b"".join(frames)


def reason_of(call: object, *arguments: object) -> Reason:
    with pytest.raises(CollectError) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value.reason


def test_golden_bytes_of_a_call() -> None:
    # What distributed 2024.2.1 and 2026.8.0 themselves write for this message.
    assert protocol.encode({"op": "identity", "reply": True}).hex() == (
        "24000000000000000100000000000000140000000000000082a26f70a86964656e74697479a57265706c79c3"
    )


def test_message_is_read_back() -> None:
    message = protocol.encode({"op": "events", "topic": "all"})
    size = protocol.block_size(message[:8])
    assert size == len(message) - 8
    frame, rest = split_block(message[8:])
    assert (protocol.decode(frame), rest) == ({"op": "events", "topic": "all"}, 0)


def test_frames_outside_the_block_are_counted_not_read() -> None:
    frame, rest = split_block(block(b"\x01", b"ab", sizes=[1, 2, 70_000, 5]))
    assert (frame, rest) == (b"\x01", 70_005)


@pytest.mark.parametrize(
    ("head", "reason", "hint"),
    [
        (struct.pack("<Q", 8 * 2**30), Reason.TOO_LARGE, "8192 MiB"),
        (struct.pack("<Q", 2**64 - 1), Reason.TOO_LARGE, "at most 32 are read"),
        (struct.pack("<Q", 0), Reason.PROTOCOL, "without frames"),
        (b"HTTP/1.1", Reason.PROTOCOL, "8786"),
        (b"\x15\x03\x03\x00\x02\x02\x0a\x00", Reason.TLS, "tls://"),
    ],
)
def test_first_eight_bytes_are_judged(head: bytes, reason: Reason, hint: str) -> None:
    with pytest.raises(CollectError, match=hint) as caught:
        protocol.block_size(head)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (struct.pack("<Q", 0) + b"\x00" * 8, Reason.PROTOCOL),
        (struct.pack("<QQ", 2**63, 1), Reason.TOO_LARGE),
        (struct.pack("<QQ", 5, 1), Reason.PROTOCOL),
        (block(b"ab", sizes=[8 * 2**30]), Reason.TOO_LARGE),
        (block(b"ab", sizes=[2**63, 2**63, 2**63]), Reason.TOO_LARGE),
        (block(b"ab", sizes=[3]), Reason.PROTOCOL),
        (block(b"abc", sizes=[2]), Reason.PROTOCOL),
    ],
)
def test_contradicting_sizes_are_refused(data: bytes, reason: Reason) -> None:
    assert reason_of(split_block, data) is reason


@pytest.mark.parametrize("value", [b"\x80", b"\x90", b"\x81\x01\x02", b"\x91\x90", b"\xa2ab", b"\xe0"])
def test_a_message_that_unfolds_to_gigabytes_is_refused_before_it_is_decoded(value: bytes) -> None:
    count = protocol.MAX_MESSAGE // len(value) - 8
    frame = b"\xdd" + struct.pack(">I", count) + value * count
    tracemalloc.start()
    with pytest.raises(CollectError, match="768 MiB") as caught:
        protocol.decode(frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.reason is Reason.TOO_LARGE
    assert peak < 2 * protocol.MAX_MESSAGE


def test_what_ten_thousand_workers_and_a_full_window_of_events_tell_is_decoded() -> None:
    workers = {
        f"tcp://10.0.{number >> 8}.{number & 255}:40000": {
            "name": f"worker-{number}",
            "services": {"dashboard": 8787},
            "metrics": {"task_counts": {"memory": 3}, "transfer": dict.fromkeys(TRANSFER, 1e9 / (number + 1))},
            **dict.fromkeys((f"a field of a worker {field}" for field in range(16)), 1e9 / (number + 3)),
        }
        for number in range(10_000)
    }
    event = {"worker": "tcp://10.0.0.1:40000", "action": "worker-status-change", "prev-status": "a", "status": "b"}
    events = [(1.7e9 + number / 7, event) for number in range(100_000)]
    for message in (workers, events):
        frame = msgpack.packb(message)
        assert len(frame) > 6 * 2**20
        assert len(protocol.decode(frame)) == len(message)


def test_array_that_claims_more_than_it_holds_takes_no_memory() -> None:
    nested = b"\xdc\xea\x60" * 500 + b"\x00" * 2**16  # 500 lists in one another, each of 60,000 elements: 240 MB
    tracemalloc.start()
    try:
        assert reason_of(protocol.decode, nested) is Reason.PROTOCOL
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        b"\x91" * 5000 + b"\x00",  # nested beyond any answer
        b"\x01\x02",  # two values
        b"\xa5hell",  # cut short
        b"\xa2\xff\xfe",  # no UTF-8
        b"\x81\x80\x01",  # a map as the key of a map
        b"\x80\x04\x95cposix\nsystem\n",  # a pickle
    ],
)
def test_what_is_not_one_msgpack_value_is_refused(frame: bytes) -> None:
    assert reason_of(protocol.decode, frame) is Reason.PROTOCOL


def in_pieces(frame: bytes, length: int) -> list[object]:
    """What each step of decoding gave."""
    whole = protocol.Frame(len(frame))
    for at in range(0, len(frame), length):
        whole.feed(frame[at : at + length])
    return list(whole.values())


def outcome(read: Callable[[], object]) -> str:
    try:
        return repr(read())
    except CollectError as error:
        return error.reason


@given(st.binary(max_size=40), st.integers(1, 7))
def test_it_is_the_same_value_or_refusal_in_pieces_of_any_length(data: bytes, length: int) -> None:
    assert outcome(lambda: in_pieces(data, length)[-1]) == outcome(lambda: protocol.decode(data))


@pytest.mark.parametrize("length", [1, 3, 7, 1000])
def test_marks_are_seen_wherever_pieces_begin(length: int) -> None:
    frame = msgpack.packb({"a": {"__Pickled__": 1}, "s": {"__Set__": True, "as-list": ["x"]}})
    assert in_pieces(frame, length)[-1] == {"a": None, "s": ("x",)}


@pytest.mark.parametrize("length", [1000, 10**6])
@pytest.mark.parametrize("more", [{}, {"__Enum__": True, "name": "x"}])
def test_large_maps_are_read(length: int, more: dict[str, object]) -> None:
    value = {"workers": {f"tcp://{number}": number for number in range(5_000)}, "x": more}
    assert in_pieces(msgpack.packb(value), length)[-1] == value | {"x": "x" if more else {}}


@pytest.mark.parametrize("mark", [None, "__Set__"])
@pytest.mark.timeout(10)
def test_keys_that_all_have_the_same_hash_do_not_keep_it_busy_for_days(mark: object) -> None:
    prime = 2**61 - 1  # hash(number) is its remainder
    steps = [[part + prime * more for more in range(4)] for part in range(1, 11)]
    keys = list(itertools.islice(itertools.product(*steps), 200_000))
    assert len({hash(key) for key in keys[:100]}) == 1
    packer = msgpack.Packer()
    body = b"".join(packer.pack(key) + b"\xc0" for key in keys)
    frame = b"\x92" + packer.pack(mark) + packer.pack_map_header(len(keys)) + body
    _, large = protocol.decode(frame)
    assert len(large) == len(keys)
    assert repr(keys[-1]) in large


def test_pickled_nodes_are_dropped() -> None:
    frame = msgpack.packb({"a": {"__Pickled__": 1}, "b": [{"__Serialized__": 2}, 3]})
    assert protocol.decode(frame) == {"a": None, "b": (None, 3)}


def test_sets_and_enumerations_are_plain() -> None:
    frame = msgpack.packb(
        {
            "tasks": {"__Set__": True, "as-list": ["x", ["y", 0]]},
            "status": {"__Enum__": True, "name": "running", "__module__": "os", "__name__": "system"},
            "odd": {"__Set__": True, "as-list": 5},
        }
    )
    assert protocol.decode(frame) == {
        "tasks": ("x", ("y", 0)),
        "status": "running",
        "odd": {"__Set__": True, "as-list": 5},
    }


def test_tuple_keys_of_fine_metrics_are_read() -> None:
    packed = msgpack.packb({("execute", "inc", "thread-cpu", "seconds"): 0.5})
    assert protocol.decode(packed) == {("execute", "inc", "thread-cpu", "seconds"): 0.5}


def test_pickled_exception_becomes_its_text() -> None:
    reply = {"status": "uncaught-error", "exception": None, "exception_text": "KeyError('x')\n" + "y" * 999}
    with pytest.raises(CollectError) as caught:
        protocol.result("processing", reply)
    assert caught.value.reason is Reason.SERVER_ERROR
    assert "KeyError('x') yyy" in str(caught.value)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_blocked_operation_names_the_setting() -> None:
    text = "ValueError(\"The 'events' handler has been explicitly disallowed in Scheduler, possibly due to security\")"
    with pytest.raises(CollectError, match="blocked-handlers") as caught:
        protocol.result("events", {"status": "uncaught-error", "exception_text": text})
    assert caught.value.reason is Reason.FORBIDDEN


@pytest.mark.parametrize("reply", [{"status": "OK"}, None, (), "OK", {"type": "Scheduler"}])
def test_other_replies_pass(reply: object) -> None:
    assert protocol.result("identity", reply) is reply


@pytest.mark.parametrize("handshake", [None, (), "OK", {}, {"status": "OK"}])
def test_wrong_greeting_is_refused(handshake: object) -> None:
    assert reason_of(protocol.greeting, handshake) is Reason.PROTOCOL


def test_greeting_of_any_age_is_taken() -> None:
    protocol.greeting({"compression": "lz4", "python": (3, 8), "pickle-protocol": 4})


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), plain, max_size=3))
def test_any_message_survives(message: dict[str, object]) -> None:
    marks = ("__Pickled__", "__Serialized__", "__Set__", "__Enum__")
    if not any(mark in repr(message) for mark in marks):
        frame, rest = split_block(protocol.encode(message)[8:])
        assert (protocol.decode(frame), rest) == (message, 0)


@given(st.binary(max_size=300))
def test_random_bytes_only_ever_raise_collect_errors(data: bytes) -> None:
    for read in (protocol.decode, split_block) if len(data) >= 8 else (protocol.decode,):
        with contextlib.suppress(CollectError):
            read(data)


def test_maps_of_keys_with_one_hash_give_others_their_turn() -> None:
    """Each of two thousand keys took a quarter of a second, and an answer has room for a thousand such maps."""
    prime = 2**61 - 1
    steps = [[part + prime * more for more in range(4)] for part in range(1, 7)]
    keys = list(itertools.islice(itertools.product(*steps), 1_900))
    packer = msgpack.Packer()
    one = packer.pack_map_header(len(keys)) + b"".join(packer.pack(key) + b"\xc0" for key in keys)
    began = time.process_time()
    maps = protocol.decode(packer.pack_array_header(80) + 80 * one)
    assert time.process_time() - began < 1
    assert [len(one) for one in maps] == [1_900] * 80


@pytest.mark.parametrize("key", [b"\xce", b"\xa4"])
def test_a_map_of_millions_is_refused_before_it_is_made(key: bytes) -> None:
    """It was made at once, which took more than a second while nobody else had a turn."""
    count = 1_500_000
    body = b"".join(key + struct.pack(">I", number) + b"\0" for number in range(count))
    began = time.process_time()
    with pytest.raises(CollectError, match="more than 200000 entries") as refused:
        protocol.decode(b"\x91\xdf" + struct.pack(">I", count) + body)
    assert refused.value.reason is Reason.TOO_LARGE
    assert time.process_time() - began < 0.5


def test_what_all_pieces_would_make_is_added_up() -> None:
    """Four million empty maps are 4 MB of msgpack and 1 GB of objects."""
    count = 4_000_000
    frame = protocol.Frame(count + 5)
    frame.feed(b"\xdd" + struct.pack(">I", count))

    def feed() -> None:
        for _ in range(0, count, protocol.PIECE):
            frame.feed(b"\x80" * protocol.PIECE)

    with pytest.raises(CollectError, match="would take more than 768 MiB of memory") as refused:
        feed()
    assert refused.value.reason is Reason.TOO_LARGE


def test_extensions_are_nothing_and_cost_nothing() -> None:
    count = 300_000
    began = time.process_time()
    value = protocol.decode(b"\xdd" + struct.pack(">I", 2 * count) + b"\xd4\x05a" * count + b"\xd6\xff\0\0\0\1" * count)
    assert time.process_time() - began < 1
    assert value[0] is None
    assert value[-1] == 1.0
