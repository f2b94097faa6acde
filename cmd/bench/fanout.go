package main

import (
	"context"
	"fmt"
	"os"
	"time"
)

// fan is one image brought to many targets in one run of ours, beside the same
// to one target.
type fan struct {
	Targets     int     `json:"targets"`
	ImageBytes  int64   `json:"imageBytes"`
	SourceBytes float64 `json:"sourceBytesPerImageByte"`
	One         float64 `json:"oneTargetSeconds"`
	Many        float64 `json:"allTargetsSeconds"`
	CPU         float64 `json:"cpuSeconds"`
	Memory      int64   `json:"peakBytes"`
	Network     network `json:"network"`
	Failed      string  `json:"failed,omitempty"`
}

// fanNetwork is far and narrow, so that the network and not this machine is
// what is measured: all targets are behind it here.
var fanNetwork = network{Name: "50 ms, 4 MiB/s", Trip: 50 * time.Millisecond, Speed: 4 * mib}

func (b *bench) fanOut(ctx context.Context, ours string, targets int) (*fan, error) {
	sides, err := b.sides(ctx)
	if err != nil {
		return nil, err
	}
	defer sides.stop()
	images, err := single("fan", same(4, 8*mib))(ctx, newSeeder(sides.from.address, "fan"), 0)
	if err != nil {
		return nil, err
	}
	f := &fan{Targets: targets, ImageBytes: images[0].bytes, Network: fanNetwork}
	var walls [2][]float64
	var cpus, shares []float64
	for range b.runs {
		for k, count := range []int{1, targets} {
			e, received, err := b.spread(ctx, ours, sides, images, count)
			if err != nil {
				f.Failed = err.Error()
				return f, nil
			}
			walls[k] = append(walls[k], e.Wall)
			if count == targets {
				cpus = append(cpus, e.CPU)
				shares = append(shares, float64(received)/float64(images[0].bytes))
				f.Memory = max(f.Memory, e.Memory)
			}
			b.tell("fan-out to %2d: %.2f s, source bytes ÷ image bytes %.3f, cpu %.2f s, %.1f MiB", count, e.Wall,
				float64(received)/float64(images[0].bytes), e.CPU, float64(e.Memory)/float64(mib))
		}
	}
	f.One, f.Many, f.CPU, f.SourceBytes = median(walls[0]), median(walls[1]), median(cpus), median(shares)
	return f, nil
}

// spread runs ours once. Each target is an address of its own, and a
// repository of its own behind it: nothing that one has is found by another.
func (b *bench) spread(ctx context.Context, ours string, sides *sides, images []image, targets int) (effort, int64, error) {
	from, err := startProxy(sides.from.address, fanNetwork)
	if err != nil {
		return effort{}, 0, err
	}
	defer from.stop()
	home, err := newHome(b.folder)
	if err != nil {
		return effort{}, 0, err
	}
	defer os.RemoveAll(home)
	args := []string{ours, "invertedPush", "--source", from.address() + "/" + images[0].source(), "--approval", "none", "--referrers=false",
		"--plain-http", from.address()}
	var pairs []pair
	var copies []image
	b.counter++
	for n := range targets {
		to, err := startProxy(sides.to.address, fanNetwork)
		if err != nil {
			return effort{}, 0, err
		}
		defer to.stop()
		target := fmt.Sprintf("r%d/t%d/%s", b.counter, n, images[0].source())
		args = append(args, "--targets", to.address()+"/"+target, "--plain-http", to.address())
		pairs = append(pairs, pair{images[0].source(), target})
		copies = append(copies, images[0])
	}
	e, err := do(ctx, home, []command{{args: args}})
	if err != nil {
		return e, 0, err
	}
	count, err := from.look()
	if err != nil {
		return e, 0, err
	}
	_, err = leftBehind(ctx, sides.to.address, copies, pairs)
	return e, count.Received, err
}
