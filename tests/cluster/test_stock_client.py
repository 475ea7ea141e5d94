"""Any gRPC client finds and follows the primary by health checks alone."""

import json
from typing import Any

import pytest
from grpc import aio

from chatsvc.v1 import chat_pb2 as pb
from chatsvc.v1.chat_pb2_grpc import ChatStub
from tests.cluster.processes import Cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": "chatsvc.v1.Chat"},
}


async def test_a_stock_client_with_health_checks_follows_the_primary(cluster: Cluster) -> None:
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
        ("grpc.enable_http_proxy", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 500),
    ]
    async with aio.insecure_channel("ipv4:" + ",".join(cluster.addresses), options=options) as channel:
        chat = ChatStub(channel)
        request = pb.SendMessageRequest(user="alice", to="alice", text="hello")
        for expected_seq in range(1, 6):
            response = await chat.SendMessage(request, wait_for_ready=True, timeout=20)
            assert response.message.conversation_seq == expected_seq
        primary = await cluster.primary()
        cluster[primary].kill()
        assert await cluster.primary() != primary
        response = await chat.SendMessage(request, wait_for_ready=True, timeout=20)
        assert response.message.conversation_seq == 6
