package agent

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// Log is the one way to standard output (or, with result.json there, to
// standard error). Every plain line is made harmless here, so that no caller
// can forget it; lines of several goroutines do not mix.
type Log struct {
	mu     sync.Mutex
	out    io.Writer
	colour bool
	live   string // the line being rewritten on a terminal, "" = none
}

// NewLog writes to out. With colour, the colours that the program itself uses
// pass through Text; no other control sequence ever does.
func NewLog(out io.Writer, colour bool) *Log { return &Log{out: out, colour: colour} }

// Line writes one line.
func (l *Log) Line(text string) { l.raw(Harmless(text)) }

// Linef writes one line.
func (l *Log) Linef(format string, args ...any) { l.Line(fmt.Sprintf(format, args...)) }

// Text writes what package report made: several lines, with the program's own
// colours where the log has colour.
func (l *Log) Text(block string) {
	keep := func(string) int { return 0 }
	if l.colour {
		keep = colourLength
	}
	lines := strings.Split(strings.TrimSuffix(block, "\n"), "\n")
	for i, line := range lines {
		lines[i] = harmless(line, keep)
	}
	l.raw(lines...)
}

// colourLength is the length of the colour sequence (SGR) that s begins with.
func colourLength(s string) int {
	if !strings.HasPrefix(s, "\x1b[") {
		return 0
	}
	for i := 2; i < len(s) && i < 12; i++ {
		switch c := s[i]; {
		case c == 'm':
			return i + 1
		case c != ';' && (c < '0' || c > '9'):
			return 0
		}
	}
	return 0
}

// Document writes result.json. In JSON, number signs stand in strings alone;
// where one could begin a logging command it is written as its escape.
func (l *Log) Document(json []byte) error {
	var b strings.Builder
	sign := false
	for i, c := range json {
		next := byte(' ')
		if i+1 < len(json) {
			next = json[i+1]
		}
		// A character beyond ASCII may count for nothing where the agent compares.
		escape := c == '#' && (sign || next >= 0x7f)
		if sign = c == '#'; escape {
			b.WriteString(`\u0023`)
		} else {
			b.WriteByte(c)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
	_, err := io.WriteString(l.out, b.String())
	return err
}

// Live rewrites the last line of a terminal; "" takes it away. Other lines go
// above it. Nothing else may write to that terminal.
func (l *Log) Live(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
	l.live = Harmless(text)
	_, _ = io.WriteString(l.out, l.live)
}

// erase takes the live line away; the caller holds the lock.
func (l *Log) erase() {
	if l.live != "" {
		_, _ = io.WriteString(l.out, "\r\x1b[2K")
	}
}

// raw writes whole lines in one go; they are harmless, or are our own commands.
func (l *Log) raw(lines ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
	_, _ = io.WriteString(l.out, strings.Join(lines, "\n")+"\n"+l.live)
}
