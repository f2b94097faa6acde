package egress

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// limited is a registry that takes so many requests in a period. It counts what was
// sent in the last period, or in periods that follow each other from began on.
type limited struct {
	limit   int
	period  time.Duration
	sliding bool
	began   time.Time
	others  int // what others have sent in the first period

	mu      sync.Mutex
	taken   []time.Time
	refused []time.Time
	last    time.Time
}

func (l *limited) answer() *http.Response {
	time.Sleep(20 * time.Millisecond)
	now := time.Now()
	defer time.Sleep(20 * time.Millisecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	opens := now
	first := now.Add(-l.period)
	if !l.sliding {
		n := now.Sub(l.began) / l.period
		first = l.began.Add(n * l.period)
		opens = first.Add(l.period)
	}
	taken := 0
	for _, at := range l.taken {
		if at.After(first) || !l.sliding && at.Equal(first) {
			if taken == 0 && l.sliding {
				opens = at.Add(l.period)
			}
			taken++
		}
	}
	if first.Equal(l.began) {
		taken += l.others
	}
	if taken >= l.limit {
		l.refused = append(l.refused, now)
		return answered(http.StatusTooManyRequests, strconv.Itoa(int(math.Ceil(opens.Sub(now).Seconds()))))
	}
	l.taken, l.last = append(l.taken, now), now
	return answered(http.StatusOK, "")
}

// send sends so many requests, 100 at a time, each again until it is taken.
func (l *limited) send(t *testing.T, w *window, n int) {
	t.Helper()
	var senders sync.WaitGroup
	requests := make(chan bool, n)
	for range n {
		requests <- true
	}
	close(requests)
	for range 100 {
		senders.Go(func() {
			for range requests {
				for again := false; ; again = true {
					permit, err := w.acquire(t.Context(), pause, again)
					if err != nil {
						t.Error(err)
						return
					}
					resp := l.answer()
					permit.done(resp)
					if resp.StatusCode == http.StatusOK {
						break
					}
					after, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
					time.Sleep(time.Duration(after) * time.Second)
				}
			}
		})
	}
	senders.Wait()
}

// TestPace checks that nothing is refused after the first period, and that it does
// not take much longer than the limit requires.
func TestPace(t *testing.T) {
	for _, c := range []struct {
		name    string
		kind, n int
		limited *limited
		into    time.Duration // how long the first period has lasted when the run starts
		least   time.Duration // what the limit requires
	}{
		{"500 lists, Basic, by the minute", kindReferrers, 500, &limited{limit: 250, period: time.Minute}, 0, time.Minute},
		{"500 lists, Basic, the last minute", kindReferrers, 500, &limited{limit: 250, period: time.Minute, sliding: true}, 0, time.Minute},
		{"1700 lists, Basic, by the minute", kindReferrers, 1700, &limited{limit: 250, period: time.Minute}, 0, 6 * time.Minute},
		{"1700 lists, Basic, the last minute", kindReferrers, 1700, &limited{limit: 250, period: time.Minute, sliding: true}, 0, 6 * time.Minute},
		{"3500 lists, Premium", kindReferrers, 3500, &limited{limit: 1000, period: time.Minute}, 0, 3 * time.Minute},
		{"9000 writes, Basic", kindWrite, 9000, &limited{limit: 2000, period: time.Minute}, 0, 4 * time.Minute},
		{"a short period", kindReferrers, 600, &limited{limit: 60, period: 5 * time.Second}, 0, 45 * time.Second},
		{"a short period that slides", kindReferrers, 600, &limited{limit: 60, period: 5 * time.Second, sliding: true}, 0, 45 * time.Second},
		{"started in the middle of a minute", kindReferrers, 1000, &limited{limit: 250, period: time.Minute}, 40 * time.Second, 2*time.Minute + 20*time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := c.limited
				l.began = time.Now().Add(-c.into)
				start := time.Now()
				counts := newCounters()
				w := &counts.windows[c.kind]
				l.send(t, w, c.n)
				took := l.last.Sub(start)
				first, learned := l.period, c.into > 0
				if learned {
					first = 2 * l.period // the first one was not a whole one
				}
				late := 0
				for _, at := range l.refused {
					if at.Sub(l.began) > first {
						late++
					}
				}
				t.Logf("%d refused, %d of them later, took %s, at least %s, held %s", len(l.refused), late, took, c.least, counts.held.sum())
				if late > 0 {
					t.Errorf("%d were refused after the first period", late)
				}
				if took > c.least*12/10 {
					t.Errorf("it took %s, more than 1.2 of %s", took, c.least)
				}
				if l.period == time.Minute && !learned && len(l.refused) > carefulWindow {
					t.Errorf("%d were refused where the published limit was passed", len(l.refused))
				}
				if held := counts.held.sum(); held < c.least*8/10 || held > took {
					t.Errorf("%s of %s were reported as waited", held, took)
				}
			})
		})
	}
}

// TestPublishedPace checks that a host whose limit is known refuses nothing, and that
// it does not take much longer than the limit requires.
func TestPublishedPace(t *testing.T) {
	for _, c := range []struct {
		limit, requests int
		sliding         bool
		most            time.Duration
	}{
		{4000, 20_000, false, 45 * time.Second}, {4000, 20_000, true, 45 * time.Second},
		{1000, 2500, false, 22 * time.Second}, {1000, 2500, true, 22 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			const host = "receipts.vault.azure.net"
			l := &limited{limit: c.limit, period: 10 * time.Second, sliding: c.sliding, began: time.Now()}
			n := &Network{}
			n.Pace(host, l.limit, l.period)
			l.send(t, n.window(host+":443"), c.requests)
			if took := l.last.Sub(l.began); len(l.refused) > 0 || took > c.most {
				t.Errorf("%+v: took %s, and %d were refused", c, took, len(l.refused))
			}
		})
	}
	n := &Network{}
	for _, c := range []struct {
		host     string
		requests int
		period   time.Duration
	}{{"not a host", 1, time.Second}, {"h.example", 0, time.Second}, {"h.example", 1, 0}, {"h.example", 1, time.Hour}} {
		n.Pace(c.host, c.requests, c.period)
		if w := n.window("h.example:443"); w.pace.quota != 0 {
			t.Errorf("%+v set a quota", c)
		}
	}
}

// TestPacedPhase checks that a paced phase sends no more concurrent requests than its
// window admits, and counts for no registry.
func TestPacedPhase(t *testing.T) {
	env := newTestEnv(t)
	arrived, answer := make(chan bool, initialWindow+10), make(chan bool)
	env.handle("receipts.vault.azure.net", func(http.ResponseWriter, *http.Request) {
		arrived <- true
		<-answer
	})
	n, _ := env.network(env.settings())
	client := n.Client(Phase{Hosts: []string{"receipts.vault.azure.net"}, Paced: true})
	var senders sync.WaitGroup
	for range initialWindow + 10 {
		senders.Go(func() {
			if _, _, err := get(t, client, "https://receipts.vault.azure.net/keys/k"); err != nil {
				t.Error(err)
			}
		})
	}
	for range initialWindow {
		<-arrived
	}
	time.Sleep(50 * time.Millisecond)
	if more := len(arrived); more > 0 {
		t.Errorf("%d requests at a time, %d are admitted", initialWindow+more, initialWindow)
	}
	close(answer)
	senders.Wait()
	if traffic := n.Traffic(); len(traffic) != 0 {
		t.Errorf("counted for a registry: %v", traffic)
	}
}

// TestPaceRecovers checks that a pace grows again which was learned while others
// used the same identity.
func TestPaceRecovers(t *testing.T) { synctest.Test(t, paceRecovers) }

func paceRecovers(t *testing.T) {
	l := &limited{limit: 250, period: time.Minute, others: 200, began: time.Now()}
	counts := newCounters()
	w := &counts.windows[kindReferrers]
	l.send(t, w, 60)
	w.mu.Lock()
	learned := w.pace.quota
	w.mu.Unlock()
	l.send(t, w, 2000)
	took := l.last.Sub(l.began)
	t.Logf("learned %d, later %d, %d refused, took %s", learned, w.pace.quota, len(l.refused), took)
	if learned > 60 || w.pace.quota < 200 || w.pace.quota > 260 {
		t.Errorf("the quota was %d, and is %d now", learned, w.pace.quota)
	}
}

// TestPaceOfTokensRecovers checks that a registry which refuses one of the first
// requests for a token does not slow the others for the rest of the run.
func TestPaceOfTokensRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &limited{limit: 1000, period: time.Minute, others: 999, began: time.Now()}
		counts := newCounters()
		w := &counts.windows[kindToken]
		l.send(t, w, 500)
		if took := l.last.Sub(l.began); w.pace.quota == 0 || took > 20*time.Minute {
			t.Errorf("500 tokens took %s with a quota of %d", took, w.pace.quota)
		}
	})
}

// TestPaceIgnoresNonsense checks values of Retry-After that no registry should send.
func TestPaceIgnoresNonsense(t *testing.T) {
	past := time.Unix(0, 0).UTC().Format(http.TimeFormat)
	for _, value := range []string{"", "-1", "0", "soon", past, "1e9"} {
		synctest.Test(t, func(t *testing.T) {
			counts := newCounters()
			w := &counts.windows[kindRead]
			start := time.Now()
			for range 10 {
				for _, resp := range []*http.Response{answered(200, ""), answered(429, value)} {
					permit, err := w.acquire(t.Context(), pause, false)
					if err != nil {
						t.Fatal(err)
					}
					permit.done(resp)
				}
			}
			if took := time.Since(start); took > 0 || w.pace.quota != 0 {
				t.Errorf("Retry-After %q: took %s, quota %d", value, took, w.pace.quota)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		counts := newCounters()
		w := &counts.windows[kindRead]
		start := time.Now()
		for _, resp := range []*http.Response{answered(200, ""), answered(429, fmt.Sprint(365*24*3600)), answered(200, ""), answered(200, "")} {
			permit, err := w.acquire(t.Context(), pause, false)
			if err != nil {
				t.Fatal(err)
			}
			permit.done(resp)
		}
		if took := time.Since(start); took < time.Minute || took > 3*time.Minute {
			t.Errorf("a year: took %s", took)
		}
	})
}
