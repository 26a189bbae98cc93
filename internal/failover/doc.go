// Package failover edits the drains of a fleet.yaml and says what such an edit moves.
//
// Everything here is a function of its arguments; the command reads and writes the files.
//
// Change.Apply edits text, not a tree: a YAML library that writes a file anew loses blank lines,
// indentation and some of the comments, and a person in a hurry has to review what is left. So the file
// is parsed only to find out where things stand, and the entry is spliced into or out of the text; every
// other byte stays. The result is decoded again, and must say exactly what was intended. Where it does
// not, or where the layout is one that is not handled (an alias, for one), Apply returns a *LayoutError
// that says what to write by hand, and where. It never guesses.
//
// NewPlan compares where every app is placed by the fleet before the edit and by the one after it. It
// decides nothing: both placements are those that every agent computes.
package failover
