// Package apply brings the cluster to the desired state and is the only package that writes
// workloads to it.
//
// The heart is Engine, a state machine without any I/O: it is told what is desired (SetDesired), what
// is live (Observe, Synced) and how each request ended (Done), and answers with what may be done now
// (Next). Applying a commit, healing drift, retrying a failure and pruning are one mechanism: an
// object that is not as it should be, and whose own gates are open, becomes a Task. There are no
// phases, so one object that fails, or never becomes healthy, keeps nobody waiting but those that
// depend on it, and a newer commit simply replaces what is desired.
//
// The Engine's work follows the change. SetDesired compares what each app declares with what it declared
// before (an app that comes in the same slice costs a comparison of pointers), finds the entries for which
// something may be different (their own wish, their app's policy, a Namespace, a CustomResourceDefinition
// or a depends-on target that came or went, an id that several apps declare) and settles those again; what
// waits to be pruned is always looked at. Next decides only about entries that something was heard of.
//
// Executor does the I/O of one Task: the server-side apply, the adoption of what somebody else made,
// the deletion with the UID as a precondition. It decides nothing that Engine could decide.
//
// What was applied is kept in the inventory: ConfigMaps in the agent's namespace that hold, for every
// object, a Record (hashes, not contents). An id is recorded before the first write of that object and
// leaves only after its deletion is confirmed, so a crash at any point leaves no object unowned. The
// Engine hands out records to be saved (Unsaved) and keeps an object back until its id is safe (Saved).
//
// An object is compared by hashes. Its desired hash tells whether Git changed it since the last apply;
// its fingerprint (package owned) tells whether somebody changed live a field that we own.
package apply
