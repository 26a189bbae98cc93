// Package overview puts a whole fleet before a person: what each cluster last reported, against what Git
// declares.
//
// New is a function of its arguments: the fleet at the head of the branch, the reports that were found on the
// status bus, how far the reported commits are behind, and the time. It makes a Row for every cluster that
// either side knows: one that Git declares and that never reported, and one that reports and that Git does not
// declare, are rows too, and say so. What is not known is never shown as well: the apps of a cluster that has
// fallen silent count as unknown, whatever its last report says.
//
// # Order
//
// Rows that need a person come first (Row.Attention), and both parts are sorted by name. So what is wrong is at
// the top of any screen, and in a view that is drawn again and again a row moves only when a person is needed, or
// no longer. What passes by itself (a cluster that is some commits behind, an app that is not Ready yet, a gate that
// holds) does not move a row.
//
// # Age
//
// One look at a repository cannot tell when a cluster was last heard of by anything but the report's own time. A
// clock that is ahead must not make a negative age of it. Who looks repeatedly knows more: a report that has been
// there for some time is at least as old as that, and one whose ref was seen to move is no older than the look
// before. The age is the report's own between these bounds, and a cluster is silent after three heartbeats
// (statusbus.FreshFor).
//
// # Printing
//
// Text prints a line that tells the whole story, the table, and below it what the cells have no room for:
// reasons, messages and problems, each once for all apps and clusters that share it. Reports and fleet files are
// written by others, so nothing of them that could steer a terminal is printed. JSON prints the reports as they
// are.
package overview
