// Package localcluster runs real Kubernetes control planes on the loopback
// address, without containers, for tests, the demo and benchmarks.
//
// A cluster is a handful of ordinary processes: etcd, kube-apiserver and, unless
// it is bare, kube-controller-manager, kube-scheduler and kwok, which plays
// the kubelets of a few nodes so that Deployments roll out and Pods become
// Ready. What these servers do to an object (defaulting, field ownership,
// admission, garbage collection, RBAC) is therefore what a production cluster
// does. What does not exist is the data plane: no container runs, no image is
// pulled, no Service routes.
//
// # The servers are built from Go modules
//
// The programs come from pinned versions in binaries/pinned.mod and
// binaries/pinned.sum, with which the Go checksum database vouches for every
// byte of source. Start builds them the first time into a cache folder that is named
// by the hash of these two files and the Go version; a file lock makes one process
// build while others wait. The files are embedded here under names other
// than go.mod and go.sum for a reason: a folder with a go.mod is another module,
// which go:embed cannot reach into, and requiring that module would drag all of
// k8s.io/kubernetes into the dependencies of whoever imports this package. This package
// itself needs only the standard library.
//
// # Nothing stays behind
//
// A test binary may panic, time out or be killed with SIGKILL at any moment, and
// no code of its own runs then. So each cluster has a sweeper: a small shell
// process, in a process group of its own, that waits on a pipe whose other end only
// the caller holds. When the caller ends, however it ends, the kernel closes the
// pipe; the sweeper kills the cluster's process group and removes its folder.
// Stop closes the pipe too, so that the path for crashes is the one that every test
// exercises. The parent-death signal of Linux was not chosen because it follows the
// thread that started the child, not the process, and Go's threads come and go;
// and because it does not remove files.
//
// # Ports and secrets
//
// Only the API server listens on a port, chosen by the kernel. The caller keeps
// the port bound (with SO_REUSEPORT, without listening) for as long as the cluster
// lives, so nothing else can take it, not even while the API server is stopped for
// a test. etcd listens on a socket file in the cluster's folder, which only its
// owner may enter. Each cluster has its own authorities and keys, made in memory
// at start.
package localcluster
