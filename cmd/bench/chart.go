package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strings"
)

// mark is how a program is drawn: shape and colour both tell them apart.
type mark struct{ class, shape string }

var marks = map[string]mark{
	"acrpromote": {"ours", "diamond"},
	"crane":      {"crane", "circle"},
	"regctl":     {"regctl", "square"},
	"oras":       {"oras", "triangle"},
	"skopeo":     {"skopeo", "cross"},
}

const (
	chartWidth = 1080
	plotLeft   = 330
	plotRight  = 920
	rowHeight  = 34
	chartTop   = 112
)

// chart draws the cold copies: a row for each case and network, on a
// logarithmic scale of multiples of the floor's wall time. What left something
// behind is drawn hollow.
func (m *measurement) chart() string {
	type dot struct {
		record *record
		ratio  float64
	}
	type row struct {
		heading bool
		label   string
		floor   float64
		dots    []dot
	}
	var rows []row
	most, least := 2.0, 1.0
	var shown []string
	for _, n := range m.Networks {
		first := true
		for _, s := range m.Subjects {
			r := row{label: s.Name}
			if s.Images > 1 {
				r.label = fmt.Sprintf("%d %s", s.Images, s.Name)
			}
			for _, each := range m.Records {
				if each.Case == s.Key && each.Network == n.Name && each.Phase == cold && each.Floor && len(each.Runs) > 0 {
					r.floor = each.wall()
				}
			}
			if r.floor == 0 {
				continue
			}
			if first {
				rows = append(rows, row{heading: true, label: n.words()})
				first = false
			}
			for _, each := range m.Records {
				if each.Case != s.Key || each.Network != n.Name || each.Phase != cold || each.Floor || !each.Defaults || each.Failed != "" || len(each.Runs) == 0 {
					continue
				}
				ratio := each.wall() / r.floor
				r.dots = append(r.dots, dot{each, ratio})
				most, least = max(most, ratio), min(least, ratio)
				if !slices.Contains(shown, each.Contestant) {
					shown = append(shown, each.Contestant)
				}
			}
			// Ours is drawn last, on top.
			slices.SortStableFunc(r.dots, func(a, b dot) int {
				return map[bool]int{false: 0, true: 1}[a.record.Ours] - map[bool]int{false: 0, true: 1}[b.record.Ours]
			})
			rows = append(rows, r)
		}
	}
	low, high := math.Log2(least)-0.15, math.Log2(most)+0.15
	x := func(ratio float64) float64 {
		return plotLeft + (math.Log2(ratio)-low)/(high-low)*(plotRight-plotLeft)
	}
	height := chartTop + rowHeight*len(rows) + 48
	var b strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	put(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="title desc" font-family="system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif" font-size="14">`,
		chartWidth, height, chartWidth, height)
	put(`  <title id="title">Copying to an empty registry: wall time as a multiple of the floor's</title>`)
	put(`  <desc id="desc">A row for each image and network. Further left is faster; 1 is a program that makes only the requests that cannot be avoided. Hollow marks left signatures or SBOMs behind.</desc>`)
	put(`%s`, chartStyle)
	put(`  <rect class="page" width="%d" height="%d"/>`, chartWidth, height)
	put(`  <text class="text" x="24" y="36" font-size="20" font-weight="600">Copying to an empty registry</text>`)
	put(`  <text class="soft" x="24" y="58">wall time as a multiple of the floor's, every program at its defaults; further left is faster</text>`)
	at := 24.0
	for _, name := range shown {
		put(`  %s`, shape(marks[name], at+7, 82, false))
		put(`  <text class="text" x="%.0f" y="87">%s</text>`, at+20, escape(name))
		at += 40 + 8.2*float64(len(name))
	}
	put(`  %s`, shape(mark{"crane", "circle"}, at+7, 82, true))
	put(`  <text class="text" x="%.0f" y="87">hollow: left signatures behind</text>`, at+20)
	bottom := chartTop + rowHeight*len(rows)
	for _, tick := range []float64{0.5, 1, 2, 4, 8, 16, 32} {
		if math.Log2(tick) < low || math.Log2(tick) > high {
			continue
		}
		class := "grid"
		if tick == 1 {
			class = "floor"
		}
		put(`  <line class="%s" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`, class, x(tick), chartTop-6, x(tick), bottom)
		name := fmt.Sprintf("%g×", tick)
		if tick == 1 {
			name = "floor"
		}
		put(`  <text class="soft" x="%.1f" y="%d" text-anchor="middle">%s</text>`, x(tick), bottom+22, name)
	}
	for i, r := range rows {
		y := float64(chartTop + rowHeight*i + rowHeight/2)
		if r.heading {
			put(`  <text class="text" x="24" y="%.0f" font-weight="600">%s</text>`, y+8, escape(r.label))
			continue
		}
		put(`  <text class="text" x="%d" y="%.0f" text-anchor="end">%s</text>`, plotLeft-16, y+5, escape(r.label))
		put(`  <line class="row" x1="%d" y1="%.0f" x2="%d" y2="%.0f"/>`, plotLeft, y, plotRight, y)
		for _, d := range r.dots {
			program, _, _ := strings.Cut(d.record.Contestant, "+")
			put(`  %s`, shape(marks[program], x(d.ratio), y, d.record.LeftBehind > 0))
			if d.record.Ours {
				put(`  <text class="ourstext" x="%d" y="%.0f" font-weight="600">%.2f× · %s</text>`, plotRight+14, y+5, d.ratio, seconds(d.record.wall()))
			}
		}
	}
	put(`</svg>`)
	return b.String()
}

// words say what lies between the program and the registries.
func (n network) words() string {
	switch {
	case n.TLS:
		return "no delay, over TLS"
	case n.Trip == 0 && n.Speed == 0:
		return "no delay"
	}
	words := fmt.Sprintf("%d ms round trip", n.Trip.Milliseconds())
	if n.Speed > 0 {
		words += fmt.Sprintf(", %d MiB/s a connection", n.Speed/mib)
	}
	return words
}

func seconds(s float64) string {
	if s < 1 {
		return fmt.Sprintf("%.0f ms", 1000*s)
	}
	return fmt.Sprintf("%.1f s", s)
}

func shape(m mark, x, y float64, hollow bool) string {
	class := m.class
	if hollow {
		class += " hollow"
	}
	switch m.shape {
	case "diamond":
		return fmt.Sprintf(`<path class="%s" d="M%.1f %.1fl8 8l-8 8l-8 -8z"/>`, class, x, y-8)
	case "square":
		return fmt.Sprintf(`<rect class="%s" x="%.1f" y="%.1f" width="11" height="11"/>`, class, x-5.5, y-5.5)
	case "triangle":
		return fmt.Sprintf(`<path class="%s" d="M%.1f %.1fl6.5 12h-13z"/>`, class, x, y-7)
	case "cross":
		return fmt.Sprintf(`<path class="%s" d="M%.1f %.1fl10 10m0 -10l-10 10"/>`, class, x-5, y-5)
	}
	return fmt.Sprintf(`<circle class="%s" cx="%.1f" cy="%.1f" r="6"/>`, class, x, y)
}

func escape(text string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(text))
	return b.String()
}

const chartStyle = `  <style>
    .page { fill: #ffffff; }
    .text { fill: #1b2128; }
    .soft { fill: #4d5863; }
    .grid { stroke: #d5dae0; }
    .row { stroke: #e9ecf0; }
    .floor { stroke: #4d5863; stroke-width: 1.5; stroke-dasharray: 5 4; }
    .ours { fill: #1f5fa8; stroke: #1f5fa8; stroke-width: 2; }
    .ourstext { fill: #174a84; }
    .crane { fill: #b3541e; stroke: #b3541e; stroke-width: 2; }
    .regctl { fill: #3d7a3a; stroke: #3d7a3a; stroke-width: 2; }
    .oras { fill: #7a4a9e; stroke: #7a4a9e; stroke-width: 2; }
    .skopeo { fill: none; stroke: #5b6672; stroke-width: 3; }
    .hollow { fill: #ffffff; }
    @media (prefers-color-scheme: dark) {
      .page { fill: #0f1419; }
      .text { fill: #e6eaee; }
      .soft { fill: #a9b4bf; }
      .grid { stroke: #303a44; }
      .row { stroke: #212a32; }
      .floor { stroke: #a9b4bf; }
      .ours { fill: #6aa7ea; stroke: #6aa7ea; }
      .ourstext { fill: #8fc0f5; }
      .crane { fill: #e5945b; stroke: #e5945b; }
      .regctl { fill: #79bd75; stroke: #79bd75; }
      .oras { fill: #b792d8; stroke: #b792d8; }
      .skopeo { fill: none; stroke: #9aa5b1; }
      .hollow { fill: #0f1419; }
    }
  </style>`
