// Package statusbus carries what each cluster says about itself (status.Report) to the others, over Git.
//
// # What is in the repository
//
// Each cluster has a ref of its own, refs/holdfast/status/<cluster>. It points at one commit without
// parents whose tree holds status.json, so `git show refs/holdfast/status/us-east-1:status.json` shows the
// newest report, and the ref never grows a history. What a push replaces is garbage, which servers collect
// by themselves; a reader keeps nothing of it, since each fetch goes into a store that is removed at once.
//
// # Publishing
//
// Publisher pushes when something changed that others may wait for (Changed), a moment later and never
// twice within a few seconds, and otherwise on a slow heartbeat. The heartbeat is also what others tell by
// that the cluster is there. A report is made when it is about to be pushed, so that no old one is pushed
// after a failure, and what it promises is on record in the cluster before it is said (Record).
//
// # Reading
//
// Reader asks the server while something is asked of it (Ask), and for no more than that. A round is one
// list of refs, which costs nothing for refs that have not moved, and one fetch of those that have. A
// commit that cannot be fetched is found by halving, so that no cluster hides another.
//
// # What is believed
//
// Whoever may push to the repository can write any cluster's ref, unless the server has rules for that. So
// what is read is judged, and what does not pass is told (Seen.Problem) and otherwise ignored: the last
// report that passed stays. In this order:
//
//   - With an allowed-signers file, the commit must have a good SSH signature by a key that the file lists
//     for the cluster (see AllowedSigners). The file is part of the reader's own configuration and never
//     comes from Git. If it goes away while the reader runs, nothing more is read until it is back.
//   - status.json must be a plain file within the bounds of size, decode, and be the cluster's own.
//   - It must not be dated more than five minutes ahead of the reader's clock.
//   - It must not be dated before the last report that passed, nor more than five minutes before the reader
//     last saw the ref as something else: both would be a report of old, put there again.
//
// What a ref holds when it is read for the first time cannot be told from a report of old that was put there
// again, until the cluster's next heartbeat. So whoever may push matters with signatures too.
//
// # What is fresh
//
// Clocks of different machines prove little, so a cluster is fresh by the reader's own clock alone: Seen
// says after which moment the ref moved to the report that is believed. That is the last time that the ref
// was listed and was still another one. At first sight it is not known, a report that is no newer than the one
// before does not count as a move, and a ref that vanished proves nothing any more.
package statusbus
