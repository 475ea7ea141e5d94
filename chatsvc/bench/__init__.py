"""Measuring a cluster: pairs of people who chat as fast as they may, in processes of their own.

The command `chatsvc bench` puts this together; what is counted is what a program with the client library sees. An
acknowledgement counts when the server's answer has come, a delivery when the recipient has the very message that was
sent.

Modules: `histogram` (latencies: pure), `pair` (a sender, its recipient, and the accounts kept between them), `team`
(all pairs of one process), `orders` (what the processes tell each other), `worker` (a process of the generator),
`crew` (all of them, seen from the process that measures), `steady` (a load, measured), `failover` (faults, measured),
`results` (what came out), `plot`.
"""

SIZE_MIN = 10
"""Characters: a message begins with its number, in so many digits."""
