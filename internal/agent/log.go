package agent

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// Log writes to standard output (or to standard error, if result.json goes to
// standard output). It escapes every plain line, so that no caller can forget
// to. Lines of several goroutines do not mix.
type Log struct {
	mu     sync.Mutex
	out    io.Writer
	colour bool
	live   string // the line being rewritten on a terminal, or ""
}

// NewLog returns a log that writes to out. With colour, Text keeps the
// program's own colours; all other control sequences are escaped.
func NewLog(out io.Writer, colour bool) *Log { return &Log{out: out, colour: colour} }

// Line writes one line.
func (l *Log) Line(text string) { _ = l.raw(Escape(text)) }

// Linef formats and writes one line.
func (l *Log) Linef(format string, args ...any) { l.Line(fmt.Sprintf(format, args...)) }

// Text writes the lines of a text from package report, with its colours if the
// log has colour. The error matters if the text is all that the program was asked for.
func (l *Log) Text(block string) error {
	keep := func(string) int { return 0 }
	if l.colour {
		keep = colourLength
	}
	lines := strings.Split(strings.TrimSuffix(block, "\n"), "\n")
	for i, line := range lines {
		lines[i] = escape(line, keep)
	}
	return l.raw(lines...)
}

// colourLength returns the length of the colour sequence (SGR) at the beginning
// of s, or 0.
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

// Document writes result.json. In JSON, number signs occur only in strings; one
// that could begin a logging command is escaped.
func (l *Log) Document(json []byte) error {
	var b strings.Builder
	sign := false
	for i, c := range json {
		next := byte(' ')
		if i+1 < len(json) {
			next = json[i+1]
		}
		// The agent's comparison may ignore characters that are not ASCII.
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

// Live rewrites the last line of a terminal; "" removes it. Other lines go above
// it. Nothing else may write to that terminal.
func (l *Log) Live(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
	l.live = Escape(text)
	_, _ = io.WriteString(l.out, l.live)
}

// erase removes the live line. The caller holds the lock.
func (l *Log) erase() {
	if l.live != "" {
		_, _ = io.WriteString(l.out, "\r\x1b[2K")
	}
}

// raw writes lines that are escaped already, or logging commands, at once.
func (l *Log) raw(lines ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
	_, err := io.WriteString(l.out, strings.Join(lines, "\n")+"\n"+l.live)
	return err
}
