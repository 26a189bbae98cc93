package failover

import (
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-dev/holdfast/internal/fleet"
)

// file is the text of a fleet.yaml and where things stand in it.
type file struct {
	text   string
	starts []int // of each line, as an offset into text
	root   *yaml.Node

	// The keys and values on the way to the drains; nil where there are none.
	specKey, spec   *yaml.Node
	drainKey, drain *yaml.Node
}

// byteOrderMark may begin a file. The parser does not count it.
const byteOrderMark = "\ufeff"

// parse finds out where things stand in a file that decodes.
func parse(content []byte) (*file, error) {
	f := &file{text: string(content), starts: []int{0}}
	if !utf8.ValidString(f.text) {
		return nil, &LayoutError{Why: "is not UTF-8"}
	}
	for i := range len(f.text) {
		if f.text[i] == '\n' {
			f.starts = append(f.starts, i+1)
		}
	}
	// To YAML these end a line too, and then the parser's lines would not be ours.
	odd := strings.ReplaceAll(f.text, "\r\n", "\n")
	if i := strings.IndexAny(odd, "\r\u0085\u2028\u2029"); i >= 0 {
		return nil, &LayoutError{Line: strings.Count(odd[:i], "\n") + 1, Why: "holds a line break that is neither LF nor CRLF"}
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil || doc.Kind != yaml.DocumentNode || doc.Content[0].Kind != yaml.MappingNode {
		return nil, &LayoutError{Why: "is not a plain YAML mapping"}
	}
	f.root = doc.Content[0]
	if f.specKey, f.spec = lookup(f.root, "spec"); f.spec != nil {
		f.drainKey, f.drain = lookup(f.spec, "drain")
	}
	return f, nil
}

// lookup finds a key and its value in a mapping.
func lookup(n *yaml.Node, name string) (key, value *yaml.Node) {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

// add puts an entry behind the last one.
func (f *file) add(d fleet.Drain) (string, error) {
	switch {
	case f.drain != nil:
		return f.addTo(f.drain, d)
	case f.spec == nil:
		return f.addSpec(d)
	case f.spec.Kind == yaml.MappingNode && !flow(f.spec):
		indent := f.indent(f.spec.Content[0])
		return f.insertBelow(f.line(f.specKey), f.drainText(indent, d, f.eolAt(f.line(f.specKey)))), nil
	case f.spec.Kind == yaml.MappingNode:
		open, err := f.at(f.spec, "{")
		if err != nil {
			return "", err
		}
		text := "drain: [" + flowText(d) + "]"
		if len(f.spec.Content) > 0 {
			text += ", "
		}
		return f.splice(open+1, open+1, text), nil
	case empty(f.spec) && !flow(f.root):
		indent := f.indent(f.specKey) + strings.Repeat(" ", f.mappingStep())
		return f.insertBelow(f.line(f.specKey), f.drainText(indent, d, f.eolAt(f.line(f.specKey)))), nil
	case null(f.spec):
		return f.replace(f.spec, "{drain: ["+flowText(d)+"]}")
	default:
		return "", f.refuse(f.spec, "spec is written in a way that is not edited")
	}
}

// addTo puts an entry into what stands behind the key drain.
func (f *file) addTo(drain *yaml.Node, d fleet.Drain) (string, error) {
	switch {
	case drain.Kind == yaml.SequenceNode && flow(drain):
		return f.addFlow(drain, d)
	case drain.Kind == yaml.SequenceNode:
		last, err := f.entry(len(drain.Content) - 1)
		if err != nil {
			return "", err
		}
		return f.insertBelow(last.end, blockText(d, strings.Repeat(" ", last.indent), f.eolAt(last.end))), nil
	case empty(drain) && !flow(f.spec):
		indent := f.indent(f.drainKey) + strings.Repeat(" ", f.sequenceStep())
		return f.insertBelow(f.line(f.drainKey), blockText(d, indent, f.eolAt(f.line(f.drainKey)))), nil
	case null(drain):
		return f.replace(drain, "["+flowText(d)+"]")
	case drain.Kind == yaml.AliasNode:
		return "", f.refuse(drain, "the drains are an alias of something else in the file")
	default:
		return "", f.refuse(drain, "the drains are written in a way that is not edited")
	}
}

// addSpec puts spec behind everything else.
func (f *file) addSpec(d fleet.Drain) (string, error) {
	if flow(f.root) {
		return "", f.refuse(f.root, "the file has no spec and is written within brackets")
	}
	below := f.lastLine(f.root)
	for line := below + 1; line < len(f.starts) && !strings.HasPrefix(f.lineText(line), "---") && !strings.HasPrefix(f.lineText(line), "..."); line++ {
		if !blank(f.lineText(line)) {
			below = line
		}
	}
	eol, indent := f.eolAt(below), f.indent(f.root.Content[0])
	return f.insertBelow(below, indent+"spec:"+eol+f.drainText(indent+strings.Repeat(" ", f.mappingStep()), d, eol)), nil
}

// addFlow puts an entry into [...].
func (f *file) addFlow(drain *yaml.Node, d fleet.Drain) (string, error) {
	open, err := f.at(drain, "[")
	if err != nil {
		return "", err
	}
	last, end, ok := flowEnd(f.text, open)
	if !ok {
		return "", f.refuse(drain, "the end of the drains is not found")
	}
	text := flowText(d)
	if len(drain.Content) == 0 {
		if strings.Trim(f.text[open+1:end], " ") == "" {
			return f.splice(open+1, end, text), nil
		}
		return f.splice(open+1, open+1, text), nil
	}
	comma := f.text[last-1] == ','
	before, after := ",", ""
	if comma {
		before, after = "", ","
	}
	line := f.line(drain.Content[len(drain.Content)-1])
	indent := f.lineText(line)[:indentation(f.lineText(line))]
	switch lastLine := f.lineOf(last - 1); {
	case !strings.HasPrefix(f.lineText(line)[len(indent):], "{"):
		return f.splice(last, last, before+" "+text), nil
	case f.lineOf(end) == lastLine:
		return f.splice(last, last, before+f.eolAt(line)+indent+text), nil
	default:
		// A comment behind the last entry stays behind it.
		rest := f.text[last:f.starts[lastLine+1]]
		return f.splice(last, f.starts[lastLine+1], before+rest+indent+text+after+f.eolAt(lastLine)), nil
	}
}

// force makes an entry say force: true.
func (f *file) force(i int) (string, error) {
	n := f.drain
	if n == nil || n.Kind != yaml.SequenceNode || n.Content[i].Kind != yaml.MappingNode {
		return "", f.refuse(f.drainKey, "the drains are written in a way that is not edited")
	}
	n = n.Content[i]
	if _, value := lookup(n, "force"); value != nil {
		return f.replace(value, "true")
	}
	if flow(n) {
		open, err := f.at(n, "{")
		if err != nil {
			return "", err
		}
		last, _, ok := flowEnd(f.text, open)
		if !ok {
			return "", f.refuse(n, "the end of the drain is not found")
		}
		text := ", force: true"
		if f.text[last-1] == ',' {
			text = " force: true"
		}
		return f.splice(last, last, text), nil
	}
	entry, err := f.entry(i)
	if err != nil {
		return "", err
	}
	return f.insertBelow(entry.end, f.indent(n.Content[0])+"force: true"+f.eolAt(entry.end)), nil
}

// remove takes an entry out, with the comments that belong to it.
func (f *file) remove(i int) (string, error) {
	if f.drain == nil || f.drain.Kind != yaml.SequenceNode {
		return "", f.refuse(f.drainKey, "the drains are written in a way that is not edited")
	}
	if flow(f.drain) {
		return f.removeFlow(i)
	}
	entry, err := f.entry(i)
	if err != nil {
		return "", err
	}
	from := f.commentsAbove(entry.dash, f.line(f.drainKey), entry.indent)
	if i > 0 {
		before, err := f.entry(i - 1)
		if err != nil {
			return "", err
		}
		from = f.commentsAbove(entry.dash, before.end, entry.indent)
	}
	text := f.removeLines(from, entry.end)
	if len(f.drain.Content) > 1 {
		return text, nil
	}
	key, err := f.offset(f.drainKey)
	if err != nil {
		return "", err
	}
	colon := strings.IndexByte(f.text[key:], ':')
	if colon < 0 || key+colon >= f.starts[from] {
		return "", f.refuse(f.drainKey, "the key is written in a way that is not edited")
	}
	return text[:key+colon+1] + " []" + text[key+colon+1:], nil
}

// removeFlow takes an entry out of [...].
func (f *file) removeFlow(i int) (string, error) {
	entries := f.drain.Content
	start, end, err := f.braces(entries[i])
	if err != nil {
		return "", err
	}
	open, err := f.at(f.drain, "[")
	if err != nil {
		return "", err
	}
	last, _, ok := flowEnd(f.text, open)
	if !ok {
		return "", f.refuse(f.drain, "the end of the drains is not found")
	}
	first, final := f.lineOf(start), f.lineOf(end-1)
	behind := ""
	if final+1 < len(f.starts) {
		behind = strings.TrimLeft(strings.TrimPrefix(strings.TrimLeft(f.text[end:f.starts[final+1]], " \t"), ","), " \t\r\n")
	}
	previous := 0
	if i > 0 {
		if _, previous, err = f.braces(entries[i-1]); err != nil {
			return "", err
		}
	}
	var from, to int
	switch {
	case blank(f.text[f.starts[first]:start]) && final+1 < len(f.starts) && (behind == "" || behind[0] == '#'):
		// It has its lines for itself.
		above := f.lineOf(max(open, previous-1))
		from, to = f.starts[f.commentsAbove(first, above, start-f.starts[first])], f.starts[final+1]
		if i > 0 && i == len(entries)-1 && f.text[last-1] != ',' {
			// It was the last, without a comma behind it: so is now the one before.
			comma := strings.IndexByte(f.text[previous:from], ',')
			if comma >= 0 && blank(f.text[previous:previous+comma]) {
				return f.text[:previous] + f.text[previous+comma+1:from] + f.text[to:], nil
			}
		}
		return f.splice(from, to, ""), nil
	case i+1 < len(entries):
		next, err := f.offset(entries[i+1])
		if err != nil {
			return "", err
		}
		from, to = start, next
	case i > 0:
		from, to = previous, end
	default:
		from, to = start, last
	}
	if strings.Contains(f.text[from:start]+f.text[end:max(end, to)], "#") {
		return "", f.refuse(entries[i], "there is a comment between the drains of one line")
	}
	return f.splice(from, to, ""), nil
}

// lines are those of one entry of a list with dashes.
type lines struct {
	dash   int // the line of its dash
	end    int // its last line
	indent int // of the dash
}

// entry finds the lines of an entry of a list with dashes. What follows it and is indented deeper than
// its dash belongs to it: the rest of a scalar of several lines, or a comment.
func (f *file) entry(i int) (lines, error) {
	n := f.drain.Content[i]
	if n.Kind == yaml.AliasNode {
		return lines{}, f.refuse(n, "the drain is an alias of something else in the file")
	}
	dash := f.line(n)
	for {
		text := strings.TrimLeft(f.lineText(dash), " ")
		if strings.TrimRight(text, "\r\n") == "-" || strings.HasPrefix(text, "- ") {
			break
		}
		if dash--; dash <= f.line(f.drainKey) {
			return lines{}, f.refuse(n, "the dash of the drain is not found")
		}
	}
	found := lines{dash: dash, end: f.lastLine(n), indent: indentation(f.lineText(dash))}
	for line := found.end + 1; line < len(f.starts); line++ {
		switch text := f.lineText(line); {
		case blank(text):
		case indentation(text) > found.indent:
			found.end = line
		default:
			return found, nil
		}
	}
	return found, nil
}

// commentsAbove returns the first line of the comment that stands directly above a line, below another
// one, at that indentation; without one, the line itself. Entries that are commented out belong to nobody.
func (f *file) commentsAbove(line, below, indent int) int {
	first := line
	for l := line - 1; l > below; l-- {
		text := f.lineText(l)
		if indentation(text) != indent || !strings.HasPrefix(text[indent:], "#") {
			break
		}
		if comment := strings.TrimLeft(text[indent:], "# "); strings.HasPrefix(comment, "- ") || strings.HasPrefix(comment, "{") {
			return line
		}
		first = l
	}
	return first
}

// drainText is the key with one entry.
func (f *file) drainText(indent string, d fleet.Drain, eol string) string {
	return indent + "drain:" + eol + blockText(d, indent+strings.Repeat(" ", f.sequenceStep()), eol)
}

// sequenceStep is how much deeper than their key the dashes of this file stand.
func (f *file) sequenceStep() int {
	step := -1
	visit(f.root, func(key, value *yaml.Node) {
		if value.Kind == yaml.SequenceNode && !flow(value) && value.Anchor == "" && step < 0 {
			step = value.Column - key.Column
		}
	})
	return max(step, 0)
}

// mappingStep is how much deeper than their key the keys of a mapping stand in this file.
func (f *file) mappingStep() int {
	step := 0
	visit(f.root, func(key, value *yaml.Node) {
		if value.Kind == yaml.MappingNode && !flow(value) && step == 0 {
			step = value.Content[0].Column - key.Column
		}
	})
	if step == 0 {
		return 2
	}
	return step
}

// visit calls do for every key and value, from the top.
func visit(n *yaml.Node, do func(key, value *yaml.Node)) {
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 {
			do(n.Content[i-1], child)
		}
		visit(child, do)
	}
}

// braces finds the entry {...}: from its opening brace to behind the closing one.
func (f *file) braces(n *yaml.Node) (start, end int, err error) {
	start, err = f.at(n, "{")
	if err != nil {
		return 0, 0, err
	}
	_, closing, ok := flowEnd(f.text, start)
	if !ok {
		return 0, 0, f.refuse(n, "the end of the drain is not found")
	}
	return start, closing + 1, nil
}

// replace puts text in the place of a scalar that is written as it is read.
func (f *file) replace(n *yaml.Node, text string) (string, error) {
	if n.Kind != yaml.ScalarNode || n.Style != 0 || n.Value == "" {
		return "", f.refuse(n, "the value is written in a way that is not edited")
	}
	at, err := f.at(n, n.Value)
	if err != nil {
		return "", err
	}
	return f.splice(at, at+len(n.Value), text), nil
}

// at returns where a node begins, if it begins with that text.
func (f *file) at(n *yaml.Node, text string) (int, error) {
	at, err := f.offset(n)
	if err != nil {
		return 0, err
	}
	if !strings.HasPrefix(f.text[at:], text) {
		return 0, f.refuse(n, "this is written in a way that is not edited")
	}
	return at, nil
}

// offset returns where a node begins. The parser counts characters.
func (f *file) offset(n *yaml.Node) (int, error) {
	line := f.line(n)
	text := f.lineText(line)
	if line == 0 {
		text = strings.TrimPrefix(text, byteOrderMark)
	}
	at := f.starts[line] + len(f.lineText(line)) - len(text)
	for range n.Column - 1 {
		_, size := utf8.DecodeRuneInString(text)
		if size == 0 {
			return 0, f.refuse(n, "the place of the drain is not found")
		}
		text, at = text[size:], at+size
	}
	return at, nil
}

func (f *file) refuse(n *yaml.Node, why string) error {
	line := 0
	if n != nil {
		line = n.Line
	}
	return &LayoutError{Line: line, Why: why}
}

// entryLine is the line of a drain as people count; that of the drains if it is not known.
func (f *file) entryLine(i int) int {
	if f.drain != nil && f.drain.Kind == yaml.SequenceNode && i < len(f.drain.Content) {
		return f.drain.Content[i].Line
	}
	return f.drainLine()
}

// drainLine is the line of the key drain as people count, 0 if there is none.
func (f *file) drainLine() int {
	if f.drainKey == nil {
		return 0
	}
	return f.drainKey.Line
}

// line is the line of a node, from 0.
func (f *file) line(n *yaml.Node) int { return min(n.Line, len(f.starts)) - 1 }

// lineOf is the line of an offset, from 0.
func (f *file) lineOf(at int) int {
	i, found := slices.BinarySearch(f.starts, at)
	if !found {
		i--
	}
	return i
}

// lastLine is the last line on which a part of a node begins.
func (f *file) lastLine(n *yaml.Node) int {
	last := f.line(n)
	for _, child := range n.Content {
		last = max(last, f.lastLine(child))
	}
	return last
}

// lineText is a line with its line break.
func (f *file) lineText(line int) string {
	if line+1 < len(f.starts) {
		return f.text[f.starts[line]:f.starts[line+1]]
	}
	return f.text[f.starts[line]:]
}

// eolAt is how a line ends, or, if it is the last one, how the file's first line does.
func (f *file) eolAt(line int) string {
	for _, text := range []string{f.lineText(line), f.lineText(0)} {
		if strings.HasSuffix(text, "\r\n") {
			return "\r\n"
		}
		if strings.HasSuffix(text, "\n") {
			break
		}
	}
	return "\n"
}

// indent is the white space before a node, which stands first on its line or behind a dash.
func (f *file) indent(n *yaml.Node) string { return strings.Repeat(" ", n.Column-1) }

func (f *file) splice(from, to int, with string) string { return f.text[:from] + with + f.text[to:] }

// insertBelow puts whole lines below a line. A file that does not end with a line break still does not.
func (f *file) insertBelow(line int, text string) string {
	if line+1 < len(f.starts) {
		return f.splice(f.starts[line+1], f.starts[line+1], text)
	}
	eol := f.eolAt(line)
	return f.text + eol + strings.TrimSuffix(text, eol)
}

// removeLines takes out whole lines, both included. A file that did not end with a line break still does not.
func (f *file) removeLines(from, to int) string {
	if to+1 < len(f.starts) {
		return f.splice(f.starts[from], f.starts[to+1], "")
	}
	return strings.TrimSuffix(strings.TrimSuffix(f.text[:f.starts[from]], "\n"), "\r")
}

func flow(n *yaml.Node) bool { return n.Style&yaml.FlowStyle != 0 }

// null tells whether a value is null; empty, whether nothing is written for it.
func null(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func empty(n *yaml.Node) bool { return null(n) && n.Value == "" && n.Anchor == "" }

func blank(line string) bool { return strings.TrimSpace(line) == "" }

func indentation(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }
