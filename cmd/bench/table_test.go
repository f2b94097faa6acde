package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		all  []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 3}, 2.5}} {
		if got := median(test.all); got != test.want {
			t.Errorf("the median of %v is %v, want %v", test.all, got, test.want)
		}
	}
}

func example() *measurement {
	m := &measurement{Command: "bench", Runs: 1, Networks: networks[:1], Subjects: []subject{{Key: "f", Name: "2 platforms & 5 referrers", Images: 1, Least: 72}}}
	add := func(name string, wall float64, left int, failed string) *record {
		r := &record{Case: "f", Network: "loopback", Phase: cold, Contestant: name, Defaults: true, Runs: []effort{{Wall: wall}}, LeftBehind: left, Failed: failed}
		m.Records = append(m.Records, r)
		return r
	}
	add("floor", 1, 0, "").Floor = true
	add("acrpromote", 1.1, 0, "").Ours = true
	add("crane", 0.9, 6, "")
	add("regctl", 2.2, 0, "")
	add("oras", 0.5, 0, "it fell over")
	return m
}

func TestWhoLeavesSomethingBehindIsNotTheFastest(t *testing.T) {
	m := example()
	wall, name := m.best("f", "loopback", cold, false, record.wall)
	if name != "regctl" || wall != 2.2 {
		t.Errorf("the fastest is %s with %v, want regctl with 2.2", name, wall)
	}
	page := m.markdown()
	for _, want := range []string{"(0.90, leaves 6)", "**1.10**", "| ✘ |", "0.50 (regctl)", "| 2.00 |", "oras, case f, loopback: it fell over"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is missing in:\n%s", want, page)
		}
	}
}

func TestChartIsXMLAndHollowWhereSomethingWasLeftBehind(t *testing.T) {
	chart := example().chart()
	for d := xml.NewDecoder(strings.NewReader(chart)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	// One in the legend, one in the row.
	if n := strings.Count(chart, `"crane hollow"`); n != 2 {
		t.Errorf("%d hollow marks, want 2", n)
	}
	if !strings.Contains(chart, "1.10× · 1.1 s") {
		t.Error("our own figure is missing")
	}
	if strings.Contains(chart, `"oras"`) {
		t.Error("what failed is drawn")
	}
}

func TestTheLeastRequestsAreThoseOnPaper(t *testing.T) {
	one := image{manifests: []string{"m"}, blobs: []string{"1", "2", "3"}}
	if got := plainLeast([]image{one}); got != 2+3*3+1 {
		t.Errorf("%d for one image", got)
	}
	other := image{manifests: []string{"n"}, blobs: []string{"1", "2", "4"}}
	if got := plainLeast([]image{one, other}); got != 12+2+1+2+3 {
		t.Errorf("%d for two that share two blobs", got)
	}
}
