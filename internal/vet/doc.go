// Package vet finds what is wrong with a fleet repository before it is merged: without a cluster, a network or
// credentials, from one commit or one directory.
//
// Run goes from the whole to the part:
//
//   - the fleet files: what does not decode, and what decodes and does nothing (a drain that no cluster matches, an
//     overlay that nobody uses, a permit that has run out);
//   - where apps go: nowhere, on too few clusters, to a cluster where what they depend on is not;
//   - what they are built of: every overlay is built for every cluster where the app could ever run;
//   - the objects: each is judged as the API server would judge it (package manifest), by Kubernetes' schemas and by
//     the CustomResourceDefinitions in the repository;
//   - the objects together: two apps that own one, and objects that wait for each other.
//
// # Every cluster where the app could run
//
// Apps are built as if nothing were drained and no app kept to a number of clusters. A cluster takes over when another
// one has failed; that an overlay does not build there has to be known before. What depends on who is beside whom (two
// owners of one object, dependencies) is judged by today's placement and by the one after all drains have ended.
//
// What clusters have in common is built and judged once, so that the cost is that of the different overlays and objects.
// What is said of several clusters in the same words is one Finding.
//
// # Unknown is not absent
//
// Where a file cannot be read, nothing is said that could follow from that: with a broken cluster.yaml no selector is
// called empty, with an overlay that does not build no object is called missing.
//
// # Lines
//
// kustomize forgets where a field came from. So the line of a field is looked for (source.go) in the files that the
// overlay is built from: in manifests and patches of the object's kind and name, where the field has the object's
// value. If that leads nowhere, the finding is at the nearest field around it, at the object, or at the kustomization.
package vet
