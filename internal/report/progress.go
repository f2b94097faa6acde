package report

import (
	"fmt"
	"sync"
	"time"

	"acrpromote/internal/markup"
)

// Sinks are the destinations of progress. Percent is for a pipeline
// (task.setprogress), Live for a terminal (one line that is rewritten; ""
// removes it), Line for plain lines of a log. Each may be nil.
type Sinks struct {
	Percent func(percent int, text string)
	Live    func(text string)
	Line    func(text string)
}

// Progress reports the progress of copies, at a limited rate and only while
// bytes move. It is safe for concurrent use.
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

// NewProgress returns a Progress that reports to sinks. now is the clock.
func NewProgress(sinks Sinks, now func() time.Time) *Progress {
	return &Progress{sinks: sinks, now: now}
}

// Start adds bytes and layers to the total. It may be called several times.
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

// Add counts bytes that have arrived. A negative number takes back bytes that
// have to be sent again.
func (p *Progress) Add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	p.report()
}

// LayerDone counts a layer that is complete.
func (p *Progress) LayerDone() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.layersDone++
	p.report()
}

// Stop removes the live line. If plain lines were written, it writes a last one.
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

// report reports the progress if it is due. The caller holds the lock, so that
// reports are in order.
func (p *Progress) report() {
	now := p.now()
	if p.sinks.Percent != nil {
		if percent := p.percentage(); percent > p.percent && (p.lastPercent.IsZero() || now.Sub(p.lastPercent) >= percentEvery || percent == 100) {
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

// percentage returns the percentage of the bytes that have arrived.
func (p *Progress) percentage() int {
	if p.total <= 0 {
		return 0
	}
	return int(100 * float64(min(max(p.done, 0), p.total)) / float64(p.total))
}

func (p *Progress) text(now time.Time) string {
	done := min(max(p.done, 0), p.total)
	s := fmt.Sprintf("%s of %s", markup.Size(done), markup.Size(p.total))
	if p.layers > 0 {
		s += fmt.Sprintf(", %d of %d layers", min(p.layersDone, p.layers), p.layers)
	}
	if spent := now.Sub(p.started).Seconds(); spent >= 1 {
		s += fmt.Sprintf(", %s/s", markup.Size(int64(float64(done)/spent)))
	}
	return s
}
