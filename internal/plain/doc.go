// Package plain makes text that others wrote safe to show to a person. Names and messages come from files that
// anybody may propose: a line break in one could begin a heading of a comment or a command to a CI system, an
// escape code could rewrite the terminal, and a mark of direction could make a text read as another one.
package plain
