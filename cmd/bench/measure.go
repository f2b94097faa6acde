package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// The phases of a measurement.
const (
	cold  = "cold"  // nothing of it is at the target
	again = "again" // the same call once more
)

// record is what one contestant needed for one case on one network.
type record struct {
	Case       string   `json:"case"`
	Network    string   `json:"network"`
	Phase      string   `json:"phase"`
	Contestant string   `json:"contestant"`
	Floor      bool     `json:"floor,omitempty"`
	Ours       bool     `json:"ours,omitempty"`
	Defaults   bool     `json:"defaults"`
	Runs       []effort `json:"runs"`
	Source     traffic  `json:"source"` // of the last run
	Target     traffic  `json:"target"`
	LeftBehind int      `json:"leftBehind"` // manifests
	Failed     string   `json:"failed,omitempty"`
}

func (r record) wall() float64 { return r.median(func(e effort) float64 { return e.Wall }) }
func (r record) cpu() float64  { return r.median(func(e effort) float64 { return e.CPU }) }
func (r record) memory() int64 {
	return int64(r.median(func(e effort) float64 { return float64(e.Memory) }))
}
func (r record) requests() int { return r.Source.Requests + r.Target.Requests }
func (r record) whole() bool   { return r.Failed == "" && r.LeftBehind == 0 && len(r.Runs) > 0 }

// spread is how far the runs lie apart: half of what lies between the fastest
// and the slowest, as a part of the median.
func (r record) spread() float64 {
	if len(r.Runs) < 2 {
		return 0
	}
	low, high := r.Runs[0].Wall, r.Runs[0].Wall
	for _, e := range r.Runs {
		low, high = min(low, e.Wall), max(high, e.Wall)
	}
	return (high - low) / 2 / r.wall()
}

func (r record) median(of func(effort) float64) float64 {
	var all []float64
	for _, e := range r.Runs {
		all = append(all, of(e))
	}
	return median(all)
}

func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	middle := len(all) / 2
	if len(all)%2 == 1 {
		return all[middle]
	}
	return (all[middle-1] + all[middle]) / 2
}

// subject is what a case was in this measurement.
type subject struct {
	Key        string `json:"key"`
	Name       string `json:"name"`
	Images     int    `json:"images"`
	Bytes      int64  `json:"bytes"` // of distinct blobs
	Least      int    `json:"leastRequests"`
	LeastAgain int    `json:"leastRequestsAgain"`
}

// measurement is the whole of it.
type measurement struct {
	Command  string            `json:"command"`
	System   string            `json:"system"`
	Cores    int               `json:"cores"`
	Load     string            `json:"load,omitempty"` // processes waiting for a core before it began
	Runs     int               `json:"runs"`
	Versions map[string]string `json:"versions"`
	Networks []network         `json:"networks"`
	Subjects []subject         `json:"cases"`
	Records  []*record         `json:"records"`
	Fan      *fan              `json:"fanOut,omitempty"`
	LeftOut  []string          `json:"leftOut,omitempty"` // who did not take part, and what time did not suffice for
}

// bench measures.
type bench struct {
	registry     string // the program
	folder       string // for everything that is stored
	contestants  []contestant
	repositories int
	runs         int
	deadline     time.Time
	everywhere   bool // each case on each network, without regard to what it tells
	tell         func(format string, args ...any)

	out     *measurement
	counter int
}

var errLate = errors.New("there was no time left")

// sides are the two registries of a case.
type sides struct{ from, to *registry }

func (b *bench) sides(ctx context.Context) (*sides, error) {
	from, err := startRegistry(ctx, b.registry, b.folder)
	if err != nil {
		return nil, err
	}
	to, err := startRegistry(ctx, b.registry, b.folder)
	if err != nil {
		from.stop()
		return nil, err
	}
	return &sides{from, to}, nil
}

func (s *sides) stop() {
	s.from.stop()
	s.to.stop()
}

// measure does one case on all networks, with two registries of its own: what
// is stored for it is gone afterwards.
func (b *bench) measure(ctx context.Context, s scenario, networks []network) error {
	if time.Now().After(b.deadline) {
		return fmt.Errorf("%s: %w", s.key, errLate)
	}
	sides, err := b.sides(ctx)
	if err != nil {
		return err
	}
	defer sides.stop()
	b.tell("%s: %s: building", s.key, s.name)
	images, err := s.build(ctx, newSeeder(sides.from.address, s.key), b.repositories)
	if err != nil {
		return fmt.Errorf("case %s cannot be built: %w", s.key, err)
	}
	b.out.Subjects = append(b.out.Subjects, subject{Key: s.key, Name: s.name, Images: len(images), Bytes: distinct(images),
		Least: s.least(images), LeastAgain: s.leastAgain(images)})
	// A registry that stores a blob for the first time has more to wait for than the
	// next: nobody's run is that one.
	for _, c := range b.contestants {
		if c.floor {
			if _, _, _, err := b.one(ctx, s, c, sides, images, network{}, false); err != nil {
				return fmt.Errorf("case %s: the floor fails: %w", s.key, err)
			}
		}
	}
	for _, n := range networks {
		if n.TLS && !s.secure && !b.everywhere {
			continue
		}
		if err := b.on(ctx, s, n, sides, images); err != nil {
			return err
		}
	}
	return nil
}

func distinct(images []image) int64 {
	if len(images) == 1 {
		return images[0].bytes
	}
	// The fleet: all have the same shared layers.
	common := int64(0)
	if len(images) > 1 {
		common = 3 * 514 * kib
	}
	sum := common
	for _, i := range images {
		sum += i.bytes - common
	}
	return sum
}

// times is how often a case is run on a network. What takes minutes is run
// once.
func (b *bench) times(s scenario, n network) int {
	if s.key == "e" || s.key == "d" && n.Speed > 0 {
		return 1
	}
	return b.runs
}

func (b *bench) on(ctx context.Context, s scenario, n network, sides *sides, images []image) error {
	records := map[string]*record{}
	var entered []contestant
	for _, c := range b.contestants {
		if s.key == "e" && !c.defaults {
			continue // more at once inside of one small image changes nothing
		}
		entered = append(entered, c)
		for _, phase := range []string{cold, again} {
			r := &record{Case: s.key, Network: n.Name, Phase: phase, Contestant: c.name, Floor: c.floor, Ours: c.ours, Defaults: c.defaults}
			records[c.name+phase] = r
			b.out.Records = append(b.out.Records, r)
		}
	}
	for run := range b.times(s, n) {
		for at := range entered {
			// Nobody is always first.
			c := entered[(at+run)%len(entered)]
			if time.Now().After(b.deadline) {
				return fmt.Errorf("%s on %s, run %d: %w", s.key, n.Name, run+1, errLate)
			}
			if records[c.name+cold].Failed != "" {
				continue
			}
			efforts, froms, left, err := b.one(ctx, s, c, sides, images, n, true)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			for i, phase := range []string{cold, again} {
				r := records[c.name+phase]
				if i < len(efforts) {
					r.Runs = append(r.Runs, efforts[i])
					r.Source, r.Target = froms[i][0], froms[i][1]
				}
				r.LeftBehind = max(r.LeftBehind, left)
				if err != nil {
					r.Failed = err.Error()
				}
			}
			if err != nil {
				b.tell("%s  %-11s %-11s failed: %v", s.key, n.Name, c.name, err)
				continue
			}
			b.tell("%s  %-11s %-11s %7.3f s, again %6.3f s, cpu %6.2f s, %4d requests, again %3d, left behind %d",
				s.key, n.Name, c.name, efforts[0].Wall, efforts[1].Wall, efforts[0].CPU, froms[0][0].Requests+froms[0][1].Requests,
				froms[1][0].Requests+froms[1][1].Requests, left)
		}
	}
	return nil
}

// one copies once to an empty place and once more to the same, through proxies
// of its own, and looks at what has arrived.
func (b *bench) one(ctx context.Context, s scenario, c contestant, sides *sides, images []image, n network, twice bool) (efforts []effort, counts [][2]traffic, left int, err error) {
	from, err := startProxy(sides.from.address, n)
	if err != nil {
		return nil, nil, 0, err
	}
	defer from.stop()
	to, err := startProxy(sides.to.address, n)
	if err != nil {
		return nil, nil, 0, err
	}
	defer to.stop()
	home, err := newHome(b.folder)
	if err != nil {
		return nil, nil, 0, err
	}
	defer os.RemoveAll(home)
	b.counter++
	t := task{from: from.address(), to: to.address(), referrers: s.referrers, tls: n.TLS, home: home}
	var environment []string
	if n.TLS {
		if environment, err = trust(home); err != nil {
			return nil, nil, 0, err
		}
	}
	for _, i := range images {
		t.pairs = append(t.pairs, pair{i.source(), fmt.Sprintf("r%d/%s:%s", b.counter, i.repository, i.tag)})
	}
	phases := 1
	if twice {
		phases = 2
	}
	for range phases {
		calls, err := c.commands(t)
		if err != nil {
			return efforts, counts, left, err
		}
		for i := range calls {
			calls[i].environment = append(calls[i].environment, environment...)
		}
		e, err := do(ctx, home, calls)
		if err != nil {
			return efforts, counts, left, err
		}
		var count [2]traffic
		for i, p := range []*proxy{from, to} {
			if count[i], err = p.look(); err != nil {
				return efforts, counts, left, err
			}
		}
		efforts, counts = append(efforts, e), append(counts, count)
		if left, err = leftBehind(ctx, sides.to.address, images, t.pairs); err != nil {
			return efforts, counts, left, err
		}
	}
	return efforts, counts, left, nil
}
