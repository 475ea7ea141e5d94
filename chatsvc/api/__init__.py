"""The gRPC services: each call is parsed, handed to the engine, and its outcome rendered.

Modules: `chat` (service Chat), `session` (one stream of it), `replication` (service Replication), `events` (outcomes
to protobuf), `status` (refusals to gRPC statuses), `server` (health, reflection and the options of the port).
"""
