//go:build !linux

package gittest

// holdPort leaves the port to chance: elsewhere a bound port would have clients wait, who are to be refused.
func holdPort() (addr string, release func() error, err error) {
	return "127.0.0.1:0", func() error { return nil }, nil
}
