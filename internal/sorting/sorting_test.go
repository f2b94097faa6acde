package sorting

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

type pair struct{ key, position int }

func byKey(a, b pair) int { return cmp.Compare(a.key, b.key) }

// TestSort compares the results with those of package slices.
func TestBy(t *testing.T) {
	for n := range 200 {
		random := rand.New(rand.NewPCG(1, uint64(n)))
		list := make([]pair, n)
		for i := range list {
			list[i] = pair{random.IntN(n/2 + 1), i}
		}
		stable, expected := slices.Clone(list), slices.Clone(list)
		StableBy(stable, byKey)
		slices.SortStableFunc(expected, byKey)
		if !slices.Equal(stable, expected) {
			t.Fatalf("%d elements: %v, expected %v", n, stable, expected)
		}
		By(list, func(a, b pair) int { return cmp.Or(byKey(a, b), cmp.Compare(a.position, b.position)) })
		if !slices.Equal(list, expected) {
			t.Fatalf("%d elements: %v, expected %v", n, list, expected)
		}
	}
}
