"""Runs one server: drives its replica, applies what is committed, serves reads; the built-in engine.

Modules
    node        the engine: groups commands into entries, answers those who submitted them, follows the own role
    host        drives the replica: events in, saves, envelopes and probes out
    machine     the chat state: applies committed entries, keeps the stored tables up to date, tells subscribers
    opening     what a server is at its start
    report      its view of the cluster, for `status`
    codec       commands to log payloads and back
    links       envelopes between servers over gRPC, with `outbox`, `peer_calls`, `peer_channel` and `peer_codec`
    probes      fresh connects that tell a dead process from a silent one

An operation's way: `Node.submit` -> the queue -> one log entry with everything that waited -> saved and synced by
the log's thread here, and by every backup at the same time -> committed -> `Machine.apply` -> outcomes to those who
submitted, messages to subscribers. The stored tables follow later, off this way.
"""
