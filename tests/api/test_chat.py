"""Unary rpcs of service Chat against a real server."""

from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import aio

from chatsvc.api.status import STATUS_OF
from chatsvc.domain.errors import Reason
from chatsvc.v1 import chat_pb2 as pb


def error_info(failure: aio.AioRpcError) -> ErrorInfo:
    """The rich details of a failed call."""
    metadata = dict(failure.trailing_metadata() or ())
    status = Status.FromString(metadata["grpc-status-details-bin"])
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


def test_every_reason_has_a_status() -> None:
    assert set(STATUS_OF) == set(Reason)


async def test_a_message_can_be_sent_without_a_session(server: Any) -> None:
    bob = server.stream()
    await bob.login("bob")
    response = await server.stub().SendMessage(pb.SendMessageRequest(user="alice", to="bob", text="hello"))
    assert response.recipient_online
    assert (response.message.sender, response.message.conversation_seq) == ("alice", 1)
    assert await bob.expect("message") == response.message


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        pytest.param(
            pb.SendMessageRequest(user="alice", to="nobody", text="x"), "NOT_FOUND", "UNKNOWN_RECIPIENT", id="recipient"
        ),
        pytest.param(
            pb.SendMessageRequest(user="", to="bob", text="x"), "INVALID_ARGUMENT", "INVALID_NAME", id="sender"
        ),
        pytest.param(
            pb.SendMessageRequest(user="alice", to="alice", text="x" * 1_501),
            "INVALID_ARGUMENT",
            "INVALID_TEXT",
            id="text",
        ),
    ],
)
async def test_a_refused_send_has_a_code_and_rich_details(server: Any, request_: Any, code: str, reason: str) -> None:
    with pytest.raises(aio.AioRpcError) as failure:
        await server.stub().SendMessage(request_)
    assert failure.value.code() == getattr(grpc.StatusCode, code)
    info = error_info(failure.value)
    assert (info.domain, info.reason) == ("chatsvc", reason)


async def test_history_needs_an_account_and_makes_none(server: Any) -> None:
    stub = server.stub()
    with pytest.raises(aio.AioRpcError) as failure:
        await stub.GetHistory(pb.GetHistoryRequest(user="alice", peer="bob"))
    assert error_info(failure.value).reason == "UNKNOWN_ACCOUNT"
    assert not (await stub.ListAccounts(pb.ListAccountsRequest())).accounts


async def test_a_page_of_long_texts_fits_into_a_frame(server: Any) -> None:
    stub, alice = server.stub(), server.stream()
    await alice.login("alice", send_only=True)
    for _ in range(10):
        await alice.say("alice", *["\U0001f600" * 1_500] * 100)
        for _ in range(100):
            await alice.expect("sent")
    texts, before = 0, 0
    while True:
        page = await stub.GetHistory(pb.GetHistoryRequest(user="alice", peer="alice", limit=1_000, before=before))
        assert page.ByteSize() < 4 * 1024 * 1024
        texts += len(page.messages)
        before = page.messages[0].conversation_seq
        if not page.has_older:
            break
    assert texts == 1_000


async def test_history_with_a_deleted_account_stays_readable(server: Any) -> None:
    stub = server.stub()
    bob = server.stream()
    await bob.login("bob")
    await stub.SendMessage(pb.SendMessageRequest(user="alice", to="bob", text="from the first alice"))
    await stub.DeleteAccount(pb.DeleteAccountRequest(user="alice"))
    page = await stub.GetHistory(pb.GetHistoryRequest(user="bob", peer="alice"))
    assert [(message.text, message.sender_deleted) for message in page.messages] == [("from the first alice", True)]
    await stub.SendMessage(pb.SendMessageRequest(user="Alice", to="bob", text="from the second"))
    for user, peer in (("bob", "alice"), ("alice", "bob")):
        page = await stub.GetHistory(pb.GetHistoryRequest(user=user, peer=peer))
        assert [(message.text, message.sender_deleted) for message in page.messages] == [("from the second", False)]
