package localcluster

// soReusePort is missing from package syscall on most of Linux's architectures, on which
// it has this value.
const soReusePort = 0xf
