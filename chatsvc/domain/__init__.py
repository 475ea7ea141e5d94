"""The rules of chat: what each command does to the state, and nothing else.

`ChatState.apply(command, time_us)` is deterministic: no clock, no randomness, no I/O, no protobuf. Every server
that applies the same commands with the same times holds the same state and gives the same outcomes.

Words
    account       who a name stands for; its id is never used again, its name may be after its deletion.
    inbox         messages to an account, numbered by a dense `inbox_seq`. The *cursor* is the highest one
                  that was acknowledged: what is behind it is delivered.
    conversation  messages between two accounts (one and the same, for notes to oneself), numbered by a dense
                  `conversation_seq`.
    client        one program at work for an account, named by 16 random bytes that it chose. It outlives
                  connections and servers, and ends when it is retired.
    op id         (client id, op seq). A client counts its operations 1, 2, 3, ...; an op id is carried out once.
    head          highest op seq of a client that was carried out. Carrying out means: it took its number.
                  A refusal is an outcome like another and takes its number, too.
    hole          op seqs below the head that were never carried out here; see `Client.holes`.
    incarnation   number of a login among those that receive for an account. A higher one replaces the lower.

Modules: `commands` (what goes in), `errors` (refusals), `names` (which names and texts are allowed), `outcomes`
(what comes back), `state` (the rules).
"""
