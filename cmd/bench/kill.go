package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// sweep is what came of killing one program at each of its requests.
type sweep struct {
	Contestant string
	Requests   int // of an undisturbed run
	Kills      int
	Late       int // the program had come to its end before
	Absent     int // the tag was not there yet
	Whole      int // the tag was there, and all behind it
	Incomplete int // the tag was there, and something behind it was not
	Wrong      int // after the rerun
	// Over all kills: what had arrived at the look, what the reruns sent, and
	// what of that had arrived.
	Arrived, Sent, Resent bulk
	Never                 []part // what an undisturbed run leaves behind
	Findings              []finding
	Failed                string
}

// finding is something wrong that was seen once or more.
type finding struct {
	What  string
	Times int
	First string // where
}

// killing is the whole of it.
type killing struct {
	Command  string
	System   string
	Cores    int
	Versions map[string]string
	Subject  string
	Size     int64 // of the image's blobs, in bytes
	Parts    view  // at the source
	Sweeps   []*sweep
}

// mortal are those whose runs are killed: who brings along what is attached,
// at their defaults.
func mortal(picked []contestant) []contestant {
	var list []contestant
	for _, c := range picked {
		if c.defaults && (c.ours || c.name == "regctl" || c.name == "oras") {
			list = append(list, c)
		}
	}
	return list
}

// killer kills. It measures nothing.
type killer struct {
	sides  *sides
	image  image
	source view
	folder string
	tell   func(format string, args ...any)

	counter int
}

// runKills sweeps over all contestants and writes kill-sweep.md.
func runKills(ctx context.Context, b *bench, out string) error {
	picked := mortal(b.contestants)
	if len(picked) == 0 {
		return errors.New("nobody here can be killed: -kill takes acrpromote, regctl and oras")
	}
	var attached scenario
	for _, s := range scenarios {
		if s.referrers {
			attached = s
		}
	}
	sides, err := b.sides(ctx)
	if err != nil {
		return err
	}
	defer sides.stop()
	images, err := attached.build(ctx, newSeeder(sides.from.address, attached.key), 1)
	if err != nil {
		return fmt.Errorf("case %s cannot be built: %w", attached.key, err)
	}
	k := &killer{sides: sides, image: images[0], folder: b.folder, tell: b.tell}
	if k.source, err = lookAt(ctx, sides.from.address, k.image.repository, k.image); err != nil {
		return err
	}
	all := &killing{Command: b.out.Command, System: b.out.System, Cores: runtime.NumCPU(), Versions: b.out.Versions,
		Subject: attached.name, Size: k.image.bytes, Parts: k.source}
	for _, c := range picked {
		s := &sweep{Contestant: c.name}
		all.Sweeps = append(all.Sweeps, s)
		if err := k.sweep(ctx, c, s); ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			s.Failed = err.Error()
			b.tell("%s: %v", c.name, err)
		}
	}
	page := all.markdown()
	if _, err := os.Stdout.WriteString(page); err != nil || out == "" {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "kill-sweep.md"), []byte(page), 0o644)
}

// sweep kills one contestant at each request of a run.
func (k *killer) sweep(ctx context.Context, c contestant, s *sweep) error {
	began := time.Now()
	want, requests, err := k.undisturbed(ctx, c)
	if err != nil {
		return err
	}
	s.Requests, s.Never = requests, want.lacks(k.source)
	for at := 1; at <= requests; at++ {
		for _, when := range []moment{unseen, unheard} {
			if err := k.attempt(ctx, c, s, want, at, when); err != nil {
				return fmt.Errorf("killed at request %d, %v: %w", at, when, err)
			}
		}
		if at%20 == 0 || at == requests {
			k.tell("%-11s request %d of %d: %d kills, %d visible but incomplete, %d wrong after the rerun, %.0f s",
				c.name, at, requests, s.Kills, s.Incomplete, s.Wrong, time.Since(began).Seconds())
		}
	}
	return nil
}

// place is a repository of its own, with the program's call to copy to it.
type place struct {
	gate       *gate
	repository string
	home       string
	command    command
}

func (k *killer) place(c contestant) (*place, error) {
	g, err := startGate(k.sides.from.address, k.sides.to.address)
	if err != nil {
		return nil, err
	}
	k.counter++
	p := &place{gate: g, repository: fmt.Sprintf("k%d/%s", k.counter, k.image.repository)}
	if p.home, err = newHome(k.folder); err != nil {
		g.stop()
		return nil, err
	}
	calls, err := c.commands(task{from: g.source, to: g.target, referrers: true, home: p.home,
		pairs: []pair{{k.image.source(), p.repository + ":" + k.image.tag}}})
	if err == nil && len(calls) != 1 {
		err = fmt.Errorf("one image takes %d calls, and only one can be killed", len(calls))
	}
	if err != nil {
		p.leave()
		return nil, err
	}
	p.command = calls[0]
	return p, nil
}

func (p *place) leave() {
	p.gate.stop()
	os.RemoveAll(p.home)
}

// run lets the program come to its end.
func (p *place) run(ctx context.Context) error {
	p.gate.reset(nil)
	_, err := call(ctx, p.home, p.command)
	if quiet := p.gate.quiet(ctx); err == nil {
		err = quiet
	}
	return err
}

func (k *killer) look(ctx context.Context, p *place) (view, error) {
	return lookAt(ctx, k.sides.to.address, p.repository, k.image)
}

// undisturbed is the run that the others are held against.
func (k *killer) undisturbed(ctx context.Context, c contestant) (view, int, error) {
	p, err := k.place(c)
	if err != nil {
		return view{}, 0, err
	}
	defer p.leave()
	if err := p.run(ctx); err != nil {
		return view{}, 0, fmt.Errorf("an undisturbed run fails: %w", err)
	}
	requests, _ := p.gate.look()
	v, err := k.look(ctx, p)
	if err == nil && v.root != k.image.root {
		err = fmt.Errorf("an undisturbed run ends with the tag at %q, and should with %s", v.root, k.image.root)
	}
	return v, requests, err
}

// attempt kills one run, looks, and runs the program again.
func (k *killer) attempt(ctx context.Context, c contestant, s *sweep, want view, at int, when moment) error {
	p, err := k.place(c)
	if err != nil {
		return err
	}
	defer p.leave()
	killed, failed := p.gate.killAt(ctx, p.home, p.command, at, when)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if failed != nil {
		return fmt.Errorf("the program fails on its own: %w", failed)
	}
	if !killed {
		s.Late++
		return nil
	}
	seen, err := k.look(ctx, p)
	if err != nil {
		return err
	}
	place := fmt.Sprintf("request %d, %v", at, when)
	s.judgeKill(place, seen, want)
	failed = p.run(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	_, sent := p.gate.look()
	end, err := k.look(ctx, p)
	if err != nil {
		return err
	}
	s.judgeRerun(place, failed, seen, end, want, sent)
	return nil
}

// judgeKill holds what the look after a kill showed against what an undisturbed
// run ends with.
func (s *sweep) judgeKill(place string, seen, want view) {
	s.Kills++
	for _, size := range seen.sizes {
		s.Arrived.times++
		s.Arrived.bytes += size
	}
	missing := seen.lacks(want)
	switch {
	case seen.root == "":
		s.Absent++
	case len(missing) > 0:
		s.Incomplete++
		s.find(place, "the tag is visible without "+describe(missing))
	default:
		s.Whole++
	}
}

// judgeRerun holds the end against the same, and counts what was sent again.
func (s *sweep) judgeRerun(place string, failed error, seen, end, want view, sent map[string]bulk) {
	for digest, u := range sent {
		s.Sent.times += u.times
		s.Sent.bytes += u.bytes
		if _, arrived := seen.sizes[digest]; arrived {
			s.Resent.times += u.times
			s.Resent.bytes += u.bytes
		}
	}
	missing, surplus := end.lacks(want), want.lacks(end)
	if failed == nil && len(missing) == 0 && len(surplus) == 0 {
		return
	}
	s.Wrong++
	if failed != nil {
		s.find(place, "the rerun fails: "+oneLine(failed.Error()))
	}
	if len(missing) > 0 {
		s.find(place, "the rerun ends without "+describe(missing))
	}
	if len(surplus) > 0 {
		s.find(place, "the rerun ends with more than belongs there: "+describe(surplus))
	}
}

func (s *sweep) find(place, what string) {
	for n := range s.Findings {
		if s.Findings[n].What == what {
			s.Findings[n].Times++
			return
		}
	}
	s.Findings = append(s.Findings, finding{what, 1, place})
}
