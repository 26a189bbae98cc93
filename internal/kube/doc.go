// Package kube reaches one cluster: it reads the connection settings, builds the clients once, and
// knows what the API server's answers mean.
//
// Clients are shared by everything in the agent, so that connections, the request limit and the
// user agent are one. While the server does API Priority and Fairness it decides how fast we may
// go and there is no limit on our side; it says so in every answer, which costs no request to find
// out. Only a server that does not is protected by a limit here.
//
// Mapper turns a kind into a resource. It asks for one group and version at a time, when it is
// first needed, and remembers a positive answer until Forget. So an aggregated API that is down is
// an error for its own kinds alone, and only the server's clear "there is no such kind" becomes a
// no-match error. Anything else is unknown, never absent.
//
// Explain turns an error of the API server into a sentence for an operator: what was refused, and
// what has to be done about it. It never repeats the values of a Secret.
package kube
