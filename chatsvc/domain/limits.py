"""How much of everything is allowed. What these bound is part of the replicated rules: all servers agree on it."""

NAME_CODE_POINTS_MAX = 32
TEXT_CODE_POINTS_MAX = 1_500
PATTERN_CODE_POINTS_MAX = 64

CLIENT_ID_BYTES = 16

WINDOW_OPS = 1_024
"""Most operations of one client without an answer; as many answers are kept for repeated operations."""

OP_SEQ_MAX = 2**62
"""No client counts so far, and what claims it would leave the range of stored and sent numbers."""
