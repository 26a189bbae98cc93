// Bench measures Holdfast side by side with its references: make bench runs it, docs/benchmarks.md says
// what each workload does.
//
// The bench starts real bare control planes and a real Git server, runs the agent that was built as a
// process of its own, and, in the same run on the same data, the references, each as a process of
// its own too: this program executes itself with a hidden first argument ("ref" or "task"). Requests are
// counted, and the times of PATCHes taken, from the API server's audit log; memory and CPU from the
// kernel. Nothing here decides whether a test passes but the counts.
package main
