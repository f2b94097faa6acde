// Package levenshtein finds the name that a mistyped one was meant to be.
package levenshtein

import "strings"

// longest is the length from which on a name is not compared, in bytes: the
// work grows with the square of it.
const longest = 64

// Nearest returns the candidate that is the fewest changes away from name, the
// first of several. It reports false if none is near: more than two changes
// away and more than a third of the name, or with nothing of the name kept.
// Letters compare without case.
func Nearest(name string, candidates []string) (string, bool) {
	return nearest(name, candidates, max(2, len(name)/3))
}

// nearest is Nearest with at most so many changes.
func nearest(name string, candidates []string, most int) (string, bool) {
	if len(name) > longest {
		return "", false
	}
	nearest, least := "", min(most, len(name)-1)+1
	for _, c := range candidates {
		if len(c) > longest {
			continue
		}
		if d := distance(name, c); d < least {
			nearest, least = c, d
		}
	}
	return nearest, nearest != ""
}

// NearestHost is Nearest for host names, of which many begin or end alike: two
// changes of the first label are near, or of the rest with the port.
func NearestHost(host string, candidates []string) (string, bool) {
	label, rest, _ := strings.Cut(host, ".")
	// The host of each label, and of each rest.
	byLabel, byRest := map[string]string{}, map[string]string{}
	var labels, rests []string
	for _, c := range candidates {
		l, r, _ := strings.Cut(c, ".")
		if strings.EqualFold(r, rest) {
			labels, byLabel[l] = append(labels, l), c
		}
		if strings.EqualFold(l, label) {
			rests, byRest[r] = append(rests, r), c
		}
	}
	if near, ok := nearest(label, labels, 2); ok {
		return byLabel[near], true
	}
	if near, ok := nearest(rest, rests, 2); ok {
		return byRest[near], true
	}
	return "", false
}

// distance is Levenshtein's, in bytes, without regard to case.
func distance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
