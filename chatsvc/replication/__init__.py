"""The replication core: one log, written by one primary, kept by every server that is in sync.

Pure: no I/O, no clock, no randomness of its own, nothing awaits. A host feeds it events and does what it
asks; commands are opaque bytes to it. Modules are named for the one idea they hold.

Glossary
========
directory       a server's data; its random `dir_id` is the only name the protocol knows a server by. A wiped
                disk is a new member. Addresses and names are labels.
boot            one process start of a directory; boots of a directory grow.
epoch           number of one reign: (counter, lot, dir_id). One directory may use it, once.
entry           one place in the log: index (from 1, no gaps), epoch, kind (OP, CONFIG), payload, chain hash.
CONFIG          an entry that says who is a member and who is in sync. In effect from the moment it is in a
                log. CONFIGs are ordered by (epoch, index).
in-sync set     whom a commit waits for, the primary included.
learner         a member that is not in sync.
known committed CONFIG   of one log: the last CONFIG at or below its commit index. Its *chain*: that one and
                every later one.
K               in an election: the newest CONFIG known committed.
reign           the time from one promotion to the end of that role.
durable, commit, applied   indexes: on the own disk; beyond loss; released to the host.
refused         a fresh connect, begun after the last message of that directory, was refused.
lease           a backup's knowledge that it has not been dropped; ends by itself.
latch           a lease of the suspected reign still ran when the suspicion began (degraded decisions only).
suspicion       a follower's state after its primary was refused, restarted, stepped down, or fell silent.
stall           the own process stood still.
anchor          a server without which nobody can have been elected behind the primary's back.

The idea
========
Every server of the in-sync set has an entry on disk before it is acknowledged. So any one of them can serve
alone, if it knows that it is one of them *now*, and that nobody else serves. Three things make it safe to go
on without somebody: a *refusal* (its machine says the process is gone), a *lease* (a primary does not drop a
server before T_evict after its last sign of life, so for the shorter L that server knows that it was not
dropped), and a *closed set* (everybody who could know better has answered). Silence alone never lets one
server act alone, unless isolated promotion is switched on.

Protocol
========
Names in [brackets] are switches in `rules.Rules`; tests take them away one at a time. Timers are in
`settings.Timers`. Invariants that cost little are asserted at run time.

1. Identities
  1.1 Every envelope names cluster, directory and boot of its sender. What an earlier boot sent is void once
      a later one was heard. Another cluster's envelopes are void; its Hello is rejected.
  1.2 Two processes of one directory [duplicate]: at one address the newer boot follows the older one (while
      that one acks, an answer from there has to prove it). At two addresses one is a copy: the one known first
      stays, whatever the boots, until it is found dead there, or a newer one appears and it is silent for
      T_suspect. Its Hello is answered DUPLICATE.
  1.3 What was meant for another directory, whose address this server has now, is void. A stream is named by
      a number that its follower's process draws and counts on from.
  1.4 An envelope from the own directory means a copied directory, or that a server was told to join itself.

2. What is durable
  2.1 Entries and truncation before the Ack that counts them [fsync].
  2.2 A promised epoch before a Vote, a grant, or the first Ack of a higher epoch leaves [dprom].
  2.3 The commit index with each save of a backup, and at once when it passes a CONFIG. Streaming entries
      before the own sync is safe: the primary counts itself only when its own save has ended.
  2.4 A small file outside the database says how far it had come. A database older than it was rolled back:
      that replica neither stands nor grants.
  2.5 Role, lease, latch, evidence and streams are forgotten at a restart. For T_start after it a process
      neither grants, nor stands, nor takes a lease: whoever is refused at every probe took part in nothing.

3. Append and commit
  3.1 Commit = the lowest durable index over the in-sync set of the newest CONFIG in the primary's log,
      itself included; not below that CONFIG [cover]; not while somebody may have been elected behind its
      back (5).
  3.2 A new primary first appends its own CONFIG; before that is committed nothing is committed, no client
      served, no lease given [ownconfig].
  3.3 Nothing is released to the host before it is committed.
  3.4 An Append follows `prev`; a follower takes it only without a gap and only from the stream it answers
      on. An Ack's durable index is what was matched on this stream *and* is on disk. What comes beyond a gap is
      kept, the gap reported and filled again.
  3.5 Entries too old for memory are read from the host's disk, for one follower one bounded batch at a time.

4. Evidence and clocks
  4.1 Any envelope or answered probe is a sign of life of that boot. A refusal counts only if its connect
      began after the last sign of life; another directory that answers at a member's address is a refusal
      of that member. In an election it must be younger than an RPC [fresh].
  4.2 A broken stream or an unanswered connect is no evidence; it starts probing.
  4.3 Silence is counted on the awake clock: each gap between two steps adds at most two heartbeats. Leases
      count real time, suspend included.
  4.4 Hung: the own primary, silent for T_suspect, whose kernel accepted at least five probes in a row,
      spread over T_stall, none answered by the process [hung].
  4.5 Stall: a gap of T_stall between two steps, tested before the event is looked at [stall]. A candidate
      gives up. A primary steps down if some lease holder, not known dead before it could suspect, has acked
      nothing sent within T_suspect. A suspecting backup restarts its waits, forgets its probes, and its
      latch unless its lease runs [latchawake].
  4.6 Another boot of a directory: its reign, stream and lease are over, but it is up, a voter, and not
      dropped for that.

5. The primary and its in-sync set
  5.1 Drop: whoever is refused, or has sent no Ack of this epoch for T_evict; all of them in one CONFIG.
  5.2 Behind its back [alone]: an election without this primary is possible if there are a *leader* (in sync
      in the newest CONFIG committed in this reign, last acked Append older than T_suspect, not refused
      before it could suspect) and a *companion* (another such server, or one of an uncommitted CONFIG
      [comp]; the dead count again once probes left them unobserved for longer than T_fresh). Then this
      primary commits nothing and drops nobody, unless an anchor stays.
  5.3 Anchor [anchor]: another server in every CONFIG from the newest committed one on, whose present process
      was heard before the leader could suspect, less an RPC [anchorboot]. To commit, it must have acked
      something sent within T_suspect: else it may have granted somebody since [anchorfresh].
  5.4 Isolated promotion on: after T_isolated of mere silence of every leader it goes on, degraded.
  5.5 Grow: one learner at a time, never in a CONFIG that drops, when its durable index has reached what the
      primary's log held when it sent the Append that was acked last (or T_suspect ago), it acked within 3
      heartbeats, is not refused, and answered at its advertised address [dialback]. After a drop for silence
      only after a time of steady acks that doubles [steady].
  5.6 Lag: a member whose durable index stands still behind the log for T_lag is frozen: it is sent
      in_sync = false [frozenlease], so its lease ends, and dropped T_evict later, or at once when it
      relinquishes [lag]. `Remove` goes the same way.
  5.7 A Hello that promises more deposes the primary if it comes from the in-sync set; from anybody else it is
      answered RENEW, and the primary stands again with a higher epoch once all its members have acked within
      T_suspect [renew].
  5.8 A newcomer at the address of a member that is not in sync replaces it. Learners unseen for long leave.
      Removed directories are answered REMOVED.
  5.9 A Hello with less than its directory acked in this reign is answered LOST_DATA [lostdata].

6. Lease and latch
  6.1 An Append with in_sync gives its receiver, up for T_start, a lease until L after it sent the Ack that
      the primary has seen [learnerlease]. in_sync is said only to servers in every CONFIG from the newest one
      committed in this reign on [always]; the first Append that says it leaves at once.
      Nor to a server whose address is another one than those CONFIGs say [dialback].
  6.2 A lease names its giver and epoch. It outlives the stream, a grant, a lost candidacy. It ends with the
      process, a Relinquish, the first commit of an own reign, and when its holder follows a newer primary
      that it did not grant.
  6.3 Suspicion starts with a refusal, another boot, StepDown, or T_suspect of silence; it ends when a primary
      is followed whose epoch is not below `promised`. Latched: a lease of that very reign [latchown] still
      ran then [lease].

7. Election
  7.1 Survey: whoever begins to suspect, or knows no primary, asks all members, the join list and addresses
      learned from answers; at once, or after a random moment where a survey, candidacy or grant of its own has
      just put the next one off. It ends when all voters have answered or are refused; when somebody could be
      elected and only the suspected primary, silent for T_suspect, is missing; else after an RPC. Who is asked
      about a suspected primary that it still follows probes that one first. An answer that names a living
      primary ends it: dial that one.
  7.2 K: the newest first element of any chain, or a later CONFIG that each of its own members reports
      [heldbyall] to have on disk [helddurable].
  7.3 Permission: see `permission`: closed [closed, union], leased [lease, solo, bypassfast, hung, regiven],
      pair [pair, pairall], degraded [degrants]. Candidates are in K [elig] and in the newest CONFIG of their own
      log [dropped].
  7.4 Choice: among those with permission whose log is not behind any answering member of K that counts, one
      of the most complete logs at random; it stands or is nominated.
  7.5 Stand: epoch = (highest counter seen + 1, random lot, self); not within T_start, nor if the own chain
      begins later than K.
  7.6 Grant: epoch above `promised`, no living primary, up for T_start, own chain begins not later than K, and
      the candidate's log not behind, unless self is not in K or left out by its own newest CONFIG. A repeated
      Vote is granted again only if it was granted [regrant]. For an RPC after a grant no own survey begins
      because the old primary is refused once more: the one who was granted has its time.
  7.7 Win: permission with the granters' standings at their grant. A denial by a member of K ends the
      candidacy; unanswered Votes are repeated every RPC, four times.
  7.8 Force: an operator may make a server primary outside the rules, where no primary is heard: above every
      epoch heard of, alone, marked `forced` in every CONFIG from then on. Who has committed more is not cut
      back by it; it says that it needs a snapshot.
  7.9 A server whose disk is full or was rolled back is silent in elections: it can keep no promise.

8. Fencing and reads
  8.1 Lower epochs are answered Fenced. An epoch is adopted from Append, Welcome and Announce only; to learn a
      higher one otherwise makes a primary step down, it is no grant.
  8.2 A read barrier is granted at once if every in-sync server acked something sent less than T_suspect ago,
      else after one round trip. A primary told of a higher epoch by a client releases nothing until such a
      round trip.

9. Rejoin
  9.1 Match point: for the highest epoch that both logs have, the lower of the two last indexes of that epoch.
      The first entry that follows is checked against the own chain hash there.
  9.2 What lies beyond is truncated and kept as orphans. A committed entry is never truncated.

Modules
=======
identity, entries, configs, envelopes, events, settings, rules    the vocabulary
replica                   one step: the parts in their order; what a replica plays
hearing, evidence         what comes in and what it proves (1, 4)
hosting, saving, releasing, reporting, log, founding    the host's side: disk, proposals, committed entries, words
following, lease          a follower (3.4, 6, 9)
reign, streams, membership, behind    a primary (3, 5, 8)
election, candidacy, permission, weighing    becoming one (7)

Contract with the host
======================
    replica = Replica(identity, hard_state, log_view, settings, draw)      # one a process start
    for event in events:
        replica.step(event, now_ms)
    ready = replica.take_ready()
    links.send(ready.envelopes)          # 1. at once; nothing here rests on a save that has not ended
    storage.save(ready.save)             # 2. in order; its end comes back as Saved(save_id)
    machine.apply(ready.committed)       # 3. in order of their index

- Several events may be stepped before one take_ready; Appends and Acks are then gathered. After take_ready
  all of Ready is the host's to do; nothing is asked twice.
- Envelopes that rest on a save are held by the replica until Saved. The host may send and save side by side.
- `now_ms` comes from a clock that runs on during suspend and never goes back. The host steps at least every
  T_stall / 3 (a Tick if nothing else), at `ready.wake_at`, and on every wake.
- `draw(n)` gives a random integer, 0 <= result < n.
- Probes are fresh TCP connects. Each result comes back as an event with the probe itself; a probe that hangs
  is reported as nothing. `ProbeAccepted` is reported at once, `ProbeAnswered` when the process has said who
  it is. A listening process answers a probe with its Identity, whatever its role.
- Saves are carried out in order, each in one transaction; Saved(n) says so of all up to n.
- `committed` begins after the commit index of HardState: what is below, the host applies itself at its start.
- A boot's number is on disk before the process starts its replica. The listener is open before and until the
  last step after `Leave`.
- `ready.results`, `ready.barriers` and `ready.forced` answer Propose, ReadBarrier and ForcePromote by token. An
  accepted proposal of a primary that has stepped down may or may not be committed later: its outcome is unknown.
  A host answers clients only while `role` is PRIMARY after the take_ready that it acts on.
- A stream is dialled anew for each Hello; the one before it is given up then.
- The host may drop, delay, duplicate and reorder envelopes; a stream should be kept in order for speed.
"""

from chatsvc.replication.configs import Config, Mode
from chatsvc.replication.entries import Entry, EntryKind
from chatsvc.replication.envelopes import Envelope
from chatsvc.replication.events import HardState, LogView, Ready, Role, Status
from chatsvc.replication.identity import Epoch, Identity, Member, boot_id
from chatsvc.replication.rules import ALL, Rules
from chatsvc.replication.settings import Settings, Timers

__all__ = [
    "ALL",
    "Config",
    "Entry",
    "EntryKind",
    "Envelope",
    "Epoch",
    "HardState",
    "Identity",
    "LogView",
    "Member",
    "Mode",
    "Ready",
    "Role",
    "Rules",
    "Settings",
    "Status",
    "Timers",
    "boot_id",
]
