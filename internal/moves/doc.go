// Package moves says what a change of the fleet's files moves: which apps leave which clusters and start or
// rise on which others, with how many replicas, and what each waits for before it goes.
//
// It decides nothing. Both placements are fleet.Place's, which every agent computes, and what is waited for
// follows from the app's failover gate as package gate has it; a test of package preview holds the two
// together. The command failover tells the plan of a drain with it, the preview of a pull request what any
// commit moves.
package moves
