// Package tree is the read-only view of a fleet repository's files that the other packages share.
//
// A commit of the fleet repository (gitsource.Snapshot) and a working directory (Dir) are both a
// Tree. Reading through this one small interface keeps fleet and render pure: they see files and
// their Git object hashes, and neither a work tree, a network nor a clock. Compare tells where two commits
// differ by looking only into folders whose hashes do.
package tree
