// Package gitsource follows one branch of one repository and hands out its commits as read-only trees.
//
// A Source owns a data dir with a bare repository and state.json. A poll asks the server for the
// branch's commit and stops there when it is the one already known. With protocol version 2 that is one
// small request, whatever other refs there are: what the server speaks is remembered until an answer
// puts it in doubt (Remote). A server that only speaks an older version sends the list of all its refs. A
// new commit is fetched without a depth, so that only it and its objects travel and its ancestry can be
// checked; the first clone has depth 1. Only a verified commit becomes the head: it must be readable, hold the
// fleet's directory, and descend from the last verified commit and from the one that the cluster has
// recorded (SetBase). A branch that was rewritten is refused until its own fleet.yaml acknowledges it.
//
// Rendering reads through Snapshot, which implements tree.Tree from the object store; nothing is ever
// checked out. Objects are checked against their ids when they are read. Symbolic links resolve inside
// the fleet's directory or fail by name.
//
// Whatever goes wrong leaves the last verified commit in place and is tried again: with exponential
// backoff and jitter after a failure, at once when the credentials change. A store that is damaged, has
// grown too large, or that a server cannot extend (a fetch that fails on the protocol) is replaced by a
// fresh clone beside it; the new one takes over only when it is complete and verified, and snapshots of
// the old one stay readable until they are gone. The clone is a shallow one where nothing needs the
// ancestry, otherwise of the whole branch.
//
// Beside the Source there is Remote, for what is not about the branch: the refs that begin alike
// (ListRefs), some commits for a moment, within a bound of bytes and without history (FetchTips), and a ref
// that is made to point at a commit without parents, whatever it was (Push). Over HTTP a push sends the
// command and the pack in one request: the discovery before it would be the list of all the server's refs.
//
// How far others are behind the head (Source.Lags) is counted without a history in the data dir: the server is asked
// for the commits since the one in question, without files where it can leave them out.
//
// Every error says what it was about (Kind) and what to do, and holds no credentials.
package gitsource
