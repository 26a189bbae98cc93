// Package status is what one cluster says about itself.
//
// The agent's loop keeps one [AppState] for each app. Everything that others see is derived from it:
//
//   - [Report], the JSON of GET /api/v1/status, for programs and for other clusters;
//   - [AppStatus], one cluster-scoped object for each app, for kubectl;
//   - Kubernetes Events about that AppStatus, for the moments in between.
//
// The derivations ([Conditions], [NewAppStatusStatus], [Compare], [Transitions]) are pure functions.
// The I/O around them is small: [Writer] keeps the AppStatus objects of the cluster equal to the
// states it was last given, [Recorder] sends the Events, and [EnsureCRD] creates the kind where it
// is missing. None of them ever blocks the loop.
//
// # When an AppStatus is written
//
// The cost of reporting follows the change. A commit that does not touch an app changes its adopted
// commit and the commit of its placement, but says nothing new about the app: such fields are
// recorded along with the next change and never cause one ([Compare]). A settled state (Ready, failed, held) is
// written at once, a transient one (an apply under way) only when it has lasted two seconds, so that
// a small commit costs one write, not two, and so does a new app. Counters and progress messages are gathered for five
// seconds. Corrections, if they are all there is to tell, come after everything else and four a second: whoever has
// changed a thousand objects at once is to find them corrected, not counted. No app is written more than once a second.
//
// A report costs the API server what the write of an object does. While the executor uses all that the server
// gives ([Load]), reports yield: a few a second, those that fail or are held first, transient ones hardly
// at all. Half a second later all are written, some at a time. Events are bounded too: see [Recorder].
//
// AppStatus is also where an agent that lost its data dir finds again what it had adopted and which
// contents have proven themselves here: see [Writer.Load].
//
// # Why AppStatus has no status subresource
//
// With the subresource, creating an object with a status takes two requests, and so does a change of
// a label together with the status. There is no spec for anybody else to write, so nothing is gained
// by keeping the two apart: one server-side apply writes the whole object. The price is that
// metadata.generation moves with every write, so the conditions carry no observedGeneration; kstatus
// does not need it.
package status
