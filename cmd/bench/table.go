package main

import (
	"fmt"
	"slices"
	"strings"
)

// find tells one record, nil if there is none.
func (m *measurement) find(key, network, phase, name string) *record {
	for _, r := range m.Records {
		if r.Case == key && r.Network == network && r.Phase == phase && r.Contestant == name {
			return r
		}
	}
	return nil
}

func (m *measurement) named(is func(*record) bool) []string {
	var names []string
	for _, r := range m.Records {
		if is(r) && !slices.Contains(names, r.Contestant) {
			names = append(names, r.Contestant)
		}
	}
	return names
}

// best is the lowest figure of the peers that bring everything along.
func (m *measurement) best(key, network, phase string, defaults bool, figure func(record) float64) (lowest float64, name string) {
	return m.bestOf(key, network, phase, func(r record) bool { return r.Defaults || !defaults }, figure)
}

// bestOf is best among those that count.
func (m *measurement) bestOf(key, network, phase string, counts func(record) bool, figure func(record) float64) (lowest float64, name string) {
	for _, r := range m.Records {
		if r.Case != key || r.Network != network || r.Phase != phase || r.Floor || r.Ours || !r.whole() || !counts(*r) {
			continue
		}
		if f := figure(*r); name == "" || f < lowest {
			lowest, name = f, r.Contestant
		}
	}
	return lowest, name
}

// markdown tells all figures as a page.
func (m *measurement) markdown() string {
	var page strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&page, format+"\n", args...) }
	line("# Benchmark of the copy engine")
	line("")
	line("Made by `%s` on %d cores (%s), medians of %d runs, all programs in turn within one run.", m.Command, m.Cores, m.System, m.Runs)
	if m.Load != "" {
		line("Before it began, the machine's load average was %s: the nearer to 0, the more the figures are worth.", m.Load)
	}
	line("Cases e, and d at limited bandwidth, were run once. Two CNCF registries on this machine, plain HTTP, behind a proxy that counts, delays and limits each connection; opening a connection takes a round trip too. On `tls` the proxy speaks HTTPS, with a certificate of its own.")
	if slices.ContainsFunc(m.Subjects, func(s subject) bool { return s.Images > 1 }) {
		line("Of many images acrpromote takes all in one call, with a flow file and a list, and so does the floor, eight things at once; the peers know no such thing and are called once an image, one call after the other.")
	}
	line("")
	line("![Wall time as a multiple of the floor's](bench.svg)")
	line("")
	line("**Floor**: a program with the requests that cannot be left out and nothing else, hashing, eight things at once, warm connections. `+8` is eight jobs; without it a program runs at its defaults. In brackets: this program left attached manifests behind (how many), so it had less to do. Figures of the programs are multiples of the floor's; ± is how far the floor's own runs lie apart. *Whole peer*: the fastest peer, in any setting, that brought everything along.")
	line("")
	var versions []string
	for name, v := range m.Versions {
		versions = append(versions, name+" "+v)
	}
	slices.Sort(versions)
	line("Measured: %s.", strings.Join(versions, ", "))
	line("")
	line("| case | | images | MiB | least requests | again |")
	line("|---|---|---|---|---|---|")
	for _, s := range m.Subjects {
		line("| %s | %s | %d | %.1f | %d | %d |", s.Key, s.Name, s.Images, float64(s.Bytes)/float64(mib), s.Least, s.LeastAgain)
	}
	m.tellGoals(line)
	everybody := m.named(func(r *record) bool { return !r.Floor })
	floors := m.named(func(r *record) bool { return r.Floor })
	floor := ""
	if len(floors) > 0 {
		floor = floors[0]
	}
	ours := m.named(func(r *record) bool { return r.Ours })
	for _, phase := range []string{cold, again} {
		line("")
		line("## Wall time, %s", phase)
		line("")
		line("| case | network | floor s | %s | ours ÷ whole peer | whole peer at defaults ÷ ours |", strings.Join(everybody, " | "))
		line("|%s", strings.Repeat("---|", len(everybody)+5))
		for _, s := range m.Subjects {
			for _, n := range m.Networks {
				base := m.find(s.Key, n.Name, phase, floor)
				if base == nil || len(base.Runs) == 0 {
					continue
				}
				cells := []string{s.Key, n.Name, fmt.Sprintf("%.3f ± %.0f %%", base.wall(), 100*base.spread())}
				for _, name := range everybody {
					cells = append(cells, m.cell(m.find(s.Key, n.Name, phase, name), func(r record) string {
						return fmt.Sprintf("%.2f", r.wall()/base.wall())
					}))
				}
				peer, who := m.best(s.Key, n.Name, phase, false, record.wall)
				calm, _ := m.best(s.Key, n.Name, phase, true, record.wall)
				versus, gain := "", ""
				if len(ours) > 0 {
					if o := m.find(s.Key, n.Name, phase, ours[0]); o != nil && len(o.Runs) > 0 && peer > 0 {
						versus = fmt.Sprintf("%.2f (%s)", o.wall()/peer, who)
						if calm > 0 {
							gain = fmt.Sprintf("%.2f", calm/o.wall())
						}
					}
				}
				line("| %s |", strings.Join(append(cells, versus, gain), " | "))
			}
		}
	}
	m.figures(line, "Requests", "At the source and the target, as the proxies counted them.", floor, everybody, []string{cold, again},
		func(r record) string { return fmt.Sprint(r.requests()) })
	m.tellSent(line, floor, everybody)
	m.figures(line, "CPU seconds", "User and system, of the program alone.", floor, everybody, []string{cold},
		func(r record) string { return fmt.Sprintf("%.2f", r.cpu()) })
	m.figures(line, "Peak memory, MiB", "Resident, of the program's largest call.", floor, everybody, []string{cold},
		func(r record) string { return fmt.Sprintf("%.1f", float64(r.memory())/float64(mib)) })
	if f := m.Fan; f != nil {
		line("")
		line("## Fan-out")
		line("")
		if f.Failed != "" {
			line("Failed: %s", f.Failed)
		} else {
			line("One image of %.0f MiB to %d targets at once, %s a connection: %.2f s, to one target %.2f s (× %.2f). Bytes read at the source ÷ bytes of the image: **%.3f**. CPU %.2f s, peak memory %.1f MiB.",
				float64(f.ImageBytes)/float64(mib), f.Targets, f.Network.Name, f.Many, f.One, f.Many/f.One, f.SourceBytes, f.CPU, float64(f.Memory)/float64(mib))
		}
	}
	failed := map[string]bool{}
	for _, r := range m.Records {
		if r.Failed != "" {
			failed[fmt.Sprintf("- %s, case %s, %s: %s", r.Contestant, r.Case, r.Network, oneLine(r.Failed))] = true
		}
	}
	if len(failed)+len(m.LeftOut) > 0 {
		line("")
		line("## Not measured")
		line("")
		var lines []string
		for l := range failed {
			lines = append(lines, l)
		}
		slices.Sort(lines)
		for _, l := range lines {
			line("%s", l)
		}
		for _, l := range m.LeftOut {
			line("- %s", l)
		}
	}
	return page.String()
}

// sent is how much went to the target, as a multiple of the distinct bytes of
// all images.
func (r record) sent(s subject) float64 { return float64(r.Target.Sent) / float64(s.Bytes) }

// tellSent is about cases of many images: of one image everybody sends
// everything.
func (m *measurement) tellSent(line func(string, ...any), floor string, everybody []string) {
	for _, s := range m.Subjects {
		if s.Images < 2 || s.Bytes == 0 {
			continue
		}
		only := *m
		only.Subjects = []subject{s}
		only.figures(line, "Bytes sent", fmt.Sprintf("To the target, manifests included, in MiB; in brackets as a multiple of the %.1f MiB of distinct blobs.", float64(s.Bytes)/float64(mib)),
			floor, everybody, []string{cold}, func(r record) string {
				return fmt.Sprintf("%.1f (%.3f)", float64(r.Target.Sent)/float64(mib), r.sent(s))
			})
	}
}

func oneLine(text string) string { return last(strings.Join(strings.Fields(text), " "), 300) }

// cell shows a figure, in brackets what is not comparable, ✘ what failed.
func (m *measurement) cell(r *record, figure func(record) string) string {
	switch {
	case r == nil || len(r.Runs) == 0 && r.Failed == "":
		return ""
	case r.Failed != "":
		return "✘"
	case r.LeftBehind > 0:
		return fmt.Sprintf("(%s, leaves %d)", figure(*r), r.LeftBehind)
	case r.Ours:
		return "**" + figure(*r) + "**"
	}
	return figure(*r)
}

func (m *measurement) figures(line func(string, ...any), title, about, floor string, names []string, phases []string, figure func(record) string) {
	line("")
	line("## %s", title)
	line("")
	line("%s", about)
	line("")
	all := append([]string{floor}, names...)
	line("| case | network | | %s |", strings.Join(all, " | "))
	line("|%s", strings.Repeat("---|", len(all)+3))
	for _, s := range m.Subjects {
		for _, n := range m.Networks {
			for _, phase := range phases {
				cells := []string{s.Key, n.Name, phase}
				some := false
				for _, name := range all {
					c := m.cell(m.find(s.Key, n.Name, phase, name), figure)
					some = some || c != ""
					cells = append(cells, c)
				}
				if some {
					line("| %s |", strings.Join(cells, " | "))
				}
			}
		}
	}
}
