// Package gittest is a real Git server on loopback, for tests and for the demonstration.
//
// Server speaks smart HTTP through git http-backend behind net/http/cgi, with TLS, basic and bearer
// authentication, and client certificates where asked; SSHServer speaks SSH. Both serve Repos, for pushes
// too: bare repositories whose commits are made with the git program, with fixed author and dates and
// apart from the configuration of whoever runs it, so that equal changes give equal ids.
//
// Credentials and faults are changed while the server runs: a status, a connection cut in the middle
// of an answer, a server that is slow or never answers, a redirect, a port nobody listens on, a hook that
// refuses pushes. Every request is recorded with its bytes, which is how tests prove what an operation
// costs.
//
// The package does not import testing. It needs the git program.
package gittest
