"""How fast chatsvc is: `python -m benchmarks.compare`; see docs/performance.md.

- `http2`: a gRPC stream on a raw socket, the least that speaks the protocol.
- `dialects`: what is said on such a stream to chatsvc and to the prototype.
- `driver`: senders and recipients in processes of their own, what they count and measure.
- `prototype`, `prototype_messages`: a bare chat server, the least that a durable one can do.
- `compare`: runs chatsvc and the prototype by turns, and prints ratios.
"""
