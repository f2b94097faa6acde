package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
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

// whole is a measurement with something of everything that is reported.
func whole() *measurement {
	m := &measurement{Command: "./build.sh bench -full", System: "linux/amd64", Cores: 2, Load: "0.10", Runs: 3, Networks: networks,
		Versions: map[string]string{"acrpromote": "1.0.0", "regctl": "v0.11.7"},
		Subjects: []subject{{"a", "5 layers", 1, 10 * mib, 21, 2}, {"d", "one layer", 1, 1536 * mib, 9, 2}, {"e", "repositories", 100, 15 * mib, 1506, 200}, {"f", "referrers", 1, 4 * mib, 73, 19}},
		Fan:      &fan{Targets: 20, ImageBytes: 32 * mib, SourceBytes: 1.0004, One: 3, Many: 4.5, CPU: 2, Memory: 30 * mib, Network: fanNetwork},
		LeftOut:  []string{"c: there was no time left"}}
	// add notes wall and CPU seconds; again takes a tenth of them.
	add := func(key, network, name string, wall, cpu float64, requests, requestsAgain int, sent int64) {
		for _, phase := range []string{cold, again} {
			r := &record{Case: key, Network: network, Phase: phase, Contestant: name, Floor: name == "floor", Ours: name == "acrpromote", Defaults: !strings.Contains(name, "+")}
			r.Target = traffic{Requests: requests, Sent: sent}
			if r.Runs = []effort{{Wall: wall, CPU: cpu, Memory: 12 * mib}}; phase == again {
				r.Target = traffic{Requests: requestsAgain}
				r.Runs = []effort{{Wall: wall / 10, CPU: cpu / 10, Memory: 12 * mib}}
			}
			m.Records = append(m.Records, r)
		}
	}
	add("a", "loopback", "floor", 0.05, 0.02, 21, 2, 10*mib)
	add("a", "loopback", "acrpromote", 0.055, 0.03, 21, 2, 10*mib)
	add("a", "loopback", "regctl", 0.07, 0.04, 27, 2, 10*mib)
	add("a", "30ms", "floor", 0.2, 0.02, 21, 2, 10*mib)
	add("a", "30ms", "acrpromote", 0.19, 0.03, 21, 2, 10*mib)
	add("a", "30ms", "regctl", 0.5, 0.04, 27, 2, 10*mib)
	add("a", "30ms", "regctl+8", 0.4, 0.04, 27, 2, 10*mib)
	add("d", "loopback", "floor", 4, 1.9, 9, 2, 1536*mib)
	add("d", "loopback", "acrpromote", 3.6, 1.8, 9, 2, 1536*mib)
	add("d", "loopback", "regctl", 3.9, 1.8, 11, 2, 1536*mib)
	add("d", "loopback", "oras", 3.5, 0.9, 12, 3, 1536*mib)
	add("d", "tls", "floor", 6, 4, 9, 2, 1536*mib)
	add("d", "tls", "acrpromote", 5, 3.9, 9, 2, 1536*mib)
	add("d", "tls", "regctl", 6, 4, 11, 2, 1536*mib)
	add("e", "30ms", "floor", 5, 0.3, 1506, 200, 15*mib+90*kib)
	add("e", "30ms", "acrpromote", 3, 0.3, 1506, 200, 15*mib+90*kib)
	add("e", "30ms", "regctl", 54, 4, 2700, 200, 164*mib)
	add("f", "30ms", "floor", 0.4, 0.03, 73, 19, 4*mib)
	add("f", "30ms", "acrpromote", 0.5, 0.03, 74, 27, 4*mib)
	add("f", "30ms", "regctl", 1.4, 0.03, 104, 23, 4*mib)
	add("f", "30ms", "crane", 0.3, 0.03, 41, 4, 3*mib)
	add("f", "30ms", "oras", 0.1, 0.03, 10, 4, 3*mib)
	for _, r := range m.Records {
		switch r.Contestant + r.Case {
		case "cranef":
			r.LeftBehind = 6
		case "orasf":
			r.Failed = "exit status 1:\n  it fell over"
		}
	}
	return m
}

func TestPage(t *testing.T) {
	page := whole().markdown()
	file := filepath.Join("testdata", "bench.golden")
	if *update {
		if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if page != string(want) {
		t.Errorf("the page is\n%s\nwant (-update writes it)\n%s", page, want)
	}
}

func TestGoalsAreThoseThatWereMeasured(t *testing.T) {
	m := whole()
	m.Fan.Failed = "it fell over"
	for _, r := range m.Records {
		if r.Ours && r.Case == "d" {
			r.Failed = "it fell over"
		}
	}
	for _, g := range m.goals() {
		if strings.HasPrefix(g.text, "d") || strings.HasPrefix(g.text, "fan") {
			t.Errorf("%s: %v is reported for what failed", g.text, g.reached)
		}
	}
	m.Records = slices.DeleteFunc(m.Records, func(r *record) bool { return r.Ours })
	if goals := m.goals(); len(goals) > 0 {
		t.Errorf("%v without the program that has them", goals)
	}
}

func TestGoalIsMetByWhatIsShown(t *testing.T) {
	for _, test := range []struct {
		goal goal
		want bool
	}{
		{goal{limit: 1.10, reached: 1.104, digits: 2}, true},
		{goal{limit: 1.10, reached: 1.106, digits: 2}, false},
		{goal{limit: 2.3, reached: 2.26, digits: 1, atLeast: true}, true},
		{goal{limit: 2.3, reached: 2.24, digits: 1, atLeast: true}, false},
		{goal{limit: 0, reached: -1}, true},
		{goal{limit: 0, reached: 1}, false},
	} {
		if got := test.goal.met(); got != test.want {
			t.Errorf("%+v is met: %t", test.goal, got)
		}
	}
}

func TestTripsAreWhatTheFarNetworkAdds(t *testing.T) {
	m := whole()
	got, _ := m.trips("acrpromote")(m.Subjects[0], networks[1])
	if want := (0.019 - 0.0055) / (30 * time.Millisecond).Seconds(); math.Abs(got-want) > 1e-9 {
		t.Errorf("%v round trips, want %v", got, want)
	}
	if got, _ := m.trips("acrpromote")(m.Subjects[3], networks[1]); !math.IsNaN(got) {
		t.Errorf("%v round trips without a near network to compare with", got)
	}
}
