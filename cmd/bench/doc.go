// Bench measures Holdfast side by side with its references: make bench runs it, docs/benchmarks.md says
// what each workload does.
//
// The bench starts real bare control planes and a real Git server, runs the agent that was built as a
// process of its own, and, in the same run on the same data, the references, each as a process of
// its own too: this program executes itself with a hidden first argument ("ref" or "task"). Requests are
// counted, and the times of PATCHes taken, from the API server's audit log; memory and CPU from the
// kernel. Nothing here decides whether a test passes but the counts.
//
// "bench scale" (make bench-fleet, docs/scale.md) is about many agents and one Git server instead. The agents
// are simulated in this process: what of a real agent talks to Git, and nothing of Kubernetes. The server is a
// process of its own, which counts requests and bytes, and whose CPU the kernel accounts with that of the git
// programs that it starts.
package main
