"""Health, reflection and status of a real server."""

import time
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from chatsvc.v1 import replication_pb2
from chatsvc.v1.replication_pb2_grpc import ReplicationStub


async def test_health_says_that_chat_is_served(server: Any) -> None:
    stub = health_pb2_grpc.HealthStub(server.channel())
    for service in ("", "chatsvc.v1.Chat"):
        response = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert response.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_the_services(server: Any) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel())
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    async for response in call:
        names = {service.name for service in response.list_services_response.service}
        assert {"chatsvc.v1.Chat", "chatsvc.v1.Replication", "grpc.health.v1.Health"} <= names
        break
    call.cancel()


async def test_status_names_the_primary_and_counts_what_is_applied(server: Any) -> None:
    stub = ReplicationStub(server.channel())
    before = await stub.GetStatus(replication_pb2.GetStatusRequest())
    alice = server.stream()
    await alice.login("alice")
    after = await stub.GetStatus(replication_pb2.GetStatusRequest())
    assert after.primary == server.address
    assert after.self.role == replication_pb2.ROLE_PRIMARY
    assert after.self.in_sync
    assert len(after.cluster_id) == 16
    assert after.commit_index == after.self.applied_index == before.commit_index + 1
    assert after.sessions == 1
    assert 0 < before.cpu_us < after.cpu_us <= time.process_time() * 1_000_000  # the server is in this process
    assert after.self.state_hash != before.self.state_hash
