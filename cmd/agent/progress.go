package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// drawn is a line on a terminal that is written over itself. Elsewhere nothing is written.
type drawn struct {
	w     io.Writer // nil: not a terminal
	width int       // of what is shown
}

func newDrawn(w io.Writer) drawn {
	if !isTerminal(w) {
		w = nil
	}
	return drawn{w: w}
}

// draw shows a text in place of the one before; "" erases it.
func (d *drawn) draw(text string) {
	if d.w == nil || text == "" && d.width == 0 {
		return
	}
	width := utf8.RuneCountInString(text)
	rest := max(d.width-width, 0)
	fmt.Fprintf(d.w, "\r%s%s%s", text, strings.Repeat(" ", rest), strings.Repeat("\b", rest))
	d.width = width
}

// progress shows on a terminal how far long work has come.
type progress struct {
	what  string
	began time.Time
	mu    sync.Mutex
	line  drawn
	shown time.Time
}

func newProgress(w io.Writer, what string) *progress {
	return &progress{what: what, began: time.Now(), line: newDrawn(w)}
}

// patience is how long work may take before there is a word of it, and between two words.
const patience = 500 * time.Millisecond

func (p *progress) tell(done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.began) > patience && now.Sub(p.shown) > patience {
		p.shown = now
		p.line.draw(fmt.Sprintf("%d of %d %s", done, total, p.what))
	}
}

// end takes away what was shown.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line.draw("")
}

// waiting says on a terminal that something is waited for. It belongs to one goroutine.
type waiting struct {
	what  string
	began time.Time
	line  drawn
}

func newWaiting(w io.Writer, what string) *waiting {
	return &waiting{what: what, began: time.Now(), line: newDrawn(w)}
}

// tell is called from time to time.
func (p *waiting) tell() {
	p.line.draw(fmt.Sprintf("%s, %s", p.what, time.Since(p.began).Round(time.Second)))
}

// end takes away what was shown, for good.
func (p *waiting) end() {
	p.line.draw("")
	p.line.w = nil
}
