package referrer

import (
	"fmt"
	"slices"
	"time"
)

// Referrer is one way in which a manifest is attached to another: it names it as
// its subject, or a digest tag does.
type Referrer struct {
	Digest  string
	Subject string // digest of the manifest that it is attached to
	Tag     string // the digest tag; empty where the manifest itself names its subject
	Type    string // artifactType, or else the config's type
	Manifest

	// Unread: only its type is known, since nothing more was needed: it is
	// excluded, or every target has it.
	Unread bool
	// Withheld is why it must not reach the targets, whatever the rules say; empty if
	// it may.
	Withheld string
	// Missing: a target lacks it. At is asked for only of what is.
	Missing bool
	At      time.Time // when it was attached, by the registry's clock
	Untimed string    // why the registry did not say when; empty if it did
}

// Rules decide what travels.
type Rules struct {
	Exclude []string
	// Include are lists of types; what is not on each of them stays behind.
	Include [][]string
	// Until is when something happened before which an artifact has to be attached
	// to travel, and Event says what: the first approval that counts was given, or
	// the image arrived. Zero if times decide nothing: no approval was judged, a
	// flow brings what came later too, or the registry tells no times.
	Until time.Time
	Event string
}

// RecallType is the artifact type of recall records, which never travel.
const RecallType = "application/vnd.acrpromote.recall.v1+json"

// Approval is the event that decides which artifacts travel.
const Approval = "the first approval that counts was given"

// Arrival is the event that decides which artifacts an audit misses.
const Arrival = "the image arrived there"

// Leaves returns why artifacts of this type stay behind, or "".
func (r Rules) Leaves(artifactType string) string {
	return r.leaves([]string{artifactType})
}

// leaves judges a manifest that has several types: those of its layers, where
// the manifest itself is not of a type of its own.
func (r Rules) leaves(types []string) string {
	among := func(list []string) bool {
		return slices.ContainsFunc(list, func(t string) bool {
			return slices.ContainsFunc(types, func(is string) bool { return essence(is) == essence(t) })
		})
	}
	if among(r.Exclude) {
		return "the flow excludes its type"
	}
	for _, list := range r.Include {
		if !among(list) {
			return "the flow does not include its type"
		}
	}
	return ""
}

// types are what a manifest can be called by. Cosign's have the config of an
// image, and what they are is shown by their layers.
func (r Referrer) types() []string {
	if slices.Contains(runnableConfigs, essence(r.Type)) {
		return append([]string{r.Type}, r.Layers...)
	}
	return []string{r.Type}
}

// Select returns for each referrer why it stays behind, empty if it travels.
// image lists the digests of the image itself. What is attached to something
// that stays behind stays behind too.
func (r Rules) Select(image []string, list []Referrer) []string {
	reasons := make([]string, len(list))
	attached := make(map[string][]int) // by subject
	for i, one := range list {
		reasons[i] = r.judge(one)
		attached[one.Subject] = append(attached[one.Subject], i)
	}
	reached := make([]bool, len(list))
	seen := make(map[string]bool)
	for next := slices.Clone(image); len(next) > 0; {
		subject := next[0]
		next = next[1:]
		if seen[subject] {
			continue
		}
		seen[subject] = true
		for _, i := range attached[subject] {
			if reached[i] = true; reasons[i] == "" {
				next = append(next, list[i].Digest)
			}
		}
	}
	for i, one := range list {
		if !reached[i] && reasons[i] == "" {
			reasons[i] = fmt.Sprintf("it is attached to %s, which stays behind", one.Subject)
		}
	}
	return reasons
}

// judge returns why one referrer stays behind by itself. That it would be run
// comes first: nothing overrides it.
func (r Rules) judge(one Referrer) string {
	if !one.Unread && one.Runnable() {
		return "a container engine would run it, and it is not the image that was approved"
	}
	if essence(one.Type) == RecallType {
		return "recall records stay where they are"
	}
	if one.Withheld != "" {
		return one.Withheld
	}
	if why := r.leaves(one.types()); why != "" {
		return why
	}
	switch {
	case r.Until.IsZero() || !one.Missing:
		return ""
	case one.At.IsZero():
		return "the registry does not say when it was attached: " + one.Untimed
	case !one.At.Before(r.Until):
		return fmt.Sprintf("it was attached at %s, after %s at %s", stamp(one.At), r.Event, stamp(r.Until))
	}
	return ""
}

// Timed reports whether the time of a referrer decides: it would travel but for its
// time, and a target lacks it.
func (r Rules) Timed(one Referrer) bool {
	r.Until = time.Time{}
	return one.Missing && r.judge(one) == ""
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
