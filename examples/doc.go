// Package examples holds a fleet repository as a platform team would have it, in fleet-repo, which the
// demo and the tests use. The package itself has only tests: they hold that everything in it is plain
// kustomize, that its files decode, and that it says of itself what is so.
package examples
