// Package spell proposes what was probably meant by a name that nobody knows: a field of a file, a
// flag, a command, a cluster.
package spell
