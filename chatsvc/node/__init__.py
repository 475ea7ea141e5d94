"""Runs one server: its event loop work, its log and its chat state; the built-in engine.

Modules: `codec` (commands to log payloads and back), `machine` (the chat state: applies committed entries, keeps the
stored tables up to date, serves reads, tells subscribers), `node` (the engine: groups commands into entries, has
them saved, then applied).

An operation's way: `Node.submit` -> the queue -> one log entry with everything that waited -> saved and synced by
the log's thread -> committed -> `Machine.apply` -> outcomes to those who submitted, messages to subscribers. The
stored tables follow later, off this way.
"""
