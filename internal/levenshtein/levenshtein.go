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
	if len(name) > longest {
		return "", false
	}
	nearest, least := "", min(max(2, len(name)/3), len(name)-1)+1
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
