package egress

import (
	"slices"
	"time"

	"acrpromote/internal/ref"
	"acrpromote/internal/retryafter"
)

// pace keeps the requests of one kind within what a registry takes in a period. It
// learns both from a refusal: Retry-After says when the period ends, and what the
// registry took until then is what it takes in one. From then on no period of that
// length, wherever it begins, has more requests: a registry that counts by the
// minute refuses none of them, and neither does one that counts the last minute.
type pace struct {
	limits   []int       // published for requests of the kind, the lowest first
	sent     []time.Time // when the registry was asked in the last minute, oldest first; refused requests are left out
	quota    int         // 0 if the registry has not refused anything yet
	period   time.Duration
	counted  time.Time // since when quota was counted
	ends     time.Time // of the period of the last refusal
	adjusted time.Time // when quota last changed
}

// Pace keeps the requests of paced phases to a host within so many in a period, which
// is at most a minute: a limit that is published. They may be fewer, if the host refuses
// some.
func (n *Network) Pace(host string, requests int, period time.Duration) {
	at, ok := ref.HostPort(host, ref.DefaultPort("https"))
	if !ok || requests <= 0 || period <= 0 || period > longestPeriod {
		return
	}
	w := n.window(at)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pace.limits = []int{int(int64(requests) * int64(longestPeriod) / int64(period))}
	w.pace.quota, w.pace.period = requests, withSlack(period)
}

// window returns the window of a host that no registry's counters have.
func (n *Network) window(host string) *window {
	w, _ := n.windows.LoadOrStore(host, &window{})
	return w.(*window)
}

// withSlack lengthens a period: a request may take longer to arrive than those that
// follow it.
func withSlack(period time.Duration) time.Duration {
	return period + max(period/50, 100*time.Millisecond)
}

// longestPeriod is the period of the published limits.
const longestPeriod = retryafter.Longest

// carefulWindow limits the concurrent requests while their number of this minute
// passes a published limit: no more can be refused at once.
const carefulWindow = 4

// careful reports whether the next request is about to exceed a published limit.
func (p *pace) careful(now time.Time) bool {
	if p.quota > 0 || len(p.limits) == 0 || len(p.sent) < p.limits[0]*9/10 {
		return false
	}
	p.forget(now)
	return slices.ContainsFunc(p.limits, func(limit int) bool {
		return len(p.sent) >= limit*9/10 && len(p.sent) <= limit+carefulWindow
	})
}

// forget removes what was sent before the last minute.
func (p *pace) forget(now time.Time) {
	at, _ := slices.BinarySearchFunc(p.sent, now.Add(-longestPeriod), time.Time.Compare)
	p.sent = p.sent[at:]
}

// wait returns how long to wait before the next request.
func (p *pace) wait(now time.Time) time.Duration {
	if p.quota == 0 || len(p.sent) < p.quota {
		return 0
	}
	return max(0, p.sent[len(p.sent)-p.quota].Add(p.period).Sub(now))
}

// add records a request.
func (p *pace) add(now time.Time) {
	if n := len(p.sent); n == cap(p.sent) {
		p.forget(now)
	}
	p.sent = append(p.sent, now)
}

// refused learns from the refusal of a request that was sent at the given time. The
// registry asks to wait so long.
func (p *pace) refused(sent, now time.Time, asked time.Duration) {
	p.remove(sent)
	if asked <= 0 || len(p.sent) == 0 {
		return
	}
	if now.Before(p.ends) {
		return // of the same period
	}
	// The period began where the last one ended, or with the first request.
	ends, began := now.Add(asked), p.ends
	if began.IsZero() {
		began = p.sent[0]
	}
	p.period = min(ends.Sub(began), longestPeriod)
	// Retry-After is in whole seconds, rounded up.
	if p.counted = ends.Add(-p.period - time.Second); p.counted.Before(began) {
		p.counted = began
	}
	first, _ := slices.BinarySearchFunc(p.sent, p.counted, time.Time.Compare)
	p.quota = max(1, len(p.sent)-first)
	p.period = withSlack(p.period)
	p.ends, p.adjusted = ends, now
}

// remove removes a request from those that were sent.
func (p *pace) remove(sent time.Time) {
	for i := len(p.sent) - 1; i >= 0 && !p.sent[i].Before(sent); i-- {
		if p.sent[i].Equal(sent) {
			p.sent = slices.Delete(p.sent, i, i+1)
			if p.quota > 0 && !sent.Before(p.counted) && sent.Before(p.ends) {
				p.quota = max(1, p.quota-1) // it was in flight when quota was counted
			}
			return
		}
	}
}

// answered lets the quota grow up to the lowest that is published: if it is much
// smaller, it was learned while others used the same identity. Where nothing is
// published it grows until the registry refuses again: one refusal of one of the
// first requests must not slow the rest of the run.
func (p *pace) answered(now time.Time) {
	if p.quota == 0 || now.Sub(p.adjusted) < p.period || now.Before(p.ends) {
		return
	}
	grown := p.quota + max(1, p.quota/2)
	if len(p.limits) > 0 {
		lowest := int(int64(p.limits[0]) * int64(p.period) / int64(longestPeriod))
		if grown = min(lowest, grown); p.quota >= lowest*9/10 {
			grown = p.quota
		}
	}
	p.quota, p.adjusted = grown, now
}
