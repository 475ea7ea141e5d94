"""Envelopes on the wire and back: nothing is lost, and nothing that comes from a peer can do harm."""

import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatsvc.node.peer_codec import (
    DOWN_BYTES_MAX,
    UP_BYTES_MAX,
    BadEnvelope,
    DownDecoder,
    DownEncoder,
    EntryBytes,
    Rpc,
    UpDecoder,
    UpEncoder,
    decode_identity,
    decode_request,
    decode_response,
    encode_identity,
    encode_request,
    encode_response,
)
from chatsvc.replication.configs import REMOVED_MAX, Config, Mode
from chatsvc.replication.entries import Entry, EntryKind
from chatsvc.replication.envelopes import (
    Ack,
    Announce,
    Append,
    Electorate,
    Envelope,
    EpochStart,
    Fenced,
    Hello,
    Nominate,
    Payload,
    PrimaryHint,
    Reject,
    RejectReason,
    Relinquish,
    Standing,
    StepDown,
    Survey,
    SurveyReply,
    Vote,
    VoteReply,
    Welcome,
)
from chatsvc.replication.identity import NO_CLUSTER, NO_EPOCH, Epoch, Identity, Member, Position, boot_id
from chatsvc.v1 import replication_pb2 as pb

# Time says nothing here: CI machines are busy.
BUSY = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])

ids = st.binary(min_size=16, max_size=16)
numbers = st.integers(0, (1 << 64) - 1)
indexes = st.integers(1, (1 << 64) - 1)
times = st.integers(-(1 << 63), (1 << 63) - 1)
labels = st.text(st.characters(codec="utf-8"), max_size=20)
addresses = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
reigns = st.builds(Epoch, numbers, st.integers(0, 0xFFFF), ids)
epochs = st.just(NO_EPOCH) | reigns
positions = st.builds(Position, epochs, numbers)
members = st.builds(Member, ids, addresses, labels)
boots = st.builds(boot_id, st.integers(1, (1 << 64) - 1), numbers)
identities = st.builds(Identity, st.just(NO_CLUSTER) | ids, ids, boots, addresses, labels)
hints = st.builds(PrimaryHint, reigns, ids, addresses)


def some(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


@st.composite
def _configs(draw: st.DrawFn) -> Config:
    of = draw(st.lists(members, min_size=1, max_size=3))
    in_sync = draw(st.lists(st.sampled_from([member.dir_id for member in of]), min_size=1, max_size=3))
    mode, reason = draw(st.sampled_from(Mode)), draw(labels)
    return Config(
        draw(reigns),
        draw(indexes),
        tuple(in_sync),
        tuple(of),
        mode,
        reason,
        draw(some(ids)),
        draw(some(ids)),
        draw(st.booleans()),
    )


configs = _configs()
standings = st.builds(
    Standing, times, st.none() | ids, st.none() | epochs, st.booleans(), some(configs), some(ids), numbers
)


@st.composite
def _appends(draw: st.DrawFn) -> Append:
    epoch, prev = draw(reigns), draw(st.builds(Position, epochs, st.integers(0, 1 << 62)))
    entries = [
        Entry(
            draw(st.just(epoch) | reigns), prev.log_index + 1 + place, draw(st.sampled_from(EntryKind)),
            draw(st.binary(max_size=300)), draw(ids), draw(st.integers(0, 0xFFFFFFFF)),
        )
        for place in range(draw(st.integers(0, 3)))
    ]  # fmt: skip
    return Append(
        draw(numbers), epoch, draw(times), prev, tuple(entries), draw(numbers), draw(numbers), draw(numbers),
        draw(st.booleans()),
    )  # fmt: skip


hellos = st.builds(Hello, numbers, epochs, positions, some(st.builds(EpochStart, reigns, numbers)), numbers, numbers)
fenced = st.builds(Fenced, epochs)
ups = st.one_of(
    st.builds(Ack, numbers, reigns, numbers, numbers, numbers, times, numbers, st.booleans(), numbers, st.booleans()),
    st.builds(Relinquish, numbers, reigns),
    fenced,
)
downs = st.one_of(
    _appends(),
    st.builds(Welcome, numbers, reigns, numbers, st.booleans()),
    st.builds(Reject, numbers, st.sampled_from(RejectReason), st.none() | hints),
    st.builds(StepDown, numbers, reigns),
)
requests = st.one_of(
    st.builds(Survey, numbers, st.none() | ids),
    st.builds(Nominate, numbers, st.builds(Electorate, configs, some(members))),
    st.builds(Vote, reigns, positions, configs, times),
    st.builds(Announce, reigns),
)
survey_replies = st.builds(SurveyReply, numbers, epochs, positions, st.none() | hints, standings, st.booleans())
vote_replies = st.builds(VoteReply, reigns, st.booleans(), epochs, standings, times)
responses = st.one_of(
    st.tuples(st.just(Rpc.SURVEY), survey_replies),
    st.tuples(st.just(Rpc.VOTE), vote_replies),
    st.tuples(st.sampled_from(Rpc), fenced),
)


def envelopes(payloads: st.SearchStrategy[Any]) -> st.SearchStrategy[Envelope]:
    return st.builds(Envelope, identities, addresses, st.none() | ids, st.just(0), payloads)


@st.composite
def streams(draw: st.DrawFn, first: st.SearchStrategy[Any], later: st.SearchStrategy[Any]) -> list[Envelope]:
    """What one process sends on a stream; its cluster and the receiver's labels may change on the way."""
    source = draw(identities)
    sent = []
    for payload in [draw(first), *draw(st.lists(later, max_size=4))]:
        cluster = draw(st.just(source.cluster_id) | ids)
        source = Identity(cluster, source.dir_id, source.boot, source.address, source.name)
        sent.append(Envelope(source, draw(st.sampled_from("ab")), draw(st.none() | st.just(bytes(16))), 0, payload))
    return sent


def joined(frame: list[list[bytes]]) -> bytes:
    return b"".join(part for parts in frame for part in parts)


@BUSY
@given(streams(hellos, ups), st.integers(1, 5))
def test_what_a_follower_says_arrives_unaltered_in_frames_of_any_size(sent: list[Envelope], in_frame: int) -> None:
    encoder, decoder = UpEncoder(), UpDecoder()
    parts = [encoder.encode(envelope) for envelope in sent]
    frames = [parts[start : start + in_frame] for start in range(0, len(parts), in_frame)]
    heard = [envelope for frame in frames for envelope in decoder.decode(joined(frame))]
    assert heard == sent


@BUSY
@given(streams(downs, downs), st.integers(1, 5))
def test_what_a_primary_says_arrives_unaltered_in_frames_of_any_size(sent: list[Envelope], in_frame: int) -> None:
    encoder, decoder = DownEncoder(EntryBytes()), DownDecoder()
    parts = [encoder.encode(envelope) for envelope in sent]
    frames = [parts[start : start + in_frame] for start in range(0, len(parts), in_frame)]
    heard = [envelope for frame in frames for envelope in decoder.decode(joined(frame))]
    assert heard == sent


@BUSY
@given(envelopes(requests))
def test_a_request_arrives_unaltered(sent: Envelope) -> None:
    rpc, data = encode_request(sent)
    assert decode_request(rpc, data) == sent


@BUSY
@given(responses, identities, addresses, st.none() | ids)
def test_an_answer_arrives_unaltered(
    answer: tuple[Rpc, Payload], source: Identity, address: str, dir_id: bytes | None
) -> None:
    rpc, payload = answer
    sent = Envelope(source, address, dir_id, 0, payload)
    assert decode_response(rpc, encode_response(rpc, sent)) == sent


@pytest.mark.parametrize("rpc", list(Rpc))
def test_an_empty_response_is_no_answer(rpc: Rpc) -> None:
    assert decode_response(rpc, b"") is None


@BUSY
@given(identities)
def test_an_identity_arrives_unaltered(identity: Identity) -> None:
    assert decode_identity(encode_identity(identity)) == identity


# ---- what the parts put together by hand rest on

SOURCE = Identity(bytes(16), b"s" * 16, boot_id(3, 77), "127.0.0.1:50051", "anna")
REIGN = Epoch(7, 1234, b"p" * 16)


def envelope(payload: Payload) -> Envelope:
    return Envelope(SOURCE, "127.0.0.1:50052", b"t" * 16, 0, payload)


def entry(index: int, payload: bytes = b"x", epoch: Epoch = REIGN) -> Entry:
    return Entry(epoch, index, EntryKind.OP, payload, bytes(16), zlib.crc32(payload))


def append(*entries: Entry, stream: int = 1) -> Append:
    return Append(stream, REIGN, 5, Position(REIGN, 9), entries, 10, 9, 3, True)


def test_an_append_is_what_protobuf_itself_would_make_of_it() -> None:
    data = b"".join(
        DownEncoder(EntryBytes()).encode(envelope(append(entry(10), entry(11, epoch=Epoch(6, 1, b"q" * 16)))))
    )
    parsed = pb.ReplicateResponse.FromString(data)
    assert pb.ReplicateResponse.FromString(parsed.SerializeToString()) == parsed
    assert len(parsed.SerializeToString()) == len(data)
    first, second = parsed.envelopes[0].append.entries
    assert not first.HasField("epoch")
    assert second.epoch.counter == 6


def test_followers_get_the_same_bytes_of_a_batch_and_no_copies_of_its_payloads() -> None:
    shared, payload = EntryBytes(), b"y" * 10_000
    entries = (entry(10, payload),)
    parts = [
        DownEncoder(shared).encode(envelope(Append(stream, REIGN, 5, Position(REIGN, 9), entries, 10, 9, 3, True)))
        for stream in (1, 2)
    ]
    assert parts[0][1] is parts[1][1]
    assert all(part[2] is payload for part in parts)


def test_batches_are_remembered_within_bounds() -> None:
    shared = EntryBytes()
    for index in range(10, 10 + 3 * EntryBytes.BATCHES_MAX):
        shared.of((entry(index),), REIGN)
    assert len(shared._batches) == EntryBytes.BATCHES_MAX
    shared.forget()
    assert not shared._batches


def test_the_header_is_sent_again_only_where_it_changes() -> None:
    encoder = UpEncoder()
    hello = Hello(1, NO_EPOCH, Position(NO_EPOCH, 0), (), 0, 0)
    joined = Identity(b"c" * 16, SOURCE.dir_id, SOURCE.boot, SOURCE.address, SOURCE.name)
    sent = [envelope(hello), envelope(Relinquish(1, REIGN)), Envelope(joined, "a", None, 0, Relinquish(1, REIGN))]
    frame = pb.ReplicateRequest.FromString(b"".join(part for one in sent for part in encoder.encode(one)))
    assert [one.HasField("header") for one in frame.envelopes] == [True, False, True]


# ---- what may come from a peer

HEADER = pb.Header(
    source=pb.Source(dir_id=b"s" * 16, start_number=1, address="a:1", name="a"), address="b:1", dir_id=b"t" * 16
)
EPOCH = pb.Epoch(counter=1, dir_id=b"p" * 16)
CONFIG = pb.Config(
    epoch=EPOCH, log_index=1, in_sync=[b"p" * 16], mode=pb.MODE_AVAILABLE,
    members=[pb.ConfigMember(dir_id=b"p" * 16, address="c:1")],
)  # fmt: skip
UP, DOWN = pb.ReplicateRequest, pb.ReplicateResponse


def up(*payloads: dict[str, Any], header: pb.Header | None = HEADER) -> bytes:
    return UP(envelopes=[UP.Envelope(header=header, **payload) for payload in payloads]).SerializeToString()


def down(*payloads: dict[str, Any], header: pb.Header | None = HEADER) -> bytes:
    return DOWN(envelopes=[DOWN.Envelope(header=header, **payload) for payload in payloads]).SerializeToString()


def changed(message: Any, **fields: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    for name, value in fields.items():
        copy.ClearField(name)
        copy.MergeFrom(type(message)(**{name: value}))
    return copy


HELLO = {"hello": UP.Hello(stream=1)}
ACK = {"ack": UP.Ack(stream=1, epoch=EPOCH)}
STRANGER = changed(HEADER, source=changed(HEADER.source, start_nonce=5))


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"\xff\xff", id="no protobuf"),
        pytest.param(b"", id="no envelopes"),
        pytest.param(up({}), id="no payload"),
        pytest.param(up(ACK), id="no Hello first"),
        pytest.param(up(HELLO, HELLO), id="two Hellos"),
        pytest.param(up(HELLO, header=None), id="no header"),
        pytest.param(up(HELLO, header=pb.Header(address="b:1")), id="no source"),
        pytest.param(up(HELLO) + up(ACK, header=STRANGER), id="another process on the stream"),
        pytest.param(up(HELLO, header=changed(HEADER, dir_id=b"short")), id="short target"),
        pytest.param(up(HELLO, header=changed(HEADER, address="")), id="no address"),
        pytest.param(up(HELLO, header=changed(HEADER, address="a" * 301)), id="long address"),
        pytest.param(
            up(HELLO, header=changed(HEADER, source=changed(HEADER.source, cluster_id=b"c"))), id="short cluster"
        ),
        pytest.param(up(HELLO, header=changed(HEADER, source=changed(HEADER.source, name="n" * 301))), id="long name"),
        pytest.param(up({"hello": UP.Hello(promised=pb.Epoch(counter=1))}), id="epoch without directory"),
        pytest.param(up({"hello": UP.Hello(promised=changed(EPOCH, lot=1 << 16))}), id="lot too big"),
        pytest.param(up({"hello": UP.Hello(epochs=[UP.EpochStart(first_index=1)])}), id="part of no reign"),
        pytest.param(up(HELLO, {"ack": UP.Ack(stream=1)}), id="Ack of no reign"),
        pytest.param(up(HELLO) + b"\x0a\x05", id="cut off"),
        pytest.param(bytes(UP_BYTES_MAX + 1), id="too big"),
    ],
)
def test_a_bad_frame_from_a_follower_is_found_out(frame: bytes) -> None:
    with pytest.raises(BadEnvelope):
        UpDecoder().decode(frame)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"\xff\xff", id="no protobuf"),
        pytest.param(b"", id="no envelopes"),
        pytest.param(down({}), id="no payload"),
        pytest.param(down({"step_down": DOWN.StepDown(epoch=EPOCH)}, header=None), id="no header"),
        pytest.param(down({"reject": DOWN.Reject(stream=1)}), id="no reason"),
        pytest.param(down({"reject": DOWN.Reject(reason=99)}), id="unknown reason"),  # type: ignore[arg-type]
        pytest.param(
            down({"reject": DOWN.Reject(reason=DOWN.REJECT_REASON_MODE, primary=pb.PrimaryHint(epoch=EPOCH))}),
            id="hint at nobody",
        ),
        pytest.param(down({"welcome": DOWN.Welcome(stream=1)}), id="Welcome of no reign"),
        pytest.param(down({"append": DOWN.Append(stream=1)}), id="Append of no reign"),
        pytest.param(
            down({"append": DOWN.Append(epoch=EPOCH, entries=[pb.Entry(chain=bytes(16))])}), id="entry of no kind"
        ),
        pytest.param(
            down({"append": DOWN.Append(epoch=EPOCH, entries=[pb.Entry(kind=pb.ENTRY_KIND_OP, chain=b"c")])}),
            id="short chain",
        ),
        pytest.param(bytes(DOWN_BYTES_MAX + 1), id="too big"),
    ],
)
def test_a_bad_frame_from_a_primary_is_found_out(frame: bytes) -> None:
    with pytest.raises(BadEnvelope):
        DownDecoder().decode(frame)


BAD_CONFIGS = [
    pytest.param(pb.Config(), id="empty"),
    pytest.param(changed(CONFIG, in_sync=[]), id="nobody in sync"),
    pytest.param(changed(CONFIG, in_sync=[b"x" * 16]), id="no member in sync"),
    pytest.param(changed(CONFIG, mode=pb.MODE_UNSPECIFIED), id="no mode"),
    pytest.param(changed(CONFIG, epoch=pb.Epoch()), id="no epoch"),
    pytest.param(changed(CONFIG, log_index=0), id="no index"),
    pytest.param(changed(CONFIG, members=[pb.ConfigMember(dir_id=b"p" * 16)]), id="member without address"),
    pytest.param(changed(CONFIG, removed=[bytes(16)] * (REMOVED_MAX + 1)), id="too many removed"),
    pytest.param(changed(CONFIG, bypassed=[b"b"]), id="short id"),
]


@pytest.mark.parametrize("config", BAD_CONFIGS)
def test_a_bad_config_is_found_out(config: pb.Config) -> None:
    vote = pb.VoteRequest(header=HEADER, epoch=EPOCH, committed=config)
    nominate = pb.NominateRequest(header=HEADER, counter=1, committed=config)
    answer = pb.SurveyResponse.Answer(standing=pb.Standing(chain=[config]))
    survey = pb.SurveyResponse(header=HEADER, answer=answer)
    with pytest.raises(BadEnvelope):
        decode_request(Rpc.VOTE, vote.SerializeToString())
    with pytest.raises(BadEnvelope):
        decode_request(Rpc.NOMINATE, nominate.SerializeToString())
    with pytest.raises(BadEnvelope):
        decode_response(Rpc.SURVEY, survey.SerializeToString())


def test_the_good_config_beside_them_is_none_of_the_bad() -> None:
    vote = pb.VoteRequest(header=HEADER, epoch=EPOCH, committed=CONFIG)
    assert decode_request(Rpc.VOTE, vote.SerializeToString()).source.dir_id == b"s" * 16


@pytest.mark.parametrize("rpc", list(Rpc))
def test_a_request_or_answer_without_its_header_is_found_out(rpc: Rpc) -> None:
    with pytest.raises(BadEnvelope):
        decode_request(rpc, b"")
    fenced_by_nobody = (
        pb.SurveyResponse(fenced=pb.Fenced())
        if rpc in (Rpc.SURVEY, Rpc.VOTE)
        else (pb.AnnounceResponse(fenced=pb.Fenced()))
    )
    with pytest.raises(BadEnvelope):
        decode_response(rpc, fenced_by_nobody.SerializeToString())


def test_an_answer_without_a_standing_is_found_out() -> None:
    survey = pb.SurveyResponse(header=HEADER, answer=pb.SurveyResponse.Answer())
    vote = pb.VoteResponse(header=HEADER, answer=pb.VoteResponse.Answer(epoch=EPOCH))
    with pytest.raises(BadEnvelope):
        decode_response(Rpc.SURVEY, survey.SerializeToString())
    with pytest.raises(BadEnvelope):
        decode_response(Rpc.VOTE, vote.SerializeToString())


def test_what_nobody_is_is_no_identity() -> None:
    with pytest.raises(BadEnvelope):
        decode_identity(b"")


@pytest.mark.parametrize("payload", [Welcome(1, REIGN, 1), Survey(1, None)], ids=["of the other way", "of no stream"])
def test_the_own_core_is_not_trusted_with_nonsense_upwards(payload: Payload) -> None:
    with pytest.raises(AssertionError):
        UpEncoder().encode(envelope(payload))


@pytest.mark.parametrize("payload", [Relinquish(1, REIGN), append(entry(11)), append(entry(10), entry(12))])
def test_the_own_core_is_not_trusted_with_nonsense_downwards(payload: Payload) -> None:
    with pytest.raises(AssertionError):
        DownEncoder(EntryBytes()).encode(envelope(payload))


def test_only_requests_and_answers_go_outside_streams() -> None:
    with pytest.raises(AssertionError):
        encode_request(envelope(StepDown(1, REIGN)))
    with pytest.raises(AssertionError):
        encode_response(Rpc.ANNOUNCE, envelope(Survey(1, None)))


def decode_all(data: bytes) -> None:
    """Everything that can be made of bytes from outside."""
    readers: list[Any] = [UpDecoder().decode, DownDecoder().decode, decode_identity]
    for rpc in Rpc:
        readers += [lambda data, rpc=rpc: decode_request(rpc, data), lambda data, rpc=rpc: decode_response(rpc, data)]
    for read in readers:
        try:
            read(data)
        except BadEnvelope:
            pass


@BUSY
@given(st.binary(max_size=200))
def test_random_bytes_are_an_envelope_or_a_bad_one(data: bytes) -> None:
    decode_all(data)


@BUSY
@given(streams(hellos, ups) | streams(downs, downs) | envelopes(requests).map(lambda one: [one]), st.data())
def test_altered_bytes_are_an_envelope_or_a_bad_one(sent: list[Envelope], data: st.DataObject) -> None:
    payload = sent[0].payload
    if isinstance(payload, Hello):
        up_encoder = UpEncoder()
        whole = b"".join(part for one in sent for part in up_encoder.encode(one))
    elif isinstance(payload, Append | Welcome | Reject | StepDown):
        down_encoder = DownEncoder(EntryBytes())
        whole = b"".join(part for one in sent for part in down_encoder.encode(one))
    else:
        whole = encode_request(sent[0])[1]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole = whole[:at] + data.draw(st.binary(max_size=2)) + whole[at + data.draw(st.integers(0, 2)) :]
        if not whole:
            return
    decode_all(whole)
