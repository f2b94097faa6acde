package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// mostFindings bounds what is told of one program in words.
const mostFindings = 8

// markdown tells the sweep as a page.
func (k *killing) markdown() string {
	var page strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&page, format+"\n", args...) }
	number := map[string]int{}
	for p := range k.Parts.parts {
		number[p.kind]++
	}
	line("# Killed at every request")
	line("")
	line("What is left of a copy that was killed, and whether running it again mends that: this program beside its peers. Made by `%s` on %d cores (%s). The same push with lock and result, against simulated Azure services, is in [conformance](conformance.md#killed-at-every-request).", k.Command, k.Cores, k.System)
	line("")
	var versions []string
	for _, name := range slices.Sorted(maps.Keys(k.Versions)) {
		if name == "registry" || slices.ContainsFunc(k.Sweeps, func(s *sweep) bool { return s.Contestant == name }) {
			versions = append(versions, name+" "+k.Versions[name])
		}
	}
	line("Versions: %s. The image: %s; manifests: %d, blobs: %d, %.1f MiB.", strings.Join(versions, ", "), k.Subject,
		number[manifestPart], number[blobPart], inMiB(k.Size))
	line("")
	titles := []string{"program", "requests", "kills", "tag not there yet", "tag there, all whole", "**visible but incomplete**", "**wrong after the rerun**",
		"blobs sent again that had arrived", "MiB of these, a kill", "MiB that the rerun sends in all", "what it never brings"}
	line("| %s |", strings.Join(titles, " | "))
	line("|%s", strings.Repeat("---|", len(titles)))
	late := 0
	for _, s := range k.Sweeps {
		if s.Failed != "" {
			line("| %s | ✘%s", s.Contestant, strings.Repeat(" |", len(titles)-1))
			continue
		}
		late += s.Late
		kills := float64(max(1, s.Kills))
		never := "–"
		if len(s.Never) > 0 {
			never = describe(s.Never)
		}
		line("| %s | %d | %d | %d | %d | %d | %d | %d of %d | %.2f of %.2f | %.2f | %s |", s.Contestant, s.Requests, s.Kills, s.Absent, s.Whole,
			s.Incomplete, s.Wrong, s.Resent.times, s.Arrived.times, inMiB(s.Resent.bytes)/kills, inMiB(s.Arrived.bytes)/kills, inMiB(s.Sent.bytes)/kills, never)
	}
	line("")
	line("**How.** Each program copies the image once undisturbed; its requests are counted at proxies before both registries (CNCF's, plain HTTP, on this machine), and what it brought is what it is held to. Then, for each request and into a fresh repository each time, it is ended with SIGKILL just before that request reaches the registry, and once more just after the registry has answered and before the program hears it. What had left the program whole by then still arrives. The repository is then asked, past the proxies, for its tags, for each manifest and blob, and for each entry of the lists of attached manifests: once the tag is there, all of it has to be. The program is run again, undisturbed: it has to end with exit code 0 and with exactly the tags, manifests, blobs and entries of its undisturbed run. *Sent again that had arrived*: blobs that the repository had at the look, and whose bytes the rerun sent all the same, of all that had arrived, over all kills.")
	if late > 0 {
		line("")
		line("Two runs of a program differ by a request or so. Kills that came too late, because the program was at its end by then, and that are not counted: %d.", late)
	}
	var told []string
	for _, s := range k.Sweeps {
		if s.Failed != "" {
			told = append(told, fmt.Sprintf("- %s was not swept: %s", s.Contestant, oneLine(s.Failed)))
		}
		for n, f := range s.Findings {
			if n == mostFindings {
				told = append(told, fmt.Sprintf("- %s: %d more kinds", s.Contestant, len(s.Findings)-n))
				break
			}
			told = append(told, fmt.Sprintf("- %s, %d ×: %s (first: %s)", s.Contestant, f.Times, f.What, f.First))
		}
	}
	if len(told) > 0 {
		line("")
		line("## What was wrong")
		line("")
		line("An entry that is not there is an attached manifest that nobody finds, though it may have arrived: the list of what is attached to its subject does not name it. These registries have no referrers API, so that list is the client's to write.")
		line("")
		line("%s", strings.Join(told, "\n"))
	}
	return page.String()
}

func inMiB(bytes int64) float64 { return float64(bytes) / float64(mib) }
