package render

import (
	"bytes"
	"errors"

	"go.yaml.in/yaml/v3"
)

// maxNodes is how many YAML nodes a document with aliases may have once they are expanded.
const maxNodes = 1_000_000

var (
	errAliasBomb  = errors.New("YAML aliases expand to too much")
	errAliasCycle = errors.New("a YAML anchor contains itself")
)

// checkAliases refuses YAML whose aliases expand beyond all measure or contain themselves. The YAML
// library guards its own decoding; kustomize copies what an alias stands for without any guard, and
// would use up all memory or overflow the stack. A kustomization may hold YAML in its strings
// (inline patches), so strings that hold anchors are looked at too. Text that is not YAML passes.
func checkAliases(b []byte) error {
	if bytes.IndexByte(b, '&') < 0 || bytes.IndexByte(b, '*') < 0 {
		return nil
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	for {
		var n yaml.Node
		if err := d.Decode(&n); err != nil {
			return nil //nolint:nilerr // the end, or not YAML: whoever parses it says so
		}
		c := counter{sizes: map[*yaml.Node]int{}}
		total, err := c.size(&n)
		if err != nil {
			return err
		}
		if c.aliases && total > maxNodes {
			return errAliasBomb
		}
	}
}

// counter counts the nodes of a document as if its aliases were expanded, each node once.
type counter struct {
	sizes   map[*yaml.Node]int // -1 while a node is being counted
	aliases bool
}

func (c *counter) size(n *yaml.Node) (int, error) {
	if s, ok := c.sizes[n]; ok {
		if s < 0 {
			return 0, errAliasCycle
		}
		return s, nil
	}
	c.sizes[n] = -1
	total := 1
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		c.aliases = true
		s, err := c.size(n.Alias)
		if err != nil {
			return 0, err
		}
		total += s
	}
	if n.Kind == yaml.ScalarNode && n.Style&(yaml.LiteralStyle|yaml.FoldedStyle|yaml.DoubleQuotedStyle) != 0 {
		if err := checkAliases([]byte(n.Value)); err != nil {
			return 0, err
		}
	}
	for _, child := range n.Content {
		s, err := c.size(child)
		if err != nil {
			return 0, err
		}
		if total += s; c.aliases && total > maxNodes {
			return 0, errAliasBomb
		}
	}
	c.sizes[n] = total
	return total, nil
}
