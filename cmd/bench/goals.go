package main

import (
	"fmt"
	"math"
	"strings"
)

// goal is what the engine is meant to reach, and what it reached in this
// measurement.
type goal struct {
	text    string
	atLeast bool // else at most
	limit   float64
	reached float64
	where   string // case and network of the figure, the worst if there are several
	digits  int
}

// met compares what is shown, so that nobody reads 1.10 and sees it refused.
func (g goal) met() bool {
	shown := math.Round(g.reached*math.Pow10(g.digits)) / math.Pow10(g.digits)
	if g.atLeast {
		return shown >= g.limit
	}
	return shown <= g.limit
}

// worse reports whether a figure is further from the goal than what was found.
func (g goal) worse(figure float64) bool {
	return g.where == "" || g.atLeast && figure < g.reached || !g.atLeast && figure > g.reached
}

// goals are those that can be told from what was measured.
func (m *measurement) goals() []goal {
	floors, ours := m.named(func(r *record) bool { return r.Floor }), m.named(func(r *record) bool { return r.Ours })
	if len(floors) == 0 || len(ours) == 0 {
		return nil
	}
	var told []goal
	// over adds a goal with the worst figure of all cases and networks.
	over := func(g goal, figure func(s subject, n network) (value float64, peer string)) {
		for _, s := range m.Subjects {
			for _, n := range m.Networks {
				value, peer := figure(s, n)
				if math.IsNaN(value) || !g.worse(value) {
					continue
				}
				g.reached, g.where = value, s.Key+", "+n.Name
				if peer != "" {
					g.where += ", " + peer
				}
			}
		}
		if g.where != "" {
			told = append(told, g)
		}
	}
	one := func(s subject, n network, phase, name string) *record {
		if r := m.find(s.Key, n.Name, phase, name); r != nil && r.whole() {
			return r
		}
		return nil
	}
	// ratio is ours to the floor's.
	ratio := func(phase string, figure func(record) float64) func(subject, network) (float64, string) {
		return func(s subject, n network) (float64, string) {
			o, f := one(s, n, phase, ours[0]), one(s, n, phase, floors[0])
			if o == nil || f == nil || figure(*f) == 0 {
				return math.NaN(), ""
			}
			return figure(*o) / figure(*f), ""
		}
	}
	// versus is ours to the best of the peers that counts.
	versus := func(figure func(record) float64, counts func(record) bool) func(subject, network) (float64, string) {
		return func(s subject, n network) (float64, string) {
			o := one(s, n, cold, ours[0])
			peer, name := m.bestOf(s.Key, n.Name, cold, counts, figure)
			if o == nil || peer == 0 {
				return math.NaN(), ""
			}
			return figure(*o) / peer, name
		}
	}
	// only keeps a figure of some cases and networks.
	only := func(keys string, in func(network) bool, figure func(subject, network) (float64, string)) func(subject, network) (float64, string) {
		return func(s subject, n network) (float64, string) {
			if !strings.Contains(keys, s.Key) || !in(n) {
				return math.NaN(), ""
			}
			return figure(s, n)
		}
	}
	anyone := func(record) bool { return true }
	faster := func(s subject, n network) (float64, string) {
		v, peer := versus(record.wall, func(r record) bool { return r.Defaults })(s, n)
		return 1 / v, peer
	}
	far := func(n network) bool { return n.Trip > 0 && n.Speed == 0 }
	near := func(n network) bool { return n.Trip == 0 && n.Speed == 0 && !n.TLS }
	secure := func(n network) bool { return n.TLS }

	over(goal{text: "cold: wall, ours ÷ the floor's", limit: 1.10, digits: 2}, ratio(cold, record.wall))
	over(goal{text: "cold: wall, ours ÷ the fastest whole peer's, in any setting", limit: 1, digits: 2}, versus(record.wall, anyone))
	over(goal{text: "cold, 30 ms, a and f: wall, the fastest whole peer's at its defaults ÷ ours", atLeast: true, limit: 2.3, digits: 1}, only("af", far, faster))
	over(goal{text: "cold, 30 ms, e: wall, the fastest whole peer's at its defaults ÷ ours", atLeast: true, limit: 15, digits: 1}, only("e", far, faster))
	over(goal{text: "cold: requests, ours − the minimum", limit: 0}, func(s subject, n network) (float64, string) {
		o := one(s, n, cold, ours[0])
		if o == nil {
			return math.NaN(), ""
		}
		return float64(o.requests() - s.Least), ""
	})
	over(goal{text: "e: bytes sent ÷ distinct bytes", limit: 1.02, digits: 3}, only("e", func(network) bool { return true }, func(s subject, n network) (float64, string) {
		o := one(s, n, cold, ours[0])
		if o == nil {
			return math.NaN(), ""
		}
		return o.sent(s), ""
	}))
	over(goal{text: "again: requests, ours − the floor's", limit: 0}, func(s subject, n network) (float64, string) {
		o, f := one(s, n, again, ours[0]), one(s, n, again, floors[0])
		if o == nil || f == nil {
			return math.NaN(), ""
		}
		return float64(o.requests() - f.requests()), ""
	})
	over(goal{text: "again: round trips, including one to connect", limit: 3, digits: 1}, m.trips(ours[0]))
	hash := func(r record) bool { return !strings.HasPrefix(r.Contestant, "oras") }
	over(goal{text: "d, plain: CPU, ours ÷ the best peer's that hashes", limit: 0.90, digits: 2}, only("d", near, versus(record.cpu, hash)))
	over(goal{text: "d, TLS: CPU, ours ÷ the best peer's that hashes", limit: 1, digits: 2}, only("d", secure, versus(record.cpu, hash)))
	over(goal{text: "d, plain: wall, ours ÷ the fastest peer's", limit: 1, digits: 2}, only("d", near, versus(record.wall, anyone)))
	if f := m.Fan; f != nil && f.Failed == "" && f.One > 0 {
		where := fmt.Sprintf("%d targets, %s", f.Targets, f.Network.Name)
		told = append(told, goal{text: "fan-out: bytes read at the source ÷ the image's", limit: 1, reached: f.SourceBytes, where: where, digits: 2},
			goal{text: "fan-out: wall, all targets ÷ one", limit: 2, reached: f.Many / f.One, where: where, digits: 2})
	}
	return told
}

// trips is how many round trips a program waits for: what it takes longer on
// the far network than on the near one, in round trips.
func (m *measurement) trips(name string) func(subject, network) (float64, string) {
	return func(s subject, n network) (float64, string) {
		if n.Trip == 0 || n.Speed > 0 || s.Images > 1 {
			return math.NaN(), ""
		}
		for _, other := range m.Networks {
			if other.Trip > 0 || other.Speed > 0 || other.TLS {
				continue
			}
			long, short := m.find(s.Key, n.Name, again, name), m.find(s.Key, other.Name, again, name)
			if long != nil && short != nil && long.whole() && short.whole() {
				return (long.wall() - short.wall()) / n.Trip.Seconds(), ""
			}
		}
		return math.NaN(), ""
	}
}

func (m *measurement) tellGoals(line func(string, ...any)) {
	goals := m.goals()
	if len(goals) == 0 {
		return
	}
	line("")
	line("## Goals")
	line("")
	line("The worst figure of this measurement, and the case and network that it comes from. The floor's ± below shows how far a figure may be off.")
	line("")
	line("| | goal | reached | | where |")
	line("|---|---|---|---|---|")
	for _, g := range goals {
		sign, verdict := "≤", "✘"
		if g.atLeast {
			sign = "≥"
		}
		if g.met() {
			verdict = "✔"
		}
		line("| %s | %s %.*f | %.*f | %s | %s |", g.text, sign, g.digits, g.limit, g.digits, g.reached, verdict, g.where)
	}
}
