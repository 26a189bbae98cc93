// Package live knows what a live object says about our part in it: it reduces the object to the few
// values that decisions need, tells whether somebody changed what we declared, and who, and builds what to
// send so that others keep what is theirs. Everything in it is a function of its arguments.
//
// # Fingerprint
//
// Every write of a field of ours by anybody else takes that field away from our managedFields entry.
// So a hash of the fields that the entry lists, taken from the answer to our apply, stands for "as
// we left it": an observation with another hash is drift. No second read is needed, no schema, and no
// knowledge of defaults. Three changes leave the entry as it is: another order inside a keyed list
// (env), a value put into an empty map of ours (emptyDir: {}), and an admission webhook that rewrites
// our field during somebody else's write. So for kinds that are watched whole the fingerprint has a
// second half, a hash of the live values at the fields of the entry, and of the order of our
// items in keyed lists.
//
// Field sets mean the same whichever version an object is read in, values do not. The second half is
// therefore there only when the object was read in the version that we last applied it in. Compare
// fingerprints with Same, which leaves out a half that one of them lacks.
//
// # Ignored fields
//
// spec.drift.ignore names fields by JSON pointer. They do not count in the fingerprint, and Body
// builds an apply that leaves them as they are live. A field that another manager owns is left out of
// the apply. A field that only we own cannot be left out, since the server removes what an applier
// no longer sends (a Deployment without replicas has one), so its live value is sent, until another
// manager takes it. The same serves a manifest that stops declaring replicas because an HPA takes
// over (see Implied): the first apply sends the number that is live and we go on owning it; the HPA's
// first change takes it from us, which does not count as drift since the field is ignored; from the
// next apply on it is left out. At no time is it 1. Where nothing else is ignored and our last view says that the
// replicas are not ours (View.OwnsReplicas), the manifest can be sent as it is, without reading the object first.
//
// A position in a list can be ignored only where the whole object is known: webhook configurations are watched whole
// for that reason, the other kinds of MetadataOnly have no lists that others write into item by item.
//
// # Taking over
//
// A field that a server-side apply does not mention stays if somebody else owns it. To have such a
// field removed, Takeover writes managedFields so that it is ours, and the next apply, which does not
// send it, removes it. That is how objects of client-side kubectl, Helm, Flux and Argo are adopted, how Strict
// mode removes what people added, and how a value inside an empty map of ours goes away.
package live
