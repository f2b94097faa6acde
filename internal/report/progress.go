package report

import (
	"fmt"
	"sync"
	"time"
)

// Sinks is where progress goes. Percent is for a pipeline (task.setprogress),
// Live for a terminal (one line, rewritten; "" takes it away), Line for plain
// lines of a log; each may be nil.
type Sinks struct {
	Percent func(percent int, text string)
	Live    func(text string)
	Line    func(text string)
}

// Progress tells how far a copy has come. It says something only when bytes
// move, and never more often than a reader can use. Safe for concurrent use.
type Progress struct {
	sinks Sinks
	now   func() time.Time

	mu                      sync.Mutex
	started                 time.Time
	total, done             int64
	layers, layersDone      int
	percent                 int
	lastPercent             time.Time
	lastLive, lastLine      time.Time
	liveShown, everReported bool
}

const (
	percentEvery = time.Second
	liveEvery    = 100 * time.Millisecond
	lineEvery    = 10 * time.Second
)

// NewProgress tells through sinks, by the clock now.
func NewProgress(sinks Sinks, now func() time.Time) *Progress {
	return &Progress{sinks: sinks, now: now}
}

// Start adds to what is to be done: bytes and layers. It may be called again
// when more turns up.
func (p *Progress) Start(total int64, layers int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started.IsZero() {
		p.started = p.now()
		p.lastLine = p.started
	}
	p.total += total
	p.layers += layers
}

// Add counts bytes that have arrived; negative ones were sent in vain.
func (p *Progress) Add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	p.tell()
}

// LayerDone counts a layer that is there.
func (p *Progress) LayerDone() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.layersDone++
	p.tell()
}

// Stop takes the live line away. If something was told before, the end is told
// as well.
func (p *Progress) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.liveShown {
		p.sinks.Live("")
		p.liveShown = false
	}
	if p.everReported && p.sinks.Line != nil {
		p.sinks.Line(p.text(p.now()))
	}
	p.everReported = false
}

// tell reports where it is due; the caller holds the lock, so that reports
// appear in the order of what they say.
func (p *Progress) tell() {
	now := p.now()
	if p.sinks.Percent != nil {
		if percent := p.share(); percent > p.percent && (p.lastPercent.IsZero() || now.Sub(p.lastPercent) >= percentEvery || percent == 100) {
			p.percent, p.lastPercent = percent, now
			p.sinks.Percent(percent, p.text(now))
		}
	}
	if p.sinks.Live != nil {
		if now.Sub(p.lastLive) >= liveEvery {
			p.lastLive, p.liveShown = now, true
			p.sinks.Live(p.text(now))
		}
		return
	}
	if p.sinks.Line != nil && now.Sub(p.lastLine) >= lineEvery {
		p.lastLine, p.everReported = now, true
		p.sinks.Line(p.text(now))
	}
}

func (p *Progress) share() int {
	if p.total <= 0 {
		return 0
	}
	return int(100 * float64(min(max(p.done, 0), p.total)) / float64(p.total))
}

func (p *Progress) text(now time.Time) string {
	done := min(max(p.done, 0), p.total)
	s := fmt.Sprintf("%s of %s", size(done), size(p.total))
	if p.layers > 0 {
		s += fmt.Sprintf(", %d of %d layers", min(p.layersDone, p.layers), p.layers)
	}
	if spent := now.Sub(p.started).Seconds(); spent >= 1 {
		s += fmt.Sprintf(", %s/s", size(int64(float64(done)/spent)))
	}
	return s
}

// size tells bytes as people read them.
func size(n int64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v := float64(n) / 1024
	for i, u := range units {
		if v < 1024 || i == len(units)-1 {
			return fmt.Sprintf("%.1f %s", v, u)
		}
		v /= 1024
	}
	return ""
}
