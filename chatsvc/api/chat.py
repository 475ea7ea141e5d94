"""Service Chat."""

import asyncio
import secrets
from typing import Any

import grpc
from grpc import aio

from chatsvc.api import reads
from chatsvc.api.events import fill_message
from chatsvc.api.session import Session, SessionSettings
from chatsvc.api.status import abort
from chatsvc.domain.commands import DeleteAccount, OpenSession, RetireClient, Sends
from chatsvc.domain.errors import ChatError, Refusal, TooManySessions
from chatsvc.domain.limits import CLIENT_ID_BYTES
from chatsvc.domain.names import check_name, check_text
from chatsvc.domain.outcomes import AccountGone, Outcome, SendsDone
from chatsvc.engine import Engine
from chatsvc.v1 import chat_pb2 as pb

SERVICE = "chatsvc.v1.Chat"

LOGINS_AT_ONCE = 64
"""Most logins in work. After a failover everybody comes at the same moment, and what is decided together is answered
together: thousands of answers in one turn of the event loop would keep the servers waiting for each other, until they
take the primary for dead."""

GOODBYES_AT_ONCE = 64
"""How many sessions are ended in one turn of the event loop, for the same reason."""

Context = aio.ServicerContext[Any, Any]


class ChatService:
    """The rpcs of service Chat over an engine.

    Args:
        engine: what carries out operations.
        settings: of each session.
        sessions_max: most streams at once.
    """

    def __init__(self, engine: Engine, settings: SessionSettings, sessions_max: int) -> None:
        self._engine, self._settings, self._sessions_max = engine, settings, sessions_max
        self._sessions: set[Session] = set()
        self._session_of: dict[bytes, Session] = {}  # by client id, logged in
        self._session_ended = asyncio.Event()
        self._logins = asyncio.Semaphore(LOGINS_AT_ONCE)
        self._goodbye: asyncio.Task[None] | None = None
        self._check: asyncio.TimerHandle | None = None

    @property
    def sessions(self) -> int:
        """Streams open now."""
        return len(self._sessions)

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server serves.

        Frames of a session stay bytes here: the session itself parses them, so that a malformed one is answered
        and does not end the stream.
        """
        unary = grpc.unary_unary_rpc_method_handler
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Session": grpc.stream_stream_rpc_method_handler(self.session),
                "SendMessage": unary(
                    self.send_message, pb.SendMessageRequest.FromString, pb.SendMessageResponse.SerializeToString
                ),
                "ListAccounts": unary(
                    self.list_accounts, pb.ListAccountsRequest.FromString, pb.ListAccountsResponse.SerializeToString
                ),
                "GetHistory": unary(
                    self.get_history, pb.GetHistoryRequest.FromString, pb.GetHistoryResponse.SerializeToString
                ),
                "DeleteAccount": unary(
                    self.delete_account, pb.DeleteAccountRequest.FromString, pb.DeleteAccountResponse.SerializeToString
                ),
            },
        )

    def start(self) -> None:
        """Begin to look after the sessions."""
        loop = asyncio.get_running_loop()
        self._check = loop.call_later(self._settings.slow_consumer_s / 4, self._check_reading)

    def stop(self) -> None:
        """Look after the sessions no more."""
        if self._check is not None:
            self._check.cancel()

    def _check_reading(self) -> None:
        now = asyncio.get_running_loop().time()
        for session in list(self._sessions):
            session.check_reading(now)
        self.start()

    def say_goodbye(self, message: str) -> None:
        """End every session that there is now, soon; its client may log in again, here or elsewhere."""
        self._goodbye = asyncio.ensure_future(self._say_goodbye(list(self._sessions), message))

    @staticmethod
    async def _say_goodbye(sessions: list[Session], message: str) -> None:
        for place, session in enumerate(sessions, start=1):
            session.end(pb.LOGOUT_REASON_SERVER_LEAVING, message)
            if place % GOODBYES_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def all_gone(self) -> None:
        """Wait until there are no sessions."""
        while self._sessions:
            self._session_ended.clear()
            await self._session_ended.wait()

    # ---- rpcs

    async def session(self, request_iterator: object, context: Context) -> None:
        """`Chat.Session`."""
        try:
            self._engine.check_serving()
        except ChatError as error:
            await abort(context, error)
        if len(self._sessions) >= self._sessions_max:
            limit = self._sessions_max
            await abort(context, TooManySessions(f"the server has as many sessions as it may ({limit:,})", limit=limit))
        session = Session(self._engine, context, self._settings, self._logins, self._logged_in)
        self._sessions.add(session)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)
            self._session_ended.set()
            if self._session_of.get(session.client_id) is session:
                del self._session_of[session.client_id]

    def _logged_in(self, session: Session) -> None:
        older = self._session_of.get(session.client_id)
        if older is not None:
            older.replaced()
        self._session_of[session.client_id] = session

    async def send_message(self, request: pb.SendMessageRequest, context: Context) -> pb.SendMessageResponse:
        """`Chat.SendMessage`: login, send and end of a client in one go."""
        try:
            if refusal := check_name(request.user) or check_name(request.to) or check_text(request.text):
                raise refusal.error()
            client_id = secrets.token_bytes(CLIENT_ID_BYTES)
            done = await self._execute(
                OpenSession(request.user, client_id, False, True, 0, 1),
                Sends(client_id, 1, 0, False, [(request.to, request.text)]),
                RetireClient(client_id),
            )
            sends = done[1]
            assert isinstance(sends, SendsDone)
            if sends.refusals:
                raise sends.refusals[0].error()
        except ChatError as error:
            await abort(context, error)
        (message,) = sends.messages
        response = pb.SendMessageResponse(recipient_online=self._engine.is_online(message.recipient_id))
        fill_message(response.message, message)
        return response

    async def list_accounts(self, request: pb.ListAccountsRequest, context: Context) -> pb.ListAccountsResponse:
        """`Chat.ListAccounts`."""
        try:
            page = await reads.accounts(self._engine, request.pattern, request.page_size, request.page_token)
        except ChatError as error:
            await abort(context, error)
        return pb.ListAccountsResponse(accounts=page.accounts, next_page_token=page.next_page_token)

    async def get_history(self, request: pb.GetHistoryRequest, context: Context) -> pb.GetHistoryResponse:
        """`Chat.GetHistory`."""
        try:
            part = await reads.conversation(self._engine, request.user, request.peer, request.limit, request.before)
        except ChatError as error:
            await abort(context, error)
        return pb.GetHistoryResponse(peer=part.peer, messages=part.messages, has_older=part.has_older)

    async def delete_account(self, request: pb.DeleteAccountRequest, context: Context) -> pb.DeleteAccountResponse:
        """`Chat.DeleteAccount`."""
        try:
            if refusal := check_name(request.user):
                raise refusal.error()
            client_id = secrets.token_bytes(CLIENT_ID_BYTES)
            done = await self._execute(
                OpenSession(request.user, client_id, False, False, 0, 1),
                DeleteAccount(client_id, 1),
                RetireClient(client_id),
            )
        except ChatError as error:
            await abort(context, error)
        gone = done[1]
        assert isinstance(gone, AccountGone)
        return pb.DeleteAccountResponse(user=gone.user)

    async def _execute(self, *commands: OpenSession | Sends | DeleteAccount | RetireClient) -> list[Outcome]:
        """Outcomes of the commands.

        Raises:
            ChatError: the first refusal among them.
        """
        outcomes = await self._engine.execute(*commands)
        for outcome in outcomes:
            if isinstance(outcome, Refusal):
                raise outcome.error()
        return outcomes
